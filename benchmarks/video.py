"""Frames per second on a video, beside the package `fer` where it is installed: one table.

    python benchmarks/video.py [CLIP] [--checkpoint_path M] [--every 10] [--rounds 3] [--fer_mtcnn]

Without CLIP, one is made of scikit-image's photograph of an astronaut, who moves and comes nearer:
100 frames of 640x480. Each system reads the file itself and reports every face of every frame; both
load their networks beforehand. `fer` is used as its README shows (FER() and detect_emotions, frame
by frame), with its own default detector, OpenCV's Haar cascade, and, asked for by --fer_mtcnn, with
FER(mtcnn=True). The rounds of all systems alternate, and the median counts.
"""

import argparse
import contextlib
import statistics
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np

from ferplus_keras.inference.detectors import DETECTORS
from ferplus_keras.inference.predictor import Predictor
from ferplus_keras.inference.sources import open_video, video_writer
from ferplus_keras.inference.video import EVERY, predict_frames


def make_clip(path):
    """Write the clip of the astronaut."""
    from skimage import data

    picture = data.astronaut()
    with video_writer(path, 25) as add:
        for i in range(100):
            scale = 1 + 0.2 * np.sin(i / 15)
            right, down = 10 + 40 * np.sin(i / 20), -10 + 10 * np.cos(i / 9)
            matrix = np.float32([[scale, 0, right], [0, scale, down]])
            add(cv2.warpAffine(picture, matrix, (640, 480), borderMode=cv2.BORDER_REPLICATE))


def ours(predictor, every):
    """Return a function from a clip to its frames and its faces."""

    def count(clip):
        seen = predict_frames(open_video(clip).frames, predictor, every)
        faces = [len(found) for *_, found in seen]
        return len(faces), sum(faces)

    return count


def theirs(mtcnn):
    """Return the same for the package fer."""
    from fer.fer import FER

    detector = FER(mtcnn=mtcnn)

    def count(clip):
        capture = cv2.VideoCapture(str(clip))
        frames = faces = 0
        while (read := capture.read())[0]:
            frames, faces = frames + 1, faces + len(detector.detect_emotions(read[1]))
        return frames, faces

    return count


def main():
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("clip", type=Path, nargs="?")
    parser.add_argument("--checkpoint_path", help="default: the bundled model")
    parser.add_argument("--faces", choices=list(DETECTORS), default="auto")
    parser.add_argument("--faces_weights")
    parser.add_argument("--every", type=int, default=EVERY)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--fer_mtcnn", action="store_true", help="also FER(mtcnn=True)")
    arguments = parser.parse_args()

    if arguments.fer_mtcnn:
        import facenet_pytorch  # noqa: F401  (after TensorFlow, Torch ends the process)
    faces = {"detector": arguments.faces, "faces_weights": arguments.faces_weights}
    predictor = Predictor(arguments.checkpoint_path, **faces)
    name = f"this project ({arguments.faces} every {arguments.every} frames)"
    systems = {name: ours(predictor, arguments.every)}
    if find_spec("fer") and not hasattr(cv2, "CascadeClassifier"):
        print("fer: skipped, its detector needs OpenCV 4 (CascadeClassifier)")
    elif find_spec("fer"):
        systems["fer, Haar cascade (its default)"] = theirs(False)
        if arguments.fer_mtcnn:
            systems["fer, mtcnn=True"] = theirs(True)
    with contextlib.ExitStack() as stack:
        clip = arguments.clip
        if clip is None:
            clip = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "astronaut.mp4"
            make_clip(clip)
        speeds = {name: [] for name in systems}
        counted = {}
        for turn in range(arguments.rounds + 1):
            for name, count in systems.items():
                started = time.perf_counter()
                counted[name] = count(clip)
                if turn:  # the first round warms up
                    speeds[name].append(counted[name][0] / (time.perf_counter() - started))
    print(f"{'':<40}{'frames/s':>10}{'frames':>8}{'faces':>8}")
    for name, found in speeds.items():
        frames, faces = counted[name]
        print(f"{name:<40}{statistics.median(found):>10.1f}{frames:>8}{faces:>8}")


if __name__ == "__main__":
    main()
