"""Use models as a stranger's would be, and say what came of it; run by test_malformed_models.

    python load_models.py SCRIPTS MEGABYTES FOLDER ...

Prints "ready", and a line of JSON for each folder: an error's type, message and trace.
"""

import json
import resource
import sys
import traceback

sys.path.insert(0, sys.argv[1])

import numpy as np
from balle2017.coding.codec import Codec
from balle2017.training.start import starting_weights


def use(folder):
    """Compress, estimate and decompress a picture, and start a training."""
    codec = Codec(folder)
    pixels = np.random.default_rng(1).integers(0, 256, (40, 50, 3), np.uint8)
    data, latents = codec.encode(pixels)
    codec.estimated_bits(latents)
    codec.decompress(data)
    network = codec.model.network
    starting_weights(codec.model, 0.02, network.num_filters, network.num_latents)


limit = int(sys.argv[2]) << 20
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
print("ready", flush=True)
for folder in sys.argv[3:]:
    outcome = {"type": "none", "message": "", "trace": ""}
    try:
        use(folder)
    except BaseException as error:
        trace = "".join(traceback.format_exception(error))
        outcome = {"type": type(error).__name__, "message": str(error), "trace": trace}
    print(json.dumps(outcome), flush=True)
