"""Codecs that are programs: what they are given, what is made of what they do."""

import itertools
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys

import numpy as np
import pandas as pd
import psutil
import pytest
import yaml
from balle2017.data.images import read_image
from balle2017.errors import CodecLimitError, InputError, WorkError
from balle2017.files import read_json, read_table
from balle2017.pipeline.experiment import check_config, convert_strings
from balle2017.pipeline.external import evaluation_flags, external_codecs
from balle2017.pipeline.typed import keep_texts
from balle2017.results.external import ExternalCodec, command_words, quality_text
from helpers import PATIENCE_S, ROOT, make_picture, run_script, wait_for
from PIL import Image
from processes import Script

SCHEMA = yaml.safe_load((ROOT / "workflow/schemas/config.schema.yaml").read_text())

#: A codec that keeps the pixels, and everything that can go wrong with one.
PROGRAM = """
import json, os, shutil, signal, subprocess, sys, time
from pathlib import Path

mode, source, target, *others = sys.argv[1:]
if mode == "copy":
    shutil.copy(source, target)
elif mode == "arguments":
    Path(target).write_text(json.dumps([source, *others]))
elif mode == "status":
    print("as I said")
    sys.exit("I cannot read " + source)
elif mode == "killed":
    os.kill(os.getpid(), signal.SIGKILL)
elif mode == "empty":
    Path(target).touch()
elif mode == "folder":
    Path(target).mkdir()
elif mode == "text":
    Path(target).write_text("no picture")
elif mode == "reads":
    Path(target).write_text(repr(sys.stdin.read()))
elif mode == "hang":
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    Path(others[0]).write_text(str(child.pid))
    time.sleep(600)
elif mode == "small":  # refuses what is higher than 48
    from PIL import Image
    if Image.open(source).height > 48:
        sys.exit("the picture is too high")
    shutil.copy(source, target)
elif mode == "crop":
    from PIL import Image
    Image.open(source).crop((0, 0, 32, 16)).save(target, "PNG")
"""


@pytest.fixture
def program(tmp_path):
    """Path of the program above."""
    path = tmp_path / "a program.py"
    path.write_text(PROGRAM)
    return str(path)


@pytest.fixture
def codec(program):
    """Makes a codec whose programs have some mode."""

    def make(encode, decode="copy", *others, **options):
        def command(mode, *more):
            return [sys.executable, program, mode, "{input}", "{output}", *more]

        commands = (command(encode, *others), command(decode))
        return ExternalCodec("mine", *commands, suffix=".x", **options)

    return make


def test_words_are_split_as_a_shell_does_and_numbers_are_written_out():
    assert command_words("enc -q {quality} 'a b' \"c d\"") == [
        "enc",
        "-q",
        "{quality}",
        "a b",
        "c d",
    ]
    assert command_words(["enc", 7, "a b"]) == ["enc", "7", "a b"]
    with pytest.raises(InputError, match="the command enc 'x cannot be read: No closing quotation"):
        command_words("enc 'x")
    with pytest.raises(InputError, match="must have a program"):
        command_words("  ")
    numbers = [30, 30.0, 0.5, 1e-5, 1234567, 1e7, -2]
    expected = ["30", "30", "0.5", "0.00001", "1234567", "10000000", "-2"]
    assert [quality_text(number) for number in numbers] == expected


def test_no_shell_reads_the_arguments(codec, tmp_path):
    words = ["$(touch x)", "; touch x", "*", "a'b\"c", "-q{quality}", "{}", "{1,2}"]
    mine = codec("arguments", "copy", *words)
    mine.check([1, 2])
    source, *others = json.loads(mine.encode(make_picture(1), 0.25))
    assert others == ["$(touch x)", "; touch x", "*", "a'b\"c", "-q0.25", "{}", "{1,2}"]
    assert source.endswith("/input.png")
    # Nothing stays behind.
    assert not os.path.exists(os.path.dirname(source))


