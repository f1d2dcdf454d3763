"""Every script: fast help, one clear line and a non-zero status on bad input."""

import subprocess
import sys

import pytest
from balle2017.closure import PACKAGE, import_closure
from balle2017.files import write_json
from balle2017.model.check import FORMAT
from balle2017.results.aggregation import BD_COLUMNS, RD_COLUMNS
from helpers import PATIENCE_S, ROOT, make_picture, run_script
from PIL import Image

PUBLISHED = str(ROOT / "workflow" / "resources" / "published_kodak.csv")
SCRIPTS = sorted(path.stem for path in (ROOT / "scripts").glob("*.py"))


def loaded_modules(script, *arguments):
    """Run a script's main in a fresh process; return the modules it loaded."""
    code = (
        "import sys, runpy\n"
        f"sys.path.insert(0, {str(ROOT / 'scripts')!r})\n"
        f"sys.argv = {[str(ROOT / 'scripts' / f'{script}.py'), *map(str, arguments)]!r}\n"
        "try:\n    runpy.run_path(sys.argv[0], run_name='__main__')\n"
        "except SystemExit as stop:\n    status = stop.code\n"
        "print('STATUS', status, *sorted(sys.modules))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE_S
    )
    assert "STATUS" in done.stdout, done.stderr
    _, status, *modules = done.stdout[done.stdout.index("STATUS") :].split()
    return int(status), set(modules)


def files(modules):
    """Return the files of the package among the names of loaded modules."""
    found = set()
    for name in modules:
        first, *parts = name.split(".")
        if first == PACKAGE.name:
            path = PACKAGE.joinpath(*parts)
            found.add(path / "__init__.py" if path.is_dir() else path.with_suffix(".py"))
    return found


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_loads_nothing_heavy(script):
    status, modules = loaded_modules(script, "--help")
    assert status == 0
    assert not modules & {"tensorflow", "pandas", "matplotlib", "bjontegaard"}


def test_scripts_without_the_model_do_not_load_tensorflow(tmp_path, picture_folder):
    dataset, lists, jpeg = tmp_path / "dataset", tmp_path / "lists", tmp_path / "jpeg"
    runs = [
        ("extract", picture_folder, "--out", dataset, "--min_size", 16),
        ("split", "--manifest", dataset / "manifest.csv", "--out", lists, "--val_split", 0.5),
        (
            *("evaluate_codec", "--codec", "jpeg", "--quality", 50),
            *("--images", picture_folder, "--out", jpeg),
        ),
        ("aggregate", jpeg, "--out", tmp_path / "tables"),
        ("plot", "--rd", tmp_path / "tables" / "rd.csv", "--out", tmp_path / "tables"),
        ("builtin_photographs", "--out", tmp_path / "builtin"),
    ]
    for script, *arguments in runs:
        status, modules = loaded_modules(script, *arguments)
        assert status == 0, script
        assert "tensorflow" not in modules, script
        assert files(modules) <= set(import_closure(ROOT / "scripts" / f"{script}.py")), script


def test_the_inputs_of_the_training_job_are_what_it_imports(tmp_path, picture_folder):
    dataset = tmp_path / "dataset"
    run_script("extract", picture_folder, "--out", dataset, "--min_size", 16)
    manifest = dataset / "manifest.csv"
    run_script("split", "--manifest", manifest, "--out", tmp_path, "--val_split", 0.5)
    status, modules = loaded_modules(
        *("train", "--train_list", tmp_path / "train.csv", "--val_list", tmp_path / "val.csv"),
        *("--save_dir", tmp_path / "out", "--patch_size", 16, "--batch_size", 1),
        *("--num_filters", 4, "--epochs", 1, "--steps_per_epoch", 1),
    )
    assert status == 0
    assert files(modules) == set(import_closure(ROOT / "scripts" / "train.py"))


