"""The codec as others use it: three lines of Python, and the program balle2017."""

import inspect
import os
import shutil
import subprocess
import sys

import balle2017
import numpy as np
import pytest
from balle2017.coding.codec import Codec
from balle2017.data.images import read_image
from balle2017.errors import DamagedFileError, InputError, WorkError
from balle2017.interface import commands
from balle2017.interface.batch import list_streams
from balle2017.interface.choice import measure_psnr
from balle2017.model.files import save_model
from balle2017.model.find import PRETRAINED, read_config
from balle2017.model.network import Balle2017FactorizedPrior
from helpers import PATIENCE_S, PROGRAM, ROOT, forked, make_picture, run_script
from PIL import Image


@pytest.fixture(scope="module")
def models(tensorflow, tmp_path_factory):
    """A folder with models of lambda 0.01, 0.02 and 0.04, as a run leaves them."""
    folder = tmp_path_factory.mktemp("models")
    for lambda_rd, gain in ((0.04, 40), (0.01, 10), (0.02, 20)):
        tensorflow.keras.utils.set_random_seed(3)
        network = Balle2017FactorizedPrior(8, initialization="cosine", latent_gain=gain)
        save_model(folder / f"{lambda_rd:.4f}-f8-s3" / "model", network, lambda_rd, seed=3)
    return folder


def test_three_lines_of_python(tensorflow):
    pixels = make_picture(1, 80, 100)
    codec = balle2017.open_codec(0.0130)
    data = codec.compress(pixels)
    back = codec.decompress(data)
    assert isinstance(data, bytes)
    assert (back.shape, back.dtype) == (pixels.shape, np.uint8)
    assert data == Codec(PRETRAINED / "0.0130").compress(pixels)
    assert data == balle2017.open_codec(str(PRETRAINED / "0.0130")).compress(pixels)
    assert data == balle2017.open_codec().compress(pixels)


def test_the_package_itself_is_light_and_its_names_are_documented():
    program = "import sys, balle2017; print(*{name.split('.')[0] for name in sys.modules})"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert not {"tensorflow", "numpy", "PIL"} & set(done.stdout.split())
    for name in balle2017.__all__:
        assert inspect.getdoc(getattr(balle2017, name))
    with pytest.raises(ImportError, match="cannot import name 'nothing'"):
        exec("from balle2017 import nothing", {})


#: Compresses twice: where the program set nothing, where it computed before.
LIBRARY = """
import sys
import numpy as np
import tensorflow as tf
if sys.argv[1] == "busy":
    tf.linalg.matmul(tf.ones((2, 2)), tf.ones((2, 2)))
elif sys.argv[1] == "set":
    tf.config.threading.set_intra_op_parallelism_threads(2)
import balle2017
codec = balle2017.open_codec(0.0018, threads=1)
codec.decompress(codec.compress(np.zeros((16, 16, 3), np.uint8)))
print(tf.config.threading.get_intra_op_parallelism_threads())
"""


@pytest.mark.parametrize(("state", "threads"), [("fresh", 1), ("busy", 0), ("set", 2)])
def test_the_threads_of_a_program_stay_as_it_set_them(state, threads):
    done = subprocess.run(
        [sys.executable, "-c", LIBRARY, state], capture_output=True, text=True, timeout=PATIENCE_S
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{threads}\n"


@pytest.mark.parametrize("threads", [-1, 0, 1025, 10**12])
def test_the_threads_that_a_program_asks_for_are_bounded(models, threads):
    folder = models / "0.0200-f8-s3"
    for start in (
        lambda: balle2017.open_codec(threads=threads),
        lambda: balle2017.open_codec(str(folder), threads),
        lambda: balle2017.Family(models, threads),
        lambda: Codec(folder, threads),
    ):
        with pytest.raises(ValueError, match=f"threads is {threads}; it must be 1 to 1024"):
            start()


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_all_that_holds_bytes_is_decoded(models, kind):
    codec = balle2017.Family(models).codec(0.02)
    data = codec.compress(make_picture(1))
    np.testing.assert_array_equal(codec.decompress(kind(data)), codec.decompress(data))


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((8, 8, 3), np.float32),
        np.zeros((8, 8), np.uint8),
        np.zeros((8, 8, 4), np.uint8),
        np.zeros((0, 8, 3), np.uint8),
    ],
    ids=lambda pixels: f"{pixels.dtype}{pixels.shape}",
)
def test_other_arrays_are_refused(models, pixels):
    codec = balle2017.Family(models).codec(0.02)
    with pytest.raises(ValueError, match=r"they must be uint8 \[height, width, 3\]"):
        codec.compress(pixels)


