"""Fit a trained model's adaptive entropy coder to training images."""

from collections.abc import Sequence
from pathlib import Path

from balle2017 import cli


def main(argv: Sequence[str] | None = None) -> None:
    """Add the adaptation to the model's file; the pixels and the static prior do not change."""
    parser = cli.Parser(__doc__)
    parser.add_argument(
        "--model", type=Path, required=True, help="folder of a model, or of the run that trained it"
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--images", type=Path, help="folder of images")
    source.add_argument("--train_list", type=Path, help="train.csv, as split.py writes it")
    parser.add_argument("--seed", type=int, default=1, help="seed for choosing the images")
    parser.add_argument(
        "--threads",
        type=cli.positive,
        default=2,
        metavar="N",
        help="threads per TensorFlow operation",
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
    print(f"{args.model}: fitted to {len(pictures)} images; model_sha256 {digest}")


if __name__ == "__main__":
    cli.run(main)
