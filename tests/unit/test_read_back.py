"""Files that the package wrote, and reads again, may be damaged: a sentence, or written anew."""

import contextlib
import json
import shutil
import types

import numpy as np
import pytest
from balle2017.data.store import ImageStore
from balle2017.errors import DamagedFileError, DivergedError, InputError
from balle2017.files import read_json, read_map, write_json
from balle2017.pipeline.sources import record_sources
from balle2017.results.aggregation import collect, collect_images
from balle2017.results.publication import model_rows
from balle2017.results.training_curves import read_histories
from balle2017.training.callbacks import KeepLastNCheckpoints
from balle2017.training.finished import FILES, keep, restore
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

DAMAGE = {
    "empty": b"",
    "cut": b'[{"message": "x", ',
    "list": b"[1]",
    "list of maps": b"[{}]",
    "map": b"{}",
    "map of others": b'{"message": [], "fingerprint": 3, "settings": null, "testset": {}}',
    "null": b"null",
    "number": b"3",
    "text": b'"settings"',
    "binary": bytes(range(256)),
    "zeros": bytes(4096),
    "deep": b"[" * 100_000,
    "not finite": b'[{"point": NaN, "bpp": "Infinity"}]',
    "table": b"name,width\n1,2,3,4\n",
    "columns": b"name,shard,offset,width,height\nx\n,,,,\n",
}
damaged = pytest.mark.parametrize("data", DAMAGE.values(), ids=DAMAGE)


@damaged
def test_a_damaged_note_of_a_failure_is_none(tmp_path, data):
    from balle2017.training.interruption import resume

    checkpoints = KeepLastNCheckpoints(tmp_path)
    checkpoints.failure_path.write_bytes(data)
    assert checkpoints.failure() is None
    resume(None, checkpoints, {"seed": 1}, False, print)
    assert not checkpoints.failure_path.exists()
    checkpoints.failure_path.write_bytes(data)
    checkpoints.record_failure("bpp became NaN", {"seed": 1})
    with pytest.raises(DivergedError, match="bpp became NaN"):
        resume(None, checkpoints, {"seed": 1}, False, print)


@damaged
@pytest.mark.parametrize("name", ["run.json", "sha256.json"])
@pytest.mark.parametrize("honest", [False, True], ids=["other hashes", "right hashes"])
def test_a_damaged_copy_of_a_training_is_not_used(tmp_path, data, name, honest):
    out, kept = tmp_path / "out", tmp_path / "kept"
    (out / "model").mkdir(parents=True)
    for file in FILES:
        (out / file).write_text('{"fingerprint": {"seed": 1}}')
    keep(out, tmp_path / "sound")
    assert restore(tmp_path / "sound", tmp_path / "restored", {"seed": 1}) is not None
    if honest and name == "run.json":
        (out / name).write_bytes(data)
    keep(out, kept)
    if not (honest and name == "run.json"):
        (kept / name).write_bytes(data)
    assert restore(kept, tmp_path / "new", {"seed": 1}) is None
    assert not (tmp_path / "new").exists()


@damaged
def test_damaged_hashes_of_sources_are_computed_again(tmp_path, data):
    source = tmp_path / "a.tar"
    source.write_bytes(b"content")
    record = record_sources([source], tmp_path / "records")
    expected = record.read_bytes()
    record.with_suffix(".json").write_bytes(data)
    assert record_sources([source], tmp_path / "records").read_bytes() == expected
    record.with_suffix(".json").write_text(json.dumps({str(source): data.decode("latin-1")}))
    record.write_bytes(data)
    assert record_sources([source], tmp_path / "records").read_bytes() == expected


@damaged
def test_a_damaged_list_of_images_is_named(tmp_path, data):
    (tmp_path / "train.csv").write_bytes(data)
    # Without a row it is a list of none.
    with contextlib.suppress(InputError):
        assert len(ImageStore(tmp_path / "train.csv")) == 0


@pytest.mark.parametrize(("width", "height"), [("0", "1"), ("-3", "-2"), ("1", ""), ("1e9", "1")])
def test_sizes_of_images_are_checked(tmp_path, width, height):
    (tmp_path / "shard").write_bytes(bytes(100))
    (tmp_path / "l.csv").write_text(f"name,shard,offset,width,height\nx,shard,0,{width},{height}\n")
    with pytest.raises(InputError, match=r"l\.csv is not an image list"):
        ImageStore(tmp_path / "l.csv")


