"""Write each curve of rd.csv as a JSON file that CompressAI's tools read."""

from collections.abc import Sequence
from pathlib import Path

from balle2017 import cli
from balle2017.errors import InputError


def main(argv: Sequence[str] | None = None) -> None:
    """Export; print the files."""
    parser = cli.Parser(__doc__)
    parser.add_argument("--rd", type=Path, required=True, help="rd.csv")
    parser.add_argument("--out", type=Path, required=True, help="folder for the files")
    args = parser.parse_args(argv)

    import pandas as pd
    from balle2017.files import write_json
    from balle2017.results.aggregation import read_rd
    from balle2017.results.published import compressai_results
    from balle2017.results.style import curve_label
    from balle2017.results.tables import curves

    rd = read_rd(args.rd)
    several = rd["testset"].nunique() > 1
    files: dict[Path, tuple[str, str, pd.DataFrame]] = {}
    for testset, name, curve in curves(rd):
        if curve[["bpp", "psnr_rgb"]].isna().any(axis=1).all():
            continue
        path = args.out / f"{testset}-{name}.json" if several else args.out / f"{name}.json"
        if path in files:
            other, other_name, _ = files[path]
            raise InputError(
                f"{args.rd}: {other_name} on {other} and {name} on {testset} would both be written "
                f"to {path}; rename one of the test sets"
            )
        files[path] = testset, name, curve
    # Without any curve to export there is an empty folder.
    args.out.mkdir(parents=True, exist_ok=True)
    for path, (_, name, curve) in files.items():
        content = compressai_results(curve, curve_label(name), "; ".join(curve["encoder"].unique()))
        write_json(path, content)
        print(path)


if __name__ == "__main__":
    cli.run(main)
