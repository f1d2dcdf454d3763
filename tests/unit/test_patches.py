import numpy as np
import pytest
from balle2017.data import create_train_val_datasets
from balle2017.data.extraction import ExtractSettings, extract_archives
from balle2017.data.split import split_images
from balle2017.data.store import ImageStore
from balle2017.errors import InputError
from balle2017.training.input import PatchSampler, validation_patches
from balle2017.training.settings import TrainingSettings


class Pictures:
    """Stands for an ImageStore: each pixel tells its picture, row and column."""

    def __init__(self, sizes):
        self.names = [f"{index}" for index in range(len(sizes))]
        self._pictures = []
        for index, (height, width) in enumerate(sizes):
            rows, columns = np.mgrid[:height, :width]
            planes = [np.full((height, width), index), rows, columns]
            self._pictures.append(np.stack(planes, axis=2).astype(np.uint8))

    def __len__(self):
        return len(self._pictures)

    def shape(self, index):
        return self._pictures[index].shape

    def __getitem__(self, index):
        return self._pictures[index]


def sampler(seed=1, flip=False, per_image=1, sizes=((40, 50),) * 6, batch=4):
    return PatchSampler(Pictures(sizes), 16, batch, per_image, seed, flip)


def test_a_batch_depends_on_seed_and_step_alone():
    forward = [sampler().batch(step) for step in range(10)]
    one = sampler()
    for step in reversed(range(10)):
        np.testing.assert_array_equal(one.batch(step), forward[step])
    assert not np.array_equal(sampler(seed=2).batch(3), forward[3])


def test_every_pass_visits_every_picture_once_in_a_new_order():
    one = sampler(batch=3)
    visited = [one.batch(step)[:, 0, 0, 0].tolist() for step in range(4)]
    first, second = visited[0] + visited[1], visited[2] + visited[3]
    assert sorted(first) == sorted(second) == list(range(6))
    assert first != second


def test_crops_are_new_each_time():
    one = sampler(sizes=((200, 200),), batch=1)
    corners = {tuple(one.batch(step)[0, 0, 0]) for step in range(50)}
    assert len(corners) > 45


def test_crops_reach_every_corner():
    one = sampler(sizes=((17, 17),), batch=8)
    corners = {tuple(patch[0, 0, 1:]) for step in range(20) for patch in one.batch(step)}
    assert corners == {(0, 0), (0, 1), (1, 0), (1, 1)}


def test_patches_per_image_are_taken_at_one_visit():
    one = sampler(per_image=2, batch=4, sizes=((200, 200),) * 6)
    batch = one.batch(0)
    pictures = batch[:, 0, 0, 0].tolist()
    assert pictures[0] == pictures[1]
    assert pictures[2] == pictures[3]
    assert pictures[0] != pictures[2]
    assert not np.array_equal(batch[0], batch[1])


def test_flips_mirror_half_of_the_patches():
    batches = [sampler(flip=True, batch=20).batch(step) for step in range(10)]
    mirrored = [patch[0, 0, 2] > patch[0, 1, 2] for batch in batches for patch in batch]
    assert 70 < sum(mirrored) < 130
    plain = sampler(flip=False, batch=20).batch(0)
    assert all(patch[0, 0, 2] < patch[0, 1, 2] for patch in plain)


def test_small_pictures_are_named():
    with pytest.raises(InputError, match="image 1 is 20x15, smaller than the patch size 16"):
        sampler(sizes=((40, 40), (15, 20)))


def places(sizes, per_image):
    patches = validation_patches(Pictures(sizes), 16, per_image)
    assert patches.shape[1:] == (16, 16, 3)
    return [tuple(patch[0, 0]) for patch in patches]


def test_validation_looks_at_the_centre_then_the_corners_then_the_edges():
    centre, corners = [(0, 12, 17)], [(0, 0, 0), (0, 0, 34), (0, 24, 0), (0, 24, 34)]
    edges = [(0, 0, 17), (0, 12, 0), (0, 12, 34), (0, 24, 17)]
    expected = centre + corners + edges
    for count in range(1, 10):
        assert places([(40, 50)], count) == expected[:count]


@pytest.mark.parametrize(
    ("size", "counts"),
    [
        ((16, 16), [1] * 9),
        ((16, 17), [1, 1, 2, 2, 2, 2, 2, 2, 2]),
        ((16, 18), [1, 2, 3, 3, 3, 3, 3, 3, 3]),
        ((18, 16), [1, 2, 2, 3, 3, 3, 3, 3, 3]),
        ((17, 17), [1, 1, 2, 3, 4, 4, 4, 4, 4]),
        ((18, 17), [1, 2, 3, 4, 5, 5, 5, 6, 6]),
        ((18, 18), list(range(1, 10))),
    ],
)
def test_places_that_coincide_count_once(size, counts):
    found = [places([size], count) for count in range(1, 10)]
    assert [len(of_count) for of_count in found] == counts
    assert all(len(set(of_count)) == len(of_count) for of_count in found)


def test_all_centres_come_first():
    """So that the pictures that a run saves on its way are of different images."""
    assert places([(40, 50), (16, 16), (20, 16)], 2) == [
        *((0, 12, 17), (1, 0, 0), (2, 2, 0)),
        *((0, 0, 0), (2, 0, 0)),
    ]


def test_the_input_goes_on_after_a_restart_as_if_undisturbed(tensorflow, tmp_path, picture_folder):
    lists = tmp_path / "lists"
    extract_archives([picture_folder], tmp_path / "data", ExtractSettings(min_size=16))
    split_images(tmp_path / "data" / "manifest.csv", lists, 0.4, 1)
    settings = TrainingSettings(patch_size=32, batch_size=3, epochs=2, steps_per_epoch=5)
    sides = lists / "train.csv", lists / "val.csv"
    whole, validation = create_train_val_datasets(*sides, settings)
    rest, _ = create_train_val_datasets(*sides, settings, start_step=4)
    whole, rest = list(whole.as_numpy_iterator()), list(rest.as_numpy_iterator())
    assert [step for step, _ in whole] == list(range(10))
    assert [step for step, _ in rest] == list(range(4, 10))
    for (_, expected), (_, actual) in zip(whole[4:], rest, strict=True):
        np.testing.assert_array_equal(actual, expected)
    assert validation.shape[1:] == (32, 32, 3)
    assert len(validation) + len(ImageStore(sides[0])) == 5
