"""Checkpoints whose description asks for far more than the file holds."""

import io
import json
import zipfile

import h5py
import pytest

keras = pytest.importorskip("keras")

from ferplus_keras.errors import InputError  # noqa: E402
from ferplus_keras.models.checkpoint import (  # noqa: E402
    CheckpointInfo,
    load_checkpoint,
    load_keras_file,
    save_checkpoint,
)

INFO = CheckpointInfo("own", 48, ("glad", "sad"), "Folder", "unknown", "majority")


@pytest.fixture(scope="module")
def members(tmp_path_factory) -> dict[str, bytes]:
    """Return the parts of a sound checkpoint by name."""
    path = tmp_path_factory.mktemp("sound") / "model.keras"
    faces = keras.Input((48, 48), dtype="uint8", name="faces")
    x = keras.layers.Reshape((48, 48, 1), name="channel")(faces)
    x = keras.layers.UpSampling2D(2, name="larger")(x)
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    x = keras.layers.Dense(4, name="hidden")(x)
    x = keras.layers.Dense(2, "softmax", name="dense")(x)
    save_checkpoint(keras.Model(faces, x), path, INFO)
    assert load_checkpoint(path)[1] == INFO
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def write(members, path):
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def described(members, change):
    """Return the parts with another description; `change` takes it and its layers by name."""
    config = json.loads(members["config.json"])
    layers = {layer["config"]["name"]: layer for layer in config["config"]["layers"]}
    for layer in layers.values():
        layer.pop("build_config", None)
    change(config, layers)
    return members | {"config.json": json.dumps(config).encode()}


def more_units(config, layers):
    layers["hidden"]["config"]["units"] = 10**9


def flat_input(config, layers):
    layers["faces"]["config"]["batch_shape"] = [None, 10**6, 10**6]
    layers["channel"]["config"]["target_shape"] = [10**6, 10**6, 1]
    layers["pool"] |= {"class_name": "Flatten", "config": {"name": "pool"}}


def wide_input(config, layers):
    layers["faces"]["config"]["batch_shape"] = [None, 10**6, 10**6]
    layers["channel"]["config"]["target_shape"] = [10**6, 10**6, 1]


def wide_map(config, layers):
    layers["larger"]["config"]["size"] = [10**5, 10**5]


def many_layers(config, layers):
    config["config"]["layers"] += [layers["hidden"]] * 6000


def called_again_and_again(config, layers):
    """Nest twenty networks, each of which calls the one inside twice: a million layers."""
    inner = layers["hidden"]
    for _ in range(20):
        inside = {"layers": [inner]}
        inner = {"class_name": "Functional", "config": inside, "inbound_nodes": [{}, {}]}
    config["config"]["layers"].append(inner)


def thousands_deep(config, layers):
    layers["hidden"]["config"] = "deep"


def smaller_input(config, layers):
    layers["faces"]["config"]["batch_shape"] = [None, 24, 24]
    layers["channel"]["config"]["target_shape"] = [24, 24, 1]


def test_a_compiled_network_inside_another_is_loaded(tmp_path):
    inner = keras.Sequential([keras.Input((48, 48)), keras.layers.Flatten(), keras.layers.Dense(2)])
    inner.compile("adam", "mse")
    faces = keras.Input((48, 48))
    save_checkpoint(keras.Model(faces, inner(faces)), tmp_path / "inside.keras", INFO)
    assert load_checkpoint(tmp_path / "inside.keras")[0].count_params() == 48 * 48 * 2 + 2


def test_no_optimizer_of_an_absurd_network_inside_another_is_made(tmp_path, monkeypatch):
    inner = keras.Sequential([keras.Input((48, 48)), keras.layers.Flatten(), keras.layers.Dense(2)])
    inner.compile("adam", "mse")
    faces = keras.Input((48, 48))
    save_checkpoint(keras.Model(faces, inner(faces)), tmp_path / "inside.keras", INFO)
    with zipfile.ZipFile(tmp_path / "inside.keras") as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    config = members["config.json"].replace(b'"units": 2', b'"units": 70000000')
    path = write(members | {"config.json": config}, tmp_path / "absurd.keras")
    made = []
    monkeypatch.setattr(keras.optimizers.Adam, "build", lambda self, weights: made.append(weights))
    with pytest.raises(InputError, match="layers of 161,350,000,000 weights"):
        load_checkpoint(path)
    assert not made


