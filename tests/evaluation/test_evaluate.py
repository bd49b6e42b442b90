import dataclasses
import zipfile

import numpy as np
import pytest

from ferplus_keras.config import EvaluateConfig
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


def test_same_count_in_another_order_is_refused(config, checkpoint, tiny_network):
    model = build_model(tiny_network, 7, weights="none", image_size=48)
    info = CheckpointInfo(tiny_network, 48, FER2013_CLASSES[::-1], "FER", "emotion", "emotion")
    save_checkpoint(model, checkpoint, info)
    with pytest.raises(InputError, match="classes"):
        evaluate(config)


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
