import hashlib
import json
import os
from dataclasses import replace

import h5py
import keras
import numpy as np
import pytest
from keras.src.applications.resnet import WEIGHTS_HASHES
from numpy.testing import assert_equal

from ferplus_keras.errors import InputError, UsageError
from ferplus_keras.formats.keras import Hdf5
from ferplus_keras.models import published as published_module
from ferplus_keras.models.checkpoint import load_checkpoint
from ferplus_keras.models.published import find_weights
from ferplus_keras.models.registry import MODELS, build_model
from ferplus_keras.models.weights import load_weights
from tests.exports import INFO, drawn
from tests.models.networks import (
    faces,
    weights_of,
    write_keras2_model,
    write_keras2_weights,
)

TOP = {"classifier": {"kernel": np.zeros((16, 99), "float32"), "bias": np.zeros(99, "float32")}}


@pytest.fixture
def spec(tiny_network):
    return replace(MODELS[tiny_network], top_layers=("classifier",))


@pytest.fixture
def model(tiny_network):
    return build_model(tiny_network, 8, weights="none", image_size=60)


@pytest.fixture
def source(tiny_network):
    """Weights of another network of the same kind, every one of them random."""
    other = build_model(tiny_network, 8, weights="none", image_size=60)
    rng = np.random.default_rng(5)
    other.set_weights(
        [rng.uniform(0.5, 1.5, w.shape).astype("float32") for w in other.get_weights()]
    )
    return weights_of(other)


@pytest.fixture
def write(tmp_path):
    def write(layers, name="weights.h5"):
        with h5py.File(tmp_path / name, "w") as file:
            write_keras2_weights(file, layers)
        return tmp_path / name

    return write


def without(layers, *names):
    return {name: values for name, values in layers.items() if name not in names}


def refusal(model, path, spec) -> str:
    """The error's text; nothing may have been assigned."""
    before = weights_of(model)
    with pytest.raises(InputError) as caught:
        load_weights(model, path, spec)
    assert_equal(weights_of(model), before)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
    return str(caught.value)


def test_file_with_top(model, spec, source, write):
    path = write(without(source, "dense") | TOP)
    loaded = load_weights(model, path, spec)
    assert (loaded.layers, loaded.left_out, loaded.head) == (4, ("classifier",), False)
    assert loaded.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert_equal(without(weights_of(model), "dense"), without(source, "dense"))
    assert str(loaded) == f"4 layers from {path} (new head; left out: classifier)"


def test_file_without_top_keeps_the_new_head(model, spec, source, write):
    head = weights_of(model)["dense"]
    loaded = load_weights(model, write(without(source, "dense")), spec)
    assert (loaded.layers, loaded.left_out, loaded.head) == (4, (), False)
    assert_equal(weights_of(model), source | {"dense": head})


def test_head_of_the_same_classes_is_loaded(model, spec, source, write):
    loaded = load_weights(model, write(source), spec)
    assert (loaded.layers, loaded.left_out, loaded.head) == (5, (), True)
    assert_equal(weights_of(model), source)


def test_order_inside_a_layer_does_not_matter(model, spec, source, write):
    path = write({name: dict(reversed(values.items())) for name, values in source.items()})
    load_weights(model, path, spec)
    assert_equal(weights_of(model), source)


def test_names_of_a_sessions_second_model(model, spec, source, write, tmp_path):
    path = write(source)
    with h5py.File(path, "a") as file:
        group = file["conv0"]
        for key in ("kernel", "bias"):
            group.move(f"conv0/{key}:0", f"conv0_1/{key}_1:0")
        group.attrs["weight_names"] = [b"conv0_1/kernel_1:0", b"conv0_1/bias_1:0"]
    load_weights(model, path, spec)
    assert_equal(weights_of(model), source)


