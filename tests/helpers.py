"""Small pictures, and scripts run as a user runs them."""

import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent


def make_picture(seed: int, height: int = 48, width: int = 64) -> np.ndarray:
    """Return a smooth random colour picture, uint8 [height, width, 3]."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (4, 4, 3), np.uint8))
    return np.asarray(small.resize((width, height), Image.Resampling.BICUBIC))


def run_script(name: str, *arguments: object) -> subprocess.CompletedProcess:
    """Run scripts/NAME.py in a process of its own."""
    command = [sys.executable, str(ROOT / "scripts" / f"{name}.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)
