import numpy as np
from balle2017.data.images import read_image
from balle2017.training.callbacks import EarlyStopping, ImageLoggingCallback, KeepLastNCheckpoints
from helpers import make_picture


def test_early_stopping_keeps_the_best_weights():
    stopping = EarlyStopping(patience=2)
    for epoch, loss in enumerate([3.0, 2.0, 2.5], start=1):
        stopping.on_epoch_end(epoch, loss, {"w": np.array(epoch)})
        assert not stopping.should_stop(epoch)
    stopping.on_epoch_end(4, 2.0, {"w": np.array(4)})
    assert stopping.should_stop(4)
    assert (stopping.best_loss, stopping.best_epoch) == (2.0, 2)
    assert stopping.best_weights["w"] == 2


def test_only_the_newest_checkpoints_are_kept(tmp_path):
    checkpoints = KeepLastNCheckpoints(tmp_path, keep=3)
    for step in (5, 10, 100, 1000, 20000):
        checkpoints.path(step).touch()
        checkpoints.on_checkpoint()
    steps = [int(path.stem.split("-")[1]) for path in checkpoints.newest_first()]
    assert steps == [20000, 1000, 100]


def test_images_are_saved_side_by_side(tmp_path):
    logger = ImageLoggingCallback(tmp_path, every=5, count=2)
    assert [epoch for epoch in range(1, 12) if logger.is_due(epoch)] == [5, 10]
    left = np.stack([make_picture(seed) for seed in range(2)])
    logger.on_epoch_end(5, left, 255 - left)
    saved = read_image(tmp_path / "epoch-0005-1.png")
    np.testing.assert_array_equal(saved, np.concatenate([left[1], 255 - left[1]], axis=1))
    assert not ImageLoggingCallback(tmp_path, every=0, count=2).is_due(5)
