import os
import subprocess
import sys

import pytest
from balle2017.model import runtime
from helpers import PATIENCE_S, ROOT


@pytest.mark.parametrize(
    ("flags", "instructions", "policy"),
    [
        # An Intel Xeon with AMX has both; an AMD EPYC has the second.
        ({"avx2", "avx512_bf16", "amx_bf16"}, "amx_bf16", "mixed_bfloat16"),
        ({"avx2", "avx512_bf16"}, "avx512_bf16", "mixed_bfloat16"),
        ({"avx2", "avx512f", "avx512_vnni", "amx_int8"}, None, "float32"),
        (set(), None, "float32"),
    ],
)
def test_auto_takes_bfloat16_where_the_cpu_multiplies_it(monkeypatch, flags, instructions, policy):
    monkeypatch.setattr(runtime, "cpu_model", lambda: ("some CPU", frozenset(flags)))
    assert runtime.bfloat16_instructions() == instructions
    assert runtime.resolve_policy("auto", "CPU") == policy
    assert runtime.resolve_policy("auto", "GPU (NVIDIA A100)") == "mixed_float16"
    assert runtime.resolve_policy("float32", "CPU") == "float32"


# Python's end empties TensorFlow's modules while functions are alive; what is registered
# before happens after.
END = """
import atexit, gc, sys
sys.path.insert(0, sys.argv[1])
import tensorflow as tf
from tensorflow.python.eager.polymorphic_function import atomic_function

def end():
    global function
    atomic_function.RUNTIME_FUNCTION_REFS = None
    del function
    gc.collect()
    print("ended")

atexit.register(end)
from balle2017.model import runtime
runtime.configure(threads=1, device="cpu")
function = tf.function(lambda x: x + 1)
function(tf.constant(1))
"""


def test_a_process_ends_without_noise_of_tensorflow():
    command = [sys.executable, "-c", END, str(ROOT / "scripts")]
    environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert (done.returncode, done.stdout, done.stderr) == (0, "ended\n", "")


# Threads allocate and free 40 MB as TensorFlow does; pages that are new have to be cleared.
FAULTS = """
import resource, sys, threading
sys.path.insert(0, sys.argv[1])
from balle2017.model import runtime
if sys.argv[2] == "configured":
    runtime.configure(threads=1, device="cpu")

def work():
    for _ in range(10):
        b"x" * (40 * 2**20)

before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for thread in [threading.Thread(target=work) for _ in range(2)]:
    thread.start()
    thread.join()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def test_memory_is_used_again_without_new_pages():
    faults = {}
    for how in ("usual", "configured"):
        command = [sys.executable, "-c", FAULTS, str(ROOT / "scripts"), how]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        faults[how] = int(done.stdout)
    # Of twenty blocks only the first needs pages.
    assert faults["configured"] < 0.1 * faults["usual"]


def test_training_and_evaluation_write_no_errors(picture_folder, tmp_path):
    """Whole programs, from Python's start to its end, in an environment that silences nothing."""
    out = tmp_path / "out"
    words = ["--patch_size", 32, "--batch_size", 1, "--num_filters", 4, "--threads", 1]
    words += ["--val_split", 0.5, "--epochs", 1, "--steps_per_epoch", 1, "--device", "cpu"]
    train = ["train.py", "--data_dir", picture_folder, "--save_dir", out, *words]
    evaluate = ["evaluate.py", "--model", out, "--images", picture_folder, "--out", out / "rates"]
    environment = {key: os.environ[key] for key in os.environ if not key.startswith("TF_CPP_")}
    for script, *arguments in (train, evaluate):
        command = [sys.executable, str(ROOT / "scripts" / script), *map(str, arguments)]
        done = subprocess.run(
            command, capture_output=True, text=True, env=environment, timeout=PATIENCE_S
        )
        assert (done.returncode, done.stderr) == (0, ""), script
    assert (out / "rates" / "per_image.csv").is_file()
