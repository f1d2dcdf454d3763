"""When the bytes of a source change, one call ends with the results of a fresh run."""

import hashlib
import re
import shutil
import zipfile
from pathlib import Path

import file_server
import pytest
import yaml
from archives import png, tar_bytes, zip_bytes
from balle2017.files import read_json, read_table
from file_server import serve
from helpers import ROOT, make_picture
from PIL import Image
from workflow_tools import TINY, Workflow, copy_workflow, write_archive

# What differs between two runs that are alike.
TIMES = {"encode_s", "decode_s"}
# Small, but large enough for the coder's last bytes to be within the rate tolerance.
SIZE = (300, 400)


def results(workflow: Workflow, testset: str) -> dict:
    """The split, and the rows of one codec and of one model, without what is timed."""
    folder = workflow.folder / "results" / "tiny"
    tables = {path.name: read_table(path) for path in sorted((folder / "split").glob("*.csv"))}
    for part in ("codecs/jpeg", "0.0100-f4-s1"):
        path = folder / testset / part / "per_image.csv"
        if path.exists():
            rows = read_table(path)
            tables[part] = [{k: v for k, v in row.items() if k not in TIMES} for row in rows]
    return tables


def pictures(first: int) -> dict[str, bytes]:
    return {f"{seed}.png": png(seed, *SIZE) for seed in range(first, first + 2)}


def folder_of_tests(workflow: Workflow, first: int) -> dict:
    folder = workflow.folder / "input" / "tests"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for name, data in zip(("a.png", "b.png"), pictures(first).values(), strict=True):
        (folder / name).write_bytes(data)
    return {"test_images": "input/tests"}


def zip_archive(workflow: Workflow, first: int) -> dict:
    data = zip_bytes(dict(zip(("a.png", "b.png"), pictures(first).values(), strict=True)))
    (workflow.folder / "input" / "tests.zip").write_bytes(data)
    return {"test_images": "input/tests.zip"}


def elsewhere_archive(workflow: Workflow, first: int) -> dict:
    """The same name in another folder."""
    folder = workflow.folder / "input" / str(first)
    folder.mkdir()
    (folder / "tests.zip").write_bytes(zip_bytes(pictures(first)))
    return {"test_images": f"input/{first}/tests.zip"}


def train_archive(workflow: Workflow, first: int) -> dict:
    write_archive(workflow.folder / "input" / "archive.tar", range(first, first + 8))
    return {}


def train_folder(workflow: Workflow, first: int) -> dict:
    folder = workflow.folder / "input" / "pictures"
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "deep").mkdir(parents=True)
    for seed in range(8):
        # One name, other pixels.
        Image.fromarray(make_picture(first + seed)).save(folder / "deep" / f"{seed}.png")
    return {"train_archive": "input/pictures"}


def train_list(workflow: Workflow, first: int) -> dict:
    """Two archives, of which the second changes."""
    (workflow.folder / "input" / "more.zip").write_bytes(
        zip_bytes({f"{seed}.png": png(seed) for seed in range(first, first + 3)})
    )
    return {"train_archive": ["input/archive.tar", "input/more.zip"]}


def write_suite(workflow: Workflow, first: int, name: str) -> Path:
    """Write two pictures as if they were all of Kodak, and their hashes."""
    folder = workflow.folder / "input" / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    files = dict(zip(("kodim01.png", "kodim02.png"), pictures(first).values(), strict=True))
    for file, data in files.items():
        (folder / file).write_bytes(data)
    lines = [f"{hashlib.sha256(data).hexdigest()}  {file}\n" for file, data in files.items()]
    (workflow.folder / "workflow" / "resources" / "kodak.sha256").write_text("".join(lines))
    return folder


def kodak_folder(workflow: Workflow, first: int) -> dict:
    """Its content is fixed by hashes: other hashes stand for another suite."""
    write_suite(workflow, first, "kodak")
    return {"test_images": "kodak", "kodak": "input/kodak"}


def replace_in_code(workflow: Workflow, path: str, *changes: tuple[str, str]) -> None:
    """Make a module of the original's, with changes."""
    text = (ROOT / path).read_text(encoding="utf-8")
    for old, new in changes:
        assert text.count(old) == 1
        text = text.replace(old, new)
    (workflow.folder / path).write_text(text, encoding="utf-8")


def kodak_download(workflow: Workflow, first: int) -> dict:
    """From a folder in place of its public home."""
    home = f"{write_suite(workflow, first, 'home').as_uri()}/"
    path = "scripts/balle2017/data/kodak.py"
    replace_in_code(workflow, path, ("https://r0k.us/graphics/kodak/kodak/", home))
    return {"test_images": "kodak"}


