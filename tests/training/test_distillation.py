import dataclasses
import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from ferplus_keras.classifier import Classifier
from ferplus_keras.data.dataset import load_split
from ferplus_keras.emotions import FERPLUS_CLASSES
from ferplus_keras.errors import InputError, UsageError
from ferplus_keras.models.checkpoint import load_checkpoint
from ferplus_keras.training import prepare
from ferplus_keras.training.distillation import describe_teachers, distil
from ferplus_keras.training.train import train
from tests import tiny
from tests.training.runs import final_weights, train_until


@pytest.fixture
def teacher(tiny_network, tmp_path):
    """Return a function that saves a teacher and returns its path."""

    def save(name="teacher", classes=FERPLUS_CLASSES, activation="softmax"):
        path = tmp_path / f"{name}.keras"
        tiny.save(path, classes, activation=activation)
        return str(path)

    return save


@pytest.fixture
def config(tiny_config, tmp_path):
    return dataclasses.replace(
        tiny_config,
        nepochs=2,
        batch_size=32,
        class_weights=("none",),
        early_stopping=0,
        limit_train=96,
        loggers=("none",),
        checkpoints_dir=str(tmp_path / "runs"),
        name="taught",
    )


def answers(path, images):
    model, _ = load_checkpoint(Path(path))
    views = (images, images[:, :, ::-1])
    return np.mean([model.predict(view, verbose=0) for view in views], axis=0)


def test_targets_are_shared_between_labels_and_the_mean_of_the_teachers(teacher, sample_data):
    paths = [teacher("first"), teacher("second", FERPLUS_CLASSES[::-1])]
    split = load_split(str(sample_data), "train", label_rule="ms_crossentropy")
    taught = distil(split, paths, 0.3)
    first, second = (answers(path, split.images) for path in paths)
    expected = 0.7 * split.targets + 0.3 * (first + second[:, ::-1]) / 2
    np.testing.assert_allclose(taught.targets, expected, atol=1e-5)
    np.testing.assert_allclose(taught.targets.sum(axis=1), 1, atol=1e-5)
    assert taught.targets.dtype == np.float32
    assert taught.images is split.images


def test_what_a_sigmoid_says_becomes_a_distribution(teacher, sample_data):
    path = teacher(activation="sigmoid")
    split = load_split(str(sample_data), "train")
    said = answers(path, split.images)
    expected = said / said.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(distil(split, [path], 1.0).targets, expected, atol=1e-5)


def test_training_uses_them_and_the_record_names_the_teacher(config, teacher, monkeypatch):
    path = teacher()
    seen = []

    def watch(split, *arguments, **settings):
        seen.append(split)
        return Batches(split, *arguments, **settings)

    Batches = prepare.Batches
    monkeypatch.setattr(prepare, "Batches", watch)
    folder = train(dataclasses.replace(config, teacher=(path,), teacher_weight=1.0))
    training, validation = seen
    np.testing.assert_allclose(training.targets, answers(path, training.images), atol=1e-5)
    assert set(np.unique(validation.targets)) == {0, 1}
    (said,) = json.loads((folder / "run.json").read_text())["teachers"]
    with open(path, "rb") as file:
        assert said == {"path": path, "sha256": hashlib.sha256(file.read()).hexdigest()}


def test_a_resumed_run_has_the_same_targets_or_is_refused(config, teacher):
    config = dataclasses.replace(config, teacher=(teacher(),), nepochs=3)
    unbroken = train(dataclasses.replace(config, name="unbroken"))
    train_until(config, epoch=1, batch=0)
    again = dataclasses.replace(config, resume=True)
    kept = (config.run_dir / "resume_state.npz").read_bytes()
    folder = train(again)
    np.testing.assert_equal(final_weights(folder), final_weights(unbroken))
    (config.run_dir / "resume_state.npz").write_bytes(kept)
    teacher()  # another network under the same name
    with pytest.raises(InputError, match="--resume: the teachers are not the ones"):
        train(again)


def test_a_saved_model_is_known_by_its_files(tmp_path):
    folder = tmp_path / "export"
    (folder / "variables").mkdir(parents=True)
    digests = set()
    for name in ("saved_model.pb", "variables/variables.index", "saved_model.pb"):
        (folder / name).write_text(f"{len(digests)}")
        (said,) = describe_teachers([str(folder)])
        assert said["path"] == str(folder)
        digests.add(said["sha256"])
    assert len(digests) == 3


def test_an_openvino_teacher_is_known_by_its_weights_too(exported, tmp_path):
    path = exported("openvino").path
    ours = [shutil.copy(path.with_suffix(suffix), tmp_path) for suffix in (".xml", ".bin")]
    (before,) = describe_teachers(ours[:1])
    assert before["sha256"] == Classifier.open(ours[0]).describe()["checkpoint_sha256"]
    with open(ours[1], "ab") as file:
        file.write(b"more")
    assert describe_teachers(ours[:1]) != [before]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"teacher": ("nowhere.keras",)}, "no checkpoint at nowhere.keras"),
        ({"teacher": (__file__,)}, "not a model that can be run"),
        ({"teacher_weight": 0.5}, "--teacher_weight 0.5 needs --teacher"),
        ({"teacher": ("a",), "label_rule": "ms_multi_target"}, "sets of right classes"),
    ],
)
def test_refusals_come_before_the_data_are_read(config, settings, said):
    settings["data_dir"] = "/nowhere"
    with pytest.raises((InputError, UsageError), match=said):
        train(dataclasses.replace(config, **settings))


def test_a_teacher_of_other_classes_is_refused_before_any_is_asked(config, teacher, monkeypatch):
    paths = (teacher(), teacher("other", FERPLUS_CLASSES[:7]))
    monkeypatch.setattr(
        Classifier, "probabilities", lambda *_, **__: pytest.fail("a teacher is asked")
    )
    with pytest.raises(InputError, match="has 7"):
        train(dataclasses.replace(config, teacher=paths))
    assert not (config.run_dir / "config.yaml").exists()


def test_a_run_does_not_overwrite_its_own_teacher_or_weights(config):
    folder = train(dataclasses.replace(config, nepochs=1))
    (folder / "model_max_acc.onnx").write_bytes(b"an export")
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    for teacher in (folder, folder / "final_model.keras", folder / "model_max_acc.onnx"):
        with pytest.raises(UsageError, match="--overwrite would delete the teacher"):
            train(dataclasses.replace(config, teacher=(str(teacher),), overwrite=True))
    for weights in ({"weights": str(folder)}, {"checkpoint_path": f"{folder}/final_model.keras"}):
        with pytest.raises(UsageError, match="--overwrite would delete the weights"):
            train(dataclasses.replace(config, **{"weights": None} | weights, overwrite=True))
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == before
