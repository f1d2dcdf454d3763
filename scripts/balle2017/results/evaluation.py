"""Measure a codec on a folder of pictures: real files, decoded pixels."""

import collections
import contextlib
import hashlib
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from balle2017.data.images import list_test_images, read_image
from balle2017.data.reasons import BadImageError
from balle2017.decibel import ms_ssim_db
from balle2017.errors import CodecLimitError, WorkError
from balle2017.files import atomic_path, write_bytes, write_json, write_table
from balle2017.results import metrics

#: Columns of per_image.csv whose means make a point of the rate-distortion curve.
MEASURES = [
    "bpp",
    "bpp_payload",
    "bpp_estimated",
    *metrics.METRICS,
    "encode_s",
    "decode_s",
]
PER_IMAGE_COLUMNS = [
    "point",
    "image",
    "width",
    "height",
    "bytes",
    "file_sha256",
    "decoded_sha256",
    *MEASURES,
    "note",
]

#: Largest relative difference of coded payload and estimated rate, over a test set and for
#: each picture, beside the bits by which the range coder ends its stream.
RATE_TOLERANCE = 0.001
_END_OF_STREAM_BITS = 32

_WARM_UP = 64


@dataclass(frozen=True)
class CodecPoint:
    """The codec under test at one setting: one point of a rate-distortion curve.

    Attributes:
        identity: what names it in tables: codec, point (lambda or quality), and more.
        encode: uint8 pixels [height, width, 3] -> the whole compressed file, and what
            `estimate_bits` takes; CodecLimitError or BadImageError where it cannot hold
            the picture.
        decode: the file -> pixels; the same errors.
        suffix: of the compressed files.
        folder: subfolder of bitstreams/, where several points share an output folder.
        header_bytes: part of each file that is not coded latents; None where
            the codec makes no such difference.
        estimate_bits: what `encode` returned beside the file -> the code length in bits
            that the coding tables give it; None where there are no such tables.
    """

    identity: dict[str, Any]
    encode: Callable[[np.ndarray], tuple[bytes, Any]]
    decode: Callable[[bytes], np.ndarray]
    suffix: str
    folder: str = ""
    header_bytes: int | None = None
    estimate_bits: Callable[[Any], float] | None = None


def evaluate_images(
    images: list[Path], out: Path, point: CodecPoint, keep_reconstructions: bool
) -> list[dict[str, Any]]:
    """Compress, decompress and measure every picture; return a row for each.

    Writes `out`/bitstreams and, if asked to, `out`/reconstructions. The bits of a
    picture are those of its file on disk, and what is decoded was read back from it.
    A picture that the codec cannot hold has no file and no measures, and a note that says why.

    Raises:
        BadImageError: a picture cannot be read.
        WorkError: a decoded picture has another size.
    """
    rows = []
    for index, path in enumerate(images):
        original = read_image(path)
        if index == 0:
            # The first call of a TensorFlow graph also builds it, whatever the size.
            with contextlib.suppress(CodecLimitError):
                point.decode(point.encode(original[:_WARM_UP, :_WARM_UP])[0])
        height, width, _ = original.shape
        row: dict[str, Any] = {
            "point": point.identity["point"],
            "image": path.name,
            "width": width,
            "height": height,
        }
        stream = out / "bitstreams" / point.folder / f"{path.stem}{point.suffix}"
        kept = out / "reconstructions" / f"{path.stem}.png" if keep_reconstructions else None
        try:
            row |= _measure(path, original, point, stream, kept)
        except (BadImageError, CodecLimitError) as error:
            # Nor what an earlier evaluation left.
            for file in (stream, kept):
                if file is not None:
                    file.unlink(missing_ok=True)
            row["note"] = f"not coded, {error}"
        rows.append(row)
    return rows


def _measure(
    path: Path, original: np.ndarray, point: CodecPoint, stream: Path, kept: Path | None
) -> dict[str, Any]:
    """Return the columns of one coded picture; its file is `stream`, what comes back `kept`."""
    start = time.perf_counter()
    data, content = point.encode(original)
    encoded = time.perf_counter()
    write_bytes(stream, data)
    data = stream.read_bytes()
    read = time.perf_counter()
    decoded = point.decode(data)
    done = time.perf_counter()
    if decoded.shape != original.shape:
        raise WorkError(f"{path} came back as {decoded.shape}, it was {original.shape}")
    if kept is not None:
        with atomic_path(kept) as temporary:
            Image.fromarray(decoded).save(temporary)
    pixels = original[:, :, 0].size
    row: dict[str, Any] = {
        "bytes": len(data),
        "file_sha256": hashlib.sha256(data).hexdigest(),
        "decoded_sha256": hashlib.sha256(decoded.tobytes()).hexdigest(),
        "bpp": len(data) * 8 / pixels,
        **{name: metric(original, decoded) for name, metric in metrics.METRICS.items()},
        "encode_s": round(encoded - start, 4),
        "decode_s": round(done - read, 4),
    }
    row["note"] = _note(row)
    if point.header_bytes is not None:
        row["bpp_payload"] = (len(data) - point.header_bytes) * 8 / pixels
    if point.estimate_bits is not None:
        row["bpp_estimated"] = point.estimate_bits(content) / pixels
    return row


