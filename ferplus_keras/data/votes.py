"""Shim: moved to `ferplus_keras.data.labels`."""

from ferplus_keras.data.labels import LABEL_RULES, LabelRule, Labels, not_a_face

__all__ = ["LABEL_RULES", "LabelRule", "Labels", "not_a_face"]
