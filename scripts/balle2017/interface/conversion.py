"""Compressing and decompressing files, shared by the command line and the scripts."""

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np

from balle2017 import cli
from balle2017.coding.bitstream import ADAPTIVE, Bitstream
from balle2017.data.images import list_images, read_image
from balle2017.errors import DamagedFileError
from balle2017.files import atomic_path, write_bytes
from balle2017.interface.batch import Converted, convert_all, list_streams, plan_outputs
from balle2017.interface.choice import Goal
from balle2017.interface.family import DEFAULT_LAMBDA, Family
from balle2017.model.find import PRETRAINED

_STREAM, _PICTURE = ".b17", ".png"


def _add_shared(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--threads", type=cli.threads, default=2, metavar="N", help="tiles coded at the same time"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace files that exist")


def add_compress_arguments(parser: argparse.ArgumentParser) -> None:
    """Give a parser the options of `compress`."""
    parser.add_argument(
        "--model",
        type=Path,
        metavar="DIR",
        default=PRETRAINED,
        help="folder of a model, of the run that trained it, or of several models to choose from",
    )
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument(
        "--lambda_rd",
        type=float,
        metavar="L",
        help=f"use the model of this lambda (default: {DEFAULT_LAMBDA} among those of the package)",
    )
    choice.add_argument(
        "--bpp",
        type=float,
        metavar="R",
        help="for each image, choose the best quality within R bits per pixel",
    )
    choice.add_argument(
        "--psnr",
        type=float,
        metavar="Q",
        help="for each image, choose the smallest file with at least Q dB",
    )
    choice.add_argument(
        "--max_bytes",
        type=int,
        metavar="N",
        help="for each image, choose the best quality within N bytes",
    )
    parser.add_argument(
        "--refine",
        action="store_true",
        help="search for better latents: smaller files at equal quality, but 16 to 18 times slower",
    )
    _add_shared(parser)


def add_decompress_arguments(parser: argparse.ArgumentParser) -> None:
    """Give a parser the options of `decompress`."""
    parser.add_argument(
        "--model",
        type=Path,
        metavar="DIR",
        default=PRETRAINED,
        help="folder of a model, of the run that trained it, or of several models; each file is "
        "decoded with the model that made it",
    )
    _add_shared(parser)


def compress_files(inputs: list[Path], out: Path, args: argparse.Namespace) -> None:
    """Compress images; print a line for each.

    Args:
        inputs: images, and folders of images.
        out: folder, or one .b17 file.
        args: as `add_compress_arguments` has them.

    Raises:
        InputError: an argument is wrong, and nothing was done.
        WorkError: some images could not be compressed.
    """
    goals = {name: getattr(args, name) for name in ("bpp", "psnr", "max_bytes")}
    chosen = any(value is not None for value in goals.values())
    if chosen:
        Goal(**goals)
    pairs = plan_outputs(inputs, out, list_images, _STREAM, args.overwrite)
    family = Family(args.model, args.threads)
    encode: Callable[[np.ndarray], tuple[bytes, str]]
    if chosen:
        _configure(args)
        lambdas = ", ".join(f"{value:g}" for value in family.lambdas)
        print(f"models {family.folder}, lambdas {lambdas}")

        def encode(pixels: np.ndarray) -> tuple[bytes, str]:
            choice = family.compress(pixels, **goals, refine=args.refine)
            return choice.data, f", {choice.psnr:.2f} dB, lambda {choice.lambda_rd:g}"

    else:
        lambda_rd = family.default_lambda if args.lambda_rd is None else args.lambda_rd
        family.find(lambda_rd)
        _configure(args)
        codec = family.codec(lambda_rd)
        print(f"model {codec.model.folder}")

        def encode(pixels: np.ndarray) -> tuple[bytes, str]:
            return codec.compress(pixels, refine=args.refine), ""

    def convert(source: Path, target: Path) -> Converted:
        pixels = read_image(source)
        data, more = encode(pixels)
        write_bytes(target, data)
        area = pixels[:, :, 0].size
        line = f"{target}: {len(data)} bytes, {len(data) * 8 / area:.4f} bpp{more}"
        return Converted(line, len(data), area)

    convert_all(pairs, convert)


def decompress_files(inputs: list[Path], out: Path, args: argparse.Namespace) -> None:
    """Decompress files to PNG images; print a line for each.

    Args:
        inputs: .b17 files, and folders of them.
        out: folder, or one .png file.
        args: as `add_decompress_arguments` has them.

    Raises:
        InputError: an argument is wrong, and nothing was done.
        WorkError: some files could not be decompressed.
    """
    pairs = plan_outputs(inputs, out, list_streams, _PICTURE, args.overwrite)
    family = Family(args.model, args.threads)
    _configure(args)
    from PIL import Image

    def convert(source: Path, target: Path) -> Converted:
        data = _read(source)
        pixels = family.decompress(data)
        with atomic_path(target) as temporary:
            Image.fromarray(pixels).save(temporary)
        height, width, _ = pixels.shape
        return Converted(f"{target}: {width}x{height}", len(data), width * height)

    convert_all(pairs, convert)


def _configure(args: argparse.Namespace) -> None:
    """Set up TensorFlow. This takes seconds, so it comes after all checks that do without it."""
    from balle2017.model import runtime

    runtime.configure(1, "cpu", operations=args.threads)


def _read(path: Path) -> bytes:
    """Return the bytes of a .b17 file; whatever keeps it from being read is a DamagedFileError."""
    if path.exists() and not path.is_file():  # a pipe would never end
        raise DamagedFileError(f"{path}: not a regular file")
    try:
        return path.read_bytes()
    except OSError as error:
        raise DamagedFileError(f"{path}: {error.strerror}") from None


def describe(path: Path, family: Family) -> str:
    """Return a description of a .b17 file, in lines. TensorFlow is not needed.

    Args:
        path: the file.
        family: the models among which its own is looked for.

    Raises:
        DamagedFileError: the file is damaged, is not a .b17 file, or cannot be read.
    """
    data = _read(path)
    try:
        stream = Bitstream.from_bytes(data)
    except DamagedFileError as error:
        raise DamagedFileError(f"{path}: {error}") from None
    bpp = 8 * len(data) / (stream.width * stream.height)
    coder = "the adaptive coder" if stream.version == ADAPTIVE else "the static prior"
    folder = family.made_by(stream.model_id)
    if folder is None:
        model = f"{stream.model_id.hex()}, not in {family.folder}"
    else:
        config = family.configs[folder]
        model = (
            f"{stream.model_id.hex()}, lambda {config['lambda_rd']:g}, "
            f"{config['num_filters']} filters ({folder})"
        )
    rows, columns, channels = stream.latent_shape
    return (
        f"{path}: {stream.width}x{stream.height}, {len(data)} bytes, {bpp:.4f} bpp\n"
        f"  format   version {stream.version}, coded with {coder}\n"
        f"  model    {model}\n"
        f"  latents  {columns}x{rows}, {channels} channels"
    )