def coded(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows of the pictures that the codec could hold."""
    return [row for row in rows if "bytes" in row]


def _note(row: dict[str, Any]) -> str:
    """Return why a picture lacks a measure, or nothing."""
    notes = []
    if math.isinf(row["psnr_rgb"]):
        notes.append("no error, PSNR is infinite")
    if row["ms_ssim_rgb"] is None:
        notes.append(f"no MS-SSIM: a side is under {metrics.MS_SSIM_MIN_SIDE} pixels")
    return "; ".join(notes)


def summarize(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the means over the coded pictures; MS-SSIM is averaged before it becomes dB.

    A measure is None where a coded picture lacks it, where none was coded, and where the mean
    is infinite because a picture came back without any error; `note` says why. `lacking`
    names the pictures that were not coded.
    """
    measured = coded(rows)

    def mean(column: str) -> float | None:
        values: list[Any] = [row.get(column) for row in measured]
        if not values or any(value is None or not math.isfinite(value) for value in values):
            return None
        return float(np.mean(values))

    summary: dict[str, Any] = {name: mean(name) for name in MEASURES}
    summary["ms_ssim_rgb_db"] = ms_ssim_db(summary["ms_ssim_rgb"])
    summary["n_images"] = len(measured)
    summary["lacking"] = "; ".join(sorted(row["image"] for row in rows if "bytes" not in row))
    notes = collections.Counter(row["note"] for row in rows if row.get("note"))
    summary["note"] = "; ".join(f"{n} of {len(rows)} images: {note}" for note, n in notes.items())
    return summary


def check_rates(rows: list[dict[str, Any]]) -> float:
    """Return |coded payload / estimated rate - 1| over all pictures, at least one.

    Raises:
        WorkError: it is more than `RATE_TOLERANCE`, over all or for one picture: the files
            are not what the coding tables say.
    """

    def difference(part: list[dict[str, Any]], where: str) -> float:
        payload = sum(row["bpp_payload"] * row["width"] * row["height"] for row in part)
        estimated = sum(row["bpp_estimated"] * row["width"] * row["height"] for row in part)
        allowance = _END_OF_STREAM_BITS * len(part)
        relative = abs(payload / estimated - 1)
        if not abs(payload - estimated) <= RATE_TOLERANCE * estimated + allowance:
            raise WorkError(
                f"coded payload and estimated rate differ by {relative:.2%} {where} "
                f"({payload:.0f} and {estimated:.0f} bits); {RATE_TOLERANCE:.1%} is allowed"
            )
        return relative

    for row in rows:
        difference([row], f"for {row['image']}")
    return difference(rows, "over the test set")


def point_text(summary: dict[str, Any]) -> str:
    """Return a point of summary.json in one line."""
    quality = summary["psnr_rgb"]
    decibels = "infinite PSNR" if quality is None else f"{quality:.2f} dB"
    means = f"{summary['bpp']:.4f} bpp, {decibels}, " if summary["n_images"] else ""
    without = f", without {summary['lacking']}" if summary["lacking"] else ""
    name = f"{summary['codec']} {summary['point']:g}"
    return f"{name}: {means}{summary['n_images']} images{without}"


def run_evaluation(
    images: Path, out: Path, points: list[CodecPoint], keep_reconstructions: bool
) -> list[dict[str, Any]]:
    """Evaluate points on a folder of pictures; write per_image.csv and summary.json.

    Args:
        images: folder of pictures.
        out: output folder.
        points: the codec at one or several settings.
        keep_reconstructions: also write the decoded pictures, as PNG.

    Returns:
        The content of summary.json: for each point its identity and its means.

    Raises:
        InputError: no picture there, or two whose names differ in the suffix only.
        WorkError: see `evaluate_images` and `check_rates`.
    """
    paths = list_test_images(images, without=[out])
    rows, summaries = [], []
    for point in points:
        new = evaluate_images(paths, out, point, keep_reconstructions)
        summary = point.identity | summarize(new)
        if point.estimate_bits is not None:
            summary["rate_difference"] = check_rates(coded(new)) if coded(new) else None
        rows += new
        summaries.append(summary)
    write_table(out / "per_image.csv", PER_IMAGE_COLUMNS, rows)
    write_json(out / "summary.json", summaries)
    return summaries