def builtin_photographs(workflow: Workflow, first: int) -> dict:
    """Of both sides one photograph is taken away: the content of their records changes."""
    changes = [('    "brick.png",\n', ""), ('"chelsea.png", ', "")] if first == 300 else []
    replace_in_code(workflow, "scripts/balle2017/data/builtin.py", *changes)
    return {"train_archive": "builtin", "test_images": "builtin"}


#: Name of the test set, and the tables that change with a source.
TESTSETS = {
    folder_of_tests: "tests",
    zip_archive: "tests",
    elsewhere_archive: "tests",
    kodak_folder: "kodak",
    kodak_download: "kodak",
    builtin_photographs: "builtin",
}
TRAININGS = [train_archive, train_folder, train_list, builtin_photographs]


def settle(workflow: Workflow, changes: dict, testset: str) -> dict:
    """Run what a source decides in one call, return the results."""
    workflow.configure(**changes)
    targets = ["split", f"results/tiny/{testset}/codecs/jpeg/summary.json"]
    workflow.run(*targets)
    assert "Nothing to be done" in workflow.run(*targets)
    return results(workflow, testset)


@pytest.mark.slow
@pytest.mark.parametrize(
    "source", dict.fromkeys([*TESTSETS, *TRAININGS]), ids=lambda source: source.__name__
)
def test_one_call_follows_a_source(fresh, tmp_path_factory, source):
    testset = TESTSETS.get(source, "photographs")
    before = settle(fresh, source(fresh, 200), testset)
    after = settle(fresh, source(fresh, 300), testset)
    another = copy_workflow(tmp_path_factory.mktemp("anew"))
    assert after == settle(another, source(another, 300), testset)
    assert (after["codecs/jpeg"] != before["codecs/jpeg"]) == (source in TESTSETS)
    assert (after["train.csv"] != before["train.csv"]) == (source in TRAININGS)


def embedded(page: Path) -> set[str]:
    return set(re.findall(r"data:image/\w+;base64,[\w+/=]+", page.read_text(encoding="utf-8")))


def test_models_and_sheets_follow_the_test_archive(finished):
    """All the way to the report, with the second archive copied over the first."""
    finished.configure(**zip_archive(finished, 200))
    finished.run()
    before = results(finished, "tests")
    experiment = finished.folder / "results" / "tiny"
    sheets = {path.name: path.read_bytes() for path in (experiment / "comparisons").glob("*.png")}
    before_shown = embedded(experiment / "report.html")
    finished.configure(**zip_archive(finished, 300))
    finished.run()
    after = results(finished, "tests")
    for part in ("codecs/jpeg", "0.0100-f4-s1"):
        assert {row["image"] for row in after[part]} == {"a.png", "b.png"}
        assert after[part] != before[part]
    for path in (experiment / "comparisons").glob("*.png"):
        # Of the same two names, with other pictures in them.
        assert path.read_bytes() != sheets.pop(path.name)
    assert sheets == {}
    # Its slider shows the pictures.
    shown = embedded(experiment / "report.html")
    assert shown
    assert not shown & before_shown
    assert finished.planned() == {}


def test_two_experiments_with_archives_of_one_name(fresh):
    digests = {}
    for name, first in (("za", 200), ("zb", 300)):
        fresh.configure(experiment=name, **elsewhere_archive(fresh, first))
        target = f"results/{name}/tests/codecs/jpeg/summary.json"
        fresh.run(target)
        rows = read_table((fresh.folder / target).with_name("per_image.csv"))
        assert {row["image"] for row in rows} == set(pictures(first))
        digests[name] = [row["file_sha256"] for row in rows]
    assert digests["za"] != digests["zb"]
    # And back: the first is still there, and right.
    fresh.configure(experiment="za", test_images="input/200/tests.zip")
    assert "Nothing to be done" in fresh.run("results/za/tests/codecs/jpeg/summary.json")


@pytest.mark.slow
def test_one_call_follows_an_address(fresh, tmp_path_factory, monkeypatch):
    """Another file behind the address, with its own hash."""
    found = []
    another = copy_workflow(tmp_path_factory.mktemp("anew"))
    with serve() as server:
        for workflow, first in ((fresh, 0), (fresh, 20), (another, 20)):
            content = tar_bytes({f"{seed}.png": png(seed) for seed in range(first, first + 8)})
            monkeypatch.setattr(file_server, "CONTENT", content)
            changes = {
                "train_archive": f"{server.url}/archive.tar",
                "train_archive_sha256": hashlib.sha256(content).hexdigest(),
            }
            found.append(settle(workflow, changes, "photographs"))
    before, after, anew = found
    assert after == anew
    assert after["train.csv"] != before["train.csv"]
    assert len(after["train.csv"]) + len(after["val.csv"]) == 8


