"""benchmarks/peers on made-up weights in the packages' formats; nothing is downloaded."""

import base64
import csv
import json
import os

import numpy as np
import onnxruntime
import pytest

from benchmarks.peers import face_api, human
from benchmarks.peers.measure import PEERS, find, main
from benchmarks.peers.peer import faces_per_second
from benchmarks.peers.runtimes import onnx_network
from benchmarks.peers.tfjs import Graph, graph_model, read_weights
from ferplus_keras.emotions import SPELLINGS
from ferplus_keras.errors import InputError


def manifest(folder, weights, name="weights.bin"):
    """Write arrays and return their manifest; those of a dict are stored as 8-bit integers."""
    entries, content = [], b""
    for tensor, values in weights.items():
        entry = {"name": tensor, "shape": list(values.shape), "dtype": str(values.dtype)}
        if values.dtype == np.float32 and values.ndim > 1:
            low, scale = float(values.min()), max(float(np.ptp(values)) / 255, 1e-6)
            entry["quantization"] = {"dtype": "uint8", "scale": scale, "min": low}
            values = np.rint((values - low) / scale).astype(np.uint8)
        entries.append(entry)
        content += values.tobytes()
    (folder / name).write_bytes(content)
    return [{"weights": entries, "paths": [name]}]


def test_weights_stored_as_small_integers_are_brought_back(tmp_path):
    kernel = np.linspace(-1, 2, 24, dtype=np.float32).reshape(2, 3, 4)
    axes, bias = np.array([1, 2], np.int32), np.array([0.25, -3], np.float32)
    groups = manifest(tmp_path, {"kernel": kernel, "axes": axes, "bias": bias})
    found = read_weights(groups, tmp_path)
    assert {name: values.dtype for name, values in found.items()} == {
        **{"kernel": np.float32, "axes": np.int32, "bias": np.float32}
    }
    np.testing.assert_allclose(found["kernel"], kernel, atol=3 / 255 / 2 + 1e-6)
    np.testing.assert_array_equal(found["axes"], axes)
    np.testing.assert_array_equal(found["bias"], bias)


@pytest.mark.parametrize(("change", "said"), [(-1, "ends within bias"), (3, "has 3 bytes behind")])
def test_a_damaged_file_of_weights_is_refused(tmp_path, change, said):
    weights = {"kernel": np.ones((2, 2), np.float32), "bias": np.ones(2, np.float32)}
    groups = manifest(tmp_path, weights)
    content = (tmp_path / "weights.bin").read_bytes()
    (tmp_path / "weights.bin").write_bytes((content + bytes(3))[: len(content) + change])
    with pytest.raises(InputError, match=said):
        read_weights(groups, tmp_path)


def test_faces_are_enlarged_as_tensorflow_does_by_default():
    faces = np.random.default_rng(0).integers(0, 256, (2, 1, 48, 48), dtype=np.uint8)
    graph = Graph()
    content = graph.finish(graph.prepared(64, np.array([2.0, 3.0]), np.array([0.0, 1.0])))
    found = onnxruntime.InferenceSession(content).run(None, {"faces": faces})[0]
    assert found.shape == (2, 2, 64, 64)
    place = np.arange(64) * 48 / 64
    low = np.floor(place).astype(int)
    high, share = np.minimum(low + 1, 47), place - low
    columns = faces[..., low] * (1 - share) + faces[..., high] * share
    share = share[:, None]
    enlarged = columns[..., low, :] * (1 - share) + columns[..., high, :] * share
    np.testing.assert_allclose(found[:, 0], 2 * enlarged[:, 0], atol=1e-3)
    np.testing.assert_allclose(found[:, 1], 3 * enlarged[:, 0] + 1, atol=1e-3)


def node(kind, name, inputs=(), **attributes):
    def text(value):
        return base64.b64encode(value.encode()).decode()

    found = {}
    for key, value in attributes.items():
        if isinstance(value, str):
            found[key] = {"s": text(value)}
        elif isinstance(value[0], str):
            found[key] = {"list": {"s": [text(part) for part in value]}}
        else:
            found[key] = {"list": {"i": [str(number) for number in value]}}
    return {"op": kind, "name": name, "input": list(inputs), "attr": found}


