"""Pictures made to hurt are refused before they do, and the decoders' failures are reasons."""

import io
import os
import re
import shutil
import signal
import struct
import tracemalloc
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from balle2017.data import formats, formats_jpeg, limits
from balle2017.data.extraction import ExtractSettings, extract_archives
from balle2017.data.images import decode_image, read_size
from balle2017.data.reasons import BadImageError, Reason
from balle2017.errors import WorkError
from balle2017.files import read_table
from helpers import forked, make_picture, run_script
from odd_pictures import chunk, png, refusal, tiff
from PIL import Image


def encoded(form: str, image: Image.Image | None = None, **options) -> bytes:
    buffer = io.BytesIO()
    (image or Image.fromarray(make_picture(1))).save(buffer, form, **options)
    return buffer.getvalue()


def test_a_jpeg_2000_of_millions_of_precincts_is_refused():
    data = bytearray(encoded("JPEG2000", Image.new("L", (64, 64)), no_jp2=True, num_resolutions=1))
    size = data.index(b"\xff\x51")
    for at in (6, 22):  # of the picture, and of its one tile
        struct.pack_into(">II", data, size + at, 2048, 2048)
    style = data.index(b"\xff\x52")
    length = int.from_bytes(data[style + 2 : style + 4], "big")
    segment = data[style : style + 2 + length]
    segment[4] |= 1  # the sizes of precincts follow: one sample each
    segment += bytes(segment[9] + 1)
    struct.pack_into(">H", segment, 2, len(segment) - 2)
    hostile = bytes(data[:style] + segment + data[style + 2 + length :])
    assert len(hostile) < 3000
    with pytest.raises(BadImageError, match=r"decoding limits: more than \d+ MB of memory"):
        decode_image(hostile)
    assert read_size(hostile) == (2048, 2048)


def huge_tile() -> bytes:
    """Return a TIFF of 16x16 pixels in one tile of 400 million."""
    side = 20000
    tile = zlib.compress(bytes(side * side), 1)
    # The tile lies behind everything else.
    tags = {322: [side], 323: [side], 324: [1], 325: [len(tile)]}
    tags[324] = [len(tiff(np.zeros((16, 16, 1), int), deflate=True, tags=tags))]
    return tiff(np.zeros((16, 16, 1), int), deflate=True, tags=tags) + tile


def test_a_tiff_of_one_huge_tile_is_refused():
    with pytest.raises(BadImageError, match=r"decoding limits: more than \d+ MB of memory"):
        decode_image(huge_tile())


def many_scans() -> bytes:
    """Return a JPEG that refines its last coefficients 3000 times."""
    data = encoded("JPEG", progressive=True)
    at = data.rindex(b"\xff\xda")
    return data[:at] + data[at:-2] * 3000 + b"\xff\xd9"


def test_a_jpeg_of_thousands_of_scans_is_refused_by_its_header():
    with pytest.raises(BadImageError, match="decoding limits: more than 100 scans"):
        read_size(many_scans())
    assert 1 < encoded("JPEG", progressive=True).count(b"\xff\xda") <= formats_jpeg.MAX_SCANS


def test_a_profile_that_unpacks_to_very_much_is_refused():
    bomb = zlib.compress(bytes(formats.MAX_PROFILE + 1))
    data = png(make_picture(1), 8, 2, [chunk(b"iCCP", b"x\0\0" + bomb)])
    assert refusal(data) == Reason.OVER_LIMITS


def many_parts(kind: str, count: int) -> bytes:
    """Return a picture with that many parts more than it needs."""
    if kind in ("P1", "P2"):
        return (
            f"{kind} 16 16 {255 if kind == 'P2' else ''}\n".encode() + b"#\n" * count + b"1 " * 256
        )
    if kind in ("tEXt", "IDAT"):
        data = encoded("PNG")
        return data[:-12] + chunk(kind.encode(), b"") * count + data[-12:]
    data = encoded("JPEG", progressive=True)
    at = 2 if kind == "start" else len(data) - 2
    return data[:at] + b"\xff\xfe\0\2" * count + data[at:]


