import json
from importlib.machinery import ModuleSpec
from itertools import pairwise
from pathlib import Path

import keras
import numpy as np
import pytest

from ferplus_keras.errors import InputError
from ferplus_keras.models import published as published_module
from ferplus_keras.models.calibration import calibrate
from ferplus_keras.models.dlib_files import DESCRIPTOR, STAGES, read_dat, read_face_api
from ferplus_keras.models.networks.dlib_resnet import feature_map
from ferplus_keras.models.published import find_weights
from ferplus_keras.models.registry import MODELS, build_model
from ferplus_keras.models.weights import layer_variables, load_weights
from tests.exports import drawn
from tests.models.networks import smooth_faces, weights_of

SPEC = MODELS["DlibResNet"]
PUBLISHED = SPEC.weights["dlib"]


@pytest.fixture(scope="module")
def dat() -> Path:
    """dlib's file where its package is installed."""
    try:
        return find_weights(SPEC, "dlib")
    except InputError:
        pytest.skip("face-recognition-models is not installed")


@pytest.fixture
def model():
    keras.utils.set_random_seed(3)
    return build_model("DlibResNet", 8, weights="none", image_size=64)


def integers(*values: int) -> bytes:
    """dlib's integers: a control byte with the number of bytes, then these."""
    sized = ((value, (max(value, 1).bit_length() + 7) // 8) for value in values)
    return b"".join(bytes([n]) + value.to_bytes(n, "little") for value, n in sized)


def convolutions() -> list[tuple[str, int, int, int, int]]:
    """Name, filters, channels, side and stride of each, written down from dlib's example."""
    rows, channels = [("conv32_down", 32, 3, 7, 2)], 32
    stages = (
        (32, ("32_1", "32_2", "32_3")),
        (64, ("64_down", "64_1", "64_2", "64_3")),
        (128, ("128_down", "128_1", "128_2")),
        (256, ("256_down", "256_1", "256_2", "256_down_out")),
    )
    for filters, blocks in stages:
        for block in blocks:
            stride = 2 if "down" in block else 1
            rows.append((f"conv{block}/conv1", filters, channels, 3, stride))
            rows.append((f"conv{block}/conv2", filters, filters, 3, 1))
            channels = filters
    return rows


def random_numbers(seed: int = 0) -> dict[str, np.ndarray]:
    """Face-api's entries with small random numbers; kernels are (h, w, in, out)."""
    rng, numbers = np.random.default_rng(seed), {}
    for name, out, inside, side, _ in convolutions():
        numbers[f"{name}/conv/filters"] = rng.normal(0, 0.05, (side, side, inside, out))
        numbers[f"{name}/conv/bias"] = rng.normal(0, 0.05, out)
        numbers[f"{name}/scale/weights"] = rng.uniform(0.5, 1.5, out)
        numbers[f"{name}/scale/biases"] = rng.normal(0, 0.1, out)
    numbers["fc"] = rng.normal(0, 0.05, (256, 128))
    return {name: value.astype("float32") for name, value in numbers.items()}


def serialised(numbers: dict[str, np.ndarray]) -> bytes:
    """A network as dlib writes it."""

    def tag(word: str) -> bytes:
        return bytes([1, len(word)]) + word.encode()

    def tensor(*parts: np.ndarray) -> bytes:
        flat = np.concatenate([part.ravel() for part in parts])
        return integers(2, flat.size, 1, 1, 1) + flat.tobytes()

    ends = 3 * integers(2, 0, 0, 0, 0)
    parts = [integers(1), tag("loss_metric_2"), tag("input_rgb_image_sized")]
    for name, out, inside, side, stride in convolutions():
        kernel, bias, scale, offset = (
            numbers[f"{name}/{part}"]
            for part in ("conv/filters", "conv/bias", "scale/weights", "scale/biases")
        )
        padding = 0 if stride == 2 else 1
        settings = (out, side, side, stride, stride, padding, padding, 1, out, inside, side, side)
        parts += [tag("con_4"), tensor(kernel.transpose(3, 2, 0, 1), bias), integers(*settings)]
        parts += [ends, tag("affine_"), tensor(scale, offset), ends, tag("relu_"), ends]
    parts += [tag("fc_2"), integers(128, 256), integers(2, 256, 128, 1, 1)]
    parts += [numbers["fc"].tobytes(), integers(1, 256, 128, 1, 1), ends]
    return b"".join(parts)


def write_face_api(folder: Path, numbers: dict[str, np.ndarray]) -> Path:
    """Write face-api's manifest and file: kernels as uint8, all else as float32."""
    entries, data = [], b""
    for name, values in numbers.items():
        entry = {"name": name, "shape": list(values.shape), "dtype": "float32"}
        if name.endswith("filters"):
            low, scale = float(values.min()), float(np.ptp(values)) / 255
            entry["quantization"] = {"dtype": "uint8", "scale": scale, "min": low}
            values = np.rint((values - low) / scale).astype("uint8")
        entries.append(entry)
        data += values.tobytes()
    manifest = [{"paths": ["face_recognition_model.bin"], "weights": entries}]
    (folder / "face_recognition_model-weights_manifest.json").write_text(json.dumps(manifest))
    path = folder / "face_recognition_model.bin"
    path.write_bytes(data)
    return path


@pytest.fixture(scope="module")
def stream() -> bytes:
    return serialised(random_numbers())


def refusal(model, path: Path) -> str:
    """The error's text; nothing may have been assigned."""
    before = weights_of(model)
    with pytest.raises(InputError) as caught:
        load_weights(model, path, SPEC)
    np.testing.assert_equal(weights_of(model), before)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value) or path.suffix != ".dat"
    return str(caught.value)


def test_graph_is_flat_and_ends_at_256_channels():
    model = build_model("DlibResNet", 8, weights="none")
    sides = [layer.output.shape[1:] for layer in model.layers if layer.name.endswith("relu2")]
    assert sides == [(26, 26, 32)] * 3 + [(13, 13, 64)] * 4 + [(6, 6, 128)] * 3 + [(3, 3, 256)] * 3
    assert model.count_params() == 4_405_736
    assert not [layer for layer in model.layers if isinstance(layer, keras.Model)]
    assert sum(isinstance(layer, keras.layers.Conv2D) for layer in model.layers) == 27


def test_both_files_hold_the_same_network(model, stream, tmp_path):
    path = tmp_path / "own.dat"
    path.write_bytes(stream)
    numbers = random_numbers()
    layers = read_dat(path)
    assert len(layers) == 59
    stored = sum(value.size for one in layers.values() for value in one.values())
    constants = sum(one["moving_variance"].size for one in layers.values() if "beta" in one)
    assert stored - constants == 5_614_592
    stem = layers["stem_conv"]["kernel"]
    np.testing.assert_array_equal(stem, numbers["conv32_down/conv/filters"])
    loaded = load_weights(model, path, SPEC)
    assert (loaded.layers, loaded.head, loaded.affine) == (54, False, True)
    assert loaded.left_out == SPEC.top_layers

    other = tmp_path / "age_gender_model-weights_manifest.json"  # face-api's folder has several
    other.write_text('[{"paths": ["age_gender_model.bin"], "weights": []}]')
    (tmp_path / "age_gender_model.bin").touch()
    packed = read_face_api(write_face_api(tmp_path, numbers))
    assert packed.keys() == layers.keys()
    for name, variables in layers.items():
        for key, values in variables.items():
            np.testing.assert_allclose(packed[name][key], values, rtol=0, atol=2e-3)
    manifest = tmp_path / "face_recognition_model-weights_manifest.json"
    assert load_weights(model, manifest, SPEC).layers == 54


def edited(stream: bytes, old: bytes, new: bytes, count: int = 1) -> bytes:
    assert old in stream
    return stream.replace(old, new, count)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda s: s[:-3_000_000], "cut short"),
        (lambda s: s[: len(s) // 2], "cut short"),
        (lambda s: s[:-4], "does not end as it should"),
        (lambda s: s + s, "does not end as it should"),
        (lambda s: edited(s, b"\x07affine_", b"\x07affina_"), "no layer affine_ follows"),
        (lambda s: edited(s, b"\x05con_4", b"\x05con_3"), "no layer con_4 follows"),
        (lambda s: edited(s, integers(32, 7, 7, 2, 2), integers(32, 7, 7, 1, 1)), "instead of [32"),
        (lambda s: edited(s, integers(128, 256), integers(127, 256)), "instead of [128, 256]"),
        (lambda s: b"<html>", "no layer loss_metric_2 follows"),
        (lambda s: b"", "no layer loss_metric_2 follows"),
    ],
)
def test_other_streams_are_refused(model, stream, tmp_path, change, said):
    path = tmp_path / "own.dat"
    path.write_bytes(change(stream))
    assert said in refusal(model, path)


