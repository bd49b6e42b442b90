import csv
import dataclasses
import zipfile

import cv2
import numpy as np
import pytest

from ferplus_keras.config import EvaluateConfig
from ferplus_keras.data.dataset import load_split
from ferplus_keras.data.votes import LABEL_RULES
from ferplus_keras.emotions import FER2013_CLASSES, FERPLUS_CLASSES
from ferplus_keras.errors import InputError, UsageError
from ferplus_keras.evaluation.evaluate import evaluate
from ferplus_keras.models.checkpoint import CheckpointInfo, load_checkpoint, save_checkpoint
from ferplus_keras.models.registry import build_model


@pytest.fixture
def checkpoint(tiny_network, tmp_path):
    model = build_model(tiny_network, 8, weights="none", image_size=48)
    path = tmp_path / "bare.keras"
    info = CheckpointInfo(tiny_network, 48, FERPLUS_CLASSES, "FERPlus", "majority", "majority")
    save_checkpoint(model, path, info)
    return path


@pytest.fixture
def config(checkpoint, sample_data):
    return EvaluateConfig(checkpoint_path=str(checkpoint), data_dir=str(sample_data))


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
    with pytest.raises(InputError, match=r"8 classes .*7 .*--dataset_name FERPlus"):
        evaluate(dataclasses.replace(config, dataset_name="FER"))


def test_own_labels_of_fer2013_are_named_in_the_report(config, checkpoint, tiny_network):
    model = build_model(tiny_network, 7, weights="none", image_size=48)
    info = CheckpointInfo(
        tiny_network, 48, FER2013_CLASSES, "FER", "emotion column", "emotion column"
    )
    save_checkpoint(model, checkpoint, info)
    for rule in (None, "majority"):  # a rule does not apply there
        report = evaluate(dataclasses.replace(config, label_rule=rule))
        assert report["label_rule"] == "emotion column"
        assert report["splits"]["test"]["n"] == 40  # no row dropped


def save_with_classes(tiny_network, path, class_names, dataset_name="FERPlus"):
    model = build_model(tiny_network, len(class_names), weights="none", image_size=48)
    rule = "majority" if dataset_name == "FERPlus" else "emotion column"
    info = CheckpointInfo(tiny_network, 48, class_names, dataset_name, rule, rule)
    save_checkpoint(model, path, info)
    return model


def probabilities_of(folder):
    with (folder / "predictions.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == "test"]
    return np.array([[float(row[name]) for name in FERPLUS_CLASSES] for row in rows])


def test_classes_in_another_order_are_put_in_order(config, checkpoint, tiny_network):
    evaluate(config)
    expected = probabilities_of(checkpoint.parent)
    model, _ = load_checkpoint(checkpoint)
    dense = model.get_layer("dense")
    dense.set_weights([values[..., ::-1] for values in dense.get_weights()])
    info = CheckpointInfo(
        tiny_network, 48, FERPLUS_CLASSES[::-1], "FERPlus", "majority", "majority"
    )
    save_checkpoint(model, checkpoint, info)
    report = evaluate(config)
    assert report["class_names"] == list(FERPLUS_CLASSES)
    np.testing.assert_allclose(probabilities_of(checkpoint.parent), expected, atol=2e-6)


def test_other_classes_are_refused(config, checkpoint, tiny_network):
    save_with_classes(tiny_network, checkpoint, (*FERPLUS_CLASSES[:7], "boredom"))
    with pytest.raises(InputError, match="boredom"):
        evaluate(config)


def test_an_ensemble_is_the_mean_of_its_members(config, checkpoint, tiny_network, tmp_path):
    second = tmp_path / "second" / "other.keras"
    second.parent.mkdir()
    save_with_classes(tiny_network, second, FERPLUS_CLASSES)
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
    model = build_model(tiny_network, 2, weights="none", image_size=48)
    info = CheckpointInfo(
        tiny_network, 48, ("good", "bad"), "FERPlus", "majority", "majority", class_map=class_map
    )
    save_checkpoint(model, checkpoint, info)
    report = evaluate(config)
    assert report["class_names"] == ["good", "bad"]
    assert report["class_map"] == list(class_map)


def test_own_pictures_are_judged_by_the_classes_of_the_checkpoint(tiny_network, tmp_path):
    rng = np.random.default_rng(0)
    for split in ("train", "validation", "test"):
        for name in ("cat", "dog") if split != "test" else ("dog",):
            folder = tmp_path / "own" / split / name
            folder.mkdir(parents=True)
            for number in range(3):
                picture = rng.integers(0, 256, (50, 60), dtype=np.uint8)
                cv2.imwrite(str(folder / f"{number}.png"), picture)
    checkpoint = tmp_path / "own.keras"
    model = build_model(tiny_network, 2, weights="none", image_size=48)
    info = CheckpointInfo(tiny_network, 48, ("cat", "dog"), "Folder", "own labels", "own labels")
    save_checkpoint(model, checkpoint, info)
    report = evaluate(
        EvaluateConfig(checkpoint_path=str(checkpoint), data_dir=str(tmp_path / "own"))
    )
    assert report["splits"]["test"]["per_class"]["cat"]["recall"] is None
    with (tmp_path / "predictions.csv").open() as file:
        assert {row["path"] for row in csv.DictReader(file)} >= {"test/dog/0.png"}


def test_broken_weights_are_named(config, checkpoint, tiny_network):
    model = build_model(tiny_network, 8, weights="none", image_size=48)
    model.get_layer("dense").bias.assign(np.full(8, np.nan))
    info = CheckpointInfo(tiny_network, 48, FERPLUS_CLASSES, "FERPlus", "majority", "majority")
    save_checkpoint(model, checkpoint, info)
    with pytest.raises(InputError, match="no number"):
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
        (foreign, "not saved by ferplus_keras"),
        (tmp_path / "missing.keras", "no checkpoint at"),
        (tmp_path, "no checkpoint at"),
    ):
        with pytest.raises(InputError, match=said):
            evaluate(dataclasses.replace(config, checkpoint_path=str(path)))
    with pytest.raises(UsageError, match="--checkpoint_path"):
        evaluate(dataclasses.replace(config, checkpoint_path=None))