@pytest.mark.parametrize("room", ["coding", "results", "pipeline"])
def test_training_does_not_depend_on_what_comes_later(room):
    closure = import_closure(ROOT / "scripts" / "train.py")
    assert not [path for path in closure if path.parent.name == room]


def test_training_depends_on_stored_pixels_and_not_on_how_they_were_read():
    closure = import_closure(ROOT / "scripts" / "train.py")
    data = {path.stem for path in closure if path.parent.name == "data"}
    assert data == {"__init__", "store"}


BAD_INPUT = {
    "no archive": ("extract", "{tmp}/none.tar", "--out", "{tmp}/o", 2, "does not exist"),
    "not an archive": ("extract", "{tmp}/text", "--out", "{tmp}/o", 2, "neither a tar"),
    "wrong hash": ("extract", "{tmp}/text", "--out", "{tmp}/o", "--sha256", "0" * 64, 2, "SHA-256"),
    "sample of 1": ("extract", "{pics}", "--out", "{tmp}/o", "--max_images", "1", 2, "at least 2"),
    "no manifest's columns": (
        *("split", "--manifest", "{tmp}/status.csv", "--out", "{tmp}/o"),
        *(2, "is not a manifest written by this version of extract.py"),
    ),
    "no manifest": ("split", "--manifest", "{tmp}/m", "--out", "{tmp}/o", 2, "does not exist"),
    "manifest of pixels": (
        *("split", "--manifest", "{pics}/0.png", "--out", "{tmp}/o", 2, "is not a table"),
    ),
    "bad test image": (
        *("evaluate_codec", "--codec", "jpeg", "--quality", "50", "--images", "{tmp}/bad"),
        *("--out", "{tmp}/o", 2, "bad/a.png: not an image"),
    ),
    "no data": ("train", 2, "give either --data_dir"),
    "no folder": ("train", "--data_dir", "{tmp}/none", 2, "does not exist"),
    "patch of 40": ("train", "--data_dir", "{pics}", "--patch_size", "40", 2, "multiple of 16"),
    "no threads": ("extract", "{pics}", "--out", "{tmp}/o", "--threads", "0", 2, "less than 1"),
    "no end of threads": (
        *("compress", "{pics}", "--model", "{tmp}", "--out", "{tmp}/o", "--threads", "99999999999"),
        *(2, "argument --threads: 99999999999 is more than 1024"),
    ),
    "no end of training threads": (
        *("train", "--data_dir", "{pics}", "--save_dir", "{tmp}/o", "--threads", "1025"),
        *(2, "threads is 1025; it must be at most 1024"),
    ),
    "negative seed": (
        *("adapt", "--model", "{tmp}", "--images", "{pics}", "--seed", "-1"),
        *(2, "argument --seed: -1 is less than 0"),
    ),
    "negative seed of a split": (
        *("split", "--manifest", "{tmp}/m", "--out", "{tmp}/o", "--seed", "-1"),
        *(2, "argument --seed: -1 is less than 0"),
    ),
    "seed of 2**32": ("train", "--data_dir", "{pics}", "--seed", "4294967296", 2, "at most"),
    "model without lambda": (
        *("train", "--data_dir", "{pics}", "--patch_size", "16", "--save_dir", "{tmp}/o"),
        *("--init_from", "{tmp}/models", 2, "is not a model's file: it lacks lambda_rd"),
    ),
    "lambda of 0": ("train", "--data_dir", "{pics}", "--lambda_rd", "0", 2, "more than 0"),
    "no large image": (
        *("train", "--data_dir", "{pics}", "--save_dir", "{tmp}/o", "--patch_size", "112"),
        *(2, "no usable image (5 smaller than min_size; min_size is 112)"),
    ),
    "small images": ("train", "--data_dir", "{pics}", "--save_dir", "{tmp}/o", 2, "smaller than"),
    "no GPU": (
        *("train", "--data_dir", "{pics}", "--save_dir", "{tmp}/o", "--patch_size", "16"),
        *("--device", "gpu", 2, "ask for a GPU"),
    ),
    "no model": (
        *("evaluate", "--model", "{tmp}", "--images", "{pics}", "--out", "{tmp}/o"),
        *(2, "holds no model"),
    ),
    "no images": (
        *("evaluate_codec", "--codec", "jpeg", "--quality", "50", "--images", "{tmp}/none"),
        *("--out", "{tmp}/o", 2, "none does not exist"),
    ),
    "quality of 500": (
        *("evaluate_codec", "--codec", "jpeg", "--quality", "500", "--images", "{pics}"),
        *("--out", "{tmp}/o", 2, "between 1 and 95"),
    ),
    "a quality twice": (
        *("evaluate_codec", "--codec", "jpeg", "--quality", "50", "50.0", "--images", "{pics}"),
        *("--out", "{tmp}/o", 2, "jpeg 50 is given twice; give each quality once"),
    ),
    "infinite rate": (
        *("plot", "--rd", "{tmp}/rd.csv", "--out", "{tmp}/o", "--max_bpp", "inf"),
        *(2, "max_bpp is inf; it must be more than 0 and finite"),
    ),
    "no number": (
        *("plot", "--rd", "{tmp}/rd.csv", "--out", "{tmp}/o", "--max_bpp", "nan"),
        *(2, "max_bpp is nan; it must be more than 0 and finite"),
    ),
    "no point to compare": (
        *("compare_published", "--rd", "{tmp}/empty.csv", "--out", "{tmp}/o"),
        *("--published", PUBLISHED, 2, "empty.csv has no point of a curve"),
    ),
    "no point to export": (
        *("export_curves", "--rd", "{tmp}/empty.csv", "--out", "{tmp}/o"),
        *(2, "empty.csv has no point of a curve"),
    ),
    "deltas without images": (
        *("compare_images", "--images", "{pics}", "--evaluation", "{tmp}", "--rd", "{tmp}/rd.csv"),
        *("--bd", "{tmp}/bd.csv", "--out", "{tmp}/o", 2, "for each image: it lacks image"),
    ),
    "configuration of a list": (
        *("report", "--results", "{tmp}", "--images", "{pics}", "--evaluation", "{tmp}"),
        *("--runs", "{tmp}/run.json", "--template", "{tmp}/t", "--config", "[1]"),
        *(2, "--config is [1]; it must be a map"),
    ),
    "no results": ("aggregate", "{tmp}/none", "--out", "{tmp}/o", 2, "holds no evaluation"),
    "no table": ("plot", "--rd", "{tmp}/none.csv", "--out", "{tmp}/o", 2, "does not exist"),
    "not a table": ("plot", "--rd", "{tmp}/text", "--out", "{tmp}/o", 2, "not a table of results"),
    "no picture": ("compress", "{tmp}/x.png", "--model", "{tmp}", "--out", "{tmp}/o", 2, "exist"),
    "a picture to compress to": (
        *("compress", "{pics}/0.png", "--model", "{tmp}", "--out", "{tmp}/o.jpg"),
        *(2, "is not a folder; the output must be one, or end in .b17"),
    ),
    "a folder to one file": (
        *("compress", "{pics}", "--model", "{tmp}", "--out", "{tmp}/o.b17"),
        *(2, "is not a folder; the output must be one"),
    ),
    "no stream": ("decompress", "{tmp}", "--model", "{tmp}", "--out", "{tmp}/o", 2, "no .b17"),
    "unknown flag": ("extract", "--nonsense", 2, "see extract.py --help"),
}


