"""End-to-end optimized image compression (Ballé, Laparra & Simoncelli, 2017).

Importing the package imports nothing heavy; TensorFlow is loaded only by the
modules that run the model.
"""

import importlib.util
import os
import sys
from pathlib import Path

# TensorFlow reports missing GPU libraries as errors whenever it is imported;
# what really fails is raised as an exception. Set the variable to 0 to see all.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

if importlib.util.find_spec("PIL") is None:
    _root = Path(__file__).resolve().parents[2]
    sys.exit(
        f"the packages of balle2017 are not in {sys.executable}; "
        f"write uv run --project {_root} before python"
    )