def test_a_model_inside_another_is_taken_apart(model, spec, source, tmp_path):
    """As the older project's multi-GPU wrapper was saved."""
    variables = {f"{k}/{v}:0": values for k, layer in source.items() for v, values in layer.items()}
    with h5py.File(tmp_path / "gpus.h5", "w") as file:
        file.attrs["layer_names"] = [b"lambda_1", b"model_1"]
        file.create_group("lambda_1").attrs["weight_names"] = []
        inner = file.create_group("model_1")
        inner.attrs["weight_names"] = [name.encode() for name in variables]
        for name, values in variables.items():
            inner[name] = values
    load_weights(model, tmp_path / "gpus.h5", spec)
    assert_equal(weights_of(model), source)


def test_list_of_names_in_pieces(model, spec, source, write):
    path = write(source)
    with h5py.File(path, "a") as file:
        names = file.attrs["layer_names"]
        del file.attrs["layer_names"]
        file.attrs["layer_names0"], file.attrs["layer_names1"] = names[:3], names[3:]
    load_weights(model, path, spec)
    assert_equal(weights_of(model), source)


def test_checkpoint_of_this_project(model, spec, source, tmp_path):
    for layer in model.layers:
        layer.set_weights(list(source[layer.name].values()))
    model.save(tmp_path / "model.keras")
    for classes, head in ((8, True), (7, False)):
        other = build_model(spec.name, classes, weights="none", image_size=60)
        loaded = load_weights(other, tmp_path / "model.keras", spec)
        assert (loaded.layers, loaded.head) == (4 + head, head)
        assert loaded.left_out == (() if head else ("dense",))
        assert_equal(without(weights_of(other), "dense"), without(source, "dense"))


def test_the_head_of_a_checkpoint_goes_to_the_classes_by_their_names(tiny_network, tiny_checkpoint):
    spec = MODELS[tiny_network]
    trained = load_checkpoint(tiny_checkpoint)[0]
    expected = trained.predict_on_batch(drawn(4))
    model = build_model(spec.name, 8, weights="none", image_size=INFO.image_size)
    spelt = {"happiness": "Happy", "anger": "Angry"}
    names = [spelt.get(name, name) for name in sorted(INFO.class_names)]
    assert load_weights(model, tiny_checkpoint, spec, names).head
    order = [INFO.class_names.index(name) for name in sorted(INFO.class_names)]
    assert order != sorted(order)
    found = model.predict_on_batch(drawn(4))
    np.testing.assert_allclose(found, expected[:, order], atol=1e-6)
    others = [*names[:7], "boredom"]
    before = weights_of(model)["dense"]
    loaded = load_weights(model, tiny_checkpoint, spec, others)
    assert (loaded.head, loaded.left_out) == (False, ("dense",))
    np.testing.assert_array_equal(weights_of(model)["dense"]["kernel"], before["kernel"])


def test_layer_missing_from_the_file(model, spec, source, write):
    said = refusal(model, write(without(source, "conv1")), spec)
    assert "1 missing (conv1)" in said


def test_layer_unknown_here(model, spec, source, write):
    extra = {f"extra_{i}": source["conv0"] for i in range(3)}
    said = refusal(model, write(source | extra), spec)
    assert "3 unknown here (extra_0, extra_1, …)" in said


def test_other_shape(model, spec, source, write):
    kernel = np.zeros((5, 5, 1, 8), "float32")
    said = refusal(model, write(source | {"conv0": source["conv0"] | {"kernel": kernel}}), spec)
    assert "1 of another shape" in said
    assert "kernel[5, 5, 1, 8]" in said
    assert "kernel[3, 3, 1, 8]" in said


def test_layer_without_its_bias(model, spec, source, write):
    said = refusal(model, write(source | {"conv0": {"kernel": source["conv0"]["kernel"]}}), spec)
    assert "1 of another shape (conv0" in said