@pytest.mark.parametrize("case", BAD_INPUT, ids=lambda case: case)
def test_bad_input_is_one_line(case, tmp_path, picture_folder):
    script, *arguments, status, message = BAD_INPUT[case]
    (tmp_path / "text").write_text("only text\n")
    (tmp_path / "status.csv").write_text("status\naccepted\n")
    (tmp_path / "empty.csv").write_text(",".join(RD_COLUMNS) + "\n")
    (tmp_path / "rd.csv").write_text(",".join(RD_COLUMNS) + "\nt,jpeg,50" + ",1" * 14 + "\n")
    (tmp_path / "bd.csv").write_text(",".join(BD_COLUMNS) + "\n")
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "a.png").write_text("only text\n")
    model = {"format": FORMAT, "num_filters": 8, "num_latents": 8, "seed": 1, "model_sha256": "0"}
    write_json(tmp_path / "models" / "a" / "config.json", model)
    arguments = [text.format(tmp=tmp_path, pics=picture_folder) for text in arguments]
    done = run_script(script, *arguments)
    assert done.returncode == status, done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_a_file_that_is_no_picture_is_named_and_the_rest_compressed(
    small_model, tmp_path, picture_folder
):
    (picture_folder / "bad.png").write_bytes(b"no")
    Image.fromarray(make_picture(1)).save(picture_folder / "0.png")
    out = tmp_path / "out"
    done = run_script("compress", picture_folder, "--model", small_model, "--out", out)
    assert done.returncode == 1
    assert f"{picture_folder / 'bad.png'}: not an image" in done.stdout
    assert "1 of 6 files" in done.stderr
    assert len(list(out.glob("*.b17"))) == 5


