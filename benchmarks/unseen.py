"""Make a test set of photographs on which no model was trained and nothing was chosen.

They are wallpapers that Debian 12 ships. Each is shrunk to 768 pixels on its longer side, by a
factor of at least 1.6, which hides the traces of JPEG. docs/reference/unseen/photographs.csv
lists them, with their hashes.

    apt-get download lomiri-wallpapers-16.04 lomiri-wallpapers-20.04 mate-backgrounds \
        plasma-workspace-wallpapers
    uv run python benchmarks/unseen.py *.deb --out wallpapers
"""

import argparse
import subprocess
import tempfile
from pathlib import Path

from balle2017.files import read_table, sha256_file
from PIL import Image

LIST = Path(__file__).resolve().parent.parent / "docs" / "reference" / "unseen" / "photographs.csv"
LONGER_SIDE = 768


def main() -> None:
    """Unpack the packages and write the photographs."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("packages", type=Path, nargs="+", help=".deb files")
    parser.add_argument("--out", type=Path, required=True, help="folder for the photographs")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        for package in args.packages:
            subprocess.run(["dpkg-deb", "-x", package, folder], check=True)
        for number, row in enumerate(read_table(LIST)):
            source = Path(folder, row["file"])
            if not source.is_file():
                parser.error(f"no package holds {row['file']}; give all four packages")
            if sha256_file(source) != row["sha256"]:
                parser.error(f"{row['file']} is another version; take the packages of Debian 12")
            with Image.open(source) as image:
                pixels = image.convert("RGB")
            scale = LONGER_SIDE / max(pixels.size)
            width, height = (round(scale * side) for side in pixels.size)
            pixels.resize((width, height), Image.Resampling.LANCZOS).save(
                args.out / f"{number:02}.png"
            )


if __name__ == "__main__":
    main()