@pytest.mark.parametrize("pixels", [Image.new("RGB", (8, 8)), [[[0, 0, 0]]], bytes(3), None])
def test_what_is_no_array_is_named(models, pixels):
    family = balle2017.Family(models)
    for compress in (family.codec(0.02).compress, lambda pixels: family.compress(pixels, bpp=9)):
        with pytest.raises(ValueError, match=f"of type {type(pixels).__name__}; they must be a Nu"):
            compress(pixels)


def test_a_process_forked_after_a_model_was_loaded_is_told_so(models):
    codec = balle2017.open_codec(str(models / "0.0100-f8-s3"))
    pixels = make_picture(1, 40, 50)
    data = codec.compress(pixels)
    for work in (
        lambda: codec.compress(pixels),
        lambda: codec.decompress(data),
        lambda: balle2017.open_codec(str(models / "0.0200-f8-s3")),
    ):
        error = forked(work)
        assert isinstance(error, WorkError), error
        assert "use the start method 'spawn'" in str(error)
    assert codec.compress(pixels) == data


def test_a_codec_traces_once_whatever_the_sizes(models, monkeypatch, tensorflow):
    codec = Codec(models / "0.0200-f8-s3")
    traced = []
    network = codec.model.network
    for name in ("analyze", "synthesize"):
        original = getattr(network, name)

        def count(*arguments, name=name, original=original):
            traced.append(name)
            return original(*arguments)

        monkeypatch.setattr(network, name, count)
    for size in ((16, 16), (1, 1), (33, 70), (600, 20), (48, 64)):
        codec.decompress(codec.compress(make_picture(1, *size)))
    assert traced == ["analyze", "synthesize"]


def test_a_family_knows_its_models(models):
    family = balle2017.Family(models)
    assert family.lambdas == [0.01, 0.02, 0.04]
    pixels = make_picture(2)
    data = family.codec(0.02).compress(pixels)
    assert family.codec(0.02) is family.codec(0.0200)
    other = balle2017.Family(models)
    assert other.made_by(family.codec(0.02).model.model_id) == models / "0.0200-f8-s3" / "model"
    np.testing.assert_array_equal(other.decompress(data), family.codec(0.02).decompress(data))
    # Only what is needed was loaded.
    assert len(other._codecs) == 1
    with pytest.raises(InputError, match=r"no model of lambda 0.03; its lambdas: 0.01, 0.02, 0.04"):
        family.codec(0.03)
    with pytest.raises(InputError, match=r"lambda is '0[.]02'; it must be a number"):
        family.codec("0.02")
    lowest = balle2017.open_codec(np.float32(0.0018)).model.config["lambda_rd"]
    assert lowest == 0.0018
    foreign = balle2017.open_codec(0.0018).compress(pixels)
    with pytest.raises(DamagedFileError, match=rf"that is not in {models}; give the folder"):
        family.decompress(foreign)


def test_the_model_that_nobody_chose(models, tmp_path, monkeypatch):
    assert balle2017.Family().default_lambda == 0.013
    monkeypatch.chdir(PRETRAINED.parent)
    assert balle2017.Family("pretrained").default_lambda == 0.013
    (tmp_path / "link").symlink_to(PRETRAINED)
    assert balle2017.Family(tmp_path / "link").default_lambda == 0.013
    assert balle2017.Family(models / "0.0200-f8-s3").default_lambda == 0.02
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "a").symlink_to(models / "0.0400-f8-s3")
    assert balle2017.Family(tmp_path / "one").default_lambda == 0.04
    with pytest.raises(InputError, match=r"several models; choose .* its lambdas: 0.01, 0.02, 0.0"):
        balle2017.Family(models).default_lambda  # noqa: B018 - it is a property


