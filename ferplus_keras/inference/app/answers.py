"""What the page asks for: the faces of a picture, and why a model said that about one."""

from __future__ import annotations

import copy
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ferplus_keras.errors import unknown
from ferplus_keras.explain.explanations import explain_face, methods_of
from ferplus_keras.explain.methods import Method
from ferplus_keras.inference.faces import Detector
from ferplus_keras.inference.predictor import Prediction, Predictor


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
        return methods_of(self._any(model).classifier)

    def explain(self, look: Look, number: int, class_name: str, method: str) -> np.ndarray:
        """Return the (48, 48) float32 map of face `number` for a class, by a row of `METHODS`.

        Raises:
            InputError: the method does not work with the model.
        """
        classifier = self._any(look.model).classifier
        return explain_face(classifier, look.crops[number], class_name, method)

    def _any(self, model: str) -> Predictor:
        return self._predictors[model, next(iter(self.detectors))]
