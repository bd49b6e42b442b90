"""Models and detectors behind the server: pictures in threads, faces of all requests in batches."""

import asyncio
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from ferplus_keras.classifier import Classifier
from ferplus_keras.explain.explanations import explain_face, heat_overlay
from ferplus_keras.hardware import cores
from ferplus_keras.inference.crop import Box
from ferplus_keras.inference.detectors import WHOLE
from ferplus_keras.inference.predictor import Crops, Predictor

WAIT = 0.003  # seconds that the faces of a request wait for those of others
MOST = 64  # faces per batch


class Engine:
    """Opens every model, and answers many requests at a time.

    Args:
        models: name -> file or run folder; all are opened and tried now.
        detectors: name -> detector, as `Predictor` takes it; `WHOLE` is always there.
        count_batch: called with the number of faces of each batch.

    Raises:
        InputError: a model cannot be used.
    """

    def __init__(
        self,
        models: Mapping[str, Path],
        detectors: Mapping[str, str | Callable],
        count_batch: Callable[[int], Any] = lambda faces: None,
    ) -> None:
        self.classifiers = {name: Classifier.open(path).named() for name, path in models.items()}
        self.predictors = {
            (model, name): Predictor(classifier, detector=detector)
            for model, classifier in self.classifiers.items()
            for name, detector in {**detectors, WHOLE: WHOLE}.items()
        }
        for predictor in self.predictors.values():
            predictor.warm_up()
        self._count_batch = count_batch
        self._pictures = ThreadPoolExecutor(cores(), "picture")
        self._network = ThreadPoolExecutor(1, "network")
        self._lock = threading.Lock()  # of what waits, which the network's thread takes
        self._waiting: dict[tuple[str, str, int], tuple[list[np.ndarray], asyncio.Task]] = {}

    async def find(
        self, decode: Callable[[], np.ndarray], model: str, detector: str
    ) -> tuple[tuple[int, int], list[Box], Crops]:
        """Return the size, boxes and crops of what `decode` returns in a thread."""

        def work():
            picture = decode()
            return picture.shape[1::-1], *self.predictors[model, detector].find(picture)

        return await asyncio.get_running_loop().run_in_executor(self._pictures, work)

    async def probabilities(self, faces: Crops, model: str, tta: str = "none") -> np.ndarray:
        """Return (n, C) float32 probabilities of n faces, batched with those of other requests."""
        if not len(faces):
            return np.empty((0, len(self.classifiers[model].class_names)), np.float32)
        kind = (model, tta, len(faces[0]))
        with self._lock:
            if kind not in self._waiting:
                task = asyncio.create_task(self._answer(*kind))
                # Of a failure whose clients have all gone, asyncio would print the message.
                task.add_done_callback(lambda task: task.cancelled() or task.exception())
                self._waiting[kind] = [], task
            batch, answer = self._waiting[kind]
            first = len(batch)
            batch.extend(faces)
        rows = await asyncio.shield(answer)  # others wait for it, even if this client has gone
        return rows[first : first + len(faces)]

    async def explain(
        self, face: np.ndarray, model: str, class_name: str, method: str
    ) -> np.ndarray:
        """Return a face, `face_shape` uint8, under the map of a class, (s, s, 3) uint8 RGB."""
        work = (explain_face, self.classifiers[model], face, class_name, method)
        values = await asyncio.get_running_loop().run_in_executor(self._network, *work)
        return heat_overlay(face, values)

    async def _answer(self, *kind: Any) -> np.ndarray:
        await asyncio.sleep(WAIT)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._network, self._classify, *kind)

    def _classify(self, model: str, tta: str, crops: int) -> np.ndarray:
        with self._lock:  # not earlier: faces that come while the network is busy join the batch
            batch, _ = self._waiting.pop((model, tta, crops))
        faces = np.array(batch)
        self._count_batch(len(faces))
        # Few sizes of batches, since a network compiles itself again for each.
        size = 1 << (len(faces) - 1).bit_length()
        padded = np.concatenate([faces, np.repeat(faces[-1:], size - len(faces), axis=0)])
        rows = self.classifiers[model].probabilities(padded, batch_size=MOST, tta=tta)
        return rows[: len(faces)]
