"""Models and detectors behind the server: pictures in threads, faces of all requests in batches."""

from __future__ import annotations

import asyncio
import base64
import copy
import os
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ferplus_keras.classifier import Classifier
from ferplus_keras.emotions import FACE_SIZE
from ferplus_keras.inference.faces import Box, Detector
from ferplus_keras.inference.predictor import Predictor
from ferplus_keras.serve.explanations import explained

WAIT = 0.003
"""Seconds that the faces of a request wait for those of others."""

MOST = 64
"""Faces per batch."""

WHOLE = "whole"
"""Detector that takes a picture as one face."""


class FoundFaces(NamedTuple):
    """A picture's faces.

    Attributes:
        size: width and height of the picture.
        boxes: n boxes, most confidently detected first.
        crops: (n, s, s) uint8, the faces as the network sees them.
    """

    size: tuple[int, int]
    boxes: list[Box]
    crops: np.ndarray


class _Waiting(NamedTuple):
    faces: np.ndarray
    model: str
    tta: str
    answer: asyncio.Future


class Engine:
    """Opens every model and detector, and answers many requests at a time.

    Args:
        models: name -> file or run folder; all are opened and tried now.
        detectors: name -> detector.
        count_batch: called with the number of faces of each batch.

    Attributes:
        classifiers: model -> what answers.
        predictors: model -> what finds and cuts out its faces.
        detectors: as given, with `WHOLE`.

    Raises:
        InputError: a model cannot be used.
    """

    def __init__(
        self,
        models: Mapping[str, Path],
        detectors: Mapping[str, Detector],
        count_batch: Callable[[int], None] = lambda faces: None,
    ) -> None:
        self.classifiers = {name: Classifier.open(path) for name, path in models.items()}
        self.predictors = {name: Predictor(path, faces=WHOLE) for name, path in models.items()}
        self.detectors = dict(detectors)
        self._count_batch = count_batch
        self._turns = {name: threading.Lock() for name in detectors}
        self._pictures = ThreadPoolExecutor(os.cpu_count(), "picture")
        self._network = ThreadPoolExecutor(1, "network")
        self._waiting: list[_Waiting] = []
        self._batches: set[asyncio.Task] = set()
        face = np.zeros((1, FACE_SIZE, FACE_SIZE), np.uint8)
        for classifier in self.classifiers.values():
            classifier.probabilities(face)

    async def find(self, decode: Callable[[], np.ndarray], model: str, detector: str) -> FoundFaces:
        """Return the faces of the picture (h, w, 3) uint8 that `decode` returns in its thread."""

        def work() -> FoundFaces:
            picture = decode()
            # One model in memory, however many detectors there are.
            predictor = copy.copy(self.predictors[model])
            predictor.detect, predictor.whole = self.detectors[detector], detector == WHOLE
            with self._turns[detector]:
                boxes, crops = predictor.find(picture)
            return FoundFaces(picture.shape[1::-1], boxes, crops)

        return await asyncio.get_running_loop().run_in_executor(self._pictures, work)

    async def probabilities(self, faces: np.ndarray, model: str, tta: str = "none") -> np.ndarray:
        """Return (n, C) float32 probabilities of faces (n, s, s) uint8, batched with others'."""
        if not len(faces):
            return np.empty((0, len(self.classifiers[model].class_names)), np.float32)
        answer = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(faces, model, tta, answer))
        if len(self._waiting) == 1:
            task = asyncio.create_task(self._gather())
            self._batches.add(task)
            task.add_done_callback(self._batches.discard)
        return await answer

    async def explain(self, face: np.ndarray, model: str, class_name: str, method: str) -> str:
        """Return a face (s, s) uint8 with what speaks for and against a class, a PNG's data URL."""
        work = (explained, self.classifiers[model], face, class_name, method)
        return png(await asyncio.get_running_loop().run_in_executor(self._network, *work))

    async def _gather(self) -> None:
        """Take what has come together after `WAIT`, and answer it by model and kind of views."""
        await asyncio.sleep(WAIT)
        waiting, self._waiting = self._waiting, []
        kinds = {(each.model, each.tta): [] for each in waiting}
        for each in waiting:
            kinds[each.model, each.tta].append(each)
        for (model, tta), group in kinds.items():
            faces = np.concatenate([each.faces for each in group])
            work = (self._classify, model, tta, faces)
            try:
                rows = await asyncio.get_running_loop().run_in_executor(self._network, *work)
            except Exception as error:
                for each in group:
                    if not each.answer.done():
                        each.answer.set_exception(error)
                continue
            ends = np.cumsum([len(each.faces) for each in group])[:-1]
            for each, part in zip(group, np.split(rows, ends), strict=True):
                if not each.answer.done():  # its client has gone
                    each.answer.set_result(part)

    def _classify(self, model: str, tta: str, faces: np.ndarray) -> np.ndarray:
        self._count_batch(len(faces))
        # Few sizes of batches: a network compiles itself anew for each.
        size = min(1 << (len(faces) - 1).bit_length(), -(-len(faces) // MOST) * MOST)
        padded = np.concatenate([faces, np.repeat(faces[-1:], size - len(faces), axis=0)])
        found = self.classifiers[model].probabilities(padded, batch_size=MOST, tta=tta)
        return found[: len(faces)]


def png(picture: np.ndarray) -> str:
    """Return a picture (h, w) grey or (h, w, 3) RGB uint8 as a PNG's data URL."""
    import cv2

    encoded = cv2.imencode(".png", picture if picture.ndim == 2 else picture[..., ::-1])[1]
    return "data:image/png;base64," + base64.b64encode(encoded.tobytes()).decode("ascii")
