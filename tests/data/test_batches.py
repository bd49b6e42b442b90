import importlib.util
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ferplus_keras.data.augment import PRESETS
from ferplus_keras.data.batches import Batches
from ferplus_keras.data.class_weights import WTOMIN_WEIGHTS
from ferplus_keras.data.dataset import Split
from ferplus_keras.data.targets import RIGHT_SET
from ferplus_keras.emotions import FERPLUS_CLASSES
from ferplus_keras.errors import UsageError
from tests.backends import environment
from tests.data.fit_recorder import BATCH_SIZE, EPOCHS, SETTINGS, numbered_split, summary

BACKENDS = ("tensorflow", "jax", "torch")
REPOSITORY = Path(__file__).resolve().parents[2]


def read(batches, epoch=0):
    batches.set_epoch(epoch)
    return [batches[index] for index in range(len(batches))]


def row_numbers(batches):
    """Return the row each image of `numbered_split` came from, in reading order."""
    return [int(image[0, 0]) // 4 for batch in batches for image in batch[0]]


@pytest.mark.parametrize("backend", BACKENDS)
def test_fit_is_given_each_epoch_as_it_is_whatever_backend_and_workers(backend):
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    done = subprocess.run(
        [sys.executable, "-m", "tests.data.fit_recorder", "0", "1", "3"],
        cwd=REPOSITORY,
        env=environment(backend),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    plain = Batches(numbered_split(50), BATCH_SIZE, **SETTINGS)
    expected = [summary(read(plain, epoch)) for epoch in range(EPOCHS)]
    assert len({epoch["sha256"] for epoch in expected}) == EPOCHS
    assert json.loads(done.stdout) == {"0": expected, "1": expected, "3": expected}


def test_every_row_comes_once_an_epoch_in_an_order_of_its_own():
    def shuffled(seed):
        return Batches(numbered_split(50), 8, sampling="shuffled", seed=seed)

    batches = shuffled(1)
    orders = [row_numbers(read(batches, epoch)) for epoch in range(3)]
    for order in orders:
        assert sorted(order) == list(range(50))
        assert order != list(range(50))
    assert orders[0] != orders[1] != orders[2] != orders[0]
    assert orders[1] == row_numbers(read(shuffled(1), 1))
    assert orders[0] != row_numbers(read(shuffled(2), 0))


def test_without_settings_it_is_the_split_in_order_with_a_short_last_batch():
    split = numbered_split(10)
    batches = Batches(split, 4, sampling=None)
    assert len(batches) == 3
    got = read(batches)
    assert [len(images) for images, _ in got] == [4, 4, 2]
    np.testing.assert_array_equal(np.concatenate([images for images, _ in got]), split.images)
    np.testing.assert_array_equal(np.concatenate([targets for _, targets in got]), split.targets)
    assert got[0][0].dtype == np.uint8
    assert got[0][1].dtype == np.float32


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_reading_out_of_order_again_or_across_epochs_never_gives_another_batch(workers):
    expected = {epoch: read(Batches(numbered_split(30), 4, **SETTINGS), epoch) for epoch in (0, 1)}
    batches = Batches(numbered_split(30), 4, workers=workers, **SETTINGS)
    reads = [(0, 0), (0, 1), (1, 0), (1, 5), (1, 2), (1, 2), (1, 7), (0, 3), (0, 0)]
    for epoch, index in reads:
        batches.set_epoch(epoch)
        for got, want in zip(batches[index], expected[epoch][index], strict=True):
            np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("workers", [0, 1])
def test_an_index_beyond_the_end_is_refused(workers):
    batches = Batches(numbered_split(9), 4, sampling=None, workers=workers)
    for index in (-1, 3):
        with pytest.raises(IndexError, match=f"0 to 2; got {index}"):
            batches[index]


def test_sample_weights_are_the_mean_weight_of_the_targets_classes():
    targets = np.array([[1, 0, 0], [0, 1, 0], [0, 0.5, 0.5], [1, 0, 1]], np.float32)
    split = Split(np.zeros((4, 48, 48), np.uint8), targets, np.arange(4), ("a", "b", "c"))
    _, _, weights = Batches(split, 4, sampling=None, class_weights=[1, 10, 4])[0]
    np.testing.assert_allclose(weights, [1, 10, 7, 2.5])
    assert weights.dtype == np.float32


def test_drawn_targets_are_one_hot_follow_the_shares_and_change_with_the_epoch():
    targets = np.tile(np.array([[0, 0.7, 0.3, 0]], np.float32), (4000, 1))
    split = Split(np.zeros((4000, 48, 48), np.uint8), targets, np.arange(4000), tuple("abcd"))
    batches = Batches(split, 1000, sampling=None, draw=True, class_weights=[0, 1, 2, 0])
    first, second = (read(batches, epoch) for epoch in (0, 1))
    drawn = np.concatenate([batch[1] for batch in first])
    assert set(drawn.ravel()) == {0.0, 1.0}
    np.testing.assert_array_equal(drawn.sum(axis=1), 1)
    np.testing.assert_allclose(drawn.mean(axis=0), [0, 0.7, 0.3, 0], atol=0.03)
    np.testing.assert_array_equal(np.concatenate([b[2] for b in first]), drawn @ [0, 1, 2, 0])
    assert np.any(drawn != np.concatenate([batch[1] for batch in second]))
    assert np.any(first[0][1] != first[1][1])


@pytest.mark.parametrize(
    "settings",
    [{"augmentation": "wtomin"}, {"draw": True}, {"mixup_alpha": 1.0}, {"cutmix_alpha": 1.0}],
    ids=str,
)
def test_what_is_drawn_follows_seed_epoch_and_batch(settings):
    """Both batches hold the same faces, so that they differ by what is drawn alone."""
    split = numbered_split(8)
    images = np.random.default_rng(0).integers(0, 256, (8, 48, 48), dtype=np.uint8)
    twice = np.tile(split.targets, (2, 1))
    split = Split(np.tile(images, (2, 1, 1)), twice, np.arange(16), ("a", "b", "c"))

    def drawn(seed, epoch, index, **settings):
        settings = {"sampling": None} | settings
        return summary(read(Batches(split, 8, seed=seed, **settings), epoch)[index : index + 1])

    places = [(1, 0, 0), (1, 0, 1), (1, 1, 0), (2, 0, 0)]
    assert len({drawn(*place)["sha256"] for place in places}) == 1
    assert len({drawn(*place, **settings)["sha256"] for place in places}) == 4


def test_of_mixup_and_cutmix_each_batch_draws_one():
    """Faces of one grey level each still are where they are blended, not where one is pasted."""
    batches = read(Batches(numbered_split(50), 5, sampling=None, mixup_alpha=1.0, cutmix_alpha=1.0))
    pasted = [np.ptp(images, axis=(1, 2)).any() for images, _ in batches]
    assert 2 <= sum(pasted) <= 8


class Unreadable:
    dtype = np.dtype("uint8")
    shape = (8, 48, 48)

    def __len__(self):
        return 8

    def __getitem__(self, rows):
        raise OSError("disk gone")


@pytest.mark.parametrize("workers", [0, 1])
def test_an_error_while_preparing_reaches_the_reader(workers):
    batches = Batches(numbered_split(8)._replace(images=Unreadable()), 4, workers=workers)
    with pytest.raises(OSError, match="disk gone"):
        batches[0]


def test_rows_are_weighed_by_their_targets_before_smoothing():
    """The wtomin weight of a neutral face is 2.74, and with mixup the mean of both faces'."""
    targets = np.eye(8, dtype=np.float32)[[0, 5] * 20]
    split = Split(np.zeros((40, 48, 48), np.uint8), targets, np.arange(40), FERPLUS_CLASSES)
    settings = {"class_weights": WTOMIN_WEIGHTS, "label_smoothing": 0.1}
    _, smoothed, weights = Batches(split, 40, sampling=None, **settings)[0]
    np.testing.assert_allclose(smoothed[0], [0.9125] + [0.0125] * 7, rtol=1e-6)
    np.testing.assert_allclose(weights, [2.74398525, 215.34868421] * 20, rtol=1e-6)
    for mix in ("mixup_alpha", "cutmix_alpha"):
        _, mixed = Batches(split, 40, sampling=None, **{mix: 1.0})[0]
        _, both, weights = Batches(split, 40, sampling=None, **{mix: 1.0}, **settings)[0]
        np.testing.assert_allclose(weights, mixed @ np.array(WTOMIN_WEIGHTS), rtol=1e-5)
        np.testing.assert_allclose(both, 0.9 * mixed + 0.1 / 8, atol=1e-6)
        assert np.any((weights > 3) & (weights < 215))


@pytest.mark.parametrize("shape", [(64, 64), (32, 32, 3)])
def test_faces_of_any_size_and_in_colour_make_batches(shape):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (12, *shape), dtype=np.uint8)
    targets = np.eye(3, dtype=np.float32)[rng.integers(0, 3, 12)]
    split = Split(images, targets, np.arange(12), ("a", "b", "c"))
    for name in PRESETS:
        for mix in ({}, {"mixup_alpha": 0.5}, {"cutmix_alpha": 0.5}):
            batch = Batches(split, 5, augmentation=name, sampling="shuffled", **mix)
            assert [b[0].shape for b in read(batch)] == [(5, *shape), (5, *shape), (2, *shape)]
            assert batch[0][0].dtype == np.uint8
    np.testing.assert_array_equal(Batches(split, 12, sampling=None)[0][0], images)


@pytest.mark.parametrize("setting", ["label_smoothing", "mixup_alpha", "cutmix_alpha"])
def test_sets_of_right_classes_are_not_mixed(setting):
    split = numbered_split(8)._replace(kind=RIGHT_SET)
    with pytest.raises(UsageError, match="distributions; each of these is a set of right classes"):
        Batches(split, 4, **{setting: 0.1})
    assert len(Batches(split, 4, draw=False)) == 2


@pytest.mark.parametrize(
    "settings",
    [
        {"batch_size": 0},
        {"seed": -1},
        {"cutmix_alpha": -1},
        {"label_smoothing": 1.0},
        {"class_weights": [1, 2]},
        {"class_weights": {0: 1.0}},
        {"workers": -1},
        {"split": numbered_split(8)._replace(images=np.ones((8, 48, 48)))},
        {"split": numbered_split(8)._replace(images=np.ones((8, 48, 48, 1), np.uint8))},
    ],
)
def test_numbers_out_of_range_are_refused(settings):
    with pytest.raises(UsageError, match="expected "):
        Batches(**{"split": numbered_split(8), "batch_size": 4} | settings)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_process_reads_the_same_batches():
    batches = Batches(numbered_split(60), 4, augmentation="strong", workers=2)
    batches[0]  # starts the threads, which a fork has not
    process = os.fork()
    if process == 0:
        signal.alarm(10)
        same = np.array_equal(batches[12][0], batches._prepare(batches._epoch, 12)[0])
        os._exit(0 if same else 1)
    assert os.waitpid(process, 0)[1] == 0
