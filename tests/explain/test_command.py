"""The command `explain`, as a user runs it."""

import shutil

import cv2
import numpy as np
import pytest
from matplotlib.figure import Figure

from ferplus_keras.cli import main
from ferplus_keras.data.dataset import open_source
from ferplus_keras.emotions import FERPLUS_CLASSES
from ferplus_keras.explain import explanations
from ferplus_keras.explain.command import find_pictures, read_pictures
from ferplus_keras.explain.methods import METHODS
from ferplus_keras.models.checkpoint import CheckpointInfo, save_checkpoint
from ferplus_keras.models.registry import build_model
from tests.explain import networks
from tests.models.networks import weights_of, write_keras2_model


def run(*words):
    return main(["explain", *map(str, words)])


@pytest.fixture
def pictures(trained, tmp_path):
    """A folder of faces of several sizes, one of them in colour."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for index, side in enumerate((48, 96, 130)):
        face = cv2.resize(trained.faces[index], (side, side), interpolation=cv2.INTER_NEAREST)
        colour = face if index else np.stack([face] * 3, axis=-1)
        cv2.imwrite(str(folder / f"{index}.png"), colour)
    for name in ("notes.txt", "._0.png"):
        (folder / name).write_text("no picture")
    return folder


def test_pictures_become_grey_48x48(trained, pictures):
    paths, failures = find_pictures([str(pictures), str(pictures / "[01].png")])
    faces = read_pictures(paths, (48, 48), failures)
    assert faces.names == [str(pictures / f"{index}.png") for index in (0, 1, 2, 0, 1)]
    np.testing.assert_array_equal(faces.images[:2], trained.faces[:2])
    assert not failures


def test_rows_by_every_method(trained, sample_data, tmp_path, capsys):
    from ferplus_keras.data.dataset import load_split

    for name in ("explanations_2.png", "explanations_of_mine.png"):
        (tmp_path / name).touch()
    split = load_split(sample_data, "test")
    kept = split.row_ids[:2]
    dropped = next(row for row in range(360, 400) if row not in split.row_ids)
    code = run(
        *("--checkpoint_path", trained.path, "--rows", *kept, dropped),
        *("--data_dir", sample_data, "--output_dir", tmp_path, "--batch_size", 2),
    )
    assert code == 0
    assert "explanations.png and explanations.npz are in" in capsys.readouterr().out
    files = [f"explanations{ending}" for ending in (".npz", ".png", "_of_mine.png")]
    assert sorted(path.name for path in tmp_path.iterdir()) == files
    with np.load(tmp_path / "explanations.npz") as found:
        assert found["maps"].shape == (3, len(METHODS), 48, 48)
        assert found["maps"].dtype == np.float32
        assert list(found["methods"]) == list(METHODS)
        assert list(found["names"]) == [f"row {row}" for row in (*kept, dropped)]
        true = [split.class_names[t.argmax()] for t in split.targets[:2]]
        assert list(found["labels"]) == [*true, ""]
        best = found["probabilities"].argmax(axis=1)
        assert list(found["explained"]) == [FERPLUS_CLASSES[index] for index in best]
        expected = METHODS["saliency"](_network(trained), split.images[:2], best[:2])
        np.testing.assert_allclose(found["maps"][:2, 0], expected, atol=1e-6)
    sheet = cv2.imread(str(tmp_path / "explanations.png"))
    assert sheet.shape[1] > 6 * 48


def _network(trained):
    return networks.cut_open(trained.model)


def test_many_pictures_fill_pages_and_an_unreadable_one_is_named(
    trained, pictures, tmp_path, capsys
):
    broken = pictures / "broken.png"
    broken.write_bytes(b"no picture")
    code = run(
        *("--checkpoint_path", trained.path.parent, "--images", *[pictures] * 3, "none*.png"),
        *("--method", "saliency", "--class_name", "fear", "--output_dir", tmp_path),
    )
    assert code == 1
    said = capsys.readouterr().err.splitlines()
    assert said.count(f"cannot read {broken}: no picture, or damaged") == 3
    assert "no file, folder or pattern match for none*.png" in said
    assert said[-1].startswith("error: 4 of")
    assert {"explanations_1.png", "explanations_2.png"} <= {p.name for p in tmp_path.iterdir()}
    with np.load(tmp_path / "explanations.npz") as found:
        assert set(found["explained"]) == {"fear"}
        assert len(found["maps"]) == 9


def test_class_means(trained, sample_data, tmp_path, capsys):
    code = run(
        *("--checkpoint_path", trained.path, "--split", "train"),
        *("--data_dir", sample_data, "--output_dir", tmp_path, "--batch_size", 50),
    )
    assert code == 0
    assert "images/s" in capsys.readouterr().out
    assert (tmp_path / "class_means.png").stat().st_size > 10_000
    from ferplus_keras.data.dataset import load_split

    split = load_split(sample_data, "train")
    labels = split.targets.argmax(axis=1)
    right = trained.model.predict(split.images, verbose=0).argmax(axis=1) == labels
    maps = METHODS["saliency"](_network(trained), split.images, labels)
    maps /= maps.mean(axis=(1, 2), keepdims=True)
    with np.load(tmp_path / "class_means.npz") as found:
        for index in range(len(FERPLUS_CLASSES)):
            members = labels == index
            assert list(found["counts"][:, index]) == [members.sum(), (members & right).sum()]
            face = split.images[members].mean(axis=0)
            np.testing.assert_allclose(found["faces"][index], face, atol=1e-3)
            for group, chosen in enumerate((members, members & right)):
                mean = maps[chosen].mean(axis=0) if chosen.any() else np.full((48, 48), np.nan)
                np.testing.assert_allclose(found["maps"][group, index, 0], mean, atol=2e-3)


def test_class_means_may_be_about_one_class(network, sample_data):
    split = open_source(sample_data).split("test", "majority")
    saliency, fear = METHODS["saliency"], FERPLUS_CLASSES.index("fear")
    found = explanations.class_means(network, split, [saliency], "fear")
    maps = saliency(network, split.images, np.full(len(split.images), fear))
    maps /= maps.mean(axis=(1, 2), keepdims=True)
    happy = split.labels() == FERPLUS_CLASSES.index("happiness")
    mean = found["maps"][0, FERPLUS_CLASSES.index("happiness"), 0]
    np.testing.assert_allclose(mean, maps[happy].mean(axis=0), atol=2e-3)


def test_grad_cam_is_left_out_or_refused_without_a_feature_map(pictures, tmp_path, capsys):
    networks.save(networks.build(networks.perceptron), tmp_path / "flat.keras")
    line = ("--checkpoint_path", tmp_path / "flat.keras", "--images", pictures)
    assert run(*line) == 0
    assert "grad_cam: the network has no feature map larger than 1x1; left out" in (
        capsys.readouterr().err
    )
    with np.load(tmp_path / "explanations.npz") as found:
        assert "grad_cam" not in found["methods"]
    assert run(*line, "--method", "grad_cam") == 1
    assert "choose another --method" in capsys.readouterr().err


def test_an_export_is_explained_by_occlusion_only(
    exported, tiny_checkpoint, pictures, tmp_path, capsys
):
    path = tmp_path / "model_max_acc_float16.onnx"
    shutil.copy(exported("onnx").path, path)
    line = ("--checkpoint_path", path, "--images", pictures)
    assert run(*line) == 0
    left_out = [name for name in METHODS if name != "occlusion"]
    assert f"{', '.join(left_out)}: {path} holds no Keras network; use the .keras file" in (
        capsys.readouterr().err
    )
    with np.load(tmp_path / "explanations.npz") as found:
        assert list(found["methods"]) == ["occlusion"]
        assert found["maps"].any()
    shutil.copy(tiny_checkpoint, tmp_path)
    for words in ((*line, "--method", "saliency"), (*line[:2], "--rows", 1, "--split", "test")):
        assert run(*words) != 0
    assert run(*line, "--method", "saliency", "occlusion") == 1
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith(f"error: saliency: {path} holds no Keras network; use {tmp_path}/")
    assert "model_max_acc.keras; choose another --method" in said


@pytest.mark.parametrize("classes", [8, 7])
def test_a_model_of_the_older_project_has_the_classes_of_ferplus(
    classes, tiny_network, pictures, sample_data, tmp_path, capsys
):
    path = tmp_path / "model_max_acc.hdf5"
    model = build_model(tiny_network, classes, weights="none", image_size=48)
    write_keras2_model(path, weights_of(model))
    line = ("--checkpoint_path", path, "--data_dir", sample_data, "--method", "saliency")
    if classes == 7:
        assert run(*line, "--images", pictures) == 1
        assert "does not name its 7 classes; expected the 8 of FER+" in capsys.readouterr().err
        return
    for words in (("--images", pictures, "--class_name", "fear"), ("--rows", 0, 1)):
        assert run(*line, *words) == 0
        with np.load(tmp_path / "explanations.npz") as found:
            assert tuple(found["class_names"]) == FERPLUS_CLASSES
            assert found["maps"].any()
    assert run(*line, "--split", "test") == 0


def test_own_pictures(sample_data, tmp_path, capsys):
    own = tmp_path / "own"
    source = open_source(sample_data)
    for name in ("train", "validation", "test"):
        split = source.split(name, "majority")
        for row, (face, label) in enumerate(zip(split.images[:30], split.labels(), strict=False)):
            folder = own / name / split.class_names[label]
            folder.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(folder / f"{row:03}.png"), face)
    classes = open_source(own, "Folder").class_names
    path = tmp_path / "run" / "model_max_acc.keras"
    path.parent.mkdir()
    info = CheckpointInfo("test", 48, classes, "Folder", "own labels", "own labels")
    save_checkpoint(networks.build(networks.perceptron, classes=len(classes)), path, info)
    line = ("--checkpoint_path", path, "--data_dir", own)
    assert run(*line, "--split", "train") == 0
    assert "train: 30 faces" in capsys.readouterr().out
    split = open_source(own, "Folder").split("train", "own labels")
    with np.load(path.parent / "class_means.npz") as found:
        assert tuple(found["class_names"]) == classes
        expected = np.bincount(split.labels(), minlength=len(classes))
        np.testing.assert_array_equal(found["counts"][0], expected)
    assert run(*line, "--rows", 0, "--method", "saliency") == 0
    with np.load(path.parent / "explanations.npz") as found:
        (name,), (label,) = found["names"], found["labels"]
        assert name.split("/")[1] == label


@pytest.mark.parametrize(
    ("words", "code", "expected"),
    [
        ("--rows 1 --method salency", 2, "did you mean 'saliency'?"),
        ("--rows 1 --class_name hapiness", 2, "did you mean 'happiness'?"),
        ("--rows 1 --batch_size 0", 2, "at least 1, got '0'"),
        ("--rows 400", 1, "rows of 0 to 399, got 400"),
        ("--split valid", 2, "did you mean 'validation'?"),
        ("--images nowhere.png", 1, "pattern match for nowhere.png"),
        ("", 2, "--images --rows --split"),
        ("--rows 1 --split test", 2, "not allowed with"),
    ],
)
def test_refusals(words, code, expected, trained, sample_data, tmp_path, capsys):
    out = tmp_path / "out"
    line = ("--checkpoint_path", trained.path, "--data_dir", sample_data, "--output_dir", out)
    assert run(*line, *words.split()) == code
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert expected in said
    assert said.count("\n") == 1
    assert not out.exists() or not list(out.iterdir())


@pytest.mark.parametrize(
    ("methods", "least"), [(["saliency"], "no effect"), (["saliency", "occlusion"], "against")]
)
def test_the_legend_says_what_the_maps_can_say(methods, least, tmp_path, monkeypatch):
    drawn, draw = [], Figure.savefig
    monkeypatch.setattr(Figure, "savefig", lambda f, *a, **k: drawn.append(f) or draw(f, *a, **k))
    rows = [("\udcff.png", [np.zeros((48, 48), np.uint8)] * len(methods))]  # a name not in UTF-8
    explanations._draw(methods, rows, methods, tmp_path / "page.png")
    assert drawn[0].axes[-1].texts[0].get_text() == least
