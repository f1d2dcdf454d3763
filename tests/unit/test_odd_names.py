"""Names of files that are allowed and hardly ever thought of."""

import csv
import errno
import io
import os
import re
import tarfile
from pathlib import Path

import pytest
from archives import png, tar_bytes, zip_bytes
from balle2017.data.extraction import ExtractSettings, extract_archives
from balle2017.data.images import list_images, list_test_images, read_image
from balle2017.data.split import split_images
from balle2017.data.testset import unpack_test_images
from balle2017.errors import InputError
from balle2017.files import atomic_path, read_json, read_table, write_bytes, write_json, write_table
from balle2017.results.aggregation import RD_COLUMNS, read_bd, read_images
from balle2017.results.conventional import CODECS
from balle2017.results.evaluation import CodecPoint, encoder_at, run_evaluation
from balle2017.results.report import images_table
from helpers import ROOT, make_picture, run_script

NOT_UTF8 = b"caf\xe9.png".decode(errors="surrogateescape")
ODD = [
    "price_$5_and_$6.png",
    "{x}.png",
    "{wildcard,.*}%s%%.png",
    "new\nline.png",
    "tab\t'\"`.png",
    "x" * 246 + ".png",
    "\u00e9" * 123 + ".png",
    " -lead and trail .png",
    "null.png",
]


def write_pictures(folder: Path, names: list[str]) -> Path:
    folder.mkdir()
    for index, name in enumerate(names):
        (folder / name).write_bytes(png(index))
    return folder


def test_a_folder_of_odd_names_becomes_a_dataset(tmp_path):
    names = [*ODD, NOT_UTF8]
    folder = write_pictures(tmp_path / "pictures", names)
    out = tmp_path / "out"
    done = run_script("extract", folder, "--out", out, "--min_size", 32)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].startswith(f"{len(names)} accepted, 0 skipped, 0 rejected")
    rows = {row["name"] for row in read_table(out / "manifest.csv")}
    assert {"caf\\udce9.png", "new\\nline.png", "price_$5_and_$6.png", "{x}.png"} < rows
    done = run_script(
        *("split", "--manifest", out / "manifest.csv", "--out", tmp_path / "lists"),
        *("--test_images", folder / NOT_UTF8, folder / ODD[3]),
    )
    assert done.returncode == 0, done.stderr
    assert "kept out as test images: " in done.stdout
    assert len(read_json(tmp_path / "lists" / "split.json")["kept_out"]) == 2


def test_folders_of_odd_names(tmp_path):
    for index, name in enumerate((NOT_UTF8, ODD[1], ODD[3])):
        folder = write_pictures(tmp_path / name.removesuffix(".png"), ["a.png", "b.png"])
        out = tmp_path / f"out {index} {NOT_UTF8}"
        # Two sources: their names stand before those of the members.
        write_pictures(tmp_path / f"more{index}", ["c.png", "d.png", "e.png"])
        done = run_script(
            "extract", folder, tmp_path / f"more{index}", "--out", out, "--min_size", 32
        )
        assert done.returncode == 0, done.stderr
        split = split_images(out / "manifest.csv", out, 0.5, 1)
        assert split.train + split.val == 3


def test_a_name_longer_than_any_path_goes_through_every_table(tmp_path):
    long = "x" * 200_000
    members = {f"{seed}.png": png(seed) for seed in range(4)} | {f"{long}.png": png(4)}
    (tmp_path / "in.tar").write_bytes(tar_bytes(members))
    extract_archives([tmp_path / "in.tar"], tmp_path / "out", ExtractSettings(min_size=32))
    split_images(tmp_path / "out" / "manifest.csv", tmp_path / "lists", 0.2, 0)
    tables = [read_table(tmp_path / "lists" / f"{part}.csv") for part in ("train", "val")]
    assert {row["name"] for table in tables for row in table} == members.keys()
    # The limit of csv is one of the process, whose other users may rely on it.
    assert csv.field_size_limit() < 200_000


