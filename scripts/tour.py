"""Draw what happens to a photograph inside the codec: the figures of docs/tour.md."""

from collections.abc import Sequence
from pathlib import Path

from balle2017 import cli


def main(argv: Sequence[str] | None = None) -> None:
    """Draw the figures; print the numbers and the files."""
    parser = cli.Parser(__doc__)
    parser.add_argument("photograph", type=Path, help="image file")
    parser.add_argument("--out", type=Path, required=True, help="folder for the figures")
    parser.add_argument(
        "--models", type=Path, help="folder with a model for each lambda (default: pretrained/)"
    )
    args = parser.parse_args(argv)

    from balle2017.coding.codec import Codec
    from balle2017.data.images import read_image
    from balle2017.model import runtime
    from balle2017.model.find import PRETRAINED, find_models, read_config
    from balle2017.model.network import STRIDE
    from balle2017.results.tour import Inside, draw_tour, summary

    def look_inside(folder: Path) -> Inside:
        """Code the photograph with one model, and keep what is computed on the way."""
        codec = Codec(folder)
        data, latents = codec.encode(pixels)
        return Inside(
            lambda_rd=codec.model.config["lambda_rd"],
            pixels=pixels,
            decoded=codec.decompress(data),
            stride=STRIDE,
            latents=latents,
            static_size=len(codec.compress(pixels, adaptive=False)),
            adaptive_size=len(data),
            static_bits=codec.place_bits(latents, adaptive=False),
            adaptive_bits=codec.place_bits(latents),
            channel_bits=codec.channel_bits(latents),
            value_bits=codec.value_bits,
        )

    runtime.configure(1, "cpu", operations=2)
    pixels = read_image(args.photograph)
    models = find_models(args.models or PRETRAINED)
    models.sort(key=lambda folder: read_config(folder)["lambda_rd"])
    # The ends of the curve and its middle.
    chosen = list(dict.fromkeys([models[0], models[len(models) // 2], models[-1]]))
    insides = [look_inside(folder) for folder in chosen]
    shown = insides[len(insides) // 2]
    print(summary(insides, shown), end="")
    for path in draw_tour(insides, shown, args.out):
        print(path)


if __name__ == "__main__":
    cli.run(main)
