"""--cache_features: the frozen part is computed once, and nothing else changes."""

import dataclasses
import errno
import os
from types import SimpleNamespace

import numpy as np
import pytest

from ferplus_keras.cli import main
from ferplus_keras.data import cache
from ferplus_keras.errors import InputError, UsageError
from ferplus_keras.models.checkpoint import load_checkpoint
from ferplus_keras.run import MAX_ACCURACY
from ferplus_keras.training import features
from ferplus_keras.training.train import train
from ferplus_keras.workspace import WORK
from tests.training.runs import rows

pytestmark = pytest.mark.slow


@pytest.fixture
def config(tiny_config, tmp_path):
    return dataclasses.replace(
        tiny_config,
        freeze_before="conv1",
        batch_size=50,
        limit_train=320,
        nepochs=3,
        class_weights=("balanced",),
        early_stopping=0,
        loggers=("none",),
        cache_dir=str(tmp_path / "cache"),
    )


def test_with_a_copy_for_each_epoch_the_run_is_the_same(config, tmp_path):
    plain = train(dataclasses.replace(config, name="plain"))
    cached = train(dataclasses.replace(config, name="cached", cache_features=3))
    for one, other in zip(rows(plain), rows(cached), strict=True):
        assert other == pytest.approx(one, rel=1e-3)
    (before, _), (after, _) = (
        load_checkpoint(run / "final_model.keras") for run in (plain, cached)
    )
    assert [layer.name for layer in before.layers] == [layer.name for layer in after.layers]
    for one, other in zip(before.get_weights(), after.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, atol=2e-4)
    assert not list((tmp_path / "cache").glob(f"{WORK}*"))


def test_fewer_copies_come_again_in_another_order_and_a_run_resumes(config):
    unbroken = train(dataclasses.replace(config, name="unbroken", cache_features=1))
    before = rows(unbroken)
    assert before[2]["loss"] < before[0]["loss"]
    first = dataclasses.replace(config, name="broken", cache_features=1, nepochs=1)
    train(first)
    broken = train(dataclasses.replace(first, nepochs=3, resume=True))
    for one, other in zip(before, rows(broken), strict=True):
        assert other == pytest.approx(one, rel=1e-4)


def test_what_a_killed_process_leaves_would_be_removed(config, monkeypatch):
    places = []

    def watch(path, *more):
        places.append(path.parent)
        return cache.new_array(path, *more)

    monkeypatch.setattr(features, "new_array", watch)
    train(dataclasses.replace(config, cache_features=1, nepochs=1))
    (place,) = places
    assert place.name.startswith(WORK)
    assert not place.exists()


def test_a_run_is_not_resumed_with_other_frozen_layers(config):
    first, second = (
        train(dataclasses.replace(config, name=f"seed{seed}", seed=seed, nepochs=1)) / MAX_ACCURACY
        for seed in (0, 1)
    )
    config = dataclasses.replace(config, cache_features=1, weights=str(first), nepochs=1)
    train(config)
    more = dataclasses.replace(config, resume=True, nepochs=2)
    kept = first.read_bytes()
    first.write_bytes(second.read_bytes())
    with pytest.raises(InputError, match=r"--resume: the weights in .* are not the ones"):
        train(more)
    first.write_bytes(kept)
    assert len(rows(train(more))) == 2


def test_features_are_in_the_order_of_their_batches(config):
    import keras

    from ferplus_keras.data.batches import Batches
    from ferplus_keras.data.dataset import load_split

    batches = Batches(load_split(config.data_dir, "validation"), 50, sampling="shuffled", seed=3)
    faces = keras.Input((48, 48), dtype="uint8")
    frozen = keras.Model(faces, keras.layers.Rescaling(1.0)(faces))
    from tqdm import tqdm

    values = np.empty((2 * batches.rows, 48, 48), np.float32)
    found = features.Features(batches, 2, frozen, values, tqdm(disable=True))
    for epoch in (0, 1):
        batches.set_epoch(epoch)
        found.set_epoch(epoch)
        for index in range(len(batches)):
            np.testing.assert_equal(found[index], batches[index])
    found.set_epoch(0)
    once = found[0]
    found.set_epoch(2)
    parts = [found[index] for index in range(len(found))]
    pairs = {(x.tobytes(), y.tobytes()) for xs, ys in parts for x, y in zip(xs, ys, strict=True)}
    assert (once[0][7].tobytes(), once[1][7].tobytes()) in pairs
    assert len(pairs) > 30
    again = found[0]
    assert not np.array_equal(again[0], once[0])
    found.set_epoch(4)  # of the same copy
    assert not np.array_equal(found[0][0], again[0])


def test_a_file_that_does_not_fit_is_refused_before_it_is_filled(config, tmp_path, monkeypatch):
    import keras

    from ferplus_keras.data.batches import Batches
    from ferplus_keras.data.dataset import load_split

    batches = Batches(load_split(config.data_dir, "validation"), 50, sampling=None)
    prepared = SimpleNamespace(batches=batches, validation=batches)
    faces = keras.Input((48, 48), dtype="uint8")
    frozen = keras.Model(faces, keras.layers.Rescaling(1.0)(faces))
    needed = 3 * batches.rows * 48 * 48 * np.float32().nbytes
    space = SimpleNamespace(free=needed)
    monkeypatch.setattr(cache.shutil, "disk_usage", lambda _: space)
    with features.cached(prepared, frozen, 2, tmp_path):
        pass
    asked = []

    def full(file, start, size):
        asked.append(size)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(cache.os, "posix_fallocate", full)
    for free, taken in ((needed - 1, 0), (needed, 1)):  # another run takes the room in between
        space.free = free
        cached = features.cached(prepared, frozen, 2, tmp_path)
        with pytest.raises(InputError, match="more than is free"), cached:
            pass
        assert len(asked) == taken
    assert asked[0] > needed
    assert not list(tmp_path.rglob("*.npy"))


@pytest.mark.parametrize(
    ("changed", "kind", "said"),
    [
        ({"freeze_before": 0}, UsageError, "give --freeze_before"),
        ({"stages": ("1:-1:0.1",)}, UsageError, "not --stages"),
        ({"num_gpus": 2}, UsageError, "one GPU"),
        ({"cache_features": 10**9}, InputError, "more than is free"),
        ({"model_name": "VGG13", "freeze_before": -1}, UsageError, "drop1 before it is random"),
    ],
)
def test_what_cannot_be_cached_is_refused(config, changed, kind, said):
    with pytest.raises(kind, match=said):
        train(dataclasses.replace(config, **{"cache_features": 1, **changed}))


def test_the_command_line_takes_it(capsys):
    assert main(["train", "--cache_features", "-1"]) == 2
    assert "--cache_features" in capsys.readouterr().err
