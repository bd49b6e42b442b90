import csv
import dataclasses
import hashlib
import json
import math
import subprocess
import sys
import zipfile
from contextlib import nullcontext
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from PIL import Image

from ferplus_keras.classifier import Classifier
from ferplus_keras.cli import main
from ferplus_keras.config import EvaluateConfig, TrainConfig
from ferplus_keras.data.dataset import Split, load_split, open_source
from ferplus_keras.data.labels import LABEL_RULES
from ferplus_keras.data.targets import RIGHT_SET
from ferplus_keras.emotions import FER2013_CLASSES, FERPLUS_CLASSES
from ferplus_keras.errors import InputError, UsageError
from ferplus_keras.evaluation import evaluate as evaluation
from ferplus_keras.evaluation.evaluate import evaluate
from ferplus_keras.evaluation.scores import Evaluation
from ferplus_keras.inference.predictor import BUNDLED
from ferplus_keras.models.checkpoint import load_checkpoint, save_checkpoint
from ferplus_keras.training.losses import multi_target
from ferplus_keras.training.prepare import checkpoint_info
from ferplus_keras.training.settle import read_dataset, resolve
from tests import tiny
from tests.data.test_folder import write_faces


@pytest.fixture
def checkpoint(tiny_network, tmp_path):
    keras.utils.set_random_seed(0)
    path = tmp_path / "bare.keras"
    tiny.save(path)
    return path


@pytest.fixture
def config(checkpoint, sample_data):
    return EvaluateConfig(checkpoint_path=str(checkpoint), data_dir=str(sample_data))


def test_missing_data_are_refused_before_the_network_is_loaded(config, monkeypatch):
    monkeypatch.setattr(Classifier, "open", lambda *_, **__: pytest.fail("the network is loaded"))
    with pytest.raises(InputError, match="nowhere"):
        evaluate(dataclasses.replace(config, data_dir="/nowhere"))


def test_a_bare_file_is_enough(config, checkpoint):
    report = evaluate(config)
    assert set(report["splits"]) == {"validation", "test"}
    assert report["class_names"] == list(FERPLUS_CLASSES)
    assert (checkpoint.parent / "confusion_matrix.png").stat().st_size > 0


def test_a_loaded_checkpoint_is_the_model_that_was_saved(checkpoint, tiny_network):
    model, info = load_checkpoint(checkpoint)
    faces = np.random.default_rng(0).integers(0, 256, (3, 48, 48), dtype=np.uint8)
    assert (info.model_name, info.class_names) == (tiny_network, FERPLUS_CLASSES)
    assert model.name == tiny_network
    probabilities = model(faces)
    assert probabilities.shape == (3, 8)
    np.testing.assert_allclose(model.predict(faces, verbose=0), probabilities, atol=1e-6)


def test_the_answers_of_a_sigmoid_are_divided_by_their_sums(
    config, checkpoint, tiny_network, sample_data
):
    model = tiny.save(checkpoint, activation="sigmoid")
    found = evaluate(config)["splits"]["test"]
    split = load_split(sample_data, "test")
    answers = model.predict(split.images, verbose=0)
    of_truth = (answers / answers.sum(axis=1, keepdims=True))[split.targets > 0]
    assert answers.sum(axis=1).max() > 1.1
    assert found["accuracy"] == np.mean(answers.argmax(axis=1) == split.labels())
    assert found["loss"] == pytest.approx(-np.log(of_truth).mean(), rel=1e-4)
    assert evaluate(checkpoint, split)["loss"] == pytest.approx(found["loss"])
    line = ["evaluate", str(checkpoint.with_name("predictions.csv")), "--data_dir"]
    assert main([*line, str(sample_data)]) == 0


def test_batch_size_does_not_change_the_result(config, tmp_path):
    one, other = (
        evaluate(dataclasses.replace(config, batch_size=size, output_dir=str(tmp_path / str(size))))
        for size in (7, 64)
    )
    for split in one["splits"]:
        assert one["splits"][split]["n"] == other["splits"][split]["n"]
        assert one["splits"][split]["loss"] == pytest.approx(other["splits"][split]["loss"])


def test_another_rule_and_split_on_request(config):
    report = evaluate(dataclasses.replace(config, label_rule="ms_majority", splits=("train",)))
    assert report["label_rule"] == "ms_majority"
    assert set(report["splits"]) == {"train"}


def test_classes_that_clash_are_refused(config):
    with pytest.raises(InputError, match=r"expected 7 .* has 8 .*--dataset_name FERPlus"):
        evaluate(dataclasses.replace(config, dataset_name="FER"))