@pytest.mark.parametrize("kind", ["P1", "P2", "tEXt", "IDAT", "start", "end"])
def test_a_picture_of_very_many_parts_is_refused(kind, monkeypatch):
    monkeypatch.setattr(formats, "MAX_PARTS", 500)
    monkeypatch.setattr(formats_jpeg, "MAX_SEGMENTS", 500)
    few = decode_image(many_parts(kind, 0))
    np.testing.assert_array_equal(decode_image(many_parts(kind, 400)).pixels, few.pixels)
    assert refusal(many_parts(kind, 501)) == Reason.OVER_LIMITS


def test_filling_is_no_part_of_a_jpeg(monkeypatch):
    monkeypatch.setattr(formats_jpeg, "MAX_SEGMENTS", 500)
    data = encoded("JPEG")
    filled = data[:2] + b"\xff" * 5000 + data[2:]
    np.testing.assert_array_equal(decode_image(filled).pixels, decode_image(data).pixels)


def test_pillow_sees_a_png_of_many_parts_in_one(monkeypatch):
    # For each of them it takes as long as for a thousand pixels.
    seen = []
    opened = Image.open
    monkeypatch.setattr(
        Image, "open", lambda file, **options: seen.append(file) or opened(file, **options)
    )
    decode_image(many_parts("IDAT", 1000))
    assert seen[0].getvalue().count(b"IDAT") == 1


@pytest.mark.parametrize("piece", [b"\n", b"#\n"])
def test_a_pnm_with_a_long_header_takes_little_memory(piece):
    gap = b"\n" + piece * 1_000_000 + b"\n"
    tracemalloc.start()
    try:
        decode_image(b"P5 16" + gap + b"16 255\n" + bytes(256))
        assert refusal(b"P5 16" + gap + b"x") == Reason.DAMAGED_IMAGE
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 20_000_000


@pytest.mark.parametrize("form", ["AVIF", "BMP", "GIF", "JPEG2000", "TIFF", "WEBP"])
def test_every_other_format_is_decoded_within_limits(form, monkeypatch):
    data = encoded(form)
    decode_image(data)
    monkeypatch.setattr(limits._Child, "_used", lambda _: (2**40, 0.0))
    monkeypatch.setattr(limits.select, "select", lambda *_: ([], [], []))
    assert refusal(data) == Reason.OVER_LIMITS
    monkeypatch.undo()
    decode_image(data)


def test_time_is_limited_too(monkeypatch):
    used = iter([(0, 100.0), (0, 119.0), (0, 121.0)])
    monkeypatch.setattr(limits._Child, "_used", lambda _: next(used))
    monkeypatch.setattr(limits.select, "select", lambda *_: ([], [], []))
    with pytest.raises(BadImageError, match="more than 20 s of processor time"):
        decode_image(encoded("GIF"))


def test_memory_and_time_of_a_process_are_seen():
    child = limits._Child()
    try:
        data = encoded("TIFF")
        child.ask(b"O" + struct.pack(">8sQ", b"TIFF", len(data)) + data, 2**40, 1000)
        memory, seconds = child._used()
        assert 2**24 < memory < 2**30
        assert 0 < seconds < 1000
    finally:
        child.end()
    assert child._used() == (0, 0.0)


@pytest.fixture
def child(monkeypatch):
    child = limits._Child()
    monkeypatch.setattr(limits, "_take", lambda: child)
    yield child
    child.end()


def test_a_decoder_that_crashes_costs_its_picture_only(child, monkeypatch):
    data = encoded("TIFF")
    with limits.open_limited(data, "TIFF") as header:
        os.kill(child._process.pid, signal.SIGSEGV)
        with pytest.raises(BadImageError, match="damaged image: the decoder ended with status -11"):
            header.load()
    monkeypatch.undo()
    np.testing.assert_array_equal(decode_image(data).pixels, make_picture(1))


def test_a_decoder_that_is_killed_from_outside_is_no_fault_of_the_picture(child):
    with limits.open_limited(encoded("TIFF"), "TIFF") as header:
        os.kill(child._process.pid, signal.SIGKILL)
        with pytest.raises(WorkError, match="for lack of memory"):
            header.load()


