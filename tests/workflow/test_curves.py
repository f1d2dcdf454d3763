"""Curves of others, on a test set that is not Kodak."""

import pandas as pd
from workflow_tools import TINY, make_old

CURVE = "codec,bpp,psnr_rgb\nnew,0.05,20\nnew,0.5,30\nnew,3,45\n"


def test_curves_of_others_are_compared_and_only_their_change_compares_again(finished):
    file = finished.folder / "input" / "their results.csv"
    file.write_text(CURVE)
    entry = {"file": "input/their results.csv", "source": 'Smith\'s "table" 3 & more'}
    evaluation = TINY["evaluation"] | {"curves": [entry]}
    finished.configure(evaluation=evaluation)
    expected = {"collect_curves": 1, "compare_published": 1, "plot": 1, "report": 1}
    assert finished.planned() == expected
    output = finished.run()
    label = f"new, {entry['source']}"
    assert f"BD-rate of balle2017-f4-s1 against {label}: " in output
    assert finished.planned() == {}
    results = finished.folder / "results" / "tiny"
    assert "new" not in (results / "rd.csv").read_text()
    bd = pd.read_csv(results / "bd_rate_published.csv")
    assert set(bd["anchor"]) == {f"new ({entry['source']})"}
    assert bd.query("codec == 'jpeg' and metric == 'psnr_rgb'")["points"].tolist() == [3]
    page = (results / "report.html").read_text(encoding="utf-8")
    assert "grey curves were published by others" in page
    assert "Our measurements against published ones" not in page
    assert {path.name for path in (results / "compressai").glob("[!.]*")} == {
        *("balle2017-f4-s1.json", "balle2017_adaptive-f4-s1.json", "jpeg.json")
    }
    file.write_text(CURVE.replace("30", "31"))
    make_old(file)
    assert finished.planned() == expected
    file.write_text(CURVE.replace("30", "high"))
    output = finished.run(status=1)
    assert "new has the psnr_rgb high; it must be from 0 to 1000 dB" in output


def test_a_file_that_is_missing_is_refused_before_the_run(fresh):
    fresh.configure(evaluation={"curves": [{"file": "none.csv", "source": "x"}]})
    output = fresh.run(status=1)
    assert (
        "config: evaluation.curves[0].file is none.csv, which is not a file; give a CSV" in output
    )
    assert not (fresh.folder / "results").exists()