def test_the_program_takes_the_folder_of_the_package_by_any_path(picture_folder, tmp_path):
    words = [PROGRAM, "compress", "--model", "pretrained"]
    done = subprocess.run(
        [*words, picture_folder / "0.png", tmp_path / "a.b17"],
        cwd=PRETRAINED.parent,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "a.b17").read_bytes() == balle2017.open_codec().compress(make_picture(0))


def test_two_models_of_one_lambda_are_no_choice(models, tmp_path):
    for name in ("a", "b"):
        shutil.copytree(models / "0.0200-f8-s3" / "model", tmp_path / name)
    with pytest.raises(InputError, match=r"holds 2 models of lambda 0\.02"):
        balle2017.Family(tmp_path).codec(0.02)


def test_files_of_pretrained_models_name_them_in_both_versions(tensorflow):
    family = balle2017.Family()
    codec = family.codec(0.0018)
    for adaptive in (True, False):
        data = codec.compress(make_picture(2, 100, 100), adaptive)
        assert family.made_by(data[4:12]) == PRETRAINED / "0.0018"


def test_the_family_meets_goals(models):
    family, pixels = balle2017.Family(models), make_picture(4, 120, 150)
    files = {value: family.codec(value).compress(pixels) for value in family.lambdas}
    psnr = {value: measure_psnr(pixels, family.decompress(data)) for value, data in files.items()}
    assert sorted(files, key=lambda value: len(files[value])) == family.lambdas
    assert sorted(psnr, key=psnr.get) == family.lambdas
    choice = family.compress(pixels, max_bytes=len(files[0.04]) - 1)
    assert choice == (files[0.02], 0.02, 8 * len(files[0.02]) / (120 * 150), psnr[0.02])
    assert family.compress(pixels, psnr=psnr[0.04]).data == files[0.04]
    assert family.compress(pixels, bpp=8 * len(files[0.01]) / (120 * 150)).data == files[0.01]


# The program.


def test_the_program_compresses_tells_and_decompresses(models, tmp_path):
    Image.fromarray(make_picture(1, 40, 60)).save(tmp_path / "a.png")
    model = models / "0.0200-f8-s3"
    packed, back = tmp_path / "a.b17", tmp_path / "back.png"
    # Options stand anywhere.
    done = run_script(PROGRAM, "compress", tmp_path / "a.png", "--model", model, packed)
    assert (done.returncode, done.stderr) == (0, "")
    size = packed.stat().st_size
    line = f"{packed}: {size} bytes, {8 * size / 2400:.4f} bpp"
    assert done.stdout == f"model {model / 'model'}\n{line}\n"
    script = run_script(
        *("compress", tmp_path / "a.png", "--model", model, "--out", tmp_path / "b.b17")
    )
    assert (script.returncode, script.stderr) == (0, "")
    assert (tmp_path / "b.b17").read_bytes() == packed.read_bytes()
    done = run_script(PROGRAM, "decompress", "--model", models, packed, back)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{back}: 60x40\n"
    expected = Codec(model).decompress(packed.read_bytes())
    np.testing.assert_array_equal(read_image(back), expected)


@pytest.mark.parametrize("refine", ["no", "", 0, 1, None])
def test_what_is_neither_true_nor_false_does_not_refine(models, refine):
    family, pixels = balle2017.Family(models), make_picture(1)
    message = f"refine is {refine!r}; it must be True or False"
    with pytest.raises(ValueError, match=message):
        family.codec(0.01).compress(pixels, refine=refine)
    with pytest.raises(ValueError, match=message):
        family.compress(pixels, psnr=5, refine=refine)


def test_a_truth_of_numpy_refines(models):
    codec, pixels = balle2017.Family(models).codec(0.01), make_picture(1)
    for refine in (False, True):
        expected = codec.compress(pixels, refine=refine)
        assert codec.compress(pixels, refine=np.bool_(refine)) == expected


