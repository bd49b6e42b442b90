import dataclasses
import json
import shutil

import numpy as np
import pytest
from PIL import Image

from ferplus_keras.cli import main
from ferplus_keras.data.dataset import load_dataset, load_split
from ferplus_keras.data.ferplus import ferplus_votes
from ferplus_keras.errors import InputError, UsageError
from ferplus_keras.models.checkpoint import load_checkpoint, read_info
from ferplus_keras.models.layers import HEAD
from ferplus_keras.training import prepare
from ferplus_keras.training import pretrain as module
from ferplus_keras.training.prepare import build_network
from ferplus_keras.training.pretrain import (
    TEMPERATURE,
    ViewPairs,
    accuracy,
    faces_without_labels,
    nt_xent,
    pretrain,
)
from ferplus_keras.training.settle import read_dataset, resolve
from ferplus_keras.training.train import train
from tests.training.runs import rows


@pytest.fixture
def config(tiny_config):
    return dataclasses.replace(
        tiny_config,
        nepochs=3,
        batch_size=32,
        optimizer="SGD",
        init_lr=0.05,
        limit_train=128,
        loggers=("none",),
        name="pretrained",
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


def test_half_precision_scales_the_loss(config, monkeypatch):
    compiled = []

    def watch(*arguments, network, **more):
        found = prepare.compile_stage(*arguments, network=network, **more)
        compiled.append(type(network.optimizer).__name__)
        return found

    monkeypatch.setattr(module, "compile_stage", watch)
    pretrain(dataclasses.replace(config, nepochs=1, limit_train=32, mixed_precision="float16"))
    assert compiled == ["LossScaleOptimizer"]


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


def faces_of(config):
    """Return the faces that a pretraining of these settings is about."""
    dataset, config = read_dataset(resolve(config))
    return faces_without_labels(dataset, config.exclude)


@pytest.fixture
def data_with_twin(sample_data, tmp_path):
    """Folder of the drawn data whose first training row has the pixels of the last test row."""
    folder = tmp_path / "copy"
    shutil.copytree(sample_data, folder)
    header, first, *rows = (folder / "fer2013.csv").read_text().splitlines()
    emotion, _, usage = first.split(",")
    assert usage == "Training"
    assert rows[-1].endswith("PrivateTest")
    first = ",".join((emotion, rows[-1].split(",")[1], usage))
    (folder / "fer2013.csv").write_text("\n".join((header, first, *rows)) + "\n")
    return str(folder)


def test_every_training_face_is_used_but_what_is_no_face_and_copies_of_validation_and_test(
    config, data_with_twin
):
    config = dataclasses.replace(config, data_dir=data_with_twin, label_rule="ms_majority")
    dataset = faces_of(config)
    labelled = load_dataset(data_with_twin, "FERPlus", "ms_majority")
    assert dataset["train"].class_names == labelled.source.class_names
    every = load_dataset(data_with_twin, "FER").splits
    held_out = {face.tobytes() for name in ("validation", "test") for face in every[name].images}
    votes = ferplus_votes(data_with_twin).opinions
    train = every["train"]
    wanted = [
        row
        for row, face in zip(train.row_ids, train.images, strict=True)
        if face.tobytes() not in held_out and votes[row][9] <= sum(votes[row]) / 2
    ]
    assert 0 not in wanted
    assert len(wanted) < len(train.row_ids) - 1  # the drawn data have rows that are no face
    assert dataset["train"].row_ids.tolist() == wanted
    assert not set(wanted) <= set(labelled.splits["train"].row_ids)


def test_excluded_rows_are_left_out_of_training(config, tmp_path):
    every = faces_of(config)
    first, second, *others = every["train"].row_ids.tolist()
    path = tmp_path / "rows.csv"
    path.write_text(f"row\n{first}\n{second}\n{every['validation'].row_ids[0]}\n")
    found = faces_of(dataclasses.replace(config, exclude=str(path)))
    assert found["train"].row_ids.tolist() == others
    np.testing.assert_array_equal(found["validation"].row_ids, every["validation"].row_ids)


def test_own_pictures_and_fer2013_alone_will_do(config, sample_data, tmp_path):
    fer = tmp_path / "fer"
    fer.mkdir()
    shutil.copy(sample_data / "fer2013.csv", fer)
    found = faces_of(dataclasses.replace(config, data_dir=str(fer), dataset_name="FER6"))
    leaked = load_dataset(str(fer), "FER").splits["train"].leaked
    assert len(found["train"].images) == np.count_nonzero(~leaked)
    assert len(found["train"].class_names) == 6

    for index, face in enumerate(load_split(str(sample_data), "train").images[:60]):
        path = tmp_path / "own" / ("calm", "glad")[index % 2] / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(face).save(path)
    own = dataclasses.replace(config, data_dir=str(tmp_path / "own"), dataset_name="Folder")
    assert faces_of(own)["train"].class_names == ("calm", "glad")


def test_the_backbone_learns_and_training_goes_on_from_it(config, tiny_network, monkeypatch):
    began = {}

    def build(*arguments, **settings):
        model, loaded = build_network(*arguments, **settings)
        began.update({layer.name: layer.get_weights() for layer in model.layers})
        return model, loaded

    monkeypatch.setattr(module, "build_network", build)
    folder = pretrain(config)
    first, *_, last = rows(folder)
    assert last["loss"] < first["loss"]
    record = json.loads((folder / "run.json").read_text())
    assert record["train_rows"] == 128
    assert record["epochs"] == 3
    path = folder / "final_model.keras"
    assert read_info(path).model_name == tiny_network

    taken = {}
    monkeypatch.setattr(
        prepare,
        "compile_stage",
        lambda config, prepared, stage: taken.update(model=prepared.model) or 1 / 0,
    )
    with pytest.raises(ZeroDivisionError):
        train(dataclasses.replace(config, weights=str(path), name="next"))
    pretrained, _ = load_checkpoint(path)
    for layer in pretrained.layers:
        learned = layer.get_weights()
        np.testing.assert_equal(taken["model"].get_layer(layer.name).get_weights(), learned)
        changed = [(a != b).any() for a, b in zip(began[layer.name], learned, strict=True)]
        assert all(changed) != (layer.name == HEAD) or not changed, layer.name


def test_only_the_backbone_learns_at_the_backbones_rate(config, monkeypatch):
    taken = {}

    def watch(*arguments, **settings):
        taken.update(settings)
        raise KeyboardInterrupt

    monkeypatch.setattr("ferplus_keras.training.prepare.build_optimizer", watch)
    with pytest.raises(KeyboardInterrupt):
        pretrain(dataclasses.replace(config, trunk_lr=0.1))
    assert taken["slow_factor"] == 0.1
    assert {path.split("/")[0] for path in taken["slow"]} == {"conv0", "bn0", "conv1", "bn1"}


def test_views_are_drawn_strongly_unless_told_otherwise(config, tmp_path, monkeypatch):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("augmentation: khaireddin\n")
    taken = []
    monkeypatch.setattr(module, "pretrain", lambda config: taken.append(config.augmentation))
    for line in ([], ["--augmentation", "wtomin"], ["--config", str(recipe)]):
        assert main(["pretrain", *line]) == 0
    assert taken == ["strong", "wtomin", "khaireddin"]


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"resume": True}, "leave out --resume"),
        ({"augmentation": "none"}, "both views of a face the same"),
        ({"batch_size": 1}, "no other face"),
        ({"num_gpus": 2}, "--num_gpus above 1"),
        ({"num_processes": 2}, "leave out --coordinator and --num_processes"),
    ],
)
def test_settings_that_pretraining_cannot_have_are_refused(config, monkeypatch, setting, message):
    monkeypatch.setattr(module, "read_dataset", lambda config: 1 / 0)
    with pytest.raises(UsageError, match=message):
        pretrain(dataclasses.replace(config, **setting))


def test_refusals(config, monkeypatch, capsys):
    monkeypatch.setattr(module, "read_dataset", lambda config: 1 / 0)
    with pytest.raises(InputError, match="nor a file, 'nowhere'"):
        pretrain(dataclasses.replace(config, weights="nowhere"))
    assert main(["pretrain", "--model_name", "Nothing"]) == 2
    assert "unknown" in capsys.readouterr().err
