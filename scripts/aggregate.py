"""Collect evaluations into tables, of means and per image, and print a summary."""

from collections.abc import Sequence
from pathlib import Path

from balle2017 import cli
from balle2017.files import write_bytes


def main(argv: Sequence[str] | None = None) -> None:
    """Aggregate; print the summary."""
    parser = cli.Parser(__doc__)
    parser.add_argument(
        "result_dir", type=Path, nargs="+", help="folders with evaluations, or summary.json files"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for the tables")
    args = parser.parse_args(argv)

    from balle2017.results.aggregation import (
        bd_per_image,
        bd_table,
        collect,
        collect_images,
        extremes_text,
        summary_text,
    )
    from balle2017.results.seeds import bd_seeds, bd_seeds_text, seed_table
    from balle2017.results.tables import write_frame

    rd, images = collect(args.result_dir), collect_images(args.result_dir)
    bd, bd_images = bd_table(rd), bd_per_image(images)
    text = summary_text(rd, bd) + bd_seeds_text(bd, "jpeg", "jpeg, PSNR")
    text += extremes_text(bd_images)
    write_frame(args.out / "rd.csv", rd)
    write_frame(args.out / "bd_rate.csv", bd)
    write_frame(args.out / "per_image.csv", images)
    write_frame(args.out / "bd_rate_per_image.csv", bd_images)
    write_frame(args.out / "seeds.csv", seed_table(rd))
    write_frame(args.out / "bd_rate_seeds.csv", bd_seeds(bd))
    write_bytes(args.out / "summary.txt", text.encode())
    print(text, end="")


if __name__ == "__main__":
    cli.run(main)