def test_own_labels_of_fer2013_are_named_in_the_report(config, checkpoint, tiny_network):
    tiny.save(checkpoint, FER2013_CLASSES, "FER")
    for rule in (None, "majority"):  # a rule does not apply there
        report = evaluate(dataclasses.replace(config, label_rule=rule))
        assert report["label_rule"] == "emotion column"
        assert report["splits"]["test"]["n"] == 40  # no row dropped


def read_rows(folder):
    with (folder / "predictions.csv").open() as file:
        return list(csv.DictReader(file))


def probabilities_of(folder):
    rows = [row for row in read_rows(folder) if row["split"] == "test"]
    return np.array([[float(row[name]) for name in FERPLUS_CLASSES] for row in rows])


def test_classes_in_another_order_are_put_in_order(config, checkpoint):
    evaluate(config)
    expected = probabilities_of(checkpoint.parent)
    model, info = load_checkpoint(checkpoint)
    dense = model.get_layer("dense")
    dense.set_weights([values[..., ::-1] for values in dense.get_weights()])
    info = dataclasses.replace(info, class_names=FERPLUS_CLASSES[::-1])
    save_checkpoint(model, checkpoint, info)
    report = evaluate(config)
    assert report["class_names"] == list(FERPLUS_CLASSES)
    np.testing.assert_allclose(probabilities_of(checkpoint.parent), expected, atol=2e-6)


def test_other_classes_are_refused(config, checkpoint, tiny_network):
    tiny.save(checkpoint, (*FERPLUS_CLASSES[:7], "boredom"))
    with pytest.raises(InputError, match="boredom"):
        evaluate(config)


def test_an_ensemble_is_the_mean_of_its_members(config, checkpoint, tiny_network, tmp_path):
    second = tmp_path / "second" / "other.keras"
    second.parent.mkdir()
    tiny.save(second)
    alone = []
    for path in (checkpoint, second):
        evaluate(dataclasses.replace(config, checkpoint_path=str(path)))
        alone.append(probabilities_of(path.parent))
    both = dataclasses.replace(
        config, checkpoint_path=(str(checkpoint), str(second)), output_dir=str(tmp_path / "both")
    )
    report = evaluate(both)
    np.testing.assert_allclose(
        probabilities_of(tmp_path / "both"), np.mean(alone, axis=0), atol=2e-6
    )
    for member, path, answers in zip(report["members"], (checkpoint, second), alone, strict=True):
        assert member["checkpoint"] == str(path)
        assert member["splits"]["test"]["n"] == len(answers)
    report = evaluate(dataclasses.replace(both, average="logits"))
    assert report["average"] == "logits"
    assert np.abs(probabilities_of(tmp_path / "both") - np.mean(alone, axis=0)).max() > 1e-3


def test_other_rules_leaks_annotators_and_temperature_stand_in_the_report(config, sample_data):
    report = evaluate(config)
    assert report["temperature"] > 0
    for name, split in report["splits"].items():
        assert set(split["label_rules"]) == set(LABEL_RULES) - {"majority"}
        rows = load_split(sample_data, name, label_rule="ms_majority")
        assert split["label_rules"]["ms_majority"]["n"] == len(rows.images)
        assert 0 < split["leak_free"]["n"] <= split["n"]
        assert split["annotators"]["n"] == split["n"]
        assert "at_temperature" in split["calibration"]
    report = evaluate(dataclasses.replace(config, splits=("test",)))
    assert report["temperature"] is None
    assert "at_temperature" not in report["splits"]["test"]["calibration"]


def test_merged_classes_come_from_the_checkpoint(config, checkpoint, tiny_network):
    class_map = ("good=happiness+surprise", "bad=anger+sadness+fear")
    tiny.save(checkpoint, ("good", "bad"), class_map=class_map)
    report = evaluate(config)
    assert report["class_names"] == ["good", "bad"]
    assert report["class_map"] == list(class_map)


def test_own_pictures_are_judged_by_the_classes_of_the_checkpoint(tiny_network, tmp_path):
    both = {f"{split}/{name}": 3 for split in ("train", "validation") for name in ("cat", "dog")}
    written = write_faces(tmp_path / "own", both | {"test/dog": 3}, shape=(50, 60))
    checkpoint = tmp_path / "own.keras"
    tiny.save(checkpoint, ("cat", "dog"), "Folder")
    report = evaluate(
        EvaluateConfig(checkpoint_path=str(checkpoint), data_dir=str(tmp_path / "own"))
    )
    assert report["splits"]["test"]["per_class"]["cat"]["recall"] is None
    assert {row["path"] for row in read_rows(tmp_path)} >= {p for p in written if "test" in p}


