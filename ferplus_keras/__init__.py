"""Transfer learning for facial expressions on FER+ with Keras 3.

Example:
    >>> import ferplus_keras
    >>> ferplus_keras.list_models()  # doctest: +ELLIPSIS
    ['CompactFER', ...]
"""

import os
import sys
from contextlib import suppress
from importlib import import_module
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import find_spec
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # what type checkers and editors read in place of `__getattr__`
    from ferplus_keras.classifier import Classifier as Classifier
    from ferplus_keras.config import EvaluateConfig as EvaluateConfig
    from ferplus_keras.config import TrainConfig as TrainConfig
    from ferplus_keras.data.batches import Batches as Batches
    from ferplus_keras.data.dataset import load_split as load_split
    from ferplus_keras.evaluation.evaluate import evaluate as evaluate
    from ferplus_keras.inference.predictor import Predictor as Predictor
    from ferplus_keras.models.checkpoint import load_checkpoint as load_checkpoint
    from ferplus_keras.models.freeze import freeze_before as freeze_before
    from ferplus_keras.models.registry import build_model as build_model
    from ferplus_keras.models.registry import list_models as list_models
    from ferplus_keras.training.train import train as train

__version__ = "0.1.0"

# Both report use to their makers, unless told so before they are imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

_EXPORTS = {
    "load_split": "ferplus_keras.data.dataset",
    "build_model": "ferplus_keras.models.registry",
    "list_models": "ferplus_keras.models.registry",
    "freeze_before": "ferplus_keras.models.freeze",
    "Classifier": "ferplus_keras.classifier",
    "load_checkpoint": "ferplus_keras.models.checkpoint",
    "TrainConfig": "ferplus_keras.config",
    "EvaluateConfig": "ferplus_keras.config",
    "train": "ferplus_keras.training.train",
    "evaluate": "ferplus_keras.evaluation.evaluate",
    "Predictor": "ferplus_keras.inference.predictor",
    "Batches": "ferplus_keras.data.batches",
}
"""Public name -> module, imported when the name is first used."""

__all__ = [*_EXPORTS, "__version__"]


if not TYPE_CHECKING:  # else every name would seem to exist

    def __getattr__(name: str) -> Any:
        if name not in _EXPORTS:
            raise AttributeError(f"module 'ferplus_keras' has no attribute '{name}'")
        return getattr(import_module(_EXPORTS[name]), name)


def __dir__() -> list[str]:
    lacking = () if find_spec("keras") else ("Batches", "freeze_before", "train")
    return sorted({*__all__}.difference(lacking))  # help() reads what is listed here


class _AfterKeras(MetaPathFinder):
    """Chooses Keras' backend and registers the networks' own layers when Keras is imported.

    So after `import ferplus_keras`, which does not import Keras, `keras.models.load_model` opens a
    checkpoint: Keras only builds custom layers that are registered, and imports nobody's module.
    """

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> ModuleSpec | None:
        """Return where Keras is, with the registration appended to its import."""
        spec = PathFinder.find_spec(fullname, path) if fullname == "keras" else None
        if spec is None or spec.loader is None:
            return None
        execute = spec.loader.exec_module

        def execute_and_register(module: ModuleType) -> None:
            if not find_spec("tensorflow"):  # which Keras takes otherwise
                backend = import_module("ferplus_keras.backend")
                with suppress(backend.InputError):  # Keras itself has other backends
                    backend.choose_backend()
            execute(module)
            import_module("ferplus_keras.models.layers")

        spec.loader.exec_module = execute_and_register  # type: ignore[method-assign]
        return spec


if "keras" in sys.modules:
    import_module("ferplus_keras.models.layers")
else:
    sys.meta_path.insert(0, _AfterKeras())