def test_the_encoder_is_given_the_pixels_and_the_decoder_the_file(codec):
    pixels = make_picture(1)
    mine = codec("copy")
    np.testing.assert_array_equal(mine.decode(mine.encode(pixels, 1), 1), pixels)


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "I;16"])
def test_pictures_of_other_kinds_are_read_as_test_images_are(codec, tmp_path, mode):
    grey = Image.fromarray(make_picture(1)).convert("L")
    picture = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257) if mode == "I;16" else grey
    picture.convert(mode).save(tmp_path / "other.png")
    decoded = codec("copy").decode((tmp_path / "other.png").read_bytes(), 1)
    np.testing.assert_array_equal(decoded, np.asarray(grey.convert("RGB")))


@pytest.mark.parametrize(
    ("mode", "message"),
    [
        ("status", "ended with status 1: I cannot read input.png"),
        ("killed", "was ended by SIGKILL"),
        ("empty", "wrote an empty file"),
        ("folder", "wrote no file"),
        ("nothing", "wrote no file"),
    ],
)
def test_a_refusal_is_one_sentence(codec, mode, message):
    python = os.path.basename(sys.executable)
    with pytest.raises(CodecLimitError, match=f"^{python} {message}$"):
        codec(mode).encode(make_picture(1), 1)
    with pytest.raises(
        CodecLimitError, match=f"^{python} {message.replace('input.png', 'input.x')}$"
    ):
        codec("copy", mode).decode(b"file", 1)


def test_what_is_no_picture_is_named(codec):
    with pytest.raises(CodecLimitError, match="wrote an image that cannot be read: not an image"):
        codec("copy", "text").decode(b"file", 1)


def test_a_program_has_nothing_to_read(codec):
    """One that asks a question must not wait for the answer."""
    assert codec("reads").encode(make_picture(1), 1) == b"''"


def test_a_program_that_hangs_is_ended_with_what_it_started(codec, tmp_path):
    mine = codec("hang", "copy", str(tmp_path / "pid"), time_limit_s=3)
    with pytest.raises(WorkError, match="did not end within 3 seconds; if it needs longer, raise"):
        mine.encode(make_picture(1), 1)
    child = int((tmp_path / "pid").read_text())
    psutil.wait_procs(
        [psutil.Process(child)] if psutil.pid_exists(child) else [], timeout=PATIENCE_S
    )
    assert not running(child)


def running(pid):
    """Whether a process still does something; nobody may be there to fetch its status."""
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def arguments(codec, images, out, *qualities):
    """The command line of the script for a codec."""
    return [
        *("evaluate_external", "--codec", codec.name, "--suffix", codec.suffix),
        *("--encode", shlex.join(codec.encode_command)),
        *("--decode", shlex.join(codec.decode_command)),
        *("--quality", *qualities, "--images", images, "--out", out, "--testset", "t"),
    ]


def test_an_evaluation_that_is_ended_ends_its_program(codec, picture_folder, tmp_path):
    pid = tmp_path / "pid"
    mine = codec("hang", "copy", str(pid))
    script = Script(*arguments(mine, picture_folder, tmp_path / "out", 1))
    assert wait_for(lambda: pid.exists() and pid.read_text() != "", script)
    child = int(pid.read_text())
    assert running(child)
    script.send_signal(signal.SIGTERM)
    assert script.wait() == 128 + signal.SIGTERM
    psutil.wait_procs(
        [psutil.Process(child)] if psutil.pid_exists(child) else [], timeout=PATIENCE_S
    )
    assert not running(child)


def test_a_picture_that_is_refused_has_a_row_and_a_note(codec, picture_folder, tmp_path):
    Image.fromarray(make_picture(9, 64, 48)).save(picture_folder / "high.png")
    out = tmp_path / "out"
    done = run_script(*arguments(codec("small", "copy", "{quality}"), picture_folder, out, 1, 0.5))
    assert (done.returncode, done.stderr) == (0, "")
    rows = pd.read_csv(out / "per_image.csv").set_index(["point", "image"])
    python = os.path.basename(sys.executable)
    note = f"not coded, {python} ended with status 1: the picture is too high"
    assert rows.loc[(0.5, "high.png"), "note"] == rows.loc[(1, "high.png"), "note"] == note
    assert np.isnan(rows.loc[(1, "high.png"), "bpp"])
    for summary in read_json(out / "summary.json"):
        assert (summary["n_images"], summary["lacking"]) == (5, "high.png")
    file = out / "bitstreams" / "0.5" / "0.x"
    assert rows.loc[(0.5, "0.png"), "bytes"] == file.stat().st_size
    assert not file.with_name("high.x").exists()


