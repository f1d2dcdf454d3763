"""Models from strangers: whatever is wrong with one, loading it ends in one sentence.

Every mutation below is a folder whose hashes are right again, as its author would make
them. One child process at a time uses them all, with a limit on its memory; a crash or a
hang costs the mutation that it happened in, and the next child goes on behind it.
"""

import json
import math
import os
import re
import select
import subprocess
import sys

import numpy as np
import pytest
from balle2017.errors import InputError
from balle2017.files import read_json
from balle2017.model.check import (
    FORMAT,
    MAX_CHANNELS,
    MAX_LATENT,
    RANGE_CODER_PRECISION,
    check_config,
    check_model,
    model_tensors,
)
from balle2017.model.find import model_beside, nearest_model, read_config
from balle2017.model.tensors import load_tensors, save_tensors
from helpers import ROOT
from hypothesis import given
from hypothesis import strategies as st

# TensorFlow alone maps about three; 100,000 latents would need five more.
MEGABYTES = 6000
# Ends what hangs; using a sound model takes a second or two, importing TensorFlow ten.
SECONDS = 300

TOTAL = 1 << RANGE_CODER_PRECISION
ODD_NUMBERS = {
    "missing": None,
    "null": "null",
    "text": '"8"',
    "word": '"eight"',
    "list": "[8]",
    "nested": '{"a": [8]}',
    "true": "true",
    "fraction": "8.5",
    "float": "8.0",
    "zero": "0",
    "negative": "-8",
    "nan": "NaN",
    "infinite": "Infinity",
    "exponent": "1e400",
    "digits": "9" * 400,
    "latin": '"\\u00e9\\ud800\\n"',
    "deep": "[" * 700 + "]" * 700,
}


def odd(name):
    """Return an odd JSON value as `json.loads` gives it."""
    return json.loads(ODD_NUMBERS[name])


def replaced(entries, key, name):
    """Return a JSON object with an odd value, or without the key."""
    if ODD_NUMBERS[name] is None:
        return {k: v for k, v in entries.items() if k != key}
    return entries | {key: odd(name)}


def tables(cdf, first):
    """Return the coding tables with another first one."""
    start = np.flatnonzero(cdf == -RANGE_CODER_PRECISION)[1]
    return np.append(np.array(first, np.int32), cdf[start:])


def changed(name, function):
    """Return a mutation of one tensor; `function` may change it in place or return another."""

    def mutate(arrays, description):
        value = arrays[name].copy()
        result = function(value)
        return arrays | {name: value if result is None else result}, description

    return mutate


def filled(name, value, where=Ellipsis):
    """Return a mutation that sets values of a tensor."""
    return changed(name, lambda array: array.__setitem__(where, value))


def first_table(*numbers):
    return changed("coding/cdf", lambda cdf: tables(cdf, numbers))


def larger(num_filters, num_latents):
    """Return a mutation that declares other channels, and has zeros in all shapes they ask for."""

    def mutate(arrays, description):
        channels = {"num_filters": num_filters, "num_latents": num_latents}
        shapes = model_tensors(num_filters, num_latents)
        zeros = {
            name: np.zeros([side or 5 for side in tensor.shape], tensor.dtypes[0])
            for name, tensor in shapes.items()
            if name.startswith(("coding", "prior"))
        }
        return arrays | zeros, description | channels

    return mutate


def without(name):
    return lambda arrays, description: (
        {key: value for key, value in arrays.items() if key != name},
        description,
    )


def described(value):
    return lambda arrays, _: (arrays, value)