def test_an_idle_decoder_that_has_ended_is_replaced():
    data = encoded("TIFF")
    decode_image(data)
    for child in limits._idle:
        child._process.kill()
        child._process.wait()
    np.testing.assert_array_equal(decode_image(data).pixels, make_picture(1))


def test_a_fork_gets_a_decoder_of_its_own():
    data = encoded("TIFF")
    decode_image(data)
    assert limits._idle
    for pixels in (forked(lambda: decode_image(data).pixels), decode_image(data).pixels):
        np.testing.assert_array_equal(pixels, make_picture(1))


def test_threads_get_their_own_pictures():
    pictures = [make_picture(seed, 20 + seed, 30 + seed) for seed in range(12)]
    data = [encoded("TIFF", Image.fromarray(pixels)) for pixels in pictures]
    with ThreadPoolExecutor(4) as pool:
        decoded = list(pool.map(lambda item: decode_image(item).pixels, data * 3))
    for pixels, expected in zip(decoded, pictures * 3, strict=True):
        np.testing.assert_array_equal(pixels, expected)


def test_damage_in_the_other_process_is_a_reason():
    for form in ("TIFF", "WEBP", "JPEG2000", "AVIF", "BMP", "GIF"):
        data = encoded(form)
        assert refusal(data[: len(data) // 2]) in (Reason.TRUNCATED, Reason.DAMAGED_IMAGE)


# The scripts


@pytest.fixture(scope="module", params=["scans.jpg", "tile.tif"])
def hostile(request, tmp_path_factory):
    """A file that is refused, the only one of its folder, and why."""
    data, limit = {
        "scans.jpg": (many_scans, "100 scans"),
        "tile.tif": (huge_tile, r"\d+ MB of memory"),
    }[request.param]
    path = tmp_path_factory.mktemp("hostile") / request.param
    path.write_bytes(data())
    return path, f"over the decoding limits: more than {limit}"


def test_extraction_goes_on_past_a_hostile_picture(hostile, picture_folder, tmp_path):
    path, reason = hostile
    shutil.copy(path, picture_folder)
    done = run_script("extract", picture_folder, "--out", tmp_path / "out", "--min_size", 16)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1].startswith("5 accepted, 0 skipped, 1 rejected")
    rows = {row["name"]: row for row in read_table(tmp_path / "out" / "manifest.csv")}
    assert len(rows) == 6
    assert (rows[path.name]["status"], rows[path.name]["code"]) == ("rejected", "over_limits")
    assert re.fullmatch(reason, rows[path.name]["reason"])


def test_a_hostile_picture_is_not_compressed(hostile, small_model, tmp_path):
    path, reason = hostile
    done = run_script("compress", path, "--model", small_model, "--out", tmp_path / "out.b17")
    assert done.returncode == 1
    assert re.fullmatch(f"{re.escape(str(path))}: {reason}", done.stdout.splitlines()[-1])
    assert done.stderr == "compress.py: error: 1 of 1 files could not be converted\n"
    assert list(tmp_path.iterdir()) == []


def test_a_hostile_picture_among_test_images_ends_an_evaluation(hostile, small_model, tmp_path):
    path, reason = hostile
    out = tmp_path / "out"
    done = run_script("evaluate", "--model", small_model, "--images", path.parent, "--out", out)
    assert done.returncode == 2
    assert re.fullmatch(f"evaluate.py: error: {re.escape(str(path))}: {reason}\n", done.stderr)
    assert [file for file in out.rglob("*") if file.is_file()] == []


@pytest.mark.parametrize("whole", [False, True], ids=["file", "folder"])
def test_a_hostile_picture_among_test_images_ends_a_split(hostile, picture_folder, tmp_path, whole):
    path, reason = hostile
    out, lists = tmp_path / "out", tmp_path / "lists"
    extract_archives([picture_folder], out, ExtractSettings(min_size=16))
    tests = path.parent if whole else path
    done = run_script(
        "split", "--manifest", out / "manifest.csv", "--out", lists, "--test_images", tests
    )
    assert done.returncode == 2
    assert re.fullmatch(f"split.py: error: {re.escape(str(path))}: {reason}\n", done.stderr)
    assert list(lists.rglob("*")) == []
