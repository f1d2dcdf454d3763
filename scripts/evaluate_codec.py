"""Evaluate a conventional codec on a folder of images, at several qualities."""

from collections.abc import Sequence

from balle2017 import cli
from balle2017.names import quality_text
from balle2017.results.conventional import CODECS, get_codec
from balle2017.results.evaluation import CodecPoint, encoder_at, point_text, run_evaluation


def main(argv: Sequence[str] | None = None) -> None:
    """Evaluate; print the points of the rate-distortion curve."""
    parser = cli.Parser(__doc__)
    parser.add_argument("--codec", choices=CODECS, required=True, help="codec to measure")
    parser.add_quality("qualities to measure; for JPEG 2000, bits per pixel")
    parser.add_evaluation()
    args = parser.parse_args(argv)
    testset = cli.testset_name(args)
    codec = get_codec(args.codec, args.quality)
    points = [
        CodecPoint(
            identity={
                "testset": testset,
                "codec": args.codec,
                "point": quality,
                "encoder": codec.describe(),
            },
            encode=encoder_at(codec, quality),
            decode=codec.decode,
            suffix=codec.suffix,
            out=args.out,
            folder=quality_text(quality),
        )
        for quality in args.quality
    ]
    for row in run_evaluation(args.images, points):
        print(point_text(row))


if __name__ == "__main__":
    cli.run(main)
