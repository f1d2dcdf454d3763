"""Measure a codec on a folder of images, by real files and decoded pixels."""

import contextlib
import hashlib
import math
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from PIL import Image

from balle2017.data.images import list_test_images, read_image
from balle2017.data.reasons import BadImageError
from balle2017.data.store import pixel_hash
from balle2017.decibel import ms_ssim_db
from balle2017.errors import CodecLimitError, InputError, WorkError
from balle2017.files import (
    atomic_path,
    read_json,
    refuse_inputs_in,
    write_bytes,
    write_json,
    write_table,
)
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
    "pixel_hash",
    "bytes",
    "file_sha256",
    "decoded_sha256",
    *MEASURES,
    "note",
]

#: Largest relative difference of coded payload and estimated rate, over a test set and for
#: each image, beside the bits by which the range coder ends its stream.
RATE_TOLERANCE = 0.001
_END_OF_STREAM_BITS = 32

_WARM_UP = 64

# What a point writes to its folder.
_SUMMARY, _TABLE, _STREAMS = "summary.json", "per_image.csv", "bitstreams"
_RECONSTRUCTIONS = "reconstructions"


@dataclass(frozen=True)
class CodecPoint:
    """The codec under test at one setting: one point of a rate-distortion curve.

    Attributes:
        identity: the columns that name it in tables: codec, point (lambda or quality), and more.
        encode: uint8 pixels [height, width, 3] -> the whole compressed file, and what
            `estimate_bits` takes; CodecLimitError or BadImageError where it cannot hold
            the image.
        decode: the file -> pixels; the same errors.
        suffix: of the compressed files.
        out: folder of its per_image.csv, summary.json and bitstreams/. Points may share one
            if they belong to one codec.
        folder: subfolder of bitstreams/, where several points share `out`.
        keep_reconstructions: also write the decoded images to `out`/reconstructions, as PNG.
        header_bytes: size of the header in each file; None for codecs whose header is not
            counted separately.
        estimate_bits: what `encode` returned beside the file -> the code length in bits
            that the coding tables give it; None where there are no such tables.
        may_refuse_all: True if the codec may hold none of the images.
    """

    identity: dict[str, Any]
    encode: Callable[[np.ndarray], tuple[bytes, Any]]
    decode: Callable[[bytes], np.ndarray]
    suffix: str
    out: Path
    folder: str = ""
    keep_reconstructions: bool = False
    header_bytes: int | None = None
    estimate_bits: Callable[[Any], float] | None = None
    may_refuse_all: bool = True

    @property
    def name(self) -> str:
        """What messages call it."""
        return f"{self.identity['codec']} {self.identity['point']:g}"


class QualityCodec(Protocol):
    """A codec that has a setting for quality, and no latents beside its files."""

    def encode(self, pixels: np.ndarray, quality: float) -> bytes:
        """Return the compressed file of uint8 pixels [height, width, 3]."""


def encoder_at(codec: QualityCodec, quality: float) -> Callable[[np.ndarray], tuple[bytes, Any]]:
    """Return `CodecPoint.encode` of a codec at one quality."""
    return lambda pixels: (codec.encode(pixels, quality), None)


def evaluate_images(images: list[Path], points: list[CodecPoint]) -> list[list[dict[str, Any]]]:
    """Compress, decompress and measure every image at every point.

    The rate of an image is the size of its file on disk, and the decoder gets what is read back
    from there. An image that the codec cannot hold has no file and no measurements, and a note
    that says why.

    Returns:
        For each point a row for each image.

    Raises:
        BadImageError: an image cannot be read.
        WorkError: a decoded image has another size.
    """
    rows: list[list[dict[str, Any]]] = [[] for _ in points]
    for index, path in enumerate(images):
        original = read_image(path)
        metrics_of = _Metrics(original)
        for point, found in zip(points, rows, strict=True):
            if index == 0:
                # The first call of a TensorFlow graph also builds it, whatever the size.
                with contextlib.suppress(CodecLimitError):
                    point.decode(point.encode(original[:_WARM_UP, :_WARM_UP])[0])
            found.append(_row(path, original, point, metrics_of))
    return rows


