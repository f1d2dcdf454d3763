"""Evaluate a trained model on a folder of pictures: real files, decoded pixels."""

import functools
from collections.abc import Sequence
from pathlib import Path

from balle2017 import cli


def main(argv: Sequence[str] | None = None) -> None:
    """Evaluate; print the point of the rate-distortion curve."""
    parser = cli.Parser(__doc__)
    parser.add_argument(
        "--model", type=Path, required=True, help="folder of a model, or of the run that trained it"
    )
    parser.add_argument("--images", type=Path, required=True, help="folder of pictures")
    parser.add_argument("--out", type=Path, required=True, help="output folder")
    parser.add_argument("--testset", help="name of the test set (the folder's name)")
    parser.add_argument(
        "--threads", type=cli.positive, default=2, metavar="N", help="tiles at the same time"
    )
    args = parser.parse_args(argv)

    from balle2017.coding.bitstream import HEADER_BYTES
    from balle2017.coding.codec import Codec
    from balle2017.model import runtime
    from balle2017.names import MODEL_CODEC
    from balle2017.results.evaluation import CodecPoint, point_text, run_evaluation

    runtime.configure(1, "cpu", operations=args.threads)
    codec = Codec(args.model, args.threads)
    codec.check_tables()
    identity = {
        "testset": args.testset or args.images.resolve().name,
        "codec": MODEL_CODEC,
        "point": codec.model.config["lambda_rd"],
        "filters": codec.model.config["num_filters"],
        "seed": codec.model.config["seed"],
        "model_sha256": codec.model.config["model_sha256"],
        "encoder": f"model {codec.model.model_id.hex()}",
    }
    point = CodecPoint(
        identity,
        # The prior that others publish under this name; see docs/entropy-coding.md.
        functools.partial(codec.encode, adaptive=False),
        codec.decompress,
        ".b17",
        header_bytes=HEADER_BYTES,
        estimate_bits=functools.partial(codec.estimated_bits, adaptive=False),
    )
    (summary,) = run_evaluation(args.images, args.out, [point], keep_reconstructions=True)
    difference = summary["rate_difference"]
    text = "" if difference is None else f"; payload and estimate differ by {difference:.3%}"
    print(point_text(summary) + text)


if __name__ == "__main__":
    cli.run(main)
