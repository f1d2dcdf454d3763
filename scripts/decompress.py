"""Decompress .b17 files to PNG pictures with the model that made them."""

from collections.abc import Sequence
from pathlib import Path

from balle2017 import cli
from balle2017.coding.batch import convert_all, list_streams, plan_outputs
from balle2017.errors import DamagedFileError
from balle2017.files import atomic_path
from balle2017.model.find import PRETRAINED, model_beside


def main(argv: Sequence[str] | None = None) -> None:
    """Decompress; print a line for each file."""
    parser = cli.Parser(__doc__)
    parser.add_argument("input", type=Path, nargs="+", help=".b17 files or folders of them")
    parser.add_argument(
        "--model",
        type=Path,
        help="folder of a model, or of the run that trained it (for each file the one of "
        "pretrained/ that made it)",
    )
    parser.add_argument("--out", type=Path, required=True, help="folder, or one .png file")
    parser.add_argument(
        "--threads", type=cli.positive, default=2, metavar="N", help="tiles at the same time"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace files that exist")
    args = parser.parse_args(argv)
    pairs = plan_outputs(args.input, args.out, list_streams, ".png", args.overwrite)

    from balle2017.coding.bitstream import Bitstream
    from balle2017.coding.codec import Codec
    from balle2017.model import runtime
    from PIL import Image

    runtime.configure(1, "cpu", operations=args.threads)
    codec = Codec(args.model, args.threads) if args.model else None
    pretrained: dict[bytes, Codec] = {}

    def codec_of(data: bytes) -> Codec:
        """Return the codec given, or that of the pretrained model which made a file."""
        if codec is not None:
            return codec
        model_id = Bitstream.from_bytes(data).model_id
        if model_id not in pretrained:
            folder = model_beside(PRETRAINED / "any", model_id)
            if folder is None:
                raise DamagedFileError(
                    f"made by a model ({model_id.hex()}) that is not in {PRETRAINED}; "
                    "give its folder with --model"
                )
            pretrained[model_id] = Codec(folder, args.threads)
        return pretrained[model_id]

    def convert(source: Path, target: Path) -> str:
        data = source.read_bytes()
        pixels = codec_of(data).decompress(data)
        with atomic_path(target) as temporary:
            Image.fromarray(pixels).save(temporary)
        return f"{target}: {pixels.shape[1]}x{pixels.shape[0]}"

    convert_all(pairs, convert)


if __name__ == "__main__":
    cli.run(main)
