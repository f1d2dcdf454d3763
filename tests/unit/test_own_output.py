"""What a program writes below its input is not its input the next time."""

import os
import shutil
from pathlib import Path

import pytest
from archives import png
from balle2017.data.extraction import ExtractSettings, extract_archives
from balle2017.data.images import list_test_images
from balle2017.errors import InputError
from balle2017.files import files_below, read_table
from balle2017.pipeline import sources
from balle2017.results.publication import KEPT, publish_results
from helpers import ROOT, run_script

MODEL = ROOT / "pretrained" / "0.0018"


@pytest.fixture
def pictures(tmp_path):
    folder = tmp_path / "pictures"
    (folder / "sub").mkdir(parents=True)
    for name in ("a.png", "b.png", "sub/c.png"):
        (folder / name).write_bytes(png(len(name) + ord(name[-5])))
    return folder


def names(manifest: Path) -> list[str]:
    return [row["name"] for row in read_table(manifest)]


def test_folders_are_left_out_however_they_are_written(pictures, monkeypatch):
    def left(*without: str) -> list[str]:
        found = files_below(pictures, map(Path, without))
        return [str(path.relative_to(pictures)) for path in found]

    assert left() == ["a.png", "b.png", "sub/c.png"]
    assert left(str(pictures / "sub")) == ["a.png", "b.png"]
    monkeypatch.chdir(pictures / "sub")
    assert left(".") == left("../sub") == left("../../pictures/sub/../sub") == ["a.png", "b.png"]
    # Not the whole: the pictures may lie in a folder of results.
    assert len(left("..")) == len(left("../..")) == 3
    (pictures / "link").symlink_to(pictures / "sub")
    (pictures / "d.png").symlink_to(pictures / "sub" / "c.png")
    assert left("../link") == ["a.png", "b.png", "link"]


@pytest.mark.parametrize("out", [".", "out", "sub/out", "sub"])
def test_a_dataset_below_its_source_is_not_read(pictures, out, monkeypatch):
    monkeypatch.chdir(pictures)
    target = Path(out)
    for _ in range(2):
        # What an interrupted attempt, and a download, may leave there.
        for rest in (".partial/spool/x.png", "downloads/0123456789abcdef"):
            path = target / rest
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(png(99))
        extract_archives([Path()], target, ExtractSettings(min_size=16))
        found = {name for name in names(target / "manifest.csv") if name.endswith("png")}
        assert found == {"a.png", "b.png"} | ({"sub/c.png"} if out != "sub" else set())


def test_more_folders_can_be_left_out(pictures):
    done = run_script("extract", pictures, "--out", pictures / "o", "--min_size", 16)
    assert "3 accepted" in done.stdout, done.stderr
    words = ["--leave_out", pictures / "sub", "--download_dir", pictures / "sub"]
    done = run_script("extract", pictures, "--out", pictures / "o", "--min_size", 16, *words)
    assert "2 accepted" in done.stdout, done.stderr


@pytest.mark.parametrize("source", ["images", "images/a.png", "images/deep"])
def test_a_source_that_would_be_replaced_is_refused_and_kept(pictures, source):
    images = pictures / "images"
    (images / "deep").mkdir(parents=True)
    for path in (images / "a.png", images / "deep" / "b.png"):
        path.write_bytes(png(3))
    for given in (pictures / source, pictures / "sub"):
        with pytest.raises(InputError, match="give another --out"):
            extract_archives([given], pictures, ExtractSettings(min_size=16))
    assert (images / "a.png").is_file()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("manifest.csv", "name,label\na.png,1\n"),
        ("manifest.csv", ""),
        ("dataset.json", '{"name": "mine"}'),
        ("dataset.json", "mine"),
    ],
)
def test_other_files_of_the_names_of_a_dataset_s_are_kept(pictures, name, content):
    path = pictures / name
    path.write_text(content)
    done = run_script("extract", pictures, "--out", pictures, "--min_size", 16)
    assert done.returncode == 2
    assert f"{path} is not a dataset's; give another --out" in done.stderr
    assert path.read_text() == content
    assert not (pictures / "images").exists()