@pytest.mark.slow
def test_one_call_follows_the_pictures_that_training_tests_on(finished, tmp_path_factory):
    def train(workflow: Workflow, seed: int) -> dict:
        folder = workflow.folder / "input" / "photographs"
        (folder / "100.png").write_bytes(png(seed, *SIZE))
        tested = TINY["training"] | {"test_dir": "input/photographs"}
        workflow.configure(lambdas=[0.01], training=tested)
        workflow.run("train")
        assert workflow.planned("train") == {}
        run = read_json(workflow.folder / "results/tiny/models/0.0100-f4-s1/run.json")
        return {key: run[key] for key in ("test", "model_sha256", "fingerprint")}

    before, after = train(finished, 300), train(finished, 400)
    assert after["test"] != before["test"]
    # The pictures decide what is measured, and not the model.
    assert after["model_sha256"] == before["model_sha256"]
    assert after == train(copy_workflow(tmp_path_factory.mktemp("anew")), 400)


def test_names_that_look_like_numbers_are_kept(fresh):
    """As typed, on the command line and in a file, to the tables and the page."""
    (fresh.folder / "input" / "photographs").rename(fresh.folder / "input" / "007")
    text = yaml.safe_dump(TINY | {"test_images": "input/007"})
    text = text.replace("experiment: tiny", "experiment: 1.10")
    (fresh.folder / "tiny.yaml").write_text(text)
    jpeg = "007/codecs/jpeg/summary.json"
    fresh.run(f"results/1.10/{jpeg}")
    for name in ("2024_05_01", "1e3", "010", "yes"):
        assert fresh.planned(f"results/{name}/{jpeg}", "--config", f"experiment={name}") == {
            "evaluate_codec": 1
        }
    assert [path.name for path in (fresh.folder / "results").glob("1*")] == ["1.10"]


def test_a_test_set_with_an_odd_name_reaches_the_report(finished):
    """A name that pandas takes for a missing value, and dollars in a picture's name."""
    folder = finished.folder / "input" / "null"
    (finished.folder / "input" / "photographs").rename(folder)
    (folder / "100.png").rename(folder / "price_$5_and_$6.png")
    finished.configure(test_images="input/null")
    finished.run()
    text = (finished.folder / "results" / "tiny" / "report.html").read_text(encoding="utf-8")
    assert "(null)" in text
    assert "price_$5_and_$6.png" in text
    assert (finished.folder / "results/tiny/comparisons/price_$5_and_$6.png").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--configfile", "config.yaml"], "--configfile is given twice"),
        (["-Cseeds=[1]", "-Cseeds=[2]"], "--config is given twice"),
        (["--config=seeds=[1]", "-C", "plot={max_bpp: 1}"], "--config is given twice"),
        (["--config", "seeds=[1]", "seeds=[2]"], "seeds is given twice on the command line"),
        (["--config", "test_images=input/{x}"], "test_images is input/{x}; Snakemake reads braces"),
        (
            ["--config", "test_images=input/comparisons"],
            "but results/EXPERIMENT/comparisons holds other results",
        ),
    ],
)
def test_what_would_be_forgotten_is_refused(fresh, arguments, message):
    (fresh.folder / "input" / "photographs").rename(fresh.folder / "input" / "comparisons")
    output = fresh.run(*arguments, status=1)
    assert len([line for line in output.splitlines() if message in line]) == 1
    assert "Traceback" not in output
    assert not (fresh.folder / "results").exists()


def test_a_config_in_a_profile_is_kept_or_refused(fresh):
    folder = fresh.folder / "profiles" / "mine"
    folder.mkdir()
    (folder / "config.yaml").write_text("config:\n  experiment: 1.10\n")
    target = "photographs/codecs/jpeg/summary.json"
    profile = ["--profile", "profiles/mine"]
    assert fresh.planned(f"results/1.10/{target}", *profile) == {"evaluate_codec": 1}
    output = fresh.run(*profile, "--config", "seeds=[1]", status=1)
    message = "error: config is given on the command line and in the profile profiles/mine/config"
    assert message in output
    assert "Traceback" not in output


@pytest.mark.slow
def test_the_cases_of_one_archive_over_another(fresh):
    """The archives of the public report, where they are at hand."""
    cases = ROOT.parent / "shared" / "cases" / "samename"
    if not cases.is_dir():
        pytest.skip(f"no cases: {cases} does not exist")
    copy = fresh.folder / "input" / "test.zip"
    target = "results/tiny/test/codecs/jpeg/summary.json"
    for name in ("za", "zb"):
        shutil.copy(cases / name / "test.zip", copy)
        fresh.configure(test_images="input/test.zip")
        fresh.run(target)
        with zipfile.ZipFile(copy) as archive:
            members = {member.rpartition("/")[2] for member in archive.namelist()} - {""}
        rows = read_table((fresh.folder / target).with_name("per_image.csv"))
        assert {row["image"].partition(".")[0] for row in rows} == {
            member.partition(".")[0] for member in members
        }