@pytest.mark.parametrize("make", [tar_bytes, zip_bytes])
def test_an_archive_of_odd_names_becomes_a_test_set(tmp_path, make):
    names = [*ODD, "long" * 100 + ".png", "x" * 246 + "yz.png"]
    (tmp_path / "a.bin").write_bytes(make({name: png(i) for i, name in enumerate(names)}))
    assert unpack_test_images(tmp_path / "a.bin", tmp_path / "test") == len(names)
    assert len(list_test_images(tmp_path / "test")) == len(names)


def tar_of_bytes(form: int) -> bytes:
    """Return a tar with a picture whose name is not UTF-8, and two others."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form, errors="surrogateescape") as tar:
        for seed, name in enumerate([NOT_UTF8, "b.png", "c.png"]):
            info = tarfile.TarInfo(name)
            info.size = len(png(seed))
            tar.addfile(info, io.BytesIO(png(seed)))
    return buffer.getvalue()


def zip_of_bytes(name: str, stored: bytes) -> bytes:
    """Return the same as a zip that was written with a name, which was then changed."""
    data = zip_bytes({name: png(0), "b.png": png(1), "c.png": png(2)})
    assert data.count(name.encode()) == 2
    return data.replace(name.encode(), stored)


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        (tar_of_bytes(tarfile.USTAR_FORMAT), "caf\\udce9.png"),
        (tar_of_bytes(tarfile.GNU_FORMAT), "caf\\udce9.png"),
        (tar_of_bytes(tarfile.PAX_FORMAT), "caf\\udce9.png"),
        # Without a flag, names in a zip are in the code page 437.
        (zip_of_bytes("caf_.png", b"caf\xe9.png"), "caf\u0398.png"),
    ],
    ids=["ustar", "gnu", "pax", "zip"],
)
def test_an_archive_of_names_that_are_not_utf8_is_read(tmp_path, data, shown):
    source = tmp_path / "a.bin"
    assert b"caf\xe9.png" in data
    source.write_bytes(data)
    extract_archives([source], tmp_path / "out", ExtractSettings(min_size=32))
    rows = read_table(tmp_path / "out" / "manifest.csv")
    found = [(row["name"], row["status"]) for row in rows]
    assert found == [(name, "accepted") for name in (shown, "b.png", "c.png")]
    assert unpack_test_images(source, tmp_path / "test") == 3
    pixels = {read_image(path).tobytes() for path in list_test_images(tmp_path / "test")}
    assert pixels == {make_picture(seed).tobytes() for seed in range(3)}


def test_a_zip_whose_names_are_not_what_it_says_is_refused_in_a_sentence(tmp_path):
    source = tmp_path / "a.zip"
    # A flag says UTF-8.
    source.write_bytes(zip_of_bytes("caf\u00e9.png", b"caf\xe9\xe9.png"))
    for script in ("extract", "unpack_test_images"):
        done = run_script(script, source, "--out", tmp_path / "out")
        assert done.returncode not in (0, None)
        (line,) = done.stderr.splitlines()
        assert f"{source} is damaged or cut short: 'utf-8' codec can't decode" in line
        assert list(tmp_path.rglob("*.png")) == []


@pytest.mark.parametrize("name", [NOT_UTF8, "new\nline.png", "bell\a.png"])
def test_a_test_picture_whose_name_no_table_holds_is_refused_at_once(tmp_path, name):
    folder = write_pictures(tmp_path / "pictures", ["a.png", name])
    with pytest.raises(InputError, match="rename it") as error:
        list_test_images(folder)
    assert str(error.value).isprintable()
    arguments = ["--codec", "jpeg", "--quality", 50, "--images", folder, "--out", tmp_path / "o"]
    done = run_script("evaluate_codec", *arguments)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1


#: Names that no table holds, as Python has them, and as messages show them.
NOT_UTF8_FOLDER, TWO_ROWS = os.fsdecode(b"nu\xff"), "two\rrows"


@pytest.mark.parametrize(
    "words",
    [
        ("evaluate", "--model", "none"),
        ("evaluate_codec", "--codec", "jpeg", "--quality", 50),
        (
            *("evaluate_external", "--codec", "mine", "--suffix", ".x", "--quality", 50),
            *("--encode", "cp {input} {output}", "--decode", "cp {input} {output}"),
        ),
    ],
    ids=lambda words: words[0],
)
def test_a_test_set_whose_name_no_table_holds_is_refused_at_once(tmp_path, words):
    folder, out = write_pictures(tmp_path / NOT_UTF8_FOLDER, ["a.png"]), tmp_path / "o"
    for shown, *more in (["nu\\udcff"], ["two\\rrows", "--testset", TWO_ROWS]):
        done = run_script(*words, "--images", folder, "--out", out, *more)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1)
        assert f"the test set {shown} has a name that tables cannot hold" in done.stderr
        assert "give another with --testset" in done.stderr
        assert not out.exists()


def test_a_folder_of_any_name_is_evaluated_under_another_one(tmp_path):
    folder, out = write_pictures(tmp_path / NOT_UTF8_FOLDER, ["a.png"]), tmp_path / "o"
    words = ["--codec", "jpeg", "--quality", 50, "--images", folder, "--out", out]
    done = run_script("evaluate_codec", *words, "--testset", "mine")
    assert done.returncode == 0, done.stderr
    done = run_script("aggregate", out, "--out", tmp_path / "tables")
    assert done.returncode == 0, done.stderr


def test_published_curves_whose_names_no_table_holds_are_refused(tmp_path):
    points = {"bpp": [0.5, 1.0], "psnr-rgb": [30.0, 35.0]}
    odd, plain, out = tmp_path / "odd.json", tmp_path / "plain.json", tmp_path / "o"
    write_json(odd, {"name": TWO_ROWS, "results": points})
    write_json(plain, {"name": "a", "results": points})
    rd = ["--rd", tmp_path / "rd.csv"]
    (tmp_path / "rd.csv").write_text(",".join(RD_COLUMNS) + "\nt,jpeg,50" + ",1" * 14 + "\n")
    for words, message in (
        (("collect_curves", plain, "--source", NOT_UTF8_FOLDER), "the source nu\\udcff has a name"),
        (("collect_curves", odd, "--source", "b"), "the curve two\\rrows (b) has a name"),
        (("compare_published", *rd, "--published", odd), "the curve two\\rrows has a name"),
    ):
        done = run_script(*words, "--out", out)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
        assert f"{message} that tables cannot hold" in done.stderr
        assert not out.exists()


def test_odd_names_are_evaluated(tmp_path):
    names = [name for name in ODD if name.isprintable()]
    folder = write_pictures(tmp_path / "pictures", names)
    arguments = ["--codec", "jpeg", "--quality", 50, "--images", folder, "--out", tmp_path / "o"]
    done = run_script("evaluate_codec", *arguments)
    assert done.returncode == 0, done.stderr
    rows = read_table(next((tmp_path / "o").rglob("per_image.csv")))
    assert {row["image"] for row in rows} == set(names)


def test_names_that_look_like_values_stay_names(tmp_path):
    names = ["007", "1e3", "NA", "NULL.png", "True", "nan.png", "null", "true.png"]
    folder, out = write_pictures(tmp_path / "pictures", names), tmp_path / "out"
    qualities, webp = (20, 50, 90), CODECS["webp"]
    words = ["--codec", "jpeg", "--quality", *qualities, "--images", folder, "--testset", "NA"]
    done = run_script("evaluate_codec", *words, "--out", tmp_path / "results" / "jpeg")
    assert done.returncode == 0, done.stderr
    # WebP in place of models.
    for quality in qualities:
        identity = {"testset": "NA", "codec": "balle2017", "point": quality / 1000}
        identity |= {"filters": 8, "seed": 1}
        ours = tmp_path / "results" / f"{quality}"
        coding = encoder_at(webp, quality), webp.decode, ".webp"
        run_evaluation(folder, [CodecPoint(identity, *coding, ours, keep_reconstructions=True)])
    table, bd = out / "per_image.csv", out / "bd_rate_per_image.csv"
    for step in (
        ("aggregate", tmp_path / "results", "--out", out),
        ("plot", "--rd", out / "rd.csv", "--images", table, "--out", out),
        (
            *("compare_images", "--images", folder, "--evaluation", ours, "--rd", out / "rd.csv"),
            *("--bd", bd, "--out", out / "sheets"),
        ),
    ):
        done = run_script(*step)
        assert (done.returncode, done.stderr) == (0, ""), step[0]
    assert read_images(table)["image"].tolist() == names * 6
    rates = read_bd(bd, per_image=True)
    rates = rates[rates["metric"] == "psnr_rgb"]
    assert rates["image"].tolist() == images_table(rates).iloc[:, 0].tolist() == names
    assert rates["bd_rate_percent"].notna().all()
    text = (out / "summary.txt").read_text(encoding="utf-8")
    extremes = re.search("best and worst image .*: (.+) [+-].* %, (.+) [+-]", text)
    assert set(extremes.groups()) < set(names)
    figure = (out / "rd_per_image.svg").read_text(encoding="utf-8")
    assert all(f">{name}<" in figure for name in names)
    sheets = {path.stem for path in (out / "sheets").iterdir()}
    assert len(sheets) == 3
    assert sheets < {Path(name).stem for name in names}


def test_odd_names_are_compressed_and_decompressed(tmp_path):
    # Without an end of its own the last name leaves no room for .b17.
    names = [*ODD, NOT_UTF8, "y" * 255]
    folder = write_pictures(tmp_path / "pictures", names)
    model = next((ROOT / "pretrained").glob("*/config.json")).parent
    out = tmp_path / "out"
    done = run_script("compress", folder, "--model", model, "--out", out)
    assert done.returncode == 1
    assert f"1 of {len(names)} files could not be converted" in done.stderr
    # One line for each, between that of the model and that of the sums.
    assert done.stdout.count("\n") == 1 + len(names) + 1
    assert "is too long" in done.stdout
    stems = {Path(name).stem for name in names[:-1]}
    assert {path.stem for path in out.iterdir()} == stems
    done = run_script("decompress", out, "--model", model, "--out", tmp_path / "back")
    assert done.returncode == 0, done.stderr
    assert {path.stem for path in list_images(tmp_path / "back")} == stems


@pytest.mark.parametrize("length", [1, 100, 251, 255])
@pytest.mark.parametrize("suffix", ["", ".png", "." + "s" * 200])
def test_a_file_of_any_name_is_written(tmp_path, length, suffix):
    path = tmp_path / (("n" * length)[: max(1, length - len(suffix))] + suffix)
    write_bytes(path, b"data")
    assert path.read_bytes() == b"data"
    with atomic_path(path) as temporary:
        temporary.write_bytes(b"more")
        assert len(temporary.name) < 60
        assert temporary.suffix == path.suffix[:16]
    assert os.listdir(tmp_path) == [path.name]


def test_texts_that_are_no_utf8_can_be_written_and_read(tmp_path):
    write_json(tmp_path / "a.json", {"name": NOT_UTF8})
    assert read_json(tmp_path / "a.json") == {"name": NOT_UTF8}
    write_table(tmp_path / "a.csv", ["name"], [{"name": NOT_UTF8}])
    assert read_table(tmp_path / "a.csv") == [{"name": "caf\\udce9.png"}]


def test_an_error_names_the_file_that_was_asked_for(tmp_path):
    """Not the temporary one, and also where a library names none."""
    (tmp_path / "folder.txt").mkdir()
    with pytest.raises(IsADirectoryError) as caught:
        write_bytes(tmp_path / "folder.txt", b"text")
    assert caught.value.filename == str(tmp_path / "folder.txt")
    with pytest.raises(OSError, match="full") as full, atomic_path(tmp_path / "a.txt"):
        raise OSError(errno.ENOSPC, "the disk is full")
    assert full.value.filename == str(tmp_path / "a.txt")
    assert [path.name for path in tmp_path.iterdir()] == ["folder.txt"]