def test_the_program_meets_goals_in_a_folder(models, picture_folder, tmp_path):
    Image.fromarray(make_picture(9, 200, 300)).save(picture_folder / "large.png")
    family = balle2017.Family(models)
    limit = len(family.codec(0.02).compress(make_picture(0)))
    out = tmp_path / "out"
    done = run_script(
        PROGRAM, "compress", picture_folder, out, "--model", models, "--max_bytes", limit
    )
    assert done.returncode == 1
    first, *lines = done.stdout.splitlines()
    assert first == f"models {models}, lambdas 0.01, 0.02, 0.04"
    total = 0
    for seed, line in enumerate(lines[:5]):
        path = out / f"{seed}.b17"
        choice = family.compress(make_picture(seed), max_bytes=limit)
        assert path.read_bytes() == choice.data
        assert line == (
            f"{path}: {len(choice.data)} bytes, {choice.bpp:.4f} bpp, {choice.psnr:.2f} dB, "
            f"lambda {choice.lambda_rd:g}"
        )
        total += len(choice.data)
    assert lines[5].startswith(
        f"{picture_folder / 'large.png'}: no model stays within {limit} bytes;"
    )
    assert lines[6].startswith(f"5 files, {total} bytes, {8 * total / (5 * 48 * 64):.4f} bpp, ")
    assert len(lines) == 7
    assert done.stderr == "balle2017: error: 1 of 6 files could not be converted\n"
    assert not (out / "large.b17").exists()


def refused(capsys, *arguments):
    """Return the message of a command that stops before it does anything."""
    with pytest.raises((InputError, SystemExit)) as caught:
        commands.main(list(map(str, arguments)))
    if caught.type is InputError:
        return str(caught.value)
    assert caught.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


def test_bad_arguments_are_one_line(models, picture_folder, tmp_path, capsys):
    picture, out = picture_folder / "0.png", tmp_path / "out.b17"
    assert "arguments are required: command" in refused(capsys)
    assert "invalid choice: 'pack'" in refused(capsys, "pack")
    assert "give one or more inputs, then the output" in refused(capsys, "compress", picture)
    assert "not allowed with" in refused(capsys, "compress", picture, out, "--bpp", 1, "--psnr", 30)
    assert "bpp is nan" in refused(capsys, "compress", picture, out, "--bpp", "nan")
    assert "invalid int value" in refused(capsys, "compress", picture, out, "--max_bytes", 1.5)
    assert refused(capsys, "compress", picture, out, "--model", models) == (
        f"{models} holds several models; choose one with --lambda_rd (in Python: lambda_rd=); its "
        "lambdas: 0.01, 0.02, 0.04"
    )
    assert "holds no model of lambda 0.5; its lambdas: 0.0018" in refused(
        capsys, "compress", picture, out, "--lambda_rd", 0.5
    )
    assert "does not exist" in refused(capsys, "compress", tmp_path / "none.png", out)
    assert "is not a folder; the output must be one" in refused(
        capsys, "compress", picture_folder, tmp_path / "out.png"
    )
    assert "is not a folder; the output must be one" in refused(
        capsys, "compress", picture, "/dev/null", "--overwrite"
    )
    assert "holds no .b17 file" in refused(capsys, "decompress", picture_folder, tmp_path)
    assert not out.exists()


def test_what_is_no_regular_file_is_not_said_to_be_missing(tmp_path, capsys):
    pipe = tmp_path / "pipe.png"
    os.mkfifo(pipe)
    message = refused(capsys, "compress", pipe, tmp_path / "out.b17")
    assert message == f"{pipe} is not a regular file"


def test_an_input_is_never_the_output(picture_folder, tmp_path, capsys):
    picture, stream = picture_folder / "0.png", tmp_path / "0.b17"
    stream.write_bytes(picture.read_bytes())  # an image by another name
    links = tmp_path / "links"
    links.mkdir()
    (links / "0.png").symlink_to(stream)
    (links / "2.png").symlink_to(stream)
    (links / "1.png").hardlink_to(picture_folder / "1.png")
    before = {path: path.read_bytes() for path in (stream, *picture_folder.iterdir())}
    # The last one through another input's link.
    for words, lost in (
        (("compress", stream, stream), stream),
        (("compress", links / "0.png", stream), stream),
        (("decompress", picture, picture), picture),
        (("decompress", picture_folder / "1.png", links / "1.png"), links / "1.png"),
        (("compress", picture, links / "2.png", tmp_path), stream),
    ):
        message = refused(capsys, *words, "--overwrite")
        assert message == f"{lost} is an input, which would be lost; give another output"
    assert {path: path.read_bytes() for path in before} == before


