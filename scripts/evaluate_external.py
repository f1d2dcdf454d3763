"""Evaluate an external codec, given as two commands, on a folder of images."""

import functools
import re
import signal
import sys
from collections.abc import Sequence

from balle2017 import cli
from balle2017.errors import InputError
from balle2017.names import quality_text
from balle2017.results.evaluation import CodecPoint, encoder_at, point_text, run_evaluation
from balle2017.results.external import (
    DECODED_SUFFIXES,
    ExternalCodec,
    command_words,
)


def main(argv: Sequence[str] | None = None) -> None:
    """Evaluate; print the points of the rate-distortion curve."""
    parser = cli.Parser(__doc__)
    parser.add_argument("--codec", required=True, metavar="NAME", help="name in the tables")
    parser.add_argument(
        "--encode",
        required=True,
        metavar="COMMAND",
        help="command that encodes {input}, a PNG, to {output} at {quality}; no shell is involved",
    )
    parser.add_argument(
        "--decode",
        required=True,
        metavar="COMMAND",
        help="command that decodes {input} to {output}, an image; it may use {quality}",
    )
    parser.add_argument(
        "--version_command", default="", metavar="COMMAND", help="command that prints the version"
    )
    parser.add_argument(
        "--suffix", required=True, help="suffix of the compressed files, such as .jxl"
    )
    parser.add_argument(
        "--decoded_suffix",
        choices=DECODED_SUFFIXES,
        default=ExternalCodec.decoded_suffix,
        help="suffix of the decoded images",
    )
    parser.add_quality("qualities to measure")
    parser.add_argument(
        "--time_limit_s",
        type=float,
        default=ExternalCodec.time_limit_s,
        metavar="SECONDS",
        help="stop a program that runs longer than this, and fail",
    )
    parser.add_evaluation()
    args = parser.parse_args(argv)
    testset = cli.testset_name(args)
    # When the evaluation is terminated, it ends the program that it waits for.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    codec = ExternalCodec(
        name=args.codec,
        encode_command=command_words(args.encode),
        decode_command=command_words(args.decode),
        suffix=args.suffix,
        version_command=command_words(args.version_command) if args.version_command else [],
        decoded_suffix=args.decoded_suffix,
        time_limit_s=args.time_limit_s,
    )
    codec.check(args.quality)
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", codec.name):
        # Files are named after it.
        raise InputError(
            f"--codec is {codec.name}; it must have letters, digits, dots, dashes and underscores, "
            "and begin with a letter or a digit"
        )
    codec.check_programs()
    encoder = codec.describe()
    points = [
        CodecPoint(
            identity={
                "testset": testset,
                "codec": args.codec,
                "point": quality,
                "encoder": encoder,
            },
            encode=encoder_at(codec, quality),
            decode=functools.partial(codec.decode, quality=quality),
            suffix=codec.suffix,
            out=args.out,
            folder=quality_text(quality),
            may_refuse_all=False,
        )
        for quality in args.quality
    ]
    for row in run_evaluation(args.images, points):
        print(point_text(row))


if __name__ == "__main__":
    cli.run(main)
