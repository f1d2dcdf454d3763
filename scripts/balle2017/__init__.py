"""End-to-end optimized image compression (Ballé, Laparra & Simoncelli, 2017).

Importing the package imports nothing heavy; TensorFlow is loaded only by the
modules that run the model.
"""

import os

# TensorFlow reports missing GPU libraries as errors whenever it is imported;
# what really fails is raised as an exception. Set the variable to 0 to see all.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
