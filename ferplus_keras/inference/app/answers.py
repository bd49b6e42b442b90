"""What the page asks for: the faces of a picture, and why a model said that about one."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ferplus_keras.emotions import FACE_SIZE
from ferplus_keras.errors import unknown
from ferplus_keras.explain.methods import METHODS, Method
from ferplus_keras.inference.faces import Detector
from ferplus_keras.inference.predictor import Prediction, Predictor

WITHOUT_GRADIENTS = ("occlusion",)
"""Methods that ask a model for answers only, and so explain exports too."""

LEAST = 1e-7
"""Smallest probability whose logarithm is taken."""


@dataclass(frozen=True, eq=False)
class Look:
    """A picture with what a model found in it.

    Attributes:
        picture: (h, w, 3) uint8, RGB.
        crops: (n, 48, 48) uint8, the faces as the model saw them.
        faces: what each expresses.
        model: name of the model.
    """

    picture: np.ndarray
    crops: np.ndarray
    faces: list[Prediction]
    model: str


class Answers:
    """Models and detectors, one question at a time: they are not made for several threads.

    Args:
        models: name -> file; all are opened now.
        detectors: name -> detector.

    Raises:
        InputError: a model cannot be used.
    """

    def __init__(self, models: Mapping[str, Path], detectors: Mapping[str, Detector]):
        self.models = dict(models)
        self.detectors = dict(detectors)
        self._predictors = {}
        for name, path in models.items():
            opened = Predictor(path, faces="whole")
            for detector, detect in detectors.items():
                predictor = copy.copy(opened)  # one model in memory, however many detectors
                predictor.detect, predictor.whole = detect, detector == "whole"
                self._predictors[name, detector] = predictor
        self._networks: dict = {}
        self._turn = threading.Lock()

    def look(self, picture: np.ndarray, model: str, detector: str) -> Look:
        """Return the faces of a picture (h, w, 3) uint8 RGB, most confidently detected first.

        Raises:
            UsageError: there is no such model or detector.
        """
        if model not in self.models:
            raise unknown("model", model, self.models)
        if detector not in self.detectors:
            raise unknown("face detector", detector, self.detectors)
        predictor = self._predictors[model, detector]
        with self._turn:
            boxes, crops = predictor.find(picture)
            (faces,) = predictor.judge([(boxes, crops)])
        return Look(picture, crops, faces, model)

    def class_names(self, model: str) -> tuple[str, ...]:
        """Return a model's classes."""
        return self._any(model).class_names

    def methods(self, model: str) -> list[Method]:
        """Return the explanation methods that work with a model."""
        whole = self.models[model].suffix == ".keras"
        return [method for method in METHODS.values() if whole or method.name in WITHOUT_GRADIENTS]

    def explain(self, look: Look, number: int, class_name: str, method: str) -> np.ndarray:
        """Return the (48, 48) float32 map of face `number` for a class, by a row of `METHODS`.

        Raises:
            InputError: the method does not work with the model.
        """
        face = look.crops[number : number + 1]
        classes = np.array([self.class_names(look.model).index(class_name)])
        with self._turn:
            if self.models[look.model].suffix == ".keras":
                network = self._network(look.model)
            else:
                network = OnlyAnswers(self._any(look.model).probabilities, face)
            return METHODS[method](network, face, classes)[0]

    def _any(self, model: str) -> Predictor:
        return self._predictors[model, next(iter(self.detectors))]

    def _network(self, model: str):
        if model not in self._networks:
            from ferplus_keras.explain.network import Network
            from ferplus_keras.models.checkpoint import load_checkpoint

            loaded, info = load_checkpoint(self.models[model])
            self._networks[model] = Network(loaded, info.class_names)
        return self._networks[model]


class OnlyAnswers:
    """An exported model in place of `explain.network.Network`, for methods without gradients.

    An export does not give away its logits; logarithms of probabilities take their place. Nor does
    it tell what it crops and which grey means nothing to it: the whole face, and the mean of it.

    Args:
        probabilities: from faces (n, 48, 48) uint8 to (n, C) float32.
        faces: (n, 48, 48) uint8, what is to be explained.

    Attributes:
        batch_size: faces at once.
        box: top, bottom, left, right of the part of a face that counts.
        grey: grey level of a patch that covers something.
    """

    batch_size = 64
    box = (0, FACE_SIZE, 0, FACE_SIZE)

    def __init__(self, probabilities: Callable[[np.ndarray], np.ndarray], faces: np.ndarray):
        self._probabilities = probabilities
        self.grey = float(faces.mean())

    def logits(self, faces: np.ndarray) -> np.ndarray:
        """Return (n, C) float32 log-probabilities of faces (n, 48, 48), grey levels 0-255."""
        rounded = np.clip(np.rint(faces), 0, 255).astype(np.uint8)
        return np.log(np.maximum(self._probabilities(rounded), LEAST))
