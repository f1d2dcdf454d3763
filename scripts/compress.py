"""Compress pictures to .b17 files with a trained model."""

from collections.abc import Sequence
from pathlib import Path

from balle2017 import cli
from balle2017.coding.batch import convert_all, plan_outputs
from balle2017.data.images import list_images, read_image
from balle2017.files import write_bytes
from balle2017.model.find import PRETRAINED


def main(argv: Sequence[str] | None = None) -> None:
    """Compress; print a line for each picture."""
    parser = cli.Parser(__doc__)
    parser.add_argument("input", type=Path, nargs="+", help="pictures or folders of pictures")
    parser.add_argument(
        "--model",
        type=Path,
        default=PRETRAINED / "0.0130",
        help="folder of a model, or of the run that trained it",
    )
    parser.add_argument("--out", type=Path, required=True, help="folder, or one .b17 file")
    parser.add_argument(
        "--threads", type=cli.positive, default=2, metavar="N", help="tiles at the same time"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace files that exist")
    args = parser.parse_args(argv)
    pairs = plan_outputs(args.input, args.out, list_images, ".b17", args.overwrite)

    from balle2017.coding.codec import Codec
    from balle2017.model import runtime

    runtime.configure(1, "cpu", operations=args.threads)
    codec = Codec(args.model, args.threads)
    print(f"model {codec.model.folder}")

    def convert(source: Path, target: Path) -> str:
        pixels = read_image(source)
        data = codec.compress(pixels)
        write_bytes(target, data)
        height, width, _ = pixels.shape
        return f"{target}: {len(data)} bytes, {len(data) * 8 / (width * height):.4f} bpp"

    convert_all(pairs, convert)


if __name__ == "__main__":
    cli.run(main)
