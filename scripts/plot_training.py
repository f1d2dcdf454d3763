"""Draw the training curves of models."""

from collections.abc import Sequence
from pathlib import Path

from balle2017 import cli


def main(argv: Sequence[str] | None = None) -> None:
    """Plot; print where the figure is."""
    parser = cli.Parser(__doc__)
    parser.add_argument("history", type=Path, nargs="+", help="history.csv of the models")
    parser.add_argument("--out", type=Path, required=True, help="folder for the figure")
    args = parser.parse_args(argv)

    from balle2017.results.training_curves import plot_training, read_histories

    plot_training(read_histories(args.history), args.out)
    print(f"{args.out / 'training_curves.png'} and training_curves.svg")


if __name__ == "__main__":
    cli.run(main)