def test_a_checkpoint_brings_the_groups_that_divided_its_pictures(tiny_network, tmp_path):
    written = write_faces(tmp_path / "own", {"cat": 60, "dog": 60})
    for number, path in enumerate(written):
        picture = tmp_path / "own" / path
        picture.rename(picture.with_stem(f"S{number % 6}_{number}"))
    settings = {"dataset_name": "Folder", "data_dir": str(tmp_path / "own"), "group": "S[0-9]"}
    dataset, config = read_dataset(resolve(TrainConfig(**settings)))
    assert checkpoint_info(config, dataset).group == "S[0-9]"
    tiny.save(tmp_path / "own.keras", ("cat", "dog"), "Folder", group="S[0-9]")
    config = EvaluateConfig(checkpoint_path=str(tmp_path / "own.keras"), data_dir=config.data_dir)
    evaluate(config)
    found = {row["path"] for row in read_rows(tmp_path) if row["split"] == "test"}
    assert found == set(dataset.splits["test"].paths)
    evaluate(dataclasses.replace(config, group=""))
    assert found != {row["path"] for row in read_rows(tmp_path) if row["split"] == "test"}


@pytest.mark.parametrize(
    ("folders", "class_map", "lacks"),
    [
        (("happiness", "sadness"), None, "anger"),
        (("glad", "sad"), ("happiness=glad", "sadness=sad"), "anger"),
        (("Happy", "sad"), None, "anger"),  # as FER2013's folders are called
        (("glad", "sadness"), None, "the data has the class 'glad'"),
    ],
)
def test_own_pictures_need_not_show_every_class_of_a_ferplus_model(
    checkpoint, folders, class_map, lacks, tmp_path
):
    write_faces(tmp_path / "own", {f"test/{name}": 3 for name in folders})
    config = EvaluateConfig(
        checkpoint_path=str(checkpoint),
        dataset_name="Folder",
        data_dir=str(tmp_path / "own"),
        class_map=class_map,
        splits=("test",),
        output_dir=str(tmp_path / "report"),
    )
    if "glad" in folders and class_map is None:
        with pytest.raises(InputError, match=lacks):
            evaluate(config)
        return
    report = evaluate(config)
    assert report["class_names"] == list(FERPLUS_CLASSES)
    assert report["splits"]["test"]["n"] == 6
    classes = report["splits"]["test"]["per_class"]
    assert classes[lacks]["recall"] is None
    assert classes["happiness"]["support"] == classes["sadness"]["support"] == 3


def test_broken_weights_are_named(config, checkpoint):
    model, info = load_checkpoint(checkpoint)
    model.get_layer("dense").bias.assign(np.full(8, np.nan))
    save_checkpoint(model, checkpoint, info)
    with pytest.raises(InputError, match="non-finite"):
        evaluate(config)
    assert not (checkpoint.parent / "report.json").exists()