def test_a_link_that_leads_nowhere_is_kept_unless_told(picture_folder, tmp_path, capsys):
    link = tmp_path / "a.b17"
    link.symlink_to(tmp_path / "disk that is not mounted")
    message = refused(capsys, "compress", picture_folder / "0.png", link)
    assert message == f"{link} exists; give another output, or --overwrite"


def test_names_that_look_like_options_follow_two_dashes(models, picture_folder, tmp_path):
    (picture_folder / "0.png").rename(picture_folder / "-x.png")
    for words in (
        ["compress", "--model", models / "0.0100-f8-s3", "--", "-x.png", "-x.b17"],
        ["info", "--model", models, "--", "-x.b17"],
        ["decompress", "--model", models, "--", "-x.b17", "-y.png"],
    ):
        done = subprocess.run(
            [PROGRAM, *map(str, words)], cwd=picture_folder, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
    assert (picture_folder / "-y.png").is_file()


def test_hidden_files_of_a_folder_are_left_out(tmp_path):
    for name in ("a.b17", "._a.b17", ".4711-0123456789abcdef.b17"):
        (tmp_path / name).write_bytes(b"")
    assert list_streams(tmp_path) == [tmp_path / "a.b17"]


def test_info_needs_no_tensorflow(tmp_path):
    codec = balle2017.open_codec(0.0018)
    for name, adaptive in (("new", True), ("old", False)):
        data = codec.compress(make_picture(3, 90, 170), adaptive)
        (tmp_path / f"{name}.b17").write_bytes(data)
    program = (
        "import sys; from balle2017.interface.commands import main; main()\n"
        "assert 'tensorflow' not in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, "info", tmp_path / "new.b17", tmp_path / "old.b17"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 8
    for index, (name, version, coder, model_id) in enumerate(
        [
            ("new", 2, "the adaptive coder", codec.model.adaptive_id),
            ("old", 1, "the static prior", codec.model.model_id),
        ]
    ):
        path = tmp_path / f"{name}.b17"
        size = path.stat().st_size
        filters = read_config(PRETRAINED / "0.0018")["num_filters"]
        channels = codec.model.config["num_latents"]
        assert lines[4 * index : 4 * index + 4] == [
            f"{path}: 170x90, {size} bytes, {8 * size / 170 / 90:.4f} bpp",
            f"  format   version {version}, coded with {coder}",
            f"  model    {model_id.hex()}, lambda 0.0018, {filters} filters "
            f"({PRETRAINED / '0.0018'})",
            f"  latents  11x6, {channels} channels",
        ]


def test_info_of_damaged_files_and_of_models_of_elsewhere(models, tmp_path):
    data = balle2017.open_codec(0.0018).compress(make_picture(3))
    (tmp_path / "good.b17").write_bytes(data)
    (tmp_path / "cut.b17").write_bytes(data[:-1])
    done = run_script(
        *(PROGRAM, "info", "--model", models, tmp_path / "cut.b17", tmp_path / "good.b17")
    )
    assert done.returncode == 1
    assert f"{tmp_path / 'cut.b17'}: cut short: " in done.stdout
    assert f"  model    {data[4:12].hex()}, not in {models}\n" in done.stdout
    assert done.stderr == "balle2017: error: 1 of 2 files are damaged or not .b17 files\n"


def test_info_goes_on_past_what_cannot_be_read(models, tmp_path, capsys):
    good = tmp_path / "good.b17"
    good.write_bytes(balle2017.open_codec(0.0018).compress(make_picture(3)))
    os.mkfifo(tmp_path / "pipe.b17")
    others = [tmp_path, tmp_path / "pipe.b17", tmp_path / "none.b17"]
    with pytest.raises(WorkError, match="3 of 4 files"):
        commands.main(["info", *map(str, [*others, good])])
    lines = capsys.readouterr().out.splitlines()
    assert lines[:3] == [
        f"{tmp_path}: not a regular file",
        f"{tmp_path / 'pipe.b17'}: not a regular file",
        f"{tmp_path / 'none.b17'}: No such file or directory",
    ]
    assert lines[3].startswith(f"{good}: ")


def test_the_models_of_a_clone_are_found():
    assert PRETRAINED == ROOT / "pretrained"