CDF = "coding/cdf"
KERNEL = "analysis/conv_1/kernel"
TENSORS = {
    "empty cdf": changed(CDF, lambda cdf: cdf[:0]),
    "one table too few": changed(CDF, lambda cdf: cdf[: np.flatnonzero(cdf < 0)[-1]]),
    "one table too many": changed(
        CDF, lambda cdf: np.append(cdf, cdf[: np.argmax(cdf == TOTAL) + 1])
    ),
    "first table zero": first_table(0),
    "first table zeros": first_table(0, 0, 0, 0),
    "first table without values": first_table(-16, 0, TOTAL),
    "first table empty": first_table(-16),
    "first table starts late": first_table(-16, 5, 100, TOTAL),
    "first table ends early": first_table(-16, 0, 100, TOTAL - 1),
    "first table goes on": first_table(-16, 0, 100, TOTAL, TOTAL),
    "first table falls": first_table(-16, 0, 200, 100, TOTAL),
    "first table stands still": first_table(-16, 0, 100, 100, TOTAL),
    "first table below zero": first_table(-16, 0, -5, 100, TOTAL),
    "first table has an impossible value": first_table(-16, 0, 0, TOTAL, TOTAL),
    "first table of precision 12": first_table(-12, 0, 100, 1 << 12),
    "first table without escape": first_table(16, 0, 100, TOTAL),
    "first table of precision 0": first_table(0, 0, 1),
    "first table of precision 31": first_table(-31, 0, 100, 2**31 - 1),
    "first table of the lowest integer": first_table(-(2**31), 0, 100, TOTAL),
    "last table cut": changed(CDF, lambda cdf: cdf[:-1]),
    "cdf of zeros": filled(CDF, 0),
    "cdf in two dimensions": changed(CDF, lambda cdf: cdf[None]),
    "cdf of int64": changed(CDF, lambda cdf: cdf.astype(np.int64)),
    "cdf of float32": changed(CDF, lambda cdf: cdf.astype(np.float32)),
    "cdf_offset huge": filled("coding/cdf_offset", 10**9, 0),
    "cdf_offset lowest": filled("coding/cdf_offset", -(2**31), 0),
    "cdf_offset highest": filled("coding/cdf_offset", 2**31 - 1, 0),
    "cdf_offset beyond": filled("coding/cdf_offset", -MAX_LATENT - 1, 0),
    "cdf_offset and length beyond": filled("coding/cdf_offset", MAX_LATENT, 0),
    "cdf_offset of one channel": changed("coding/cdf_offset", lambda array: array[:1]),
    "cdf_offset scalar": changed("coding/cdf_offset", lambda array: array[0]),
    "quantization_offset NaN": filled("coding/quantization_offset", np.nan, 0),
    "quantization_offset infinite": filled("coding/quantization_offset", np.inf, 0),
    "quantization_offset huge": filled("coding/quantization_offset", 1e9, 0),
    "quantization_offset beyond": filled("coding/quantization_offset", 0.51, 0),
    "quantization_offset of float64": changed(
        "coding/quantization_offset", lambda array: array.astype(np.float64)
    ),
    "cdf missing": without(CDF),
    "cdf_offset missing": without("coding/cdf_offset"),
    "scale NaN": filled(f"{KERNEL}:scale", np.nan, (0, 0)),
    "scale infinite": filled(f"{KERNEL}:scale", np.inf, (0, 0)),
    "scale negative": filled(f"{KERNEL}:scale", -1, (0, 0)),
    "scale transposed": changed(f"{KERNEL}:scale", lambda array: array.T),
    "scale scalar": changed(f"{KERNEL}:scale", lambda array: array[0, 0]),
    "scale empty": changed(f"{KERNEL}:scale", lambda array: array[:0]),
    "scale missing": without(f"{KERNEL}:scale"),
    "numbers short": changed(f"{KERNEL}:numbers", lambda array: array[:-1]),
    "numbers of int16": changed(f"{KERNEL}:numbers", lambda array: array.astype(np.int16)),
    "numbers in two dimensions": changed(f"{KERNEL}:numbers", lambda array: array[None]),
    "numbers missing": without(f"{KERNEL}:numbers"),
    "kernel NaN": filled("analysis/conv_0/kernel", np.nan, (0, 0)),
    "kernel of int32": changed("analysis/conv_0/kernel", lambda array: array.astype(np.int32)),
    "kernel of complex64": changed(
        "analysis/conv_0/kernel", lambda array: array.astype(np.complex64)
    ),
    "kernel of bool": changed("analysis/conv_0/kernel", lambda array: array.astype(bool)),
    "kernel transposed": changed("analysis/conv_0/kernel", lambda array: array.T),
    "gamma infinite": filled("analysis/gdn_0/gamma", np.inf, (0, 0)),
    "beta NaN": filled("synthesis/igdn_1/beta", np.nan, 0),
    "bias of other channels": changed("analysis/gdn_0/bias", lambda array: array[:-1]),
    "prior NaN": filled("prior/bias_0", np.nan, (0, 0, 0)),
    "prior of float16": changed("prior/bias_0", lambda array: array.astype(np.float16)),
    "prior far away": filled("prior/bias_2", 1e6, 0),
    "prior flat": filled("prior/matrix_0", -1e30, 0),
    "prior overflows": filled("prior/matrix_1", 3e38, 0),
    "prior of no channels": changed("prior/matrix_0", lambda array: array[:0]),
    "unknown tensor": lambda arrays, d: (arrays | {"coding/other": np.zeros(3, np.int32)}, d),
    "unknown tensor with an odd name": lambda arrays, d: (
        arrays | {"x\n\x1b[31m" + "y" * 999: np.zeros(3, np.int32)},
        d,
    ),
    "no tensors": lambda _, description: ({}, description),
    "description null": described(None),
    "description list": described([1]),
    "description text": described("model"),
    "description empty": described({}),
    "100,000 latents": larger(8, 100_000),
    "100,000 filters": larger(100_000, 8),
    "1024 of each, declared only": larger(MAX_CHANNELS, MAX_CHANNELS),
    "16 latents, declared only": lambda arrays, d: (arrays, d | {"num_latents": 16}),
    "format of another version": lambda arrays, d: (arrays, d | {"format": "balle2017-model-2"}),
    "format list": lambda arrays, d: (arrays, d | {"format": [FORMAT]}),
}
for key in ("num_filters", "num_latents"):
    for name in ODD_NUMBERS:
        TENSORS[f"description {key} {name}"] = lambda arrays, description, key=key, name=name: (
            arrays,
            replaced(description, key, name),
        )

