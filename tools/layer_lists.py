"""Write `layer_lists/`: every layer of every network with its position.

From the checkout's root: python -m tools.layer_lists [FOLDER]
"""

import sys
from pathlib import Path

import keras

from ferplus_keras.files import replacing
from ferplus_keras.models.freeze import describe_layers, format_layers
from ferplus_keras.models.registry import MODELS, build_model

_COLUMNS = ("position", "name", "original_name", "type", "shape", "parameters")


def layer_list(model: keras.Model) -> str:
    """Return the text of a network's file, as it is kept for 8 classes and its own image size."""
    return format_layers(describe_layers(model), _COLUMNS) + "\n"


def write_layer_lists(folder: str | Path) -> list[Path]:
    """Write one layer list per network into a folder, each file whole or not at all.

    Returns:
        The files written.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{name}.txt" for name in MODELS]
    for path in paths:
        text = layer_list(build_model(path.stem, 8, weights="none"))
        with replacing(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
    return paths


if __name__ == "__main__":
    for written in write_layer_lists(*(sys.argv[1:] or ["layer_lists"])):
        print(written)