def test_layer_listed_without_any_weights(model, spec, source, write):
    assert "1 missing (bn1)" in refusal(model, write(source | {"bn1": {}}), spec)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"<!DOCTYPE html><html>", "a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "git-lfs pointer"),
        (b"", "empty"),
        (b"PK\x03\x04 something", "not an HDF5 file"),
    ],
)
def test_files_that_are_not_hdf5(model, spec, tmp_path, content, said):
    path = tmp_path / "weights.h5"
    path.write_bytes(content)
    assert said in refusal(model, path, spec)


def test_file_cut_short(model, spec, source, write):
    path = write(source)
    path.write_bytes(path.read_bytes()[:-5000])
    assert "cut short" in refusal(model, path, spec)


def test_hdf5_of_another_kind(model, spec, tmp_path):
    with h5py.File(tmp_path / "weights.h5", "w") as file:
        file["layers"] = 1
    assert "layer_names" in refusal(model, tmp_path / "weights.h5", spec)


def test_keras_file_that_is_none(model, spec, tmp_path):
    (tmp_path / "model.keras").write_bytes(b"PK\x03\x04")
    assert "is not a .keras file" in refusal(model, tmp_path / "model.keras", spec)


def numbers_elsewhere(path, shape):
    """Write a file that holds numbers for a link or a data set to name; return where they are."""
    with h5py.File(path.with_name("other.h5"), "w") as file:
        file["kernel"] = np.zeros(shape, "float32")
        file.create_group("conv1")
        return file["kernel"].id.get_offset()


def break_hdf5(kind, path):
    """Damage a sound weights file in one way; its first layer is conv1."""
    with h5py.File(path, "r+") as file:
        name = "conv1/conv1/kernel:0"
        kernel = file[name][()]
        offset = numbers_elsewhere(path, kernel.shape)
        if kind == "no group":
            del file["conv1"]
        elif kind == "no numbers":
            del file[name]
        elif kind == "a group for numbers":
            del file[name]
            file.create_group(name)
        elif kind == "numbers for a group":
            del file["conv1"]
            file["conv1"] = 1.0
        elif kind == "text":
            del file[name]
            file[name] = np.full(kernel.shape, b"x")
        elif kind == "nothing in it":
            del file[name]
            file[name] = h5py.Empty("f4")
        elif kind == "not numbers":
            file[name][...] = np.nan
        elif kind == "a link in a circle":
            del file["conv1"]
            file["conv1"] = h5py.SoftLink("/conv1")
        elif kind == "a link to a pipe":
            del file["conv1"]
            file["conv1"] = h5py.ExternalLink("pipe", "conv1")
        elif kind == "a link to another file":
            del file[name]
            file[name] = h5py.ExternalLink("other.h5", "kernel")
        elif kind == "numbers in another file":
            del file[name]
            external = [(str(path.with_name("other.h5")), offset, kernel.nbytes)]
            file.create_dataset(name, kernel.shape, "f4", external=external)
        elif kind == "virtual numbers":
            del file[name]
            layout = h5py.VirtualLayout(kernel.shape, "f4")
            layout[...] = h5py.VirtualSource(path.with_name("other.h5"), "kernel", kernel.shape)
            file.create_virtual_dataset(name, layout)
        elif kind == "a number for names":
            file.attrs["layer_names"] = 3
        elif kind == "no names of weights":
            del file["conv1"].attrs["weight_names"]
        else:
            file.attrs["layer_names"] = [b"\xff\xfe", b"conv1"]
    os.mkfifo(path.with_name("pipe"))


@pytest.mark.parametrize(
    "kind",
    [
        *("no group", "no numbers", "a group for numbers", "numbers for a group", "text"),
        *("nothing in it", "not numbers", "a link in a circle", "a link to a pipe"),
        *("a link to another file", "numbers in another file", "virtual numbers"),
        *("a number for names", "no names of weights", "names that are no text"),
    ],
)
def test_broken_parts_are_refused_in_one_line(model, spec, source, write, kind):
    path = write(source)
    break_hdf5(kind, path)
    refusal(model, path, spec)