@pytest.mark.parametrize(
    ("modes", "message"),
    [
        (("crop",), "0.png came back from mine 1 with 32x16 pixels, it has 64x48"),
        (("status",), "mine 1 encoded none of the images: not coded, "),
        (("copy", "text"), "mine 1 encoded none of the images: not coded, "),
        (("hang", "copy", "/dev/null"), "did not end within 1 seconds"),
    ],
)
def test_a_codec_that_does_not_work_is_an_error(codec, picture_folder, tmp_path, modes, message):
    out = tmp_path / "out"
    limit = 1 if modes[0] == "hang" else 300
    done = run_script(*arguments(codec(*modes), picture_folder, out, 1), "--time_limit_s", limit)
    assert done.returncode == 1
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (out / "summary.json").exists()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--quality", "nan"), "the qualities of mine must be finite numbers"),
        (("--quality", "inf"), "the qualities of mine must be finite numbers"),
        (("--time_limit_s", "nan"), "time_limit_s of mine must be more than 0 and finite"),
        (("--time_limit_s", "0"), "time_limit_s of mine must be more than 0 and finite"),
        (("--codec", "jpeg"), "jpeg is the name of a built-in codec; choose another"),
        (("--codec", ""), "the codec has no name; give it one"),
        (("--codec", "balle2017"), "balle2017 is a name of trained models; choose another"),
        (("--codec", "balle2017_adaptive-f8-s1"), "is a name of trained models; choose another"),
        (("--codec", "balle2017_refined"), "is a name of trained models; choose another"),
        (("--codec", ".."), "--codec is ..; it must have letters, digits, dots, dashes"),
        (("--codec", "a/b"), "--codec is a/b; it must have letters, digits, dots, dashes"),
        (("--codec", "a\r"), r"--codec is a\r; it must have letters, digits"),
    ],
)
def test_flags_that_cannot_be_meant_are_refused(codec, picture_folder, tmp_path, flags, message):
    out = tmp_path / "out"
    done = run_script(*arguments(codec("copy"), picture_folder, out, 1), *flags)
    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not out.exists()


def test_ctrl_c_while_a_program_ends_is_ctrl_c(codec, monkeypatch):
    """Python waits for the program a little before it raises the exception."""

    def wait_and_interrupt(process, timeout=None):
        monkeypatch.undo()
        process.wait()
        raise KeyboardInterrupt

    monkeypatch.setattr(subprocess.Popen, "wait", wait_and_interrupt)
    with pytest.raises(KeyboardInterrupt):
        codec("copy").encode(make_picture(1), 1)


PART = {
    "encode": "cp {input} {output} {quality}",
    "decode": ["cp", "{input}", "{output}"],
    "suffix": ".x",
    "qualities": [1, 2],
}


