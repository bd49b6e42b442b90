"""Measure what dropout before BatchNormalization costs a trained network, on validation rows.

    python benchmarks/dropout_statistics.py checkpoints/shangeth_cnn --data_dir D

Dropout adds variance to what a BatchNormalization behind it sees in training, and none in use, so
its statistics do not fit there (Li et al., CVPR 2019, arXiv 1801.05134). Each layer's statistics
are replaced, from the first to the last, by those of training faces without dropout. The table has
accuracy and loss before and after, and for each layer the variance without dropout over the
recorded one. Augmentation is left out too: a network without dropout there shows what that does.
"""

import argparse
import json
import sys
from pathlib import Path

import keras
import numpy as np

from ferplus_keras import load_split
from ferplus_keras.config import default_data_dir
from ferplus_keras.models.checkpoint import load_checkpoint


def replace_statistics(model: keras.Model, faces: np.ndarray) -> dict[str, float]:
    """Set each BatchNormalization's mean and variance to its input's, without dropout.

    Returns the median over the channels of new over old variance, by name of the layer.
    """
    ratios = {}
    for norm in model.layers:
        if isinstance(norm, keras.layers.BatchNormalization):
            values = keras.Model(model.input, norm.input).predict(faces, verbose=0)
            values = values.reshape(-1, values.shape[-1])
            mean, variance = (of(values, axis=0, dtype=np.float64) for of in (np.mean, np.var))
            *scale, _, old = norm.get_weights()
            norm.set_weights([*scale, mean, variance])
            ratios[norm.name] = float(np.median(variance / old))
    return ratios


def main() -> int:
    """Print the table and write JSON; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("checkpoint", help="run folder or .keras file")
    parser.add_argument("--data_dir", default=default_data_dir())
    parser.add_argument("--faces", type=int, default=6000, help="of training, for the statistics")
    parser.add_argument("--json", type=Path, help="where the figures go")
    arguments = parser.parse_args()
    model, info = load_checkpoint(arguments.checkpoint)
    training, validation = (
        load_split(arguments.data_dir, split, info.dataset_name, info.evaluation_rule)
        for split in ("train", "validation")
    )
    chosen = np.random.default_rng(0).permutation(len(training.images))[: arguments.faces]
    model.compile(loss="categorical_crossentropy", metrics=["accuracy"])

    def score() -> dict[str, float]:
        return model.evaluate(
            validation.images, validation.targets, batch_size=256, verbose=0, return_dict=True
        )

    found = {"checkpoint": arguments.checkpoint, "recorded": score()}
    found["variance"] = replace_statistics(model, training.images[chosen])
    found["without_dropout"] = score()
    print(f"{'statistics':<18}{'accuracy':>10}{'loss':>8}")
    for name in ("recorded", "without_dropout"):
        print(f"{name:<18}{found[name]['accuracy']:>10.2%}{found[name]['loss']:>8.3f}")
    for name, ratio in found["variance"].items():
        print(f"variance of {name}: {ratio:.2f} of the recorded one")
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