class _Metrics:
    """The metrics of what was decoded from one image. Equal pixels are measured once."""

    def __init__(self, original: np.ndarray):
        self._original = original
        self.pixel_hash = pixel_hash(original)
        self._known: dict[str, dict[str, Any]] = {}

    def __call__(self, decoded: np.ndarray) -> dict[str, Any]:
        """Return the columns of uint8 pixels [height, width, 3], their hash among them."""
        key = hashlib.sha256(decoded.tobytes()).hexdigest()
        if key not in self._known:
            values = {
                name: metric(self._original, decoded) for name, metric in metrics.METRICS.items()
            }
            self._known[key] = {"decoded_sha256": key, **values}
        return self._known[key]


def _row(
    path: Path, original: np.ndarray, point: CodecPoint, metrics_of: _Metrics
) -> dict[str, Any]:
    """Return the row of one image at one point, and write its files."""
    height, width, _ = original.shape
    row: dict[str, Any] = {
        "point": point.identity["point"],
        "image": path.name,
        "width": width,
        "height": height,
        "pixel_hash": metrics_of.pixel_hash,
    }
    stream = point.out / _STREAMS / point.folder / f"{path.stem}{point.suffix}"
    kept = None
    if point.keep_reconstructions:
        kept = point.out / _RECONSTRUCTIONS / f"{path.stem}.png"
    try:
        return row | _measure(path, original, point, metrics_of, stream, kept)
    except (BadImageError, CodecLimitError) as error:
        # Remove what an earlier evaluation left.
        for file in (stream, kept):
            if file is not None:
                file.unlink(missing_ok=True)
        return row | {"note": f"not coded, {error}"}


