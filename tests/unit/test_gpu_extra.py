"""The extra `gpu`: all the libraries that TensorFlow opens, known without a GPU."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import ROOT

TENSORFLOW = Path(importlib.util.find_spec("tensorflow").submodule_search_locations[0])
LOADER = "libtensorflow_framework.so.2"
#: What TensorFlow's loader opens and training can do without: the driver, which comes with the
#: GPU; TensorRT; and CUPTI, which only the profiler uses (its wheel is not where TensorFlow
#: looks). Beginnings of names of AMD's libraries follow.
OTHERS = ("CudaDriver", "NvInfer", "NvInferPlugin", "Cupti")
AMD = ("Hip", "Miopen", "Roc")

# TensorFlow's own functions, `absl::StatusOr<void*> DsoLoader::Get...DsoHandle()`: a status, 0
# where all is well, and what dlopen returned, in memory that the caller names.
OPEN = """
import ctypes, sys
library = ctypes.CDLL(sys.argv[1])
for name in sys.argv[2:]:
    result = (ctypes.c_uint64 * 4)()
    function = getattr(library, name)
    function.restype, function.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
    function(result)
    print(name, int(result[0] == 0 and result[1] != 0))
print(*{line.split()[-1] for line in open("/proc/self/maps") if ".so" in line})
"""

# What fails because another library is not loaded yet is tried again after the others.
LOAD = """
import ctypes, sys
left = sys.argv[1:]
while left:
    failed = {}
    for path in left:
        try:
            ctypes.CDLL(path, ctypes.RTLD_GLOBAL)
        except OSError as error:
            failed[path] = error
    if len(failed) == len(left):
        sys.exit("\\n".join(map(str, failed.values())))
    left = list(failed)
"""


def python(code, *arguments):
    environment = {k: v for k, v in os.environ.items() if k != "LD_LIBRARY_PATH"}
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        capture_output=True,
        text=True,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def openers():
    """Return TensorFlow's functions that open one GPU library each, by the library's name."""
    binary = (TENSORFLOW / LOADER).read_bytes()
    found = re.findall(rb"_ZN3tsl8internal9DsoLoader\d+Get(\w+?)DsoHandleEv", binary)
    names = {name.decode() for name in found}
    names = {name for name in names if name not in OTHERS and not name.startswith(AMD)}
    return {
        name: f"_ZN3tsl8internal9DsoLoader{len(name) + 12}Get{name}DsoHandleEv" for name in names
    }


def opened(folder):
    """Return which libraries TensorFlow finds where it lies in `folder`, and the files."""
    (folder / "tensorflow").mkdir(parents=True, exist_ok=True)
    loader = folder / "tensorflow" / LOADER
    loader.unlink(missing_ok=True)
    loader.symlink_to(TENSORFLOW / LOADER)
    functions = openers()
    *lines, files = python(OPEN, loader, *functions.values())
    found = dict(line.split() for line in lines)
    return {name for name, function in functions.items() if found[function] == "1"}, files.split()


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A folder with the wheels of the extra as they lie in site-packages."""
    folder = tmp_path_factory.mktemp("gpu")
    export = ["uv", "export", "--frozen", "--extra", "gpu", "--no-emit-project"]
    done = subprocess.run([*export, "-q"], cwd=ROOT, capture_output=True, text=True, check=True)
    # A requirement goes on over lines that end in a backslash: its hashes.
    pins = re.findall(r"^nvidia-(?:.*\\\n)*.*\n", done.stdout, re.M)
    assert pins
    (folder / "gpu.txt").write_text("".join(pins))
    install = ["uv", "pip", "install", "--no-deps", "--target", folder, "-r", folder / "gpu.txt"]
    done = subprocess.run([*install, "-q"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


def test_tensorflow_says_which_libraries_it_opens(tmp_path):
    assert {"Cudnn", "Cublas", "CublasLt", "Cufft", "Cusolver", "Cusparse"} <= openers().keys()
    found, _ = opened(tmp_path)
    assert "Cudnn" not in found


@pytest.mark.slow  # 1.9 GB to download: 40 seconds where that is fast, 3.2 GB on the disk.
def test_the_extra_has_every_library_that_tensorflow_opens(site):
    found, files = opened(site)
    assert found == openers().keys()
    # From the wheels, not from the machine.
    cuda = [file for file in files if re.search(r"/lib(cu|nv)\w+\.so", file)]
    assert len(cuda) >= len(found)
    assert [file for file in cuda if not file.startswith(f"{site}/nvidia/")] == []


@pytest.mark.slow
def test_every_library_of_the_extra_finds_what_it_needs(site):
    # cuDNN opens its parts by name only when a network needs them.
    libraries = list(site.glob("nvidia/*/lib/*.so*"))
    assert any("libcudnn_cnn_infer" in path.name for path in libraries)
    python(LOAD, *libraries)


@pytest.mark.slow
def test_the_extra_has_what_xla_compiles_with(site):
    compiler = site / "nvidia" / "cuda_nvcc"
    assert (compiler / "nvvm" / "libdevice" / "libdevice.10.bc").is_file()
    assert (compiler / "bin" / "ptxas").is_file()