def whole(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_dataset_whose_images_are_a_link_is_kept(pictures, tmp_path):
    out, disk = tmp_path / "out", tmp_path / "disk"
    extract_archives([pictures], out, ExtractSettings(min_size=16))
    (out / "images").rename(disk)
    (out / "images").symlink_to(disk)
    before = whole(tmp_path)
    with pytest.raises(InputError, match="images is a link or a file, not a folder; give another"):
        extract_archives([pictures], out, ExtractSettings(min_size=16, seed=2))
    assert whole(tmp_path) == before


@pytest.mark.parametrize("fails", ["images", "manifest.csv", "dataset.json"])
def test_the_earlier_dataset_comes_back_where_a_new_one_cannot_be_put(
    pictures, tmp_path, monkeypatch, fails
):
    out = tmp_path / "out"
    extract_archives([pictures], out, ExtractSettings(min_size=16))
    before = whole(out)
    (pictures / "d.png").write_bytes(png(7))
    move = os.replace

    def replace(source, target):
        # Not where the earlier one is moved away or back.
        if Path(target) == out / fails and "earlier" not in Path(source).parts:
            raise OSError(5, "Input/output error")
        move(source, target)

    monkeypatch.setattr(os, "replace", replace)
    with pytest.raises(OSError, match="Input/output error"):
        extract_archives([pictures], out, ExtractSettings(min_size=16))
    assert whole(out) == before
    monkeypatch.undo()
    extract_archives([pictures], out, ExtractSettings(min_size=16))
    assert "d.png" in names(out / "manifest.csv")


def test_train_does_not_train_on_what_it_left(pictures, tmp_path, monkeypatch):
    monkeypatch.chdir(pictures)
    words = ["--patch_size", 32, "--batch_size", 1, "--num_filters", 2, "--num_latents", 2]
    words += ["--threads", 1, "--val_split", 0.5, "--epochs", 1, "--steps_per_epoch", 1]
    words += ["--log_images_every", 1, "--device", "cpu", "--data_dir", "."]
    for _ in range(2):
        done = run_script("train", *words)
        assert done.returncode == 0, done.stderr
        assert "3 images accepted, 0 skipped" in done.stdout
        assert list((pictures / "checkpoints" / "images").glob("*.png"))
        shutil.rmtree(pictures / "checkpoints" / "checkpoints")
    for save_dir, data_dir in ((".", "."), ("..", "../images"), ("sub/..", ".")):
        (tmp_path / "images").mkdir(exist_ok=True)
        done = run_script("train", "--data_dir", data_dir, "--save_dir", save_dir)
        assert done.returncode == 2
        assert "give another --save_dir" in done.stderr


def left_by_an_evaluation(out: Path) -> dict[Path, object]:
    """Return the content of an evaluation's files, without times."""
    files = {path: path.read_bytes() for path in files_below(out) if path.suffix != ".json"}
    tables = {path: read_table(path) for path in files if path.suffix == ".csv"}
    for row in (row for rows in tables.values() for row in rows):
        del row["encode_s"], row["decode_s"]
    return files | tables


@pytest.mark.parametrize(
    "words",
    [
        ("evaluate", "--model", MODEL),
        ("evaluate_codec", "--codec", "jpeg", "--quality", 20, 50),
    ],
    ids=lambda words: words[0],
)
def test_an_evaluation_below_its_images_is_not_evaluated(pictures, words):
    shutil.rmtree(pictures / "sub")
    out = pictures / "results" / "mine"
    seen = []
    for _ in range(2):
        done = run_script(*words, "--images", pictures, "--out", out)
        assert (done.returncode, done.stderr) == (0, "")
        seen.append((done.stdout, left_by_an_evaluation(out)))
        assert {row["image"] for row in read_table(out / "per_image.csv")} == {"a.png", "b.png"}
    assert seen[0] == seen[1]
    there = sorted(pictures.iterdir())
    done = run_script(*words, "--images", pictures, "--out", pictures / "results" / "..")
    assert done.returncode == 2
    assert f"{pictures} holds the test images; give another --out" in done.stderr
    assert sorted(pictures.iterdir()) == there


@pytest.mark.parametrize("place", ["adaptive", "reconstructions", "bitstreams", "."])
def test_images_where_an_evaluation_writes_are_kept(tmp_path, pictures, place):
    out = tmp_path / "x"
    folder = out / place
    shutil.copytree(pictures, folder, ignore=shutil.ignore_patterns("sub"))
    before = {path: path.read_bytes() for path in files_below(out)}
    done = run_script("evaluate", "--model", MODEL, "--images", folder, "--out", out)
    assert done.returncode == 2
    assert "give another --out" in done.stderr
    assert {path: path.read_bytes() for path in files_below(out)} == before


def test_links_to_where_an_evaluation_writes_are_no_test_images(pictures, tmp_path):
    kept = tmp_path / "x" / "bitstreams" / "50" / "a.jpg"
    kept.parent.mkdir(parents=True)
    kept.write_bytes(png(3))
    (pictures / "sub" / "a.jpg").symlink_to(kept)
    words = ["evaluate_codec", "--codec", "jpeg", "--quality", 50, "--images", pictures / "sub"]
    done = run_script(*words, "--out", tmp_path / "x")
    assert done.returncode == 2
    assert f"a.jpg is in {tmp_path / 'x' / 'bitstreams'}, where results are" in done.stderr
    assert kept.read_bytes() == png(3)


def test_earlier_results_of_the_adaptive_coder_go_after_an_evaluation_without_it(
    pictures, small_model, adapted_model, tmp_path
):
    shutil.rmtree(pictures / "sub")
    out = tmp_path / "out"
    words = ["--images", pictures, "--out", out]
    assert run_script("evaluate", "--model", adapted_model, *words).returncode == 0
    (out / "adaptive" / "notes.txt").write_text("mine")
    before = {path.name for path in files_below(out / "adaptive")}
    assert {"notes.txt", "summary.json", "a.b17"} < before
    wrong = ["--images", tmp_path / "none", "--out", out]
    assert run_script("evaluate", "--model", small_model, *wrong).returncode == 2
    assert {path.name for path in files_below(out / "adaptive")} == before
    assert run_script("evaluate", "--model", small_model, *words).returncode == 0
    assert [path.name for path in files_below(out / "adaptive")] == ["notes.txt"]
    (out / "adaptive" / "notes.txt").unlink()
    assert run_script("evaluate", "--model", adapted_model, *words).returncode == 0
    assert run_script("evaluate", "--model", small_model, *words).returncode == 0
    assert not (out / "adaptive").exists()


def test_an_evaluation_that_ends_early_leaves_no_table_of_an_earlier_one(pictures, tmp_path):
    shutil.rmtree(pictures / "sub")
    out = tmp_path / "out"
    tables = [out / "per_image.csv", out / "summary.json"]

    def evaluate(images: Path, quality: int) -> tuple[int, list[Path]]:
        words = ["--codec", "jpeg", "--quality", quality, "--images", images, "--out", out]
        status = run_script("evaluate_codec", *words).returncode
        return status, [path for path in tables if path.exists()]

    assert evaluate(pictures, 50) == (0, tables)
    assert evaluate(tmp_path / "none", 50) == (2, tables)
    whole = (pictures / "b.png").read_bytes()
    (pictures / "b.png").write_bytes(whole[: len(whole) // 2])
    assert evaluate(pictures, 90) == (2, [])
    (pictures / "b.png").write_bytes(whole)
    assert evaluate(pictures, 90) == (0, tables)


def test_the_evaluation_of_another_codec_or_lambda_is_kept(pictures, tmp_path, small_model):
    shutil.rmtree(pictures / "sub")
    out = tmp_path / "out"
    jpeg = ["evaluate_codec", "--codec", "jpeg", "--quality", 50]
    webp = ["evaluate_codec", "--codec", "webp", "--quality", 50]
    ours = ["evaluate", "--model", small_model]
    other = ["evaluate", "--model", MODEL]

    def status(words: list, folder: Path) -> int:
        return run_script(*words, "--images", pictures, "--out", folder).returncode

    assert status(jpeg, out / "a") == status(ours, out / "b") == 0
    for folder, refused in (("a", webp), ("a", ours), ("b", jpeg), ("b", other)):
        before = {path: path.read_bytes() for path in files_below(out)}
        assert status(refused, out / folder) == 2
        assert {path: path.read_bytes() for path in files_below(out)} == before
    assert status([*ours, "--refine"], out / "b") == 2
    # The same codec at other qualities, and the same model, are measured anew.
    assert status([*jpeg[:-1], 60], out / "a") == status(ours, out / "b") == 0


@pytest.mark.parametrize("place", ["images", "evaluation/reconstructions"])
def test_sheets_are_not_written_over_what_they_show(pictures, tmp_path, place):
    folder = tmp_path / place
    shutil.copytree(pictures, folder)
    before = (folder / "a.png").read_bytes()
    words = ["--images", tmp_path / "images", "--evaluation", tmp_path / "evaluation"]
    tables = ["--rd", tmp_path / "rd.csv", "--bd", tmp_path / "bd.csv"]
    done = run_script("compare_images", *words, *tables, "--out", folder / ".." / folder.name)
    assert done.returncode == 2
    assert f"{folder} holds images to compare; give another --out" in done.stderr
    assert (folder / "a.png").read_bytes() == before


def test_a_publication_into_its_own_run_is_refused_and_its_sheets_stay(tmp_path):
    run, out = tmp_path / "run", tmp_path / "out"
    for folder, name in ((run, "new.png"), (out, "earlier.png"), (out, "notes.txt")):
        (folder / "comparisons").mkdir(parents=True, exist_ok=True)
        (folder / "comparisons" / name).write_bytes(b"")
    for name in KEPT:
        if not (run / name).exists():
            (run / name).write_bytes(b"")
    with pytest.raises(InputError, match="give another --out"):
        publish_results(run, run)
    assert (run / "comparisons" / "new.png").exists()
    with pytest.raises(InputError, match="holds no finished model"):
        publish_results(run, out)
    # Nothing is copied before all of it is found to be right.
    assert [path.name for path in out.iterdir()] == ["comparisons"]
    assert {path.name for path in (out / "comparisons").iterdir()} == {"earlier.png", "notes.txt"}


@pytest.mark.parametrize("out", [".", "out"])
def test_compressed_files_below_their_images_are_not_compressed(pictures, out):
    target = pictures / out
    words = ["compress", pictures, "--model", MODEL, "--out", target]
    assert run_script(*words).returncode == 0
    before = {path: path.read_bytes() for path in target.glob("*.b17")}
    assert {path.name for path in before} == {"a.b17", "b.b17"}
    done = run_script(*words)
    assert done.returncode == 2
    assert done.stderr == (
        f"compress.py: error: {target / 'a.b17'} exists; give another output, or --overwrite\n"
    )
    done = run_script(*words, "--overwrite")
    assert (done.returncode, done.stderr) == (0, "")
    assert before == {path: path.read_bytes() for path in target.glob("*.b17")}


def test_the_workflow_s_record_and_test_set_pass_over_its_results(pictures, monkeypatch):
    monkeypatch.chdir(pictures)
    record = sources.record_sources([Path()], Path("work/sources"))
    before = record.read_bytes()
    for folder in ("results/first", "logs", "work/checkpoints", ".snakemake/metadata"):
        (pictures / folder).mkdir(parents=True)
        (pictures / folder / "x.png").write_bytes(png(4))
    assert sources.record_sources([Path()], Path("work/sources")) == record
    assert record.read_bytes() == before
    shutil.rmtree("sub")
    assert len(list_test_images(Path(), sources.OUTPUT_FOLDERS)) == 2


def test_a_record_names_files_whose_names_are_no_utf8(pictures):
    (pictures / b"caf\xe9.png".decode(errors="surrogateescape")).write_bytes(png(5))
    record = sources.record_sources([pictures], pictures.parent / "records")
    assert b"caf\xe9.png\n" in record.read_bytes()
    assert sources.record_sources([pictures], pictures.parent / "records") == record
