"""How the peers' files are run, on one thread each."""

from collections.abc import Callable
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import numpy as np

from benchmarks.peers.peer import Answer

BATCH = 64


def in_batches(run: Answer) -> Answer:
    """Return a function that gives `run` at most `BATCH` faces at a time."""

    def answer(faces: np.ndarray) -> np.ndarray:
        steps = range(0, len(faces), BATCH)
        return np.concatenate([run(faces[begin : begin + BATCH]) for begin in steps])

    return answer


def lite_network(path: Path, prepare: Answer) -> Answer:
    """Run a LiteRT file one face at a time, as the packages do that carry one.

    Args:
        path: .tflite file.
        prepare: from one face (48, 48) uint8 to the network's input without the batch's axis.
    """
    from ai_edge_litert.interpreter import Interpreter

    network = Interpreter(str(path), num_threads=1)
    network.allocate_tensors()
    (given,), (wanted,) = network.get_input_details(), network.get_output_details()

    def answer(faces: np.ndarray) -> np.ndarray:
        found = []
        for face in faces:
            network.set_tensor(given["index"], prepare(face)[None].astype(np.float32))
            network.invoke()
            found.append(network.get_tensor(wanted["index"])[0].copy())
        return np.array(found)

    return answer


def onnx_network(content: bytes) -> Answer:
    """Run an ONNX graph whose input takes faces (n, 1, 48, 48) uint8."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    network = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    (given,) = network.get_inputs()
    return in_batches(lambda faces: network.run(None, {given.name: faces[:, None]})[0])


def torch_network(network: object, weights: dict, scale: Callable) -> Answer:
    """Run a PyTorch network on faces of 0 to 1 after `scale`; softmax makes probabilities."""
    import torch

    torch.set_num_threads(1)
    network.load_state_dict(weights)
    network.eval()

    @torch.no_grad()
    def run(faces: np.ndarray) -> np.ndarray:
        images = torch.from_numpy(faces[:, None].astype(np.float32) / 255)
        return network(scale(images)).softmax(dim=1).numpy()

    return in_batches(run)


def torch_weights(path: Path) -> dict:
    """Read PyTorch's weights without running what a pickle may contain."""
    import torch

    return torch.load(path, map_location="cpu", weights_only=True)


def module_of(path: Path) -> ModuleType:
    """Import one file of a package without the package, which wants more."""
    spec = spec_from_file_location(f"peer_{path.parent.name}_{path.stem}", path)
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
