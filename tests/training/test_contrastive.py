import dataclasses
import json

import numpy as np
import pytest

from ferplus_keras.cli import main
from ferplus_keras.config import TrainConfig
from ferplus_keras.data.dataset import load_dataset, load_split
from ferplus_keras.errors import InputError, UsageError
from ferplus_keras.models.checkpoint import load_checkpoint, read_info
from ferplus_keras.training import contrastive, fit
from ferplus_keras.training.contrastive import (
    TEMPERATURE,
    ViewPairs,
    accuracy,
    faces_without_labels,
    nt_xent,
    pretrain,
)
from ferplus_keras.training.train import train


@pytest.fixture
def config(tiny_network, sample_data, tmp_path):
    return TrainConfig(
        data_dir=str(sample_data),
        model_name=tiny_network,
        weights="none",
        image_size=48,
        nepochs=3,
        batch_size=32,
        optimizer="SGD",
        init_lr=0.05,
        limit_train=128,
        loggers=("none",),
        checkpoints_dir=str(tmp_path),
        name="pretrained",
        num_gpus=0,
    )


def test_the_loss_equals_a_plain_loop():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(8, 5)).astype(np.float32)
    partners = np.roll(np.arange(8), 4)[:, None]
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    losses, found = [], []
    for i in range(8):
        others = [j for j in range(8) if j != i]
        scores = {j: unit[i] @ unit[j] / TEMPERATURE for j in others}
        total = sum(np.exp(score) for score in scores.values())
        losses.append(-np.log(np.exp(scores[(i + 4) % 8]) / total))
        found.append(max(scores, key=scores.get) == (i + 4) % 8)
    np.testing.assert_allclose(np.asarray(nt_xent(partners, rows)), losses, rtol=1e-5)
    np.testing.assert_array_equal(np.asarray(accuracy(partners, rows)), found)


def test_a_batch_holds_two_different_views_of_each_face(sample_data):
    split = load_split(str(sample_data), "train")
    batches = ViewPairs(split, 10, augmentation="strong", sampling="shuffled", seed=4)
    batches.set_epoch(2)
    faces, partners = batches[1]
    assert faces.shape == (20, 48, 48)
    assert faces.dtype == np.uint8
    assert partners[:, 0].tolist() == [*range(10, 20), *range(10)]
    assert (faces[:10] != faces[10:]).any(axis=(1, 2)).all()
    np.testing.assert_array_equal(batches[1][0], faces)
    plain = ViewPairs(split, 10, sampling="shuffled", seed=4)
    plain.set_epoch(2)
    np.testing.assert_array_equal(plain[1][0][:10], plain[1][0][10:])


def test_faces_that_a_rule_drops_are_used_and_twins_of_validation_and_test_are_not(
    config, sample_data
):
    found = faces_without_labels(dataclasses.replace(config, label_rule="ms_majority"))
    every = load_dataset(str(sample_data), "FER").splits
    labelled = load_dataset(str(sample_data), "FERPlus", "ms_majority").splits["train"]
    assert len(labelled.images) < len(found["train"].images)
    held_out = {face.tobytes() for name in ("validation", "test") for face in every[name].images}
    mine = {face.tobytes() for face in found["train"].images}
    assert not mine & held_out
    assert mine == {face.tobytes() for face in every["train"].images} - held_out


def test_the_backbone_learns_and_training_goes_on_from_it(config, tiny_network, monkeypatch):
    folder = pretrain(config)
    lines = (folder / "training.csv").read_text().splitlines()
    losses = [float(line.split(",")[lines[0].split(",").index("loss")]) for line in lines[1:]]
    assert losses[-1] < losses[0]
    record = json.loads((folder / "run.json").read_text())
    assert record["train_rows"] == 128
    assert record["epochs"] == 3
    path = folder / "final_model.keras"
    assert read_info(path).model_name == tiny_network

    began = {}
    monkeypatch.setattr(
        fit, "freeze_and_compile", lambda config, model, *_: began.update(model=model) or 1 / 0
    )
    with pytest.raises(ZeroDivisionError):
        train(dataclasses.replace(config, weights=str(path), name="next"))
    pretrained, _ = load_checkpoint(path)
    for layer in pretrained.layers[:-1]:
        for ours, theirs in zip(
            layer.get_weights(), began["model"].get_layer(layer.name).get_weights(), strict=True
        ):
            np.testing.assert_array_equal(ours, theirs)


def test_refusals(config, monkeypatch, capsys):
    with pytest.raises(UsageError, match="leave out --resume"):
        pretrain(dataclasses.replace(config, resume=True))
    monkeypatch.setattr(contrastive, "read_dataset", lambda config: 1 / 0)
    with pytest.raises(InputError, match="no weights at nowhere"):
        pretrain(dataclasses.replace(config, weights="nowhere"))
    assert main(["pretrain", "--model_name", "Nothing"]) == 2
    assert "unknown" in capsys.readouterr().err