def _measure(
    path: Path,
    original: np.ndarray,
    point: CodecPoint,
    metrics_of: _Metrics,
    stream: Path,
    kept: Path | None,
) -> dict[str, Any]:
    """Return the columns of one coded image; write its file, and its decoded image to `kept`."""
    start = time.perf_counter()
    data, content = point.encode(original)
    encoded = time.perf_counter()
    write_bytes(stream, data)
    data = stream.read_bytes()
    read = time.perf_counter()
    decoded = point.decode(data)
    done = time.perf_counter()
    if decoded.shape != original.shape:
        (height, width, _), (rows, columns, _) = original.shape, decoded.shape
        raise WorkError(
            f"{path} came back from {point.name} with {columns}x{rows} pixels, it has "
            f"{width}x{height}"
        )
    if kept is not None:
        with atomic_path(kept) as temporary:
            Image.fromarray(decoded).save(temporary)
    pixels = original[:, :, 0].size
    row: dict[str, Any] = {
        "bytes": len(data),
        "file_sha256": hashlib.sha256(data).hexdigest(),
        "bpp": len(data) * 8 / pixels,
        **metrics_of(decoded),
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
    """Return the rows of the images that the codec could hold."""
    return [row for row in rows if "bytes" in row]


def _note(row: dict[str, Any]) -> str:
    """Return why an image lacks a measurement, or an empty text."""
    notes = []
    if math.isinf(row["psnr_rgb"]):
        notes.append("no error, PSNR is infinite")
    if row["ms_ssim_rgb"] is None:
        notes.append(f"no MS-SSIM: a side is under {metrics.MS_SSIM_MIN_SIDE} pixels")
    return "; ".join(notes)


def summarize(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the means over the coded images; MS-SSIM is averaged before it becomes dB.

    A measurement is None if a coded image lacks it, if no image was coded, or if the mean is
    infinite because an image was decoded without any error; `note` says why. `lacking` names the
    images that were not coded.
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
    notes = Counter(row["note"] for row in rows if row.get("note"))
    summary["note"] = "; ".join(f"{n} of {len(rows)} images: {note}" for note, n in notes.items())
    return summary


def check_rates(rows: list[dict[str, Any]]) -> float:
    """Return |coded payload / estimated rate - 1| over all images, at least one.

    Raises:
        WorkError: it is more than `RATE_TOLERANCE`, over all or for one image: the files
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


def run_evaluation(images: Path, points: list[CodecPoint]) -> list[dict[str, Any]]:
    """Evaluate points on a folder of images; write their tables, last and in place of earlier ones.

    Args:
        images: folder of images.
        points: codecs at one or several settings; each image is read once for all.

    Returns:
        For each point its identity and its means, as summary.json has them.

    Raises:
        InputError: see `list_test_images`; or a point is given twice, or writes into the folder
            of the images, or an image is where a point writes files, or a folder holds the
            evaluation of another codec, or of a model of another lambda.
        WorkError: see `evaluate_images` and `check_rates`; or a point refused all images
            that may not.
    """
    known = set()
    for point in points:
        if (key := (point.identity["codec"], point.identity["point"])) in known:
            raise InputError(f"{point.name} is given twice; give each quality once")
        known.add(key)
    folders = list(dict.fromkeys(point.out for point in points))
    if images.resolve() in [folder.resolve() for folder in folders]:
        # The next evaluation would take this one's results for test images.
        raise InputError(f"{images} holds the test images; give another --out")
    written = [point.out / _STREAMS for point in points]
    written += [point.out / _RECONSTRUCTIONS for point in points if point.keep_reconstructions]
    # The folder first, whose name says more than that of an image in it.
    refuse_inputs_in(dict.fromkeys(written), [images], "--out")
    paths = list_test_images(images, without=folders)
    # They may be links.
    refuse_inputs_in(dict.fromkeys(written), paths, "--out")
    for folder in folders:
        _refuse_others(folder, [point for point in points if point.out == folder])
    for folder in folders:
        # If this evaluation ends early, no table of an earlier one may describe its files.
        for name in (_SUMMARY, _TABLE):
            (folder / name).unlink(missing_ok=True)
    rows = evaluate_images(paths, points)
    summaries = []
    for point, new in zip(points, rows, strict=True):
        if not (point.may_refuse_all or coded(new)):
            raise WorkError(f"{point.name} encoded none of the images: {new[0]['note']}")
        summary = point.identity | summarize(new)
        if point.estimate_bits is not None:
            summary["rate_difference"] = check_rates(coded(new)) if coded(new) else None
        summaries.append(summary)
    for folder in folders:
        here = [index for index, point in enumerate(points) if point.out == folder]
        table = [row for index in here for row in rows[index]]
        write_table(folder / _TABLE, PER_IMAGE_COLUMNS, table)
        write_json(folder / _SUMMARY, [summaries[index] for index in here])
    return summaries


def _refuse_others(out: Path, points: list[CodecPoint]) -> None:
    """Raise InputError if a folder holds results that these points do not renew."""

    def curve(row: dict[str, Any]) -> tuple[Any, Any]:
        # A codec has all its qualities in one folder, and each model a folder of its own.
        return row.get("codec"), row.get("point") if row.get("filters") is not None else None

    try:
        earlier = read_json(out / _SUMMARY)
    except (OSError, ValueError):
        return
    ours = {curve(point.identity) for point in points}
    rows = earlier if isinstance(earlier, list) else []
    for row in (row for row in rows if isinstance(row, dict)):
        if curve(row) not in ours:
            codec, point = row.get("codec"), row.get("point")
            raise InputError(
                f"{out} holds the evaluation of {codec} at {point}, which would be lost; give "
                "another --out, or delete it"
            )


def remove_evaluation(out: Path, suffix: str) -> None:
    """Delete the results of an earlier evaluation, and nothing else that is in their folder.

    Args:
        out: the folder of `CodecPoint.out`; it goes too if nothing is left in it.
        suffix: of the compressed files.
    """
    if not (out / _SUMMARY).is_file():
        return
    streams = out / _STREAMS
    for path in (out / _SUMMARY, out / _TABLE, *streams.glob(f"*{suffix}")):
        path.unlink(missing_ok=True)
    for folder in (streams, out):
        # It is not there, or holds files of others.
        with contextlib.suppress(OSError):
            folder.rmdir()
