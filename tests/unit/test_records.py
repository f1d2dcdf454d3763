"""What is read of Snakemake's memory."""

import base64
import json

import pytest
from balle2017.errors import InputError
from balle2017.pipeline.records import check_results, remembered


def remember(folder, name):
    """Write a record as Snakemake 9 does."""
    coded = base64.urlsafe_b64encode(name.encode()).decode()
    parts = [coded[at : at + 254] for at in range(0, len(coded), 254)]
    path = folder.joinpath(*(f"@{part}" for part in parts[:-1]), parts[-1])
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"rule": "aggregate"}))


def test_records_are_found_whatever_their_length(tmp_path):
    names = ["results/a/rd.csv", f"results/{'x' * 200}/{'y' * 200}", "results/caf\xe9"]
    for name in names[:2]:
        remember(tmp_path / "metadata", name)
    remember(tmp_path / "incomplete", names[2])
    (tmp_path / "metadata" / "notes.txt~").write_text("not from Snakemake")
    assert remembered(tmp_path) >= set(names)
    assert remembered(tmp_path / "nowhere") == set()


def test_results_need_a_record_only_where_they_exist(tmp_path):
    made = tmp_path / "rd.csv"
    records = tmp_path / ".snakemake"
    check_results([str(made)], records)
    made.write_text("codec\n")
    with pytest.raises(InputError, match=r"no record of how .*rd\.csv was made, as"):
        check_results([str(made)], records)
    other = tmp_path / "bd.csv"
    other.touch()
    with pytest.raises(InputError, match=r"bd\.csv was made \(and 1 more\), as"):
        check_results([str(made), str(other)], records)
    remember(records / "metadata", str(made))
    check_results([str(made)], records)
