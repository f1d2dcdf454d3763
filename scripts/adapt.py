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
    result = parser.add_mutually_exclusive_group()
    result.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="folder for the adapted model (default: adapt the model itself)",
    )
    result.add_argument(
        "--overwrite",
        action="store_true",
        help="replace an adaptation; files that were made with it can no longer be decoded",
    )
    parser.add_argument("--seed", type=cli.seed, default=1, help="seed for choosing the images")
    parser.add_argument(
        "--threads",
        type=cli.threads,
        default=2,
        metavar="N",
        help="threads per TensorFlow operation",
    )
    args = parser.parse_args(argv)

    from balle2017.data.images import list_images, read_image
    from balle2017.data.store import ImageStore
    from balle2017.errors import InputError
    from balle2017.model import runtime
    from balle2017.model.find import find_model, read_config
    from balle2017.model.fitting import FEWEST_PICTURES, adapt_model, some_of

    model = find_model(args.model)
    if args.out is None and not args.overwrite and "static_sha256" in read_config(model):
        raise InputError(
            f"{model} has an adaptation, which the files made with it need; give --out DIR for a "
            "model of its own, or --overwrite"
        )
    if args.out is not None and args.out.exists():
        raise InputError(f"{args.out} exists; give another --out")
    if args.images:
        paths = list_images(args.images)
        pictures = [read_image(paths[index]) for index in some_of(len(paths), args.seed)]
    else:
        store = ImageStore(args.train_list)
        pictures = [store[index] for index in some_of(len(store), args.seed)]
    runtime.configure(args.threads, "cpu")
    digest = adapt_model(model, pictures, args.out)
    if len(pictures) < FEWEST_PICTURES:
        print(f"warning: {len(pictures)} images are few; {FEWEST_PICTURES} and more fit better")
    print(f"{args.out or model}: fitted to {len(pictures)} images; model_sha256 {digest}")


if __name__ == "__main__":
    cli.run(main)