def test_other_files_of_face_api_are_refused(model, tmp_path):
    numbers = random_numbers()
    path = write_face_api(tmp_path, numbers)
    manifest = tmp_path / "face_recognition_model-weights_manifest.json"
    path.write_bytes(whole := path.read_bytes() + b"1")
    assert "1 bytes of numbers are left over" in refusal(model, path)
    path.write_bytes(whole[:-9])
    assert str(manifest) in refusal(model, path)
    write_face_api(tmp_path, numbers | {"fc": numbers["fc"][:, :64]})
    assert "fc is missing, unknown or of another shape" in refusal(model, path)
    for text in ("{}", "[" * 100_000):
        manifest.write_text(text)
        assert "not a manifest of face-api" in refusal(model, manifest)
    manifest.unlink()
    assert "beside it" in refusal(model, path)


class TestPackage:
    """The file in an installed package, read in place."""

    @pytest.fixture
    def package(self, tmp_path, monkeypatch):
        monkeypatch.delenv("FERPLUS_WEIGHTS_DIR", raising=False)
        monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
        spec = ModuleSpec(PUBLISHED.module, None, is_package=True)
        spec.submodule_search_locations = [str(tmp_path / "site")]
        monkeypatch.setattr(published_module, "find_spec", lambda name: spec)
        path = tmp_path / "site" / PUBLISHED.module_file
        path.parent.mkdir(parents=True)
        return path

    def test_another_file_is_refused(self, package):
        for content in (None, b"another version"):
            if content:
                package.write_bytes(content)
            with pytest.raises(InputError, match=r"SHA-256 is 55533b28.*--weights none") as caught:
                find_weights(SPEC, "dlib")
            assert str(package) in str(caught.value)

    def test_own_folders_come_first(self, package, monkeypatch, tmp_path):
        own = tmp_path / "own"
        own.mkdir()
        monkeypatch.setenv("FERPLUS_WEIGHTS_DIR", str(own))
        (own / package.name).write_bytes(b"x")
        assert find_weights(SPEC, "dlib") == own / package.name

    def test_not_installed(self, package, monkeypatch):
        monkeypatch.setattr(published_module, "find_spec", lambda name: None)
        with pytest.raises(InputError, match="pip install face-recognition-models") as caught:
            find_weights(SPEC, "dlib")
        assert "ferplus-keras[dlib]" in str(caught.value)


