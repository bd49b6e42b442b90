"""Modules that are slow or optional: each is imported when one of its attributes is asked for.

Files import them from here at their top, so that no command loads what it does not use.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any


class Lazy:
    """Stands for a module, as `LazyModule` does in Keras itself."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        if attribute.startswith("_"):  # what looks into objects asks for such names
            raise AttributeError(attribute)
        return getattr(import_module(self._name), attribute)


if TYPE_CHECKING:
    import cv2 as cv2
    import huggingface_hub as huggingface_hub
    import jax as jax
    import jinja2 as jinja2
    import keras as keras
    import markupsafe as markupsafe
    import onnx as onnx
    import onnxruntime as onnxruntime
    import optuna as optuna
    import pandas as pandas
    import pyarrow as pyarrow
    import scipy as scipy
    import tensorflow as tf
    import torch as torch
    import tqdm as tqdm
    import yaml as yaml
    from keras import layers as layers
    from matplotlib import pyplot as plt
    from PIL import Image as Image
    from pyarrow import parquet as parquet
    from sklearn import metrics as metrics
else:
    cv2, jax, jinja2, keras = map(Lazy, ("cv2", "jax", "jinja2", "keras"))
    huggingface_hub, markupsafe = map(Lazy, ("huggingface_hub", "markupsafe"))
    onnx, onnxruntime, optuna = map(Lazy, ("onnx", "onnxruntime", "optuna"))
    pandas, pyarrow, tf = map(Lazy, ("pandas", "pyarrow", "tensorflow"))
    scipy, torch, tqdm, yaml = map(Lazy, ("scipy", "torch", "tqdm", "yaml"))
    layers, Image, parquet = map(Lazy, ("keras.layers", "PIL.Image", "pyarrow.parquet"))
    metrics, plt = map(Lazy, ("sklearn.metrics", "matplotlib.pyplot"))
