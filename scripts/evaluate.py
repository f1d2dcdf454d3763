"""Evaluate a trained model on a folder of images, from real files and decoded pixels."""

import functools
from collections.abc import Sequence
from pathlib import Path

from balle2017 import cli


def main(argv: Sequence[str] | None = None) -> None:
    """Evaluate; print a point for each entropy coder: the static prior and the adaptive one."""
    parser = cli.Parser(__doc__)
    parser.add_argument(
        "--model", type=Path, required=True, help="folder of a model, or of the run that trained it"
    )
    parser.add_evaluation()
    parser.add_argument(
        "--refine",
        action="store_true",
        help="search for better latents than the rounded ones; encoding then takes 16 to 18 times "
        "as long with the adaptive coder, 21 to 23 times with the static prior",
    )
    parser.add_argument(
        "--threads", type=cli.threads, default=2, metavar="N", help="tiles coded at the same time"
    )
    args = parser.parse_args(argv)
    testset = cli.testset_name(args)

    from balle2017.coding.bitstream import HEADER_BYTES
    from balle2017.coding.codec import Codec
    from balle2017.model import runtime
    from balle2017.names import model_codec
    from balle2017.results.evaluation import (
        CodecPoint,
        point_text,
        remove_evaluation,
        run_evaluation,
    )

    runtime.configure(1, "cpu", operations=args.threads)
    codec = Codec(args.model, args.threads)
    codec.check_tables()

    def point(model_id: bytes, out: Path, adaptive: bool) -> CodecPoint:
        """Return the model with one of its entropy coders."""
        config = codec.model.config
        return CodecPoint(
            identity={
                "testset": testset,
                "codec": model_codec(args.refine, adaptive),
                "point": config["lambda_rd"],
                "filters": config["num_filters"],
                "seed": config["seed"],
                "model_sha256": config["model_sha256"],
                "encoder": f"model {model_id.hex()}{', refined latents' * args.refine}",
            },
            encode=functools.partial(codec.encode, adaptive=adaptive, refine=args.refine),
            decode=codec.decompress,
            suffix=".b17",
            out=out,
            keep_reconstructions=not adaptive,
            header_bytes=HEADER_BYTES,
            estimate_bits=functools.partial(codec.estimated_bits, adaptive=adaptive),
        )

    # First the static prior, which the field calls factorized; see docs/entropy-coding.md.
    points = [point(codec.model.model_id, args.out, adaptive=False)]
    with_adaptation = args.out / "adaptive"
    if codec.adapts:
        points.append(point(codec.model.adaptive_id, with_adaptation, adaptive=True))
    summaries = run_evaluation(args.images, points)
    if not codec.adapts:
        # Those of another model, which would be taken for this one's.
        remove_evaluation(with_adaptation, ".b17")
    for summary in summaries:
        difference = summary["rate_difference"]
        text = "" if difference is None else f"; payload and estimate differ by {difference:.3%}"
        print(point_text(summary) + text)


if __name__ == "__main__":
    cli.run(main)