def checked(name="mine", here=True, **changes):
    """The codec of a config, as the workflow gets it."""
    external = {name: {k: v for k, v in (PART | changes).items() if v != "absent"}}
    config = {
        **{"experiment": "e", "train_archive": "builtin", "test_images": "builtin"},
        **{"lambdas": [0.01], "evaluation": {"external": external}},
    }
    text = yaml.safe_dump(config)
    typed = yaml.load(text, yaml.BaseLoader)
    config = convert_strings(keep_texts(yaml.safe_load(text), typed, SCHEMA), SCHEMA)
    check_config(config, SCHEMA)
    properties = SCHEMA["properties"]["evaluation"]["properties"]["external"]
    defaults = {
        key: value["default"]
        for key, value in properties["additionalProperties"]["properties"].items()
        if "default" in value
    }
    external[name] = defaults | config["evaluation"]["external"][name]
    return external_codecs({"evaluation": {"external": external}}, here)[name]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"encode": "cp {input} {quality}"}, "the encode command of mine lacks {output}"),
        ({"decode": ["cp", "{output}"]}, "the decode command of mine lacks {input}"),
        ({"encode": "cp {input} {output}"}, "lacks {quality}, and there are 2 qualities"),
        (
            {"encode": "cp {input} {output} {qualtiy}"},
            "the encode command of mine has the unknown placeholder {qualtiy}; known ones are "
            "{input}, {output}, {quality}",
        ),
        (
            {"version": "cp {input}"},
            "config: evaluation.external.mine.version is cp {input}; Snake",
        ),
        ({"encode": "cp '{input} {output}"}, "cannot be read: No closing quotation"),
        ({"encode": ["cp", {"input": None}]}, "it must be a command line, or a list of its words"),
        ({"encode": ""}, 'encode is ""; it must be a command line'),
        ({"suffix": "absent"}, "config: evaluation.external.mine.suffix must be given"),
        ({"suffix": "/../x"}, 'suffix is "/../x"; it must be a dot and letters or digits'),
        (
            {"sufix": ".x"},
            "external.mine.sufix is not a config key; did you mean suffix? allowed",
        ),
        ({"qualities": []}, "qualities is []; it must be a list of at least 1"),
        ({"decoded_suffix": ".jpg"}, "it must be one of .png, .ppm, .pnm"),
        ({"time_limit_s": 0}, "time_limit_s is 0; it must be more than 0"),
        ({"name": "jpeg"}, "evaluation.external.jpeg: jpeg is the name of a built-in codec"),
        ({"name": "balle2017_adaptive"}, "balle2017_adaptive is a name of trained models"),
        ({"name": "balle2017_refined"}, "balle2017_refined is a name of trained models"),
        ({"name": "balle2017"}, "balle2017 is a name of trained models"),
        ({"name": "../x"}, "it must be a map whose names have small letters, digits and"),
        (
            {"encode": "no-such-program {input} {output} {quality}"},
            "config: evaluation.external.mine: no-such-program, the encode program of mine, is not "
            "installed",
        ),
        ({"version": "no-such-program -v"}, "no-such-program, the version program of mine, is not"),
        ({"decode": "/etc/passwd {input} {output}"}, "/etc/passwd, the decode program of mine, is"),
    ],
)
def test_mistakes_in_the_config_are_one_sentence(changes, message):
    with pytest.raises(InputError) as raised:
        checked(**changes)
    assert message in str(raised.value)
    assert str(raised.value).startswith("config: evaluation.external")


def test_the_config_becomes_the_flags_of_the_script():
    codec = checked(encode=["cp", "a b", "{input}", "{output}", 1.10, "{quality}"])
    assert list(codec.encode_command) == ["cp", "a b", "{input}", "{output}", "1.1", "{quality}"]
    flags = command_words(evaluation_flags(codec, [1, 0.5]))
    values = dict(itertools.pairwise(flags))
    assert command_words(values["--encode"]) == list(codec.encode_command)
    assert command_words(values["--decode"]) == list(codec.decode_command)
    assert "--version_command" not in values
    # One quality needs no place for it.
    checked(encode="cp {input} {output}", qualities=[1])
    # A job on another machine trusts the one that planned it.
    checked(here=False, decode="no-such-program {input} {output}")


def test_defaults_of_the_config_are_those_of_the_script():
    properties = SCHEMA["properties"]["evaluation"]["properties"]["external"]
    properties = properties["additionalProperties"]["properties"]
    for name in ("time_limit_s", "decoded_suffix"):
        assert properties[name]["default"] == getattr(ExternalCodec, name)