def tiny_graph(folder):
    """Return a graph model with every operation that `human` has, and its weights."""
    rng = np.random.default_rng(0)

    def drawn(*shape):
        return rng.normal(size=shape).astype(np.float32)

    weights = {"depth": drawn(3, 3, 1, 1), "kernel": drawn(3, 3, 1, 7), "bias": drawn(7)}
    weights |= {"axes": np.array([1, 2], np.int32)}
    groups = manifest(folder, weights)
    one, two = [1, 1, 1, 1], [1, 2, 2, 1]
    fused = {"fused_ops": ["BiasAdd", "Relu"]}
    nodes = [
        *(node("Const", name) for name in weights),
        node("Placeholder", "input"),
        node("DepthwiseConv2dNative", "d", ["input", "depth"], strides=one, padding="SAME"),
        node("AddV2", "sum", ["input", "d"]),
        node("Relu", "r", ["sum"]),
        node("_FusedConv2D", "c", ["r", "kernel", "bias"], strides=two, padding="VALID", **fused),
        node("MaxPool", "m", ["c"], strides=two, ksize=[1, 3, 3, 1], padding="SAME"),
        node("Mean", "mean", ["m", "axes"]),
        node("Softmax", "s", ["mean"]),
        node("Identity", "output", ["s"]),
    ]
    document = {"modelTopology": {"node": nodes}, "weightsManifest": groups}
    return document, read_weights(groups, folder)


def test_a_graph_of_tensorflow_js_answers_as_its_operations_do(tmp_path):
    from keras import ops

    document, weights = tiny_graph(tmp_path)
    faces = np.random.default_rng(1).integers(0, 256, (70, 48, 48), dtype=np.uint8)
    content = graph_model(
        document, tmp_path, lambda graph: graph.prepared(48, np.array([1 / 255]), np.array([-0.5]))
    )
    images = faces[..., None].astype(np.float32) / 255 - 0.5
    deep = ops.depthwise_conv(images, weights["depth"], padding="same", data_format="channels_last")
    maps = ops.conv(
        ops.relu(images + deep), weights["kernel"], 2, "valid", data_format="channels_last"
    )
    maps = ops.relu(maps + weights["bias"])
    maps = ops.max_pool(maps, 3, 2, "same", data_format="channels_last")
    expected = ops.convert_to_numpy(ops.softmax(ops.mean(maps, axis=(1, 2))))
    assert np.ptp(expected, axis=0).max() > 0.01
    np.testing.assert_allclose(onnx_network(content)(faces), expected, atol=1e-5)


def test_an_operation_that_is_not_known_is_named(tmp_path):
    document, _ = tiny_graph(tmp_path)
    document["modelTopology"]["node"][-1]["op"] = "LRN"
    with pytest.raises(InputError, match="output is a LRN"):
        graph_model(document, tmp_path, lambda graph: graph.faces)


@pytest.fixture
def node_modules(tmp_path):
    """Return a folder with a face-api whose filters pass on one pixel of two, but for a bias."""
    weights = {}
    for block, (given, made) in enumerate([(3, 3), (3, 4), (4, 4), (4, 4)]):
        for number in range(4):
            layer = f"dense{block}/conv{number}"
            channels = given if number == 0 else made
            depth, point = np.zeros((3, 3, channels, 1), np.float32), np.eye(channels, made)
            depth[1, 1] = number == 0
            if layer == "dense0/conv0":
                weights[f"{layer}/filters"] = (depth * point[None, None]).astype(np.float32)
            else:
                weights[f"{layer}/depthwise_filter"] = depth
                weights[f"{layer}/pointwise_filter"] = point[None, None].astype(np.float32)
            bias = np.full(made, {1: 0.1, 2: -0.02}.get(number, 0.0))
            weights[f"{layer}/bias"] = bias.astype(np.float32)
    weights["fc/weights"] = np.eye(4, 7, dtype=np.float32) * 4
    weights["fc/bias"] = np.linspace(-0.5, 0.5, 7, dtype=np.float32)
    package = tmp_path / "node_modules" / face_api.PEER.package
    (package / "model").mkdir(parents=True)
    groups = manifest(package / "model", weights, "face_expression_model.bin")
    (package / face_api.MANIFEST).write_text(json.dumps(groups))
    (package / "package.json").write_text('{"version": "1.2.3"}')
    return tmp_path / "node_modules"


