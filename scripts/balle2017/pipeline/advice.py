"""What a run says at its start about a config that is allowed and probably not meant."""

from pathlib import Path
from typing import Any

#: Beyond these, rates lie far outside of published curves.
USUAL_LAMBDAS = (0.0005, 0.5)
_JPEG = frozenset([".jfif", ".jpeg", ".jpg"])


def advice(config: dict[str, Any], test_images: list[Path]) -> list[str]:
    """Return one sentence for each setting that seems odd.

    Args:
        config: a checked config.
        test_images: files of the test set, as far as they are there already.
    """
    low, high = USUAL_LAMBDAS
    odd = [f"{value:g}" for value in config["lambdas"] if not low <= value <= high]
    jpegs = [path for path in test_images if path.suffix.lower() in _JPEG]
    lines = []
    if odd:
        lines.append(
            f"lambdas has {', '.join(odd)}, usual are {low} to {high}: the loss is bits per pixel "
            "+ lambda * MSE, with pixels from 0 to 255"
        )
    if jpegs:
        lines.append(
            f"{len(jpegs)} of the {len(test_images)} test images are JPEG files: JPEG codes these "
            "again almost for nothing, so the comparison with it says little"
        )
    return [f"note: {line}" for line in lines]
