"""The workflow with `evaluation.refine`."""

import pandas as pd
from workflow_tools import TINY


def test_refined_latents_are_measured_beside_the_rounded_ones(finished):
    plain = pd.read_csv(finished.folder / "results" / "tiny" / "rd.csv")
    finished.configure(evaluation=TINY["evaluation"] | {"refine": True})
    planned = finished.planned()
    assert planned["evaluate_refined"] == len(TINY["lambdas"])
    assert not {"train_model", "evaluate_model", "evaluate_codec"} & planned.keys()
    finished.run("report")
    rd = pd.read_csv(finished.folder / "results" / "tiny" / "rd.csv")
    refined = rd[rd["codec"].str.contains("refined")]
    rest = rd.drop(refined.index).reset_index(drop=True)
    pd.testing.assert_frame_equal(rest, plain)
    assert sorted(refined["codec"]) == [
        *(["balle2017_refined"] * 2 + ["balle2017_refined_adaptive"] * 2)
    ]
    report = (finished.folder / "results" / "tiny" / "report.html").read_text()
    assert "Ballé 2017, 4 filters, refined, adaptive coder" in report
    bd = pd.read_csv(finished.folder / "results" / "tiny" / "bd_rate.csv")
    assert "balle2017_refined-f4-s1" in set(bd["codec"])
    # Without the setting they are no longer part of the results.
    finished.configure()
    finished.run("aggregate")
    again = pd.read_csv(finished.folder / "results" / "tiny" / "rd.csv")
    pd.testing.assert_frame_equal(again, plain)