# Sound in form, so they load; nobody can know what they make of a picture before it is seen.
BROKEN = {
    "latents of 1e9": filled("analysis/conv_2/kernel:scale", 1e6),
    "latents that overflow": filled("analysis/conv_2/kernel:scale", 3e38),
    "pixels that overflow": filled("synthesis/conv_1/kernel:scale", 1e30),
}

CONFIGS = {
    f"config {key} {name}": (key, name)
    for key in (
        *("format", "num_filters", "num_latents", "lambda_rd", "seed"),
        *("model_sha256", "static_sha256"),
    )
    for name in ODD_NUMBERS
    # What is right for one key or the other.
    if (key, name)
    not in {
        *(("lambda_rd", "float"), ("lambda_rd", "fraction"), ("seed", "zero")),
        ("static_sha256", "missing"),
    }
}


def write_model(folder, arrays, description, config):
    """Write a model's files with right hashes, whatever is in them."""
    folder.mkdir(parents=True)
    digest = save_tensors(folder / "model.safetensors", arrays, description)
    own = description if isinstance(description, dict) else {}
    text = json.dumps(config | own | {"model_sha256": digest})
    (folder / "config.json").write_text(text, encoding="utf-8")


@pytest.fixture(scope="module")
def parts(small_model):
    """Tensors, description and config.json of a sound model."""
    arrays, description, _ = load_tensors(small_model / "model.safetensors")
    return arrays, description, read_json(small_model / "config.json")


def write_raw(folder, header, data, config):
    """Write a model.safetensors from its parts, of types that numpy does not have."""
    folder.mkdir(parents=True)
    text = json.dumps(header).encode()
    raw = len(text).to_bytes(8, "little") + text + data
    (folder / "model.safetensors").write_bytes(raw)
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")


def raw_models(folder, config):
    """Write the files that `save_tensors` would not."""
    metadata = {"balle2017": json.dumps({"sha256": "0" * 64, "description": {}})}
    for dtype, size in (("BF16", 2), ("F8_E4M3", 1), ("F8_E5M2", 1), ("Q7", 1)):
        entry = {"dtype": dtype, "shape": [2], "data_offsets": [0, 2 * size]}
        header = {"__metadata__": metadata, "a": entry}
        write_raw(folder / f"type {dtype}", header, bytes(2 * size), config)
    headers = {
        "no header": None,
        "header list": "[1]",
        "header text": "x",
        "header deep": "[" * 100_000 + "]" * 100_000,
        "header description deep": json.dumps({"sha256": "0" * 64}).replace(
            "}", ', "description": ' + "[" * 900 + "]" * 900 + "}"
        ),
        "header hash list": json.dumps({"sha256": [1], "description": {}}),
    }
    for name, text in headers.items():
        meta = {} if text is None else {"__metadata__": {"balle2017": text}}
        write_raw(folder / name, meta, b"", config)
    entry = {"dtype": "U8", "shape": [0, 2**62], "data_offsets": [0, 0]}
    write_raw(folder / "shape beyond", {"__metadata__": metadata, "a": entry}, b"", config)


