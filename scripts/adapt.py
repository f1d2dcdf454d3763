"""Fit the adaptive entropy coder of a trained model to training pictures."""

from collections.abc import Sequence
from pathlib import Path

from balle2017 import cli


def main(argv: Sequence[str] | None = None) -> None:
    """Add the adaptation to the model's file; pixels and static prior stay as they are."""
    parser = cli.Parser(__doc__)
    parser.add_argument(
        "--model", type=Path, required=True, help="folder of a model, or of the run that trained it"
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--images", type=Path, help="folder of pictures")
    source.add_argument("--train_list", type=Path, help="train.csv, as split.py writes it")
    parser.add_argument("--seed", type=int, default=1, help="of the choice of pictures (1)")
    parser.add_argument(
        "--threads", type=cli.positive, default=2, metavar="N", help="threads of an operation"
    )
    args = parser.parse_args(argv)

    from balle2017.data.images import list_images, read_image
    from balle2017.data.store import ImageStore
    from balle2017.model import runtime
    from balle2017.model.fitting import adapt_model, some_of

    if args.images:
        paths = list_images(args.images)
        pictures = [read_image(paths[index]) for index in some_of(len(paths), args.seed)]
    else:
        store = ImageStore(args.train_list)
        pictures = [store[index] for index in some_of(len(store), args.seed)]
    runtime.configure(args.threads, "cpu")
    digest = adapt_model(args.model, pictures)
    print(f"{args.model}: fitted to {len(pictures)} pictures; model_sha256 {digest}")


if __name__ == "__main__":
    cli.run(main)