def test_files_that_a_command_names_are_found(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("script.sh", "intra.cfg", "b{x}.cfg"):
        (tmp_path / name).touch()
    encode = "cp script.sh --config=intra.cfg -c b{x}.cfg none.cfg script.sh {input} {output}"
    codec = ExternalCodec("mine", encode.split(), ["cp", "{input}", "{output}"], ".x")
    assert codec.files() == [shutil.which("cp"), "script.sh", "intra.cfg", "b{x}.cfg"]
    # A program may lie anywhere in PATH, and a flag be glued to a name.
    tools = tmp_path / "elsewhere"
    tools.mkdir()
    (tools / "mine").touch(0o755)
    (tmp_path / "settings").mkdir()
    monkeypatch.setenv("PATH", str(tools), prepend=os.pathsep)
    encode = "mine -cintra.cfg --all=settings settings/.. .. /tmp {input} {output}"
    codec = ExternalCodec("mine", encode.split(), ["mine", "{input}", "{output}"], ".x")
    assert codec.files() == [str(tools / "mine"), "intra.cfg", "settings"]
    # A word that is too long to be the name of a file.
    codec = ExternalCodec("mine", ["sh", "-c", "x" * 5000], ["cp", "script.sh"], ".x")
    assert codec.files() == [shutil.which("sh"), shutil.which("cp"), "script.sh"]


@pytest.mark.parametrize(
    ("prints", "found"),
    [
        ("echo 'Encoder 0.9.8'", "Encoder 0.9.8"),
        ("printf 'This is JPEG 2000\\n\\nlibrary v2.5.0\\n'; exit 3", "library v2.5.0"),
        ("echo master >&2", "master"),
    ],
)
def test_the_version_is_the_line_with_one(codec, prints, found):
    mine = codec("copy", version_command=["sh", "-c", prints])
    encode, decode, version = mine.describe().rsplit("; ", 2)
    assert version == found
    assert encode.endswith("a program.py' copy {input} {output}")
    assert decode.endswith("a program.py' copy {input} {output}")


def test_the_description_is_a_line_of_a_table_whatever_the_command_has():
    words = [os.fsdecode(b"--name=\xff"), "a\nb", "{input}", "{output}"]
    text = ExternalCodec("mine", ["cp", *words], ["cp", *words], ".x").describe()
    assert text.encode().splitlines() == [text.encode()]
    assert text.startswith(r"cp '--name=\udcff' 'a\nb' {input} {output}; cp ")


def test_a_version_command_that_prints_nothing_is_refused(codec):
    with pytest.raises(InputError, match=r"^true prints no version$"):
        codec("copy", version_command=["true"]).describe()
    assert codec("copy").describe().endswith("; version not known")


#: Two programs that Debian has, as docs/extending.md shows them.
PAGE = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
DEBIAN = yaml.safe_load(PAGE.split("```yaml\n# Debian")[1].split("```")[0].partition("\n")[2])
DEBIAN = DEBIAN["evaluation"]["external"]


@pytest.mark.parametrize("name", DEBIAN)
def test_programs_of_debian_are_measured_like_codecs_of_ours(name, tmp_path, kodak_dir):
    part = DEBIAN[name]
    missing = [
        command.split()[0]
        for command in (part["encode"], part["decode"])
        if shutil.which(command.split()[0]) is None
    ]
    if missing:
        reason = f"no {', '.join(missing)}: install Debian's libjxl-tools and libopenjp2-tools"
        if os.environ.get("BALLE2017_REQUIRE_CODECS"):
            pytest.fail(reason)
        pytest.skip(reason)
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    shutil.copy(kodak_dir / "kodim20.png", pictures)
    codec = checked(name=name, **part)
    qualities = sorted(part["qualities"])[::2]
    out = tmp_path / "out"
    done = run_script(
        *("evaluate_external", "--codec", name, "--images", pictures, "--out", out),
        *command_words(evaluation_flags(codec, qualities)),
    )
    assert (done.returncode, done.stderr) == (0, "")
    rows = read_table(out / "per_image.csv")
    rates, psnrs = ([float(row[key]) for row in rows] for key in ("bpp", "psnr_rgb"))
    assert len(rows) == len(qualities) >= 3
    assert sorted(zip(rates, psnrs, strict=True)) == list(
        zip(sorted(rates), sorted(psnrs), strict=True)
    )
    assert 0.05 < min(rates) < max(rates) < 6
    assert 25 < min(psnrs) < max(psnrs) < 50
    (encoder,) = {summary["encoder"] for summary in read_json(out / "summary.json")}
    assert encoder.startswith(f"{part['encode']}; {part['decode']}; ")
    version = subprocess.run(part["version"].split(), capture_output=True, text=True).stdout
    assert encoder.rsplit("; ", 1)[1] in version
    # The pixels that are measured are those that the program writes, without a conversion.
    stream = out / "bitstreams" / quality_text(qualities[0]) / f"kodim20{part['suffix']}"
    words = [
        word.format(input=stream, output=tmp_path / "again.png") for word in part["decode"].split()
    ]
    subprocess.run(words, check=True, capture_output=True)
    with Image.open(tmp_path / "again.png") as image:
        np.testing.assert_array_equal(np.asarray(image), read_image(tmp_path / "again.png"))
