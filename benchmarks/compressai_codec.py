"""CompressAI's factorized-prior model as a contender of benchmarks/coding.py.

It runs in an environment of its own, which has CompressAI and not this project.
The weights are untrained: the trained ones are no package.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
from compressai.zoo import bmshj2018_factorized
from PIL import Image
from turns import take_turns


def main() -> None:
    """Code all pictures whenever asked."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--threads", type=int, required=True)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(1)
    network = bmshj2018_factorized(quality=3, pretrained=False).eval()
    network.update()
    pictures = []
    for path in sorted(args.images.glob("*.png")):
        pixels = np.asarray(Image.open(path).convert("RGB"), np.float32) / 255
        pictures.append(torch.from_numpy(pixels.transpose(2, 0, 1)[None].copy()))

    def code(picture: torch.Tensor) -> tuple[float, float, float]:
        start = time.perf_counter()
        coded = network.compress(picture)
        encoded = time.perf_counter()
        network.decompress(coded["strings"], coded["shape"])
        done = time.perf_counter()
        size = sum(len(string[0]) for string in coded["strings"])
        return encoded - start, done - encoded, 8 * size / picture[0, 0].numel()

    def measure() -> str:
        return json.dumps(np.mean([code(picture) for picture in pictures], axis=0).tolist())

    with torch.no_grad():
        code(pictures[0])
        take_turns(measure)


if __name__ == "__main__":
    main()
