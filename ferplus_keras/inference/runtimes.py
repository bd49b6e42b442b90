"""Shim: moved to `ferplus_keras.classifier`."""

from ferplus_keras.classifier import Classifier

__all__ = ["Classifier", "load_classifier"]

load_classifier = Classifier.open
