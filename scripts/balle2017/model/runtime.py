"""Set TensorFlow up so that a run can be repeated to the bit."""

import atexit
import contextlib
import ctypes
import os
from pathlib import Path

import tensorflow as tf
from tensorflow.python.eager.polymorphic_function.atomic_function import AtomicFunction

from balle2017.errors import InputError, WorkError

#: CPU flags of instructions for bfloat16 matrix products that TensorFlow uses, the fastest
#: first: tiles (AMX), and dot products in AVX-512 (on AMD too).
BFLOAT16_INSTRUCTIONS = ("amx_bf16", "avx512_bf16")


def _end_quietly() -> None:
    """Silence the deletion of functions that outlive TensorFlow's modules.

    When Python ends, it empties modules in an order that TensorFlow cannot rely on. A function
    that is deleted after the table of functions would print "Exception ignored in
    AtomicFunction.__del__". What it would free is freed with the process.
    """
    AtomicFunction.__del__ = lambda self: None


def set_threads(threads: int, operations: int | None = None) -> None:
    """Fix the number of threads of one operation, and of operations at the same time.

    Sums are split by thread, so the number of threads affects the result. The number of
    operations (none: the same number) does not.
    """
    atexit.register(_end_quietly)
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(operations or threads)


_process: int | None = None


def check_process() -> None:
    """Refuse to compute in a process that was forked from one that has computed.

    TensorFlow's threads are not copied by a fork, and it would wait for them without end.

    Raises:
        WorkError: this is such a process.
    """
    global _process
    if _process is None:
        _process = os.getpid()
    if _process != os.getpid():
        raise WorkError(
            "this process was forked after its parent had loaded a model, and TensorFlow cannot "
            "compute in it; use the start method 'spawn' of multiprocessing"
        )


def set_unset_threads(threads: int, operations: int) -> None:
    """Call `set_threads`, unless the program has set threads or computed something already."""
    if tf.config.threading.get_intra_op_parallelism_threads():
        return
    # TensorFlow refuses after its first operation.
    with contextlib.suppress(RuntimeError):
        set_threads(threads, operations)


# Of <malloc.h> in glibc.
_M_TRIM_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -4, -8


def _keep_memory() -> None:
    """Let malloc keep what is freed, instead of giving it back to the kernel.

    TensorFlow allocates and frees each tensor. By default, large ones are fresh pages each time,
    which the kernel has to clear: a quarter of the time in `refinement`.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        for parameter, value in (
            (_M_TRIM_THRESHOLD, 2**31 - 1),
            (_M_MMAP_MAX, 0),
            (_M_ARENA_MAX, 1),
        ):
            mallopt(parameter, value)


def configure(threads: int, device: str, seed: int = 0, operations: int | None = None) -> str:
    """Fix threads, determinism, device and seed; call it before any other TensorFlow work.

    Args:
        threads: see `set_threads`.
        device: "auto", "cpu" or "gpu".
        seed: of TensorFlow's own random numbers, which only initial weights use.
        operations: see `set_threads`.

    Returns:
        The name of the device, such as "CPU" or "GPU (NVIDIA A100)".

    Raises:
        InputError: a GPU is asked for and TensorFlow sees none.
    """
    set_threads(threads, operations)
    _keep_memory()
    gpus = [] if device == "cpu" else tf.config.list_physical_devices("GPU")
    if device == "gpu" and not gpus:
        raise InputError(
            "the settings ask for a GPU (device: gpu) and TensorFlow sees none; install with "
            "'uv run --extra gpu', check CUDA_VISIBLE_DEVICES, or set device: auto"
        )
    tf.config.set_visible_devices(gpus[:1], "GPU")
    tf.config.experimental.enable_op_determinism()
    tf.keras.utils.set_random_seed(seed)
    if not gpus:
        return "CPU"
    tf.config.experimental.set_memory_growth(gpus[0], True)
    return f"GPU ({tf.config.experimental.get_device_details(gpus[0]).get('device_name', '?')})"


def cpu_model() -> tuple[str, frozenset[str]]:
    """Return the processor's name and feature flags, as Linux tells them."""
    name = "unknown"
    flags: frozenset[str] = frozenset()
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "model name":
            name = value.strip()
        elif key.strip() == "flags":
            flags = frozenset(value.split())
    return name, flags


def bfloat16_instructions() -> str | None:
    """Return the CPU's fastest instructions for bfloat16 matrix products, if it has any."""
    _, flags = cpu_model()
    return next((name for name in BFLOAT16_INSTRUCTIONS if name in flags), None)


def resolve_policy(policy: str, device: str) -> str:
    """Return the Keras precision policy that "auto" stands for on this device.

    bfloat16 is fast on a CPU with instructions for it and slow on one without; a GPU uses
    float16.
    """
    if policy != "auto":
        return policy
    if device != "CPU":
        return "mixed_float16"
    return "mixed_bfloat16" if bfloat16_instructions() else "float32"
