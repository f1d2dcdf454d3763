"""What a file made to hurt can cost: seconds and memory of decoding, by the file's bytes.

Each file claims the largest picture: with as few bytes of chance as the decoder takes for it, with
a payload that an encoder could write, and with latents that need many bits. Every one is decoded
in a process of its own.

    uv run python benchmarks/worst_payload.py --model pretrained/0.0250
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

SIDE = 8192
#: Payloads, by name.
KINDS = ("chance", "chance, adaptive", "sound", "sound, adaptive", "large", "large, adaptive")


def make(kind: str, model: Path) -> bytes:
    """Return a file of one kind."""
    from balle2017.coding.bitstream import ADAPTIVE, STATIC, Bitstream
    from balle2017.coding.codec import Codec
    from balle2017.model.check import MAX_LATENT

    codec = Codec(model)
    rows = columns = SIDE // 16
    trained = codec.model
    channels = trained.network.num_latents
    version = ADAPTIVE if kind.endswith("adaptive") else STATIC
    if not kind.startswith("chance"):
        latents = np.zeros((rows, columns, channels), np.int16)
        if version == STATIC:
            # What costs least.
            cdf, offset = trained.tables["cdf"], trained.tables["cdf_offset"]
            starts = np.flatnonzero(cdf < 0)
            for channel, table in enumerate(np.split(cdf, starts[1:])):
                latents[..., channel] = offset[channel] + np.diff(table[1:])[:-1].argmax()
        if kind.startswith("large"):
            # Beyond the tables, where each takes an escape code, in the first two rows.
            latents[:2] = MAX_LATENT
        coder = codec._static if version == STATIC else codec._adaptive
        payload = coder.encode(latents)
    else:
        fewest = int(codec._fewest_bits[version] * rows * columns / 8)
        payload = np.random.default_rng(1).integers(0, 256, fewest, np.uint8).tobytes()
    name = trained.adaptive_id if version == ADAPTIVE else trained.model_id
    return Bitstream(name, SIDE, SIDE, (rows, columns, channels), payload, version).to_bytes()


def decode(model: Path, path: Path) -> None:
    """Decode a file; print seconds, megabytes and what came of it."""
    from balle2017.coding.codec import Codec
    from balle2017.errors import DamagedFileError
    from balle2017.model import runtime

    runtime.configure(1, "cpu", operations=2)
    codec = Codec(model, 2)
    start = time.perf_counter()
    try:
        codec.decompress(path.read_bytes())
        outcome = "decoded"
    except DamagedFileError as error:
        outcome = str(error)
    seconds = time.perf_counter() - start
    # Not of resource, which counts the process that started this one too.
    status = Path("/proc/self/status").read_text(encoding="ascii")
    megabytes = int(status.split("VmHWM:")[1].split()[0]) / 1024
    # With the start of the program, some seconds.
    processor = time.process_time()
    print(f"{seconds:.0f} s, {processor:.0f} s of processor, {megabytes:.0f} MB, {outcome}")


def main() -> None:
    """Make the files, and decode each in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--model", type=Path, required=True, help="folder of a trained model")
    parser.add_argument("--decode", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.decode is not None:
        decode(args.model, args.decode)
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "worst.b17")
        for kind in KINDS:
            path.write_bytes(make(kind, args.model))
            size = path.stat().st_size
            command = [sys.executable, __file__, "--model", args.model, "--decode", path]
            done = subprocess.run(command, capture_output=True, text=True)
            print(f"{kind}: {size} bytes, {done.stdout.strip() or done.stderr[-200:]}", flush=True)


if __name__ == "__main__":
    main()
