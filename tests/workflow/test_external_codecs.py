"""Codecs that the config names as programs, through the whole workflow."""

import sys

import pandas as pd
from helpers import PATIENCE_S, make_picture, wait_for
from PIL import Image
from test_reruns import AFTER_EVALUATION
from workflow_tools import TINY, make_old

PROGRAM = """
import sys
from PIL import Image

if sys.argv[1] == "encode":
    _, _, source, target, quality, *rest = sys.argv
    assert rest == ["a 'quoted' word", "{}", "$HOME", "{{wildcards.codec}}"], rest
    Image.open(source).save(target, "WEBP", quality=float(quality))
else:
    _, _, source, target = sys.argv
    Image.open(source).convert("RGB").save(target)
"""

WORDS = ["a 'quoted' word", "{}", "$HOME", "{{wildcards.codec}}"]


def configure(workflow, **changes):
    """Let the config have two external codecs, the changes in one of them."""
    part = {
        "encode": [sys.executable, "my tools/codec.py", "encode", "{input}", "{output}"],
        "decode": f"{sys.executable} 'my tools/codec.py' decode {{input}} {{output}}",
        "version": "echo codec 1.0",
        "suffix": ".wp",
        "qualities": [10, 50, 90.5],
    }
    part["encode"] += ["{quality}", *WORDS]
    codecs = {"mine": part | changes, "other": part}
    workflow.configure(evaluation=TINY["evaluation"] | {"external": codecs})


def test_an_external_codec_is_in_tables_and_figures_and_only_its_change_measures_it(finished):
    tools = finished.folder / "my tools"
    tools.mkdir()
    (tools / "codec.py").write_text(PROGRAM)
    configure(finished)
    assert finished.planned() == {"evaluate_external": 2, **AFTER_EVALUATION}
    finished.run()
    assert finished.planned() == {}
    results = finished.folder / "results" / "tiny"
    rd = pd.read_csv(results / "rd.csv").set_index("codec")
    assert sorted(rd.loc["mine", "point"]) == [10, 50, 90.5]
    assert rd.loc["mine", "bpp"].is_monotonic_increasing
    encoder = rd.loc["mine", "encoder"].iloc[0]
    assert "'my tools/codec.py' encode {input} {output} {quality}" in encoder
    assert encoder.endswith("; codec 1.0")
    images = pd.read_csv(results / "per_image.csv")
    stream = results / "photographs" / "codecs" / "mine" / "bitstreams" / "90.5" / "100.wp"
    row = images.query("codec == 'mine' and point == 90.5 and image == '100.png'").iloc[0]
    assert row["bytes"] == stream.stat().st_size
    for name in ("bd_rate.csv", "bd_rate_per_image.csv"):
        assert {"mine", "other"} <= set(pd.read_csv(results / name)["codec"])
    for name in ("rd_curve.svg", "rd_per_image.svg", "report.html"):
        assert "mine" in (results / name).read_text(encoding="utf-8")

    changed = {"evaluate_external": 1, **AFTER_EVALUATION}
    configure(finished, qualities=[10, 50])
    assert finished.planned() == changed
    configure(finished, version="echo codec 1.1")
    assert finished.planned() == changed
    configure(finished)
    assert finished.planned() == {}
    (tools / "codec.py").write_text(PROGRAM + "\n# another version")
    make_old(tools / "codec.py")
    assert finished.planned() == {"evaluate_external": 2, **AFTER_EVALUATION}


WAITING = """
import shutil, sys, time
from pathlib import Path

Path("started").touch()
while not Path("go").exists():
    time.sleep(0.05)
shutil.copy(sys.argv[1], sys.argv[2])
"""


def test_a_change_during_a_run_is_noticed_by_the_next_one(finished):
    """Also if somebody asked in the meantime what there is to do."""
    (finished.folder / "waiting.py").write_text(WAITING)
    words = [sys.executable, "waiting.py", "{input}", "{output}"]
    part = {"encode": words, "decode": words, "suffix": ".png", "qualities": [1]}
    finished.configure(evaluation=TINY["evaluation"] | {"external": {"copy": part}})
    target = "results/tiny/photographs/codecs/copy/summary.json"
    with finished.started("--cores", "1", target) as process:
        assert wait_for((finished.folder / "started").exists, process)
        # The first picture was read.
        picture = make_picture(7, 600, 800)
        Image.fromarray(picture).save(finished.folder / "input" / "photographs" / "100.png")
        assert finished.planned(target) == {"evaluate_external": 1}
        (finished.folder / "go").touch()
        assert process.wait(timeout=PATIENCE_S) == 0
    assert finished.planned(target) == {"evaluate_external": 1}
    finished.run(target)
    assert finished.planned(target) == {}


def test_a_missing_program_is_refused_before_the_run(fresh):
    configure(fresh, decode="no-such-program {input} {output}")
    output = fresh.run(status=1)
    message = "config: evaluation.external.mine: no-such-program, the decode program of mine, is"
    assert f"error: {message} not installed" in output
    assert not (fresh.folder / "results").exists()


def test_what_a_program_says_is_shown(fresh):
    configure(fresh, encode=f"{sys.executable} nowhere.py {{input}} {{output}} {{quality}}")
    output = fresh.run("--until", "evaluate_external", "--config", "experiment=other", status=1)
    assert "mine 10 encoded none of the images: not coded, python" in output
    assert "can't open file" in output
