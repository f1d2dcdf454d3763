"""End-to-end optimized image compression (Ballé, Laparra & Simoncelli, 2017).

Importing the package imports nothing heavy; TensorFlow is loaded only by the
modules that run the model.
"""

import os
from typing import TYPE_CHECKING

from balle2017.faces import lookup

if TYPE_CHECKING:
    from balle2017.interface.family import Family, open_codec

__all__ = ["Family", "open_codec"]

# TensorFlow reports missing GPU libraries as errors whenever it is imported;
# what really fails is raised as an exception. Set the variable to 0 to see all.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

__getattr__ = lookup(__name__, {name: "balle2017.interface.family" for name in __all__})
