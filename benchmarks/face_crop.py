"""How wide to cut detected faces out, so that they look like FER2013's: one table of margins.

Validation faces are enlarged and laid on pictures, found again by the detector, cut out with each
margin, as they lie and turned until their eyes are level, and judged by the model; beside it stands
its accuracy on the faces themselves.

    python benchmarks/face_crop.py --data_dir D [--checkpoint_path M] [--rows 900] [--tilt 30]

Needs scikit-image for the pictures.
"""

import argparse

import cv2
import numpy as np

from ferplus_keras.classifier import Classifier
from ferplus_keras.data.dataset import limit_split, load_split
from ferplus_keras.inference.faces import crop_face, find_detector
from ferplus_keras.inference.predictor import BUNDLED
from ferplus_keras.inference.tracking import overlap
from ferplus_keras.progress import progress_bar

MARGINS = (-0.1, -0.05, 0.0, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4)
GRID, CELL = 3, 320


def canvases(faces, tilt, rng):
    """Yield pictures of GRID x GRID faces, turned by up to `tilt` degrees, with their boxes."""
    from skimage import data

    grounds = [data.coffee(), data.rocket(), data.chelsea()]
    for begin in range(0, len(faces), GRID * GRID):
        ground = cv2.resize(grounds[rng.integers(len(grounds))], (GRID * CELL, GRID * CELL))
        boxes = []
        for index, face in enumerate(faces[begin : begin + GRID * GRID]):
            side = int(rng.integers(120, 240))
            left, top = (int(rng.integers(20, CELL - side - 20)) for _ in range(2))
            left, top = left + index % GRID * CELL, top + index // GRID * CELL
            lay(face, ground, (left, top, side), rng.uniform(-tilt, tilt))
            boxes.append((left, top, side, side))
        yield ground, boxes


def lay(face, ground, place, angle):
    """Draw a face (48, 48), enlarged and turned, into a picture at left, top, side."""
    left, top, side = place
    large = cv2.resize(face, (side, side), interpolation=cv2.INTER_CUBIC)
    matrix = cv2.getRotationMatrix2D((side / 2, side / 2), angle, 1)
    matrix[:, 2] += left, top
    size = ground.shape[1::-1]
    inside = cv2.warpAffine(np.ones((side, side), np.uint8), matrix, size)
    turned = cv2.warpAffine(large, matrix, size, borderMode=cv2.BORDER_REPLICATE)
    ground[inside > 0] = turned[inside > 0, None]


def main():
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data_dir", required=True)
    parser.add_argument("--checkpoint_path", default=BUNDLED)
    parser.add_argument("--faces", default="mtcnn")
    parser.add_argument("--faces_weights")
    parser.add_argument("--rows", type=int, default=900)
    parser.add_argument("--tilt", type=float, default=0, help="largest angle, in degrees")
    arguments = parser.parse_args()

    split = limit_split(load_split(arguments.data_dir, "validation"), arguments.rows, seed=0)
    labels = split.targets.argmax(axis=1)
    classify = Classifier.open(arguments.checkpoint_path).probabilities
    detect = find_detector(arguments.faces, arguments.faces_weights)
    ways = [(margin, level) for margin in MARGINS for level in (False, True)]
    crops = {way: np.zeros_like(split.images) for way in ways}
    found = np.zeros(len(labels), bool)
    sides, row = [], 0
    with progress_bar(total=len(labels), desc="faces", unit=" faces") as bar:
        for picture, boxes in canvases(split.images, arguments.tilt, np.random.default_rng(0)):
            detected = detect(picture)
            for box in boxes:
                best = max(detected, key=lambda face: overlap(box, face.box), default=None)
                if best is not None and overlap(box, best.box) > 0.2:
                    found[row] = True
                    sides.append(max(best.box[2:]) / box[2])
                    for margin, level in ways:
                        tilt = best.tilt if level else 0.0
                        crops[margin, level][row] = crop_face(picture, best.box, margin, tilt)
                row += 1
                bar.update()
    direct = classify(np.array(split.images[found])).argmax(axis=1) == labels[found]
    print(f"{arguments.faces} finds {found.sum()} of {len(found)} faces ({found.mean():.1%});")
    print(f"its box is {np.median(sides):.2f} of FER2013's side (median)")
    print(f"accuracy on the found faces as they are: {direct.mean():.4f}")
    print(f"{'':>8}{'as it lies':>22}{'eyes level':>22}")
    print(f"{'margin':>8}" + f"{'accuracy':>12}{'loss':>10}" * 2)
    for margin in MARGINS:
        line = f"{margin:>8}"
        for level in (False, True):
            right = (classify(crops[margin, level][found]).argmax(axis=1) == labels[found]).mean()
            line += f"{right:>12.4f}{direct.mean() - right:>+10.4f}"
        print(line)


if __name__ == "__main__":
    main()
