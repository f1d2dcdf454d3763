"""The workflow on tiny data, in a folder of its own."""

import contextlib
import io
import os
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import yaml
from helpers import PATIENCE_S, ROOT, make_picture
from PIL import Image

TINY = {
    "experiment": "tiny",
    "train_archive": "input/archive.tar",
    "test_images": "input/photographs",
    "lambdas": [0.01, 0.02],
    "data": {"min_size": 32, "val_split": 0.3},
    "model": {"num_filters": 4, "num_latents": 6},
    "training": {
        "patch_size": 32,
        "batch_size": 1,
        "epochs": 1,
        "steps_per_epoch": 2,
        "threads": 1,
        "init_from": None,
        "quantization": "noise",
        "precision_policy": "float32",
    },
    "evaluation": {"codecs": {"jpeg": [30, 60, 90]}},
}


class Workflow:
    """A folder with the workflow and tiny data."""

    def __init__(self, folder: Path):
        self.folder = folder

    @property
    def environment(self) -> dict[str, str]:
        """Variables for a run with the folder's own copy of the package, not the installed one."""
        return os.environ | {"PYTHONPATH": str(self.folder / "scripts")}

    def run(self, *arguments: str, status: int = 0, config: str = "tiny.yaml") -> str:
        """Run Snakemake; return what it printed."""
        command = [sys.executable, "-m", "snakemake", "--cores", "2", *arguments]
        done = subprocess.run(
            [*command, "--configfile", config],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
        )
        output = done.stdout + done.stderr
        assert done.returncode == status, output
        return output

    @contextlib.contextmanager
    def started(self, *arguments: str) -> Iterator[subprocess.Popen]:
        """Run Snakemake beside the caller, its output in output.txt; in the end it is over."""
        command = [sys.executable, "-m", "snakemake", *arguments, "--configfile", "tiny.yaml"]
        with open(self.folder / "output.txt", "w") as output:
            process = subprocess.Popen(
                command, cwd=self.folder, env=self.environment, stdout=output, stderr=output
            )
            try:
                yield process
            finally:
                process.kill()
                process.wait()

    def planned(self, *arguments: str, **options) -> dict[str, int]:
        """Return how many jobs of each rule a run would execute."""
        output = self.run("--dry-run", *arguments, **options)
        if "Nothing to be done" in output:
            return {}
        table = re.search(r"^job +count\n-+ +-+\n(.*?)^total", output, re.M | re.S).group(1)
        jobs = {name: int(count) for name, count in (line.split() for line in table.splitlines())}
        return {name: count for name, count in jobs.items() if name not in ("all", "evaluate")}

    def configure(self, **changes) -> None:
        """Write the config with some keys replaced."""
        (self.folder / "tiny.yaml").write_text(yaml.safe_dump(TINY | changes))

    def edit(self, path: str) -> None:
        """Change a source file's content, not its meaning; it seems older than all results."""
        with open(self.folder / path, "a") as file:
            file.write("\n# changed\n")
        make_old(self.folder / path)


def make_old(path: Path) -> None:
    """Set a file's time as `cp -p`, `mv` and unpacking do when they put an older one there."""
    os.utime(path, (1e9, 1e9))


def trainings(folder: Path) -> list[psutil.Process]:
    """Return the training processes of a workflow."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            words = process.cmdline()
            # The shell that Snakemake starts has the command in one word, and a job on a cluster
            # has the script among the files that it waits for.
            if words[1:2] == ["scripts/train.py"] and Path(process.cwd()) == folder:
                found.append(process)
    return found


def add_picture(tar: tarfile.TarFile, seed: int, *size: int) -> None:
    buffer = io.BytesIO()
    Image.fromarray(make_picture(seed, *size)).save(buffer, "PNG")
    info = tarfile.TarInfo(f"{seed}.png")
    info.size = buffer.tell()
    buffer.seek(0)
    tar.addfile(info, buffer)


def write_archive(path: Path, seeds: range, *size: int) -> None:
    with tarfile.open(path, "w") as tar:
        for seed in seeds:
            add_picture(tar, seed, *size)


def copy_workflow(folder: Path) -> Workflow:
    """Copy what a clone has, and make tiny data."""
    skip = shutil.ignore_patterns("__pycache__")
    for name in ("scripts", "workflow", "envs", "profiles", "experiments"):
        shutil.copytree(ROOT / name, folder / name, ignore=skip)
    for name in ("Snakefile", "config.yaml"):
        shutil.copy2(ROOT / name, folder / name)
    (folder / "pretrained").symlink_to(ROOT / "pretrained")
    photographs = folder / "input" / "photographs"
    photographs.mkdir(parents=True)
    for seed in (100, 101):
        # Large enough that the coder's last bytes are within the rate tolerance.
        Image.fromarray(make_picture(seed, 600, 800)).save(photographs / f"{seed}.png")
    write_archive(folder / "input" / "archive.tar", range(8))
    workflow = Workflow(folder)
    workflow.configure()
    return workflow