def test_a_flipped_bit_in_packed_numbers_is_refused(model, spec, source, tmp_path):
    path = tmp_path / "weights.h5"
    with h5py.File(path, "w") as file:
        write_keras2_weights(file, source)
        del file["conv1/conv1/kernel:0"]
        values = source["conv1"]["kernel"]
        made = file["conv1"].create_dataset("conv1/kernel:0", data=values, compression="gzip")
        place = made.id.get_chunk_info(0).byte_offset
    damaged = bytearray(path.read_bytes())
    damaged[place + 20] ^= 0xFF
    path.write_bytes(damaged)
    refusal(model, path, spec)


@pytest.mark.parametrize(
    "settings",
    [
        {"units": 10**9},
        {"units": "8"},
        {"activation": "nonsense"},
        {"activation": []},
        {"rate": 2},
        {"batch_input_shape": [None, 10**6]},
        {"batch_input_shape": 5},
        {"name": 3},
    ],
)
def test_a_model_with_an_impossible_graph_is_refused(spec, source, tmp_path, settings):
    path = tmp_path / "model.hdf5"
    write_keras2_model(path, source, image_size=60)
    with h5py.File(path, "r+") as file:
        graph = json.loads(file.attrs["model_config"])
        for layer in graph["config"]["layers"]:
            known = layer["config"].keys() & settings.keys()
            layer["config"] |= {key: settings[key] for key in known}
        file.attrs["model_config"] = json.dumps(graph)
    with pytest.raises(InputError) as caught:
        Hdf5.open(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_declared_numbers_that_the_file_does_not_hold_are_refused(model, spec, source, write):
    path = write(source)
    with h5py.File(path, "r+") as file:
        file.create_dataset("elsewhere", (10**6, 10**6), "f4", chunks=(1000, 1000))
    assert "declares 4,000,000,0" in refusal(model, path, spec)
    assert path.stat().st_size < 100_000


def test_a_model_larger_than_its_file_is_not_built(spec, source, tmp_path):
    path = tmp_path / "model.hdf5"
    write_keras2_model(path, source, image_size=60)
    said = "describes layers of 40,0.* weights, and holds 150,000,000 numbers"
    with pytest.raises(InputError, match=said):
        Hdf5.open(path, "VGG16", image_size=100_000)


def test_no_such_file(model, spec, tmp_path):
    assert "no weights file" in refusal(model, tmp_path / "absent.h5", spec)


def test_older_projects_model_is_built_again(spec, source, tmp_path):
    path = tmp_path / "model_max_acc.hdf5"
    write_keras2_model(path, source, image_size=60, activation="sigmoid", rate=0.25)
    opened = Hdf5.open(path)
    model, info = opened.network, opened.info
    assert (info.model_name, info.image_size) == (spec.name, 60)
    assert model.get_layer("preprocessing").image_size == 60
    assert model.get_layer("dropout_layer").rate == 0.25
    assert model.get_layer("dense").activation is keras.activations.sigmoid
    assert_equal(weights_of(model), source)
    assert model.predict(faces(), verbose=0).shape == (2, 8)

    model = Hdf5.open(path, info.model_name, image_size=72).network
    assert model.get_layer("preprocessing").image_size == 72
    with pytest.raises(InputError, match="not those of --model_name VGG16"):
        Hdf5.open(path, "VGG16")
    with pytest.raises(UsageError, match="unknown model"):
        Hdf5.open(path, "VGG61")


def test_weights_alone_are_no_whole_model(source, write):
    with pytest.raises(InputError, match="holds weights only"):
        Hdf5.open(write(source))


def test_networks_of_the_older_project_differ_in_their_number_of_layers():
    counts = {spec.name: spec.weighted_layers for spec in MODELS.values() if spec.weighted_layers}
    assert sorted(counts) == ["ResNet18", "ResNet34", "ResNet50", "SeNet50", "VGG16"]
    assert len(set(counts.values())) == len(counts)


def test_network_that_nobody_knows(source, write):
    path = write(without(source, "conv1"))
    with pytest.raises(InputError, match="3 layers with weights before its head"):
        Hdf5.open(path)


class TestFinding:
    """Where the published file is looked for, in order."""

    SPEC = MODELS["ResNet50"]
    NO_TOP = "rcmalli_vggface_tf_notop_resnet50.h5"
    TOP = "rcmalli_vggface_tf_resnet50.h5"

    @pytest.fixture
    def folders(self, tmp_path, monkeypatch):
        own, keras_home = tmp_path / "own", tmp_path / "keras"
        cache = keras_home / "models" / "vggface"
        for folder in (own, cache):
            folder.mkdir(parents=True)
        monkeypatch.setenv("FERPLUS_WEIGHTS_DIR", str(own))
        monkeypatch.setenv("KERAS_HOME", str(keras_home))
        return own, cache

    @pytest.fixture
    def downloads(self, monkeypatch):
        asked = []

        def download(url, destination, digest, fault):
            asked.append((url, destination, digest))
            return destination

        monkeypatch.setattr(published_module, "download", download)
        return asked

    def test_order(self, folders, downloads):
        own, cache = folders
        assert find_weights(self.SPEC, "vggface2") == cache / self.NO_TOP
        url = "https://github.com/rcmalli/keras-vggface/releases/download/v2.0/"
        assert downloads == [(url + self.NO_TOP, cache / self.NO_TOP, "")]
        for path in (cache / self.TOP, cache / self.NO_TOP, own / self.TOP, own / self.NO_TOP):
            path.write_bytes(b"x")
            assert find_weights(self.SPEC, "vggface2") == path
        assert len(downloads) == 1

    def test_home_without_settings(self, monkeypatch, tmp_path, downloads):
        monkeypatch.delenv("FERPLUS_WEIGHTS_DIR", raising=False)
        monkeypatch.delenv("KERAS_HOME", raising=False)
        monkeypatch.setenv("HOME", str(tmp_path))
        expected = tmp_path / ".keras" / "models" / "vggface" / self.NO_TOP
        assert find_weights(self.SPEC, "vggface2") == expected

    def test_each_publishers_files_have_their_own_folder(self, folders, downloads):
        cache = folders[1].parent
        assert find_weights(MODELS["ImageNetResNet50"], "imagenet").parent == cache
        (url, _, digest) = downloads[0]
        assert url.startswith("https://storage.googleapis.com/tensorflow/keras-applications/")
        assert digest == WEIGHTS_HASHES["resnet50"][1]

    def test_paths(self, tmp_path):
        path = tmp_path / "mine.h5"
        with pytest.raises(InputError, match=r"no weights at .*: expected 'vggface2' or 'none'"):
            find_weights(self.SPEC, str(path))
        path.write_bytes(b"x")
        assert find_weights(self.SPEC, str(path)) == path
        assert find_weights(self.SPEC, path) == path

    def test_run_folder_stands_for_its_most_accurate_model(self, tmp_path):
        with pytest.raises(InputError, match=r"no checkpoint at .*model_max_acc.keras"):
            find_weights(self.SPEC, tmp_path)
        (tmp_path / "model_max_acc.keras").write_bytes(b"x")
        assert find_weights(self.SPEC, str(tmp_path)) == tmp_path / "model_max_acc.keras"

    def test_failed_download_offers_random_weights(self, folders, monkeypatch):
        def download(url, destination, digest, fault):
            raise InputError("cannot download")

        monkeypatch.setattr(published_module, "download", download)
        with pytest.raises(InputError, match="--weights none"):
            find_weights(self.SPEC, "vggface2")

    def test_network_without_published_weights(self, spec):
        with pytest.raises(UsageError, match="Known: none"):
            find_weights(spec, "vggface2")


def test_build_loads_its_weights(tiny_network, source, write):
    model = build_model(tiny_network, 8, weights=write(source), image_size=60)
    assert_equal(weights_of(model), source)