def test_what_is_no_checkpoint_is_refused(config, checkpoint, tmp_path):
    whole = checkpoint.read_bytes()
    page = tmp_path / "page.keras"
    page.write_text("<html>404</html>")
    cut = tmp_path / "cut.keras"
    cut.write_bytes(whole[: len(whole) // 2])
    foreign = tmp_path / "foreign.keras"
    with zipfile.ZipFile(foreign, "w") as archive:
        archive.writestr("config.json", "{}")
    for path, said in (
        (page, "not a .keras checkpoint"),
        (cut, "not a .keras checkpoint"),
        (foreign, "ferplus_keras did not write it"),
        (tmp_path / "missing.keras", "no checkpoint at"),
        (tmp_path, "no checkpoint at"),
    ):
        with pytest.raises(InputError, match=said):
            evaluate(dataclasses.replace(config, checkpoint_path=str(path)))
    with pytest.raises(UsageError, match="--checkpoint_path"):
        evaluate(dataclasses.replace(config, checkpoint_path=None))


def spread_answers(path, faces):
    """Make an untrained network answer every class for some of the faces."""
    model, info = load_checkpoint(path)
    dense = model.get_layer("dense")
    features = keras.Model(model.input, dense.input).predict(faces, verbose=0)
    kernel = np.random.default_rng(0).normal(size=dense.kernel.shape)
    kernel *= 2 / (features @ kernel).std(axis=0)
    dense.set_weights([kernel, -(features @ kernel).mean(axis=0)])
    save_checkpoint(model, path, info)


def test_every_right_class_counts_where_several_are_right(config, checkpoint, sample_data):
    config = dataclasses.replace(config, splits=("train", "test"))
    spread_answers(checkpoint, load_split(sample_data, "train").images)
    report = evaluate(dataclasses.replace(config, label_rule="ms_multi_target"))
    lines, page = read_rows(checkpoint.parent), (checkpoint.parent / "report.html").read_text()
    beside = evaluate(config)["splits"]
    gained = 0
    for split_name, found in report["splits"].items():
        targets = load_split(sample_data, split_name, label_rule="ms_multi_target").targets
        rows = [row for row in lines if row["split"] == split_name]
        right, first, loss = 0, 0, 0.0
        for row, target in zip(rows, targets, strict=True):
            classes = [FERPLUS_CLASSES[k] for k in range(8) if target[k] > 0]
            assert row["right_classes"].split("|") == classes
            best = max(float(row[name]) for name in classes)
            assert float(row[row["label"]]) == best
            right += row["predicted"] in classes
            first += row["predicted"] == classes[0]
            loss -= math.log(best)
        gained += right - first
        assert found["accuracy"] == pytest.approx(right / len(rows))
        assert found["loss"] == pytest.approx(loss / len(rows))
        assert f"{100 * right / len(rows):.1f}" in page
        under_rule = beside[split_name]["label_rules"]["ms_multi_target"]
        assert under_rule["accuracy"] == found["accuracy"]
    assert gained > 0  # so the first right class alone would not do


def test_predictions_hold_every_digit(config, checkpoint, sample_data):
    report = evaluate(config)
    images = load_split(sample_data, "test").images
    np.testing.assert_array_equal(
        probabilities_of(checkpoint.parent).astype(np.float32),
        Classifier.open(checkpoint).probabilities(images),
    )
    predictions = (checkpoint.parent / "predictions.csv").read_bytes()
    assert report["evaluation_id"] == hashlib.sha256(predictions).hexdigest()
    with Image.open(checkpoint.parent / "confusion_matrix.png") as drawn:
        assert drawn.text["evaluation_id"] == report["evaluation_id"]
    page = (checkpoint.parent / "report.html").read_text()
    assert f"<code>{report['evaluation_id']}</code>" in page
    for name in ("fer2013.csv", "fer2013new.csv"):
        content = (sample_data / name).read_bytes()
        assert report["data"][name] == hashlib.sha256(content).hexdigest()


def test_loss_is_that_of_training(config):
    import keras

    logits = np.array([[30, 0, 0], [0, 0, 25], [1, 2, 1.5]], np.float32)
    probabilities = keras.ops.convert_to_numpy(keras.ops.softmax(logits))
    targets = np.eye(3, dtype=np.float32)
    expected = keras.losses.categorical_crossentropy(targets, logits, from_logits=True)
    expected = np.mean(keras.ops.convert_to_numpy(expected))
    assert expected > 8  # the second row's alone is 25
    split = Split(np.zeros((3, 48, 48), np.uint8), targets, np.arange(3), ("a", "b", "c"))
    assert Evaluation(split, probabilities).scores()["loss"] == pytest.approx(expected, abs=1e-6)

    targets = np.array([[1, 1, 0], [1, 0, 1], [0, 1, 1]], np.float32)
    expected = np.mean(keras.ops.convert_to_numpy(multi_target(targets, probabilities)))
    split = split._replace(targets=targets, kind=RIGHT_SET)
    assert Evaluation(split, probabilities).scores()["loss"] == pytest.approx(expected, abs=1e-6)


def test_an_export_gives_the_same_report_without_a_backend(config, checkpoint, tmp_path):
    expected = evaluate(config)
    assert main(["export", "--checkpoint_path", str(checkpoint), "--format", "onnx"]) == 0
    settings = {
        "checkpoint_path": str(checkpoint.with_suffix(".onnx")),
        "data_dir": config.data_dir,
        "output_dir": str(tmp_path / "exported"),
    }
    script = (
        "import sys\n"
        "from ferplus_keras.config import EvaluateConfig\n"
        "from ferplus_keras.evaluation.evaluate import evaluate\n"
        f"evaluate(EvaluateConfig(**{settings!r}))\n"
        "print([m for m in ('keras', 'tensorflow', 'jax', 'torch') if m in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "[]", done.stderr
    found = json.loads((tmp_path / "exported" / "report.json").read_text())
    assert found["backend"] == "onnx"
    for name, split in expected["splits"].items():
        for score in ("n", "accuracy", "loss", "macro_f1", "brier", "calibration_error"):
            assert found["splits"][name][score] == pytest.approx(split[score], abs=1e-4)


def test_data_are_read_once_and_a_rule_without_rows_is_named(config, monkeypatch):
    opened = []

    def count(*given, **options):
        opened.append(open_source(*given, **options))
        return opened[-1]

    monkeypatch.setattr(evaluation, "open_source", count)

    def drop_all(votes):
        return LABEL_RULES["majority"].apply(votes).without(np.ones(len(votes), bool), "dropped")

    nothing = dataclasses.replace(LABEL_RULES["majority"], name="nobody", apply=drop_all)
    monkeypatch.setitem(LABEL_RULES, "nobody", nothing)
    report = evaluate(config)
    assert len(opened) == 1
    for split in report["splits"].values():
        found = split["label_rules"]["nobody"]
        assert found["n"] == 0
        assert found["accuracy"] is None
    with pytest.raises(InputError, match="none is kept"):
        evaluate(dataclasses.replace(config, label_rule="nobody"))

    def fail(votes):
        raise InputError("the rule is broken")

    monkeypatch.setitem(LABEL_RULES, "nobody", dataclasses.replace(nothing, apply=fail))
    with pytest.raises(InputError, match="the rule is broken"):
        evaluate(config)


def test_a_trial_is_marked_as_one(config, checkpoint, tiny_network, capsys):
    assert "trial" not in evaluate(config)
    settings = checkpoint.parent / "config.yaml"
    # No weights of these networks are published, or those of a run like this one.
    for network in (tiny_network, "FastFER"):
        settings.write_text(f"model_name: {network}\nweights: none\nlimit_train: null\n")
        assert "trial" not in evaluate(config)
    limits = "limit_train: 256\nlimit_validation: 64\n"
    settings.write_text(f"{limits}model_name: ResNet50\nweights: none\n")
    capsys.readouterr()
    trial = {"limit_train": 256, "limit_validation": 64, "weights": "none"}
    assert evaluate(config)["trial"] == trial
    said = "--limit_train 256, --limit_validation 64, --weights none"
    assert f"\na trial: {said}\n " in capsys.readouterr().out
    assert said in (checkpoint.parent / "report.html").read_text()


def test_golden_accuracy_of_the_bundled_model_by_every_right_class(real_data, tmp_path):
    settings = {"data_dir": str(real_data), "output_dir": str(tmp_path), "splits": ("test",)}
    report = evaluate(EvaluateConfig(checkpoint_path=str(BUNDLED), **settings))
    targets = load_split(real_data, "test", label_rule="ms_multi_target").targets
    evaluate(EvaluateConfig(checkpoint_path=str(BUNDLED), label_rule="ms_multi_target", **settings))
    right = sum(
        target[FERPLUS_CLASSES.index(row["predicted"])] > 0
        for row, target in zip(read_rows(tmp_path), targets, strict=True)
    )
    found = report["splits"]["test"]["label_rules"]["ms_multi_target"]
    assert found["n"] == len(targets) == 3472
    assert found["accuracy"] == right / 3472
    assert found["accuracy"] == pytest.approx(0.9205, abs=5e-4)
    assert report["splits"]["test"]["accuracy"] == pytest.approx(0.8629, abs=5e-4)


def test_an_ensemble_of_other_faces_is_refused_before_any_is_evaluated(
    sample_data, tmp_path, monkeypatch
):
    files = []
    for side in (48, 64):
        faces = keras.Input((side, side))
        answers = keras.layers.Dense(8, "softmax")(keras.layers.Flatten()(faces))
        files.append(str(tmp_path / f"{side}.keras"))
        Classifier.from_model(keras.Model(faces, answers), FERPLUS_CLASSES).save(files[-1])
    monkeypatch.setattr(Classifier, "probabilities", None)
    config = EvaluateConfig(checkpoint_path=tuple(files), data_dir=str(sample_data))
    with pytest.raises(InputError, match=r"need the same faces: .*\(48, 48\), .*\(64, 64\)"):
        evaluate(config)


def test_all_processes_build_a_network_from_the_same_first_weights(tmp_path, monkeypatch):
    """Else JAX refuses to spread them, although the checkpoint's replace them."""
    shared = SimpleNamespace(scope=nullcontext)
    monkeypatch.setattr("ferplus_keras.training.devices.find_devices", lambda count: shared)
    kernels = []
    for _ in range(2):
        with evaluation._devices(EvaluateConfig(num_gpus=2), [tmp_path / "a.keras"]):
            kernels.append(keras.initializers.GlorotUniform()((3, 4)))
    np.testing.assert_array_equal(*kernels)
