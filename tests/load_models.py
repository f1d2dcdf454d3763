"""Use models as a stranger's would be, and say what came of it; run by test_malformed_models.

    python load_models.py SCRIPTS MEGABYTES FOLDER ...

Prints a line of JSON for each folder: the error's type, its message and where it arose.
"""

import json
import resource
import sys
import traceback

sys.path.insert(0, sys.argv[1])

import numpy as np
from balle2017.coding.codec import Codec
from balle2017.errors import WorkError
from balle2017.training.start import starting_weights


def use(folder):
    """Compress, estimate and decompress a picture, and start a training."""
    codec = Codec(folder)
    pixels = np.random.default_rng(1).integers(0, 256, (40, 50, 3), np.uint8)
    data = codec.compress(pixels)
    codec.estimated_bits(pixels)
    codec.decompress(data)
    network = codec.model.network
    starting_weights(codec.model, 0.02, network.num_filters, network.num_latents)
    try:
        codec.latents(np.zeros((100_000, 1, 3), np.uint8))
    except Exception as error:
        if isinstance(error, WorkError):
            raise


limit = int(sys.argv[2]) << 20
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
for folder in sys.argv[3:]:
    print(json.dumps({"start": folder}), flush=True)
    outcome = {"type": "none", "message": "", "trace": ""}
    try:
        use(folder)
    except BaseException as error:
        trace = "".join(traceback.format_exception(error))
        outcome = {"type": type(error).__name__, "message": str(error), "trace": trace}
    print(json.dumps(outcome), flush=True)