@pytest.mark.parametrize("inside", [False, True])
def test_a_huge_map_of_an_operation_that_is_no_layer_is_refused(inside, tmp_path):
    faces = keras.Input((48, 48), dtype="uint8")
    x = keras.layers.Reshape((48, 48, 1))(faces)
    images = keras.Input((48, 48, 1))
    resize = keras.Model(images, keras.ops.image.resize(images, (64, 64)))
    x = resize(x) if inside else keras.ops.image.resize(keras.ops.cast(x, "float32"), (64, 64))
    x = keras.layers.Dense(2, "softmax")(keras.layers.GlobalAveragePooling2D()(x))
    sound, path = tmp_path / "sound.keras", tmp_path / "huge.keras"
    save_checkpoint(keras.Model(faces, x), sound, INFO)
    assert load_checkpoint(sound)[1] == INFO
    with zipfile.ZipFile(sound) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    config = members["config.json"].replace(b"64, 64", b"1000000, 1000000")
    write(members | {"config.json": config}, path)
    with pytest.raises(
        InputError, match="a layer that makes 1,000,000,000,000 numbers of one face"
    ):
        load_checkpoint(path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (more_units, "layers of 4,000,000,002 weights, and holds 18 numbers"),
        (flat_input, "layers of 16,000,000,000,014 weights, and holds 18 numbers"),
        (wide_input, "a layer that makes 4,000,000,000,000 numbers of one face"),
        (wide_map, "a layer that makes 23,040,000,000,000 numbers of one face"),
        (many_layers, "a graph of 24,0.* parts, of at most 20,000"),
        (called_again_and_again, r"a graph of [\d,]+ parts, of at most 20,000"),
        (smaller_input, r"maps faces \(24, 24\) to \(2,\), and its ferplus_keras.json says"),
    ],
)
def test_an_absurd_network_is_refused_before_it_is_built(members, tmp_path, change, said):
    path = write(described(members, change), tmp_path / "absurd.keras")
    with pytest.raises(InputError, match=said) as caught:
        load_checkpoint(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_thousands_of_networks_inside_each_other_are_refused(members, tmp_path):
    text = described(members, thousands_deep)["config.json"].decode()
    inner = "{}"
    for _ in range(3000):
        inner = f'{{"class_name": "Sequential", "config": {{"layers": [{inner}]}}}}'
    path = write(members | {"config.json": text.replace('"deep"', inner)}, tmp_path / "deep.keras")
    refused = r"deep\.keras(: its brackets are nested| is not .* \(maximum recursion depth)"
    with pytest.raises(InputError, match=refused):  # Python 3.13 reads more brackets
        load_keras_file(path, "read")


def test_numbers_that_the_file_does_not_hold_are_refused(members, tmp_path):
    held = io.BytesIO(members["model.weights.h5"])
    with h5py.File(held, "r+") as file:
        del file["layers/dense/vars/0"]
        file.create_dataset("layers/dense/vars/0", (10**6, 10**6), "f4", chunks=(1000, 1000))
    path = write(members | {"model.weights.h5": held.getvalue()}, tmp_path / "holes.keras")
    with pytest.raises(InputError, match="it declares 4,000,000,000,056 bytes of numbers"):
        load_checkpoint(path)


def test_layers_of_your_own_that_make_variables_from_values_are_loaded(tmp_path):
    @keras.saving.register_keras_serializable("tests")
    class Shift(keras.layers.Layer):
        def __init__(self, **options):
            super().__init__(**options)
            self.by = keras.Variable([1.0, 0.0])

        def call(self, x):
            return x + self.by

    faces = keras.Input((48, 48), dtype="uint8")
    x = keras.layers.Dense(2)(keras.layers.Flatten()(faces))
    network = keras.Model(faces, keras.layers.Softmax()(Shift()(x)))
    path = tmp_path / "own.keras"
    save_checkpoint(network, path, INFO)
    for mine, read in zip(network.weights, load_checkpoint(path)[0].weights, strict=True):
        assert (keras.ops.convert_to_numpy(mine) == keras.ops.convert_to_numpy(read)).all()
