"""Transfer learning for facial expressions on FER+ with Keras 3.

Example:
    >>> import ferplus_keras
    >>> ferplus_keras.list_models()  # doctest: +ELLIPSIS
    ['ResNet50', ...]
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_EXPORTS = {
    "load_split": "ferplus_keras.data.dataset",
    "build_model": "ferplus_keras.models.registry",
    "list_models": "ferplus_keras.models.registry",
    "freeze_before": "ferplus_keras.models.freeze",
    "TrainConfig": "ferplus_keras.config",
    "EvaluateConfig": "ferplus_keras.config",
    "train": "ferplus_keras.training.train",
    "evaluate": "ferplus_keras.evaluation.evaluate",
    "Predictor": "ferplus_keras.inference.predictor",
}
"""Public name -> module, imported when the name is first used."""

__all__ = [*_EXPORTS, "__version__"]


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f"module 'ferplus_keras' has no attribute '{name}'")
    return getattr(import_module(_EXPORTS[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
