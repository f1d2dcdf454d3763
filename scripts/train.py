"""Train one model for one lambda."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from balle2017 import cli, data, options
from balle2017.data.store import DEFAULT_VAL_SPLIT
from balle2017.errors import InputError
from balle2017.files import refuse_inputs_in
from balle2017.training.claims import claimed_folder
from balle2017.training.settings import RunOptions, TrainingSettings


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = cli.Parser(__doc__)
    images = parser.add_argument_group("data: a folder or archive, or two lists from split.py")
    images.add_argument(
        "--data_dir", type=Path, metavar="PATH", help="folder or archive of training images"
    )
    images.add_argument(
        "--train_list", type=Path, metavar="CSV", help="train.csv, as split.py writes it"
    )
    images.add_argument(
        "--val_list", type=Path, metavar="CSV", help="val.csv, as split.py writes it"
    )
    images.add_argument(
        "--max_images", type=int, metavar="N", help="use only N images of --data_dir"
    )
    images.add_argument(
        "--val_split",
        type=float,
        default=DEFAULT_VAL_SPLIT,
        metavar="F",
        help="expected share of --data_dir's images used for validation",
    )
    options.add_arguments(parser, TrainingSettings, "training")
    options.add_arguments(parser, RunOptions, "run")
    parser.add_argument(
        "--save_dir", type=Path, default=Path("checkpoints"), metavar="DIR", help="output folder"
    )
    parser.add_argument(
        "--checkpoint_dir",
        type=Path,
        metavar="DIR",
        help="folder for checkpoints (default: SAVE_DIR/checkpoints)",
    )
    parser.add_argument(
        "--clear_checkpoints",
        action="store_true",
        help="replace the checkpoints with a copy of the result after the export",
    )
    parser.add_argument(
        "--test_dir",
        type=Path,
        metavar="DIR",
        help="images to test the finished model on, and not to train on (default: test on the "
        "images for validation)",
    )
    args = parser.parse_args(argv)
    lists = [path for path in (args.train_list, args.val_list) if path is not None]
    if len(lists) != (2 if args.data_dir is None else 0):
        parser.error("give either --data_dir, or both --train_list and --val_list")
    if lists and args.max_images is not None:
        parser.error("--max_images is for --data_dir; split.py has made the lists")
    for path in (args.data_dir, args.train_list, args.val_list):
        if path is not None and not path.exists():
            parser.error(f"{path} does not exist")
    return args


#: The folders that a run writes in its own folder.
_OUTPUT = ("checkpoints", "dataset", "images", "model", "snapshots", "tensorboard")


def _lists(
    args: argparse.Namespace, training: TrainingSettings, test_images: Sequence[Path]
) -> tuple[Path, Path]:
    """Return the two lists, made from --data_dir where they are not given."""
    if args.data_dir is None:
        return args.train_list, args.val_list
    # The workflow passes lists. Names reached through `data` are not among the code that its
    # training jobs depend on, so an edit of what reads archives does not train models again.
    folder = args.save_dir / "dataset"
    wanted = data.ExtractSettings(
        min_size=training.patch_size, max_images=args.max_images, seed=training.seed
    )
    if args.save_dir.resolve() == args.data_dir.resolve():
        raise InputError(f"{args.save_dir} holds the training images; give another --save_dir")
    refuse_inputs_in([args.save_dir / name for name in _OUTPUT], [args.data_dir], "--save_dir")
    # A run never trains on what an earlier one left there.
    output = [args.save_dir, *([args.checkpoint_dir] if args.checkpoint_dir else [])]
    counts = data.extract_archives([args.data_dir], folder, wanted, without=output)
    manifest = folder / "manifest.csv"
    split = data.split_images(manifest, folder, args.val_split, training.seed, test_images)
    kept_out = f", {len(split.kept_out)} kept out as test images" if split.kept_out else ""
    print(
        f"{counts['accepted']} images accepted, {counts['skipped']} skipped, "
        f"{counts['rejected']} rejected; {split.train} for training, {split.val} for validation"
        f"{kept_out} (reasons in {manifest})"
    )
    return folder / "train.csv", folder / "val.csv"


def main(argv: Sequence[str] | None = None) -> None:
    """Train and export."""
    args = _parse(argv)
    training = options.from_arguments(TrainingSettings, args)
    checkpoints = args.checkpoint_dir or args.save_dir / "checkpoints"
    tested = args.test_dir and data.PictureFolder(args.test_dir, [args.save_dir, checkpoints])
    run_options = options.from_arguments(
        RunOptions,
        args,
        save_dir=args.save_dir,
        checkpoint_dir=checkpoints,
        keep_checkpoints=not args.clear_checkpoints,
        test_pictures=tested,
    )
    # Before the images are extracted: another process may be reading them.
    with claimed_folder(checkpoints):
        train_list, val_list = _lists(args, training, tested.paths if tested else [])

        from balle2017.training.run import train

        train(training, train_list, val_list, run_options, log=lambda line: print(line, flush=True))


if __name__ == "__main__":
    cli.run(main)