@damaged
def test_a_damaged_summary_is_named(tmp_path, data):
    (tmp_path / "summary.json").write_bytes(data)
    (tmp_path / "per_image.csv").write_text("point,image,bpp,psnr_rgb,ms_ssim_rgb\n1,a,1,2,\n")
    for function in (collect, collect_images):
        with pytest.raises(InputError, match=r"summary\.json|the evaluations lack"):
            function([tmp_path])


@damaged
def test_a_damaged_table_of_images_is_named(tmp_path, data):
    write_json(tmp_path / "summary.json", [{"testset": "t", "codec": "jpeg", "point": 1}])
    (tmp_path / "per_image.csv").write_bytes(data)
    with pytest.raises(InputError, match=r"per_image\.csv is not a table of images"):
        collect_images([tmp_path])


@damaged
def test_a_damaged_history_is_named(tmp_path, data):
    (tmp_path / "history.csv").write_bytes(data)
    with pytest.raises(InputError, match=r"history\.csv is not a history"):
        read_histories([tmp_path / "history.csv"])


def test_text_in_place_of_numbers_is_named(tmp_path):
    path = tmp_path / "history.csv"
    path.write_text("step,loss,bpp,val_loss,val_bpp,val_psnr\n1,1,1,much,1,1\n")
    with pytest.raises(InputError, match="val_loss has values that are not numbers"):
        read_histories([path])


@damaged
def test_a_damaged_record_of_a_training_is_named(tmp_path, data):
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "run.json").write_bytes(data)
    with pytest.raises(InputError, match=r"run\.json is not a record of a training: "):
        model_rows(tmp_path)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)
SUMMARY = {"testset": "t", "codec": "jpeg", "point": 1, "bpp": 1.0, "psnr_rgb": 30.0}


@given(key=st.sampled_from([*SUMMARY, "filters", "seed", "n_images", "lacking"]), value=JSON)
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_value_in_a_summary_is_taken_or_refused(tmp_path, key, value):
    (tmp_path / "summary.json").write_text(json.dumps([SUMMARY | {key: value}]))
    with contextlib.suppress(InputError):
        assert len(collect([tmp_path])) == 1


@pytest.mark.parametrize(
    ("entries", "wrong"),
    [
        ({"history": [{"epoch": 2}]}, "history"),
        ({"history": [None]}, "history"),
        ({"history": {}}, "history"),
        ({"best_epoch": 1}, "history"),
        ({"best_epoch": -1}, "history"),
        ({"fingerprint": []}, "fingerprint"),
        ({"step": None}, "step"),
        ({}, None),
    ],
)
def test_a_checkpoint_of_another_shape_is_damaged(tmp_path, tensorflow, entries, wrong):
    from balle2017.model.tensors import save_tensors
    from balle2017.training.interruption import _check_arrays, _read

    description = {"fingerprint": {}, "step": 1, "seconds": 1.0, "history": [], "best_loss": None}
    path = tmp_path / "checkpoint-1.safetensors"
    save_tensors(path, {"sums": np.zeros(3)}, description | {"best_epoch": 0} | entries)
    if wrong is None:
        arrays, read = _read(path)
        assert read["step"] == 1
        _check_arrays(path, arrays, read, types.SimpleNamespace(variables={}, sums=np.zeros(3)))
        other = types.SimpleNamespace(variables={}, sums=np.zeros(4))
        with pytest.raises(DamagedFileError, match="sums is not right"):
            _check_arrays(path, arrays, read, other)
        return
    with pytest.raises(DamagedFileError, match=f"{wrong}.* is not right"):
        _read(path)


def test_a_map_has_what_it_must_have(tmp_path):
    path = tmp_path / "a.json"
    with pytest.raises(InputError, match="does not exist"):
        read_map(path, "note", {})
    write_json(path, {"a": {"b": 1}, "c": "x"})
    wanted = {"a": {"b": int}, "c": str}
    assert read_map(path, "note", wanted) == read_json(path)
    for other in ({"a": {"b": str}}, {"a": {"d": int}}, {"c": {}}, {"e": str}):
        with pytest.raises(
            InputError,
            match=r"a\.json is not a note: ([a-e.]+ is missing or wrong|it is not a map)",
        ):
            read_map(path, "note", other)
    path.unlink()
    path.mkdir()
    with pytest.raises(InputError, match="is not a note"):
        read_map(path, "note", {})
    shutil.rmtree(path)