def test_the_blocks_of_face_api_add_up(node_modules):
    flat = np.array([0, 60, 130, 255], np.uint8)[:, None, None] * np.ones((48, 48), np.uint8)
    answer = face_api.PEER.load(face_api.PEER.find(node_modules))
    maps = np.maximum((flat[:, :1, :1, None] - face_api.MEAN) / 255, 0)
    for block in range(4):
        # The second convolution gives its bias everywhere, the third and its sums theirs.
        maps = np.maximum(np.maximum(maps, 0) + 0.1 - 0.02, 0)
        if block == 1:
            maps = np.concatenate([maps[..., :3], np.full((*maps.shape[:3], 1), 0.08)], axis=-1)
    scores = np.linspace(-0.5, 0.5, 7) + np.pad(4 * maps[:, 0, 0], ((0, 0), (0, 3)))
    expected = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(answer(flat), expected, atol=0.01)


def test_a_peer_is_scored_and_measured(node_modules, sample_data, tmp_path, capsys, monkeypatch):
    pinned = []
    if hasattr(os, "sched_setaffinity"):  # it would last for all further tests
        monkeypatch.setattr(os, "sched_setaffinity", lambda _, cores: pinned.append(cores))
    words = ["--data_dir", str(sample_data), "--node_modules", str(node_modules)]
    words += ["--output_dir", str(tmp_path / "out"), "--peers", "bundled", "face_api"]
    assert main(words) == 0
    assert all(len(cores) == 1 for cores in pinned)
    result = json.loads((tmp_path / "out" / "face_api.json").read_text())
    assert (result["package"], result["version"]) == ("@vladmandic/face-api", "1.2.3")
    assert result["faces_per_second"] > 0
    with (tmp_path / "out" / "face_api" / "predictions.csv").open() as file:
        table = list(csv.DictReader(file))
    assert len(table) == 80
    assert list(table[0])[1:] == list(face_api.PEER.classes)
    report = json.loads((tmp_path / "out" / "face_api" / "FERPlus7" / "report.json").read_text())
    seven, eight = (result["splits"]["test"][name] for name in ("FERPlus7", "FERPlus"))
    assert seven["accuracy"] == report["splits"]["test"]["accuracy"]
    assert seven["n"] < eight["n"]
    assert "face_api" in capsys.readouterr().out


def test_what_is_not_installed_is_named_or_skipped(tmp_path, capsys):
    with pytest.raises(InputError, match=r"npm install .*@vladmandic/human@"):
        find(["human"], tmp_path)
    assert "bundled" in find(None, tmp_path)[0]
    assert "skipped: @vladmandic/face-api is not installed" in capsys.readouterr().out


def test_every_peer_has_the_seven_classes_once():
    assert len(PEERS) == 8
    for peer in PEERS.values():
        names = [SPELLINGS.get(name, name) for name in peer.classes]
        assert len(set(names)) == len(names) >= 7
    assert human.PEER.classes[:2] == ("anger", "disgust")


def test_speeds_are_medians_of_turns():
    turns = []
    answers = {
        name: lambda faces, name=name: turns.append(name) or sum(range(10**5)) for name in "ab"
    }
    found = faces_per_second(answers, np.zeros((4, 48, 48), np.uint8), rounds=3)
    assert turns == ["a", "b"] * 4
    assert min(found.values()) > 0