RAW = (
    *("type BF16", "type F8_E4M3", "type F8_E5M2", "type Q7", "no header", "header list"),
    *("header text", "header deep", "header description deep", "header hash list"),
    "shape beyond",
)


def line_of(child):
    """Return the next line that the child prints, empty where it has ended or hangs."""
    ready, _, _ = select.select([child.stdout], [], [], SECONDS)
    return child.stdout.readline() if ready else b""


def use_all(folders):
    """Use models in child processes; return an outcome for each."""
    outcomes = {}
    program = [sys.executable, ROOT / "tests" / "load_models.py", ROOT / "scripts", MEGABYTES]
    while len(outcomes) < len(folders):
        rest = folders[len(outcomes) :]
        with subprocess.Popen(
            [str(word) for word in (*program, *rest)],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            # What lay in a buffer here, select would not see.
            bufsize=0,
        ) as child:
            assert line_of(child) == b"ready\n", "the child does not start"
            for folder in rest:
                line = line_of(child)
                ended = {"type": "crash or hang", "message": "", "trace": ""}
                outcomes[folder.name] = json.loads(line) if line else ended
                if not line:
                    child.kill()
                    break
    return outcomes


@pytest.fixture(scope="module")
def outcomes(parts, tmp_path_factory):
    arrays, description, config = parts
    root = tmp_path_factory.mktemp("models")
    write_model(root / "sound", arrays, description, config)
    for name, mutate in (TENSORS | BROKEN).items():
        write_model(root / name, *mutate(arrays, description), config)
    raw_models(root, config)
    return use_all([root / name for name in ("sound", *TENSORS, *BROKEN, *RAW)])


def test_a_sound_model_can_be_used(outcomes):
    assert outcomes["sound"]["type"] == "none", outcomes["sound"]


def is_a_sentence(message):
    """One line that a terminal shows as it is, and not a page."""
    return message.isprintable() and message.isascii() and len(message) < 400


@pytest.mark.parametrize("name", [*TENSORS, *RAW])
def test_a_malformed_model_is_refused_in_one_sentence(outcomes, name):
    outcome = outcomes[name]
    assert outcome["type"] == "InputError", outcome
    assert name in outcome["message"]
    assert is_a_sentence(outcome["message"])


@pytest.mark.parametrize("name", BROKEN)
def test_what_a_model_makes_is_refused_where_it_cannot_be_coded_or_shown(outcomes, name):
    outcome = outcomes[name]
    assert outcome["type"] == "WorkError", outcome
    assert f"is broken: it makes {name.split()[0]} that are NaN or" in outcome["message"]


@pytest.mark.parametrize("name", CONFIGS)
def test_a_malformed_config_is_refused_wherever_it_is_read(parts, tmp_path, name):
    config = replaced(parts[2], *CONFIGS[name])
    key = CONFIGS[name][0]
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(InputError, match=key) as refused:
        read_config(tmp_path / "a")
    assert is_a_sentence(str(refused.value))
    with pytest.raises(InputError, match=key):
        nearest_model(tmp_path, 0.01, 8, None)
    assert model_beside(tmp_path / "a", bytes(8)) is None


@pytest.mark.parametrize(
    "text",
    [b"", b"{", b"[]", b"3", b"null", b"\xff\xfe", b"[" * 100_000, b" " * 2_000_000],
    ids=["empty", "cut", "list", "number", "null", "bytes", "deep", "large"],
)
def test_a_config_of_another_kind_is_refused(tmp_path, text):
    (tmp_path / "config.json").write_bytes(text)
    with pytest.raises(InputError, match=r"config\.json"):
        read_config(tmp_path)


