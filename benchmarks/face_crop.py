"""How wide to cut detected faces out, so that they look like FER2013's: one table of margins.

Validation faces are enlarged and laid on pictures, found again by the detector, cut out with each
margin, and judged by the model; beside it stands its accuracy on the faces themselves.

    python benchmarks/face_crop.py --data_dir D [--checkpoint_path M] [--faces mtcnn] [--rows 600]
"""

import argparse

import cv2
import numpy as np

from ferplus_keras.data.dataset import limit_split, load_split
from ferplus_keras.inference.faces import crop_face, find_detector
from ferplus_keras.inference.predictor import BUNDLED
from ferplus_keras.inference.runtimes import load_classifier
from ferplus_keras.progress import progress_bar

MARGINS = (0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5)
GRID, CELL = 3, 320


def canvases(faces, rng):
    """Yield pictures of GRID x GRID faces with the boxes at which they were laid."""
    from skimage import data

    grounds = [data.coffee(), data.rocket(), data.chelsea()]
    for begin in range(0, len(faces), GRID * GRID):
        ground = cv2.resize(grounds[rng.integers(len(grounds))], (GRID * CELL, GRID * CELL))
        boxes = []
        for index, face in enumerate(faces[begin : begin + GRID * GRID]):
            side = int(rng.integers(120, 240))
            left, top = (int(rng.integers(20, CELL - side - 20)) for _ in range(2))
            left, top = left + index % GRID * CELL, top + index // GRID * CELL
            large = cv2.resize(face, (side, side), interpolation=cv2.INTER_CUBIC)
            ground[top : top + side, left : left + side] = large[..., None]
            boxes.append((left, top, side, side))
        yield ground, boxes


def overlap(a, b):
    """Return the intersection of two boxes over their union."""
    wide = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    high = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    common = max(wide, 0) * max(high, 0)
    return common / (a[2] * a[3] + b[2] * b[3] - common)


def main():
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data_dir", required=True)
    parser.add_argument("--checkpoint_path", default=BUNDLED)
    parser.add_argument("--faces", default="mtcnn")
    parser.add_argument("--faces_weights")
    parser.add_argument("--rows", type=int, default=600)
    arguments = parser.parse_args()

    split = limit_split(load_split(arguments.data_dir, "validation"), arguments.rows, seed=0)
    labels = split.targets.argmax(axis=1)
    classify = load_classifier(arguments.checkpoint_path).probabilities
    detect = find_detector(arguments.faces, arguments.faces_weights)
    crops = {margin: np.zeros_like(split.images) for margin in MARGINS}
    found = np.zeros(len(labels), bool)
    sides, row = [], 0
    with progress_bar(total=len(labels), desc="faces", unit=" faces") as bar:
        for picture, boxes in canvases(split.images, np.random.default_rng(0)):
            detected = [face.box for face in detect(picture)]
            for box in boxes:
                best = max(detected, key=lambda other: overlap(box, other), default=None)
                if best is not None and overlap(box, best) > 0.2:
                    found[row] = True
                    sides.append(max(best[2:]) / box[2])
                    for margin in MARGINS:
                        crops[margin][row] = crop_face(picture, best, margin)
                row += 1
                bar.update()
    direct = classify(np.array(split.images[found])).argmax(axis=1) == labels[found]
    print(f"{arguments.faces} finds {found.sum()} of {len(found)} faces ({found.mean():.1%});")
    print(f"its box is {np.median(sides):.2f} of FER2013's side (median)")
    print(f"accuracy on the found faces as they are: {direct.mean():.4f}")
    print(f"{'margin':>8}{'accuracy':>10}{'loss':>10}")
    for margin in MARGINS:
        right = classify(crops[margin][found]).argmax(axis=1) == labels[found]
        print(f"{margin:>8}{right.mean():>10.4f}{direct.mean() - right.mean():>+10.4f}")


if __name__ == "__main__":
    main()