def pictures() -> np.ndarray:
    """(3, 150, 150, 3) uint8: an astronaut's face, in the public domain, and two drawn ones."""
    import cv2
    from skimage.data import astronaut

    grey = [np.repeat(cv2.resize(face, (150, 150))[..., None], 3, axis=-1) for face in drawn(2)]
    return np.stack([cv2.resize(astronaut()[10:210, 125:325], (150, 150)), *grey])


def test_descriptors_are_dlibs(dat):
    dlib = pytest.importorskip("dlib", reason="pip install dlib-bin")
    faces = np.ascontiguousarray(pictures())
    images = keras.Input((150, 150, 3))
    x = keras.layers.GlobalAveragePooling2D()(feature_map(images, len(STAGES)))
    model = keras.Model(images, keras.layers.Dense(128, use_bias=False, name=DESCRIPTOR)(x))
    layers = read_dat(dat)
    for layer in model.layers:
        for key, variable in layer_variables(layer).items():
            variable.assign(layers[layer.name][key])
    found = model.predict((faces - np.float32(SPEC.mean)) / np.float32(SPEC.std), verbose=0)
    network = dlib.face_recognition_model_v1(str(dat))
    expected = np.array([network.compute_face_descriptor(face) for face in faces])
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)
    assert all(np.linalg.norm(one - other) > 0.1 for one, other in pairwise(expected))


def test_calibration_changes_no_probability(dat):
    model = build_model("DlibResNet", 8, weights="none")
    assert load_weights(model, dat, SPEC).affine
    faces = drawn(120)
    before = model.predict(faces, verbose=0)
    calibrate(model, faces)
    np.testing.assert_allclose(model.predict(faces, verbose=0), before, rtol=0, atol=1e-4)
    norms = [one for one in model.layers if isinstance(one, keras.layers.BatchNormalization)]
    assert len(norms) == 27
    inputs = keras.Model(model.input, [norm.input for norm in norms]).predict(faces, verbose=0)
    for norm, values in zip(norms, inputs, strict=True):
        _, _, mean, variance = norm.get_weights()
        np.testing.assert_allclose(values.mean((0, 1, 2), np.float64), mean, rtol=0, atol=1e-4)
        np.testing.assert_allclose(values.var((0, 1, 2), np.float64), variance, rtol=1e-4)
        np.testing.assert_allclose(variance[variance > 0], 1, rtol=1e-6)


def test_calibrated_networks_keep_their_statistics_in_a_file(model, stream, tmp_path):
    (tmp_path / "own.dat").write_bytes(stream)
    load_weights(model, tmp_path / "own.dat", SPEC)
    calibrate(model, smooth_faces(60))
    model.save(tmp_path / "model.keras")
    other = build_model("DlibResNet", 8, weights="none", image_size=64)
    assert not load_weights(other, tmp_path / "model.keras", SPEC).affine
    faces = smooth_faces(4, seed=1)
    expected = model.predict(faces, verbose=0)
    np.testing.assert_array_equal(other.predict(faces, verbose=0), expected)