def test_a_large_file_is_refused_unread(parts, tmp_path, tensorflow):
    from balle2017.model.files import load_model

    write_model(tmp_path / "m", *parts)
    with open(tmp_path / "m" / "model.safetensors", "r+b") as file:
        file.truncate(2**40)
    with pytest.raises(InputError, match="more than"):
        load_model(tmp_path / "m")


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_what_is_no_regular_file_is_refused_unopened(parts, tmp_path, tensorflow, make):
    from balle2017.model.files import load_model

    write_model(tmp_path / "m", *parts)
    (tmp_path / "m" / "model.safetensors").unlink()
    make(tmp_path / "m" / "model.safetensors")
    with pytest.raises(InputError, match="not a regular file"):
        load_model(tmp_path / "m")


def test_a_config_of_another_model_is_refused(parts, tmp_path, tensorflow):
    from balle2017.model.files import load_model

    arrays, description, config = parts
    write_model(tmp_path / "m", arrays, description, config)
    config = read_json(tmp_path / "m" / "config.json") | {"num_filters": 9}
    (tmp_path / "m" / "config.json").write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(InputError, match="does not belong"):
        load_model(tmp_path / "m")


@pytest.mark.parametrize(("filters", "latents"), [(1, 1), (3, 5), (8, 2)])
def test_what_a_model_holds_is_what_is_saved(tensorflow, tmp_path, filters, latents):
    from balle2017.model.files import load_model, save_model
    from balle2017.model.network import Balle2017FactorizedPrior

    save_model(tmp_path, Balle2017FactorizedPrior(filters, latents), 0.01, 1)
    arrays, _, _ = load_tensors(tmp_path / "model.safetensors")
    expected = model_tensors(filters, latents)
    assert arrays.keys() == expected.keys()
    for name, array in arrays.items():
        assert expected[name].fits(array), name
    assert load_model(tmp_path).network.num_latents == latents


def refusal(check, *arguments):
    """Return what a check says, empty where it has nothing to say."""
    try:
        check(*arguments)
    except InputError as error:
        return str(error)
    return ""


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=4,
)


@given(
    key=st.sampled_from(
        ("format", "num_filters", "num_latents", "lambda_rd", "seed", "model_sha256")
    ),
    value=JSON,
)
def test_an_entry_is_what_later_code_takes_it_for_or_refused(tmp_path_factory, key, value):
    sound = {"format": FORMAT, "num_filters": 8, "num_latents": 8, "lambda_rd": 0.01, "seed": 1}
    sound |= {"model_sha256": "0" * 64}
    path = tmp_path_factory.getbasetemp() / "config.json"
    message = refusal(check_config, path, sound | {key: value})
    if message:
        assert is_a_sentence(message)
        return
    if key == "lambda_rd":
        assert math.isfinite(abs(math.log(value / 1e-6)) + math.sqrt(1e6 / value))
    elif key in ("format", "model_sha256"):
        assert isinstance(value, str)
    else:
        assert type(value) is int
        assert 0 <= value < 2**32


@given(st.lists(st.sampled_from((-16, 0, 1, 2, 5, 9, TOTAL - 1, TOTAL)), max_size=12))
def test_tables_are_complete_or_refused(parts, numbers):
    """Held to a plain reading of the format, number by number."""
    arrays, description, _ = parts
    text = " ".join(map(str, numbers))
    rising = re.fullmatch(rf"(-16 0 (\d+ )+{TOTAL} ?)+", text + " ") is not None
    groups = text.split("-16 ")[1:]
    for group in groups:
        values = [int(number) for number in group.split()]
        rising &= values == sorted(set(values)) and values[-1:] == [TOTAL]
    channels = len(groups)
    description = description | {"num_latents": max(1, channels)}
    shapes = model_tensors(8, max(1, channels))
    fitting = {}
    for name, tensor in shapes.items():
        array = arrays[name]
        shape = [side or 0 for side in tensor.shape]
        fitting[name] = np.resize(array, shape)
    fitting["coding/cdf"] = np.array(numbers, np.int32)
    message = refusal(check_model, ROOT / "model.safetensors", description, fitting)
    assert ("coding/cdf is not one complete table" in message) == (not rising)
