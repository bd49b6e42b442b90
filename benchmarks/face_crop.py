"""How to cut detected faces out, so that they look like FER2013's: recall and accuracy in a table.

Validation faces are enlarged and laid on photographs, found again by the detector, cut out with
each margin, once as squares on the detector's box and once as `inference.crop` fits them, both
turned until the eyes are level, and classified; and in the frames that are averaged as `Predictor`
does. The loss is in percentage points of accuracy, relative to the faces themselves. The even rows
chose the size of the frame; the odd ones did not.

    python benchmarks/face_crop.py --data_dir D [--faces yunet] [--rows 900] [--tilt 30]

`--fit` prints instead what least squares on training faces give for the constants of
`inference.crop`. Needs scikit-image for the photographs.
"""

import argparse
import time

import cv2
import numpy as np

from ferplus_keras.classifier import Classifier
from ferplus_keras.data.dataset import limit_split, load_split
from ferplus_keras.inference.crop import FRAMES, DetectedFace, crop_face, overlap
from ferplus_keras.inference.detectors import DETECTORS, find_detector
from ferplus_keras.inference.predictor import BUNDLED
from ferplus_keras.progress import progress_bar

MARGINS = (-0.1, -0.05, 0.0, 0.05, 0.1, 0.2)
GRID, CELL = 3, 320


def canvases(faces, tilt, rng):
    """Yield pictures of GRID x GRID faces, with the box and the angle of each."""
    from skimage import data

    grounds = [data.coffee(), data.rocket(), data.chelsea()]
    for begin in range(0, len(faces), GRID * GRID):
        ground = cv2.resize(grounds[rng.integers(len(grounds))], (GRID * CELL, GRID * CELL))
        boxes = []
        for index, face in enumerate(faces[begin : begin + GRID * GRID]):
            side = int(rng.integers(120, 240))
            left, top = (int(rng.integers(20, CELL - side - 20)) for _ in range(2))
            left, top = left + index % GRID * CELL, top + index // GRID * CELL
            angle = rng.uniform(-tilt, tilt)
            lay(face, ground, (left, top, side), angle)
            boxes.append(((left, top, side, side), angle))
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


def turned(picture, box, angle):
    """Return a picture turned around the middle of a box, clockwise angles back."""
    x, y, width, height = box
    matrix = cv2.getRotationMatrix2D((x + width / 2, y + height / 2), angle, 1)
    return cv2.warpAffine(picture, matrix, picture.shape[1::-1])


def find(faces, tilt, detect):
    """Yield row, picture, true box, its angle and the detected face of each face found again."""
    row = 0
    with progress_bar(total=len(faces), desc="faces", unit=" faces") as bar:
        for picture, boxes in canvases(faces, tilt, np.random.default_rng(0)):
            detected = detect(picture)
            for box, angle in boxes:
                best = max(detected, key=lambda face: overlap(box, face.box), default=None)
                if best is not None and overlap(box, best.box) > 0.2:
                    yield row, picture, box, angle, best
                row += 1
                bar.update()


def fit(found):
    """Print side and middle of the true boxes as shares of the detected ones."""
    sides, levels = [], []
    for _, _, truth, _, face in found:
        x, y, width, height = face.box
        angle = np.radians(face.tilt)
        down = np.array([-np.sin(angle), np.cos(angle)]) / height
        middle = np.array([x + width / 2, y + height / 2])
        true_middle = np.array(truth[:2]) + truth[2] / 2
        sides.append((width / height, truth[2] / height))
        levels.append(((face.eyes.mean(axis=0) - middle) @ down, (true_middle - middle) @ down))
    for name, pairs in (("side: height, width", sides), ("middle: level, eyes", levels)):
        given, true = np.array(pairs).T
        share, constant = np.polyfit(given, true, 1)
        rest = (true - constant - share * given).std()
        print(f"{name}: {constant:.3f}, {share:.3f} (leaves {rest:.3f} of {true.std():.3f})")


def main():
    """Print the table, or the fit."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data_dir", required=True)
    parser.add_argument("--checkpoint_path", default=BUNDLED)
    parser.add_argument("--faces", choices=list(DETECTORS), default="yunet")
    parser.add_argument("--faces_weights")
    parser.add_argument("--rows", type=int, default=900)
    parser.add_argument("--tilt", type=float, default=0, help="largest angle, in degrees")
    parser.add_argument("--fit", action="store_true")
    arguments = parser.parse_args()

    detect = find_detector(arguments.faces, arguments.faces_weights)
    name = "train" if arguments.fit else "validation"
    split = limit_split(load_split(arguments.data_dir, name), arguments.rows, seed=0)
    found = find(split.images, arguments.tilt, detect)
    if arguments.fit:
        fit(found)
        return
    started = time.process_time()
    crops, rows = {}, []
    for row, picture, truth, angle, face in found:
        rows.append(row)
        crops.setdefault("true", []).append(
            crop_face(turned(picture, truth, -angle), DetectedFace(truth))
        )
        level = turned(picture, face.box, face.tilt)
        x, y, width, height = face.box
        middle, side = (x + width / 2, y + height / 2), max(width, height)
        for margin in MARGINS:
            place = [value - side * (1 + margin) / 2 for value in middle]
            square = DetectedFace((*place, side * (1 + margin), side * (1 + margin)))
            crops.setdefault((margin, "square"), []).append(crop_face(level, square, 0))
            crops.setdefault((margin, "fitted"), []).append(crop_face(picture, face, margin))
        crops.setdefault("frames", []).append(
            np.stack([crop_face(picture, face, margin) for margin in FRAMES])
        )
    seconds = (time.process_time() - started) / np.ceil(len(split.images) / GRID**2)
    labels = split.labels()[rows]
    classifier = Classifier.open(arguments.checkpoint_path)

    def answers(images):
        return classifier.probabilities(images).argmax(axis=1)

    right = answers(np.array(split.images[rows])) == labels
    print(f"{arguments.faces} finds {len(rows)} of {len(split.images)} faces ", end="")
    print(f"({len(rows) / len(split.images):.1%}), {seconds:.2f} s of processor time per picture;")
    print(f"accuracy on the found faces as they are: {right.mean():.4f};")

    def loss(way, some=slice(None)):
        lost = right[some] * 100.0 - (answers(np.array(crops[way])[some]) == labels[some]) * 100.0
        return lost.mean(), lost.std() / np.sqrt(len(lost))

    print("loss of faces cut out at their true places: {:+.2f} ± {:.2f}".format(*loss("true")))
    print(f"{'margin':>8}{'square on the box':>20}{'fitted':>20}{'even rows':>20}{'odd rows':>20}")
    even = np.array(rows) % 2 == 0
    for margin in MARGINS:
        found = [loss((margin, "square")), loss((margin, "fitted"))]
        found += [loss((margin, "fitted"), some) for some in (even, ~even)]
        line = "".join(f"{f'{mean:+.2f} ± {error:.2f}':>20}" for mean, error in found)
        print(f"{margin:>8}{line}", flush=True)
    found = [loss("frames", some) for some in (slice(None), even, ~even)]
    line = "".join(f"{f'{mean:+.2f} ± {error:.2f}':>20}" for mean, error in found)
    print(f"{'frames':>8}{'':>20}{line}")


if __name__ == "__main__":
    main()