def test_files_that_exist_are_kept_unless_told(small_model, tmp_path, picture_folder):
    """As long as nobody says --overwrite."""
    picture, out = picture_folder / "0.png", tmp_path / "o.b17"
    arguments = [picture, "--model", small_model, "--out", out]
    out.write_bytes(b"mine")
    done = run_script("compress", *arguments)
    assert done.returncode == 2
    assert f"{out} exists; give another output, or --overwrite" in done.stderr
    assert out.read_bytes() == b"mine"
    assert run_script("compress", *arguments, "--overwrite").returncode == 0
    assert out.read_bytes() != b"mine"
    # The picture that the file was made of.
    back = [out, "--model", small_model, "--out", picture]
    before = picture.read_bytes()
    assert run_script("decompress", *back).returncode == 2
    assert picture.read_bytes() == before
    assert run_script("decompress", *back, "--overwrite").returncode == 0
    assert picture.read_bytes() != before


@pytest.mark.parametrize("script", SCRIPTS)
def test_without_the_packages_one_line_says_what_is_missing(script):
    # -S: no site-packages, as in a Python outside of the environment.
    command = [sys.executable, "-S", str(ROOT / "scripts" / f"{script}.py"), "--help"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 2
    (line,) = done.stderr.strip().splitlines()
    assert line.endswith(f"needs; put 'uv run --project {ROOT}' before python")


def test_two_inputs_never_share_an_output(small_model, tmp_path, picture_folder):
    Image.fromarray(make_picture(1)).save(picture_folder / "0.bmp")
    done = run_script("compress", picture_folder, "--model", small_model, "--out", tmp_path / "o")
    assert done.returncode == 2
    assert "would both be written to" in done.stderr


@pytest.mark.parametrize("inside", ["", "below"])
def test_a_file_in_the_place_of_a_folder_is_named(tmp_path, inside):
    picture = tmp_path / "picture.png"
    Image.fromarray(make_picture(0)).save(picture)
    (tmp_path / "afile").write_text("text")
    out = tmp_path / "afile" / inside
    (tmp_path / "images").mkdir()
    picture.rename(tmp_path / "images" / "picture.png")
    done = run_script(
        *("evaluate_codec", "--codec", "jpeg", "--quality", 50),
        *("--images", tmp_path / "images", "--out", out),
    )
    assert done.returncode == 2
    assert f"{tmp_path / 'afile'} is a file; give a folder in its place" in done.stderr
    assert (tmp_path / "afile").read_text() == "text"
