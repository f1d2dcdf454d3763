"""Copy a finished run's models, tables and figures into folders for publication."""

from collections.abc import Sequence
from pathlib import Path

from balle2017 import cli


def main(argv: Sequence[str] | None = None) -> None:
    """Copy models and results; print their sizes."""
    parser = cli.Parser(__doc__)
    parser.add_argument(
        "--results", type=Path, required=True, help="folder of the run, results/EXPERIMENT"
    )
    parser.add_argument(
        "--models",
        type=Path,
        required=True,
        help="output folder for the models, one subfolder for each lambda",
    )
    parser.add_argument("--out", type=Path, help="output folder for tables, figures and models.csv")
    args = parser.parse_args(argv)

    from balle2017.files import refuse_inputs_in
    from balle2017.results.publication import (
        check_family,
        model_rows,
        publish_models,
        publish_results,
    )

    # Before anything is copied.
    refuse_inputs_in([args.models], [args.results / "models"], "--models")
    check_family(model_rows(args.results / "models"), args.models)
    if args.out is not None:
        publish_results(args.results, args.out)
    for row in publish_models(args.results / "models", args.models):
        print(f"{row['model']}: {row['minutes']} minutes, {row['model_sha256'][:16]}")


if __name__ == "__main__":
    cli.run(main)
