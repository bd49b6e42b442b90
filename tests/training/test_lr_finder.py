import csv
import dataclasses

import numpy as np
import pytest

from ferplus_keras.errors import InputError, UsageError
from ferplus_keras.training import lr_finder
from ferplus_keras.training.lr_finder import find_learning_rate, smooth, suggest
from ferplus_keras.training.prepare import prepare
from ferplus_keras.training.settle import read_dataset, resolve


@pytest.fixture
def config(tiny_config):
    return dataclasses.replace(
        tiny_config,
        batch_size=4,
        optimizer="SGD",
        class_weights=("none",),
        name="trial",
    )


def test_the_ramp_ends_when_the_loss_blows_up(config, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(lr_finder, "HIGHEST", 1e6)
    suggested = find_learning_rate(config, steps=60)
    with (tmp_path / "trial" / "lr_finder.csv").open() as file:
        lines = list(csv.DictReader(file))
    rates = [float(line["learning_rate"]) for line in lines]
    assert 20 < len(lines) < 60
    smoothed = np.array([float(line["smoothed"]) for line in lines])
    assert np.flatnonzero(smoothed >= 4 * np.minimum.accumulate(smoothed)) == len(lines) - 1
    assert rates == sorted(rates)
    assert rates[0] == pytest.approx(1e-6)
    assert 1e-6 <= suggested <= 1
    assert f"--init_lr {suggested:.2g}" in capsys.readouterr().out
    names = {path.name for path in (tmp_path / "trial").iterdir()}
    assert names == {"lr_finder.csv", "lr_finder.png"}


def test_the_ramp_goes_on_where_losses_are_below_0(config, tmp_path):
    find_learning_rate(dataclasses.replace(config, loss="cosine_similarity"), steps=20)
    assert len((tmp_path / "trial" / "lr_finder.csv").read_text().splitlines()) > 10


@pytest.mark.parametrize("limit", [None, 10])  # of ten rows, the last batch is short
def test_losses_are_each_batchs_own(config, tmp_path, monkeypatch, limit):
    """At rates so low that the network stays as it was."""
    monkeypatch.setattr(lr_finder, "HIGHEST", 2e-6)
    config = dataclasses.replace(config, dropout_rate=0.0, limit_train=limit)
    find_learning_rate(config, steps=5)
    with (tmp_path / "trial" / "lr_finder.csv").open() as file:
        found = [float(line["loss"]) for line in csv.DictReader(file)]
    config = resolve(config)
    prepared = prepare(config, read_dataset(config)[0], "none")
    batches, whole = [], prepared.batches.rows // prepared.batches.batch_size
    for index in range(5):
        prepared.batches.set_epoch(index // whole)
        batches.append(prepared.batches[index % whole])
    answers = [np.asarray(prepared.model(images, training=True)) for images, _ in batches]
    expected = [
        -np.mean(np.sum(targets * np.log(answer), axis=1))
        for (_, targets), answer in zip(batches, answers, strict=True)
    ]
    assert found == pytest.approx(expected, rel=1e-3)


@pytest.mark.filterwarnings("error::UserWarning")
def test_small_data_are_gone_through_again(config, tmp_path):
    find_learning_rate(dataclasses.replace(config, limit_train=10), steps=40)
    with (tmp_path / "trial" / "lr_finder.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert len(lines) > 10  # an epoch has two whole batches
    assert np.ptp([float(line["loss"]) for line in lines]) < 1e4
    assert all(float(line["loss"]) > 0 for line in lines)


def test_with_stages_the_rate_is_for_the_first(config, capsys):
    config = dataclasses.replace(config, stages=("1:dense:0.1", "1:0:0.1"))
    find_learning_rate(config, steps=3)
    assert "training from dense" in capsys.readouterr().out


def test_refusals_write_nothing(config, tmp_path):
    mixed = dataclasses.replace(config, label_rule="ms_multi_target", mixup=0.2)
    with pytest.raises(UsageError, match="sets of right classes"):
        find_learning_rate(mixed)
    with pytest.raises(UsageError, match="in one process; leave out --coordinator and --num_proc"):
        find_learning_rate(dataclasses.replace(config, num_processes=2))
    assert not (tmp_path / "trial").exists()


def test_running_mean_equals_a_plain_loop():
    losses = [2.0, 1.0, 4.0]
    mean, expected = 0.0, []
    for step, loss in enumerate(losses):
        mean = 0.95 * mean + 0.05 * loss
        expected.append(mean / (1 - 0.95 ** (step + 1)))
    np.testing.assert_allclose(smooth(losses), expected)


def test_suggestion_is_a_tenth_of_the_best_rate(capsys):
    rates = np.geomspace(1e-6, 10, 200)
    losses = [2.0] * 50 + list(np.linspace(2, 0.5, 100)) + [50.0] * 20
    best = rates[int(np.argmin(smooth(losses)))]
    assert suggest(rates, losses) == pytest.approx(best / 10)
    assert capsys.readouterr().err == ""
    # A lucky first batch says nothing.
    assert suggest(rates, [0.1, *losses[1:]]) == pytest.approx(best / 10, rel=0.1)
    with pytest.raises(InputError, match="not a number"):
        suggest(rates, [float("nan")] * 30)
    suggest(rates, [2.0] * 100 + list(np.linspace(2, 9, 100)))
    assert "the loss hardly fell" in capsys.readouterr().err


def test_float16_skips_no_rate(config, tmp_path):
    """Its loss scale would skip steps, and with them rates."""
    tables = []
    for half in ("none", "float16"):
        find_learning_rate(dataclasses.replace(config, mixed_precision=half), steps=10)
        tables.append((tmp_path / "trial" / "lr_finder.csv").read_text())
    assert tables[0] == tables[1]
