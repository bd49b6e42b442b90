"""The data sets, that is faces with a way to label them: `DATASETS` is the one list of them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ferplus_keras.data import sources
from ferplus_keras.data.labels import LABEL_RULES, LabelRule, Labels
from ferplus_keras.emotions import FER2013_CLASSES, FERPLUS_CLASSES
from ferplus_keras.registry import Registry


@dataclass(frozen=True)
class LabelSet:
    """One data set.

    Attributes:
        name: as on the command line.
        description: one line.
        class_names: the classes, in the order of the targets; a class that the files have besides
            is left out with its rows. Empty where only the files tell.
        rules: label rules to choose from; where there is but one, it applies whatever is chosen.
        read: from data folder and cache folder (None for the usual one) to the rows.
        uses_votes: whether rules apply to the votes of fer2013new.csv.
    """

    name: str
    description: str
    class_names: tuple[str, ...]
    rules: Mapping[str, LabelRule]
    read: Callable[[str | Path, str | Path | None], sources.FileRows]
    uses_votes: bool = False

    def rule(self, name: str) -> LabelRule:
        """Return the rule called `name`, or the only rule; raises UsageError for an unknown one."""
        if len(self.rules) == 1:
            return next(iter(self.rules.values()))
        return self.rules[name]


def _one_label(labels: np.ndarray) -> Labels:
    """Take one-hot labels (n, C) as they are; no row is dropped."""
    return Labels(labels, np.ones(len(labels), bool), np.full(len(labels), ""))


EMOTION_COLUMN = LabelRule(
    name="emotion column",
    description="FER2013's own label",
    apply=_one_label,
    draw=False,
    evaluate_with="emotion column",
)
OWN_LABELS = LabelRule(
    name="own labels",
    description="the label of the picture's folder or list",
    apply=_one_label,
    draw=False,
    evaluate_with="own labels",
)


def _without(class_names: tuple[str, ...], left_out: str) -> tuple[str, ...]:
    return tuple(name for name in class_names if name != left_out)


DATASETS: Registry[LabelSet] = Registry("data set")
"""Every data set by name."""

DATASETS |= {
    label_set.name: label_set
    for label_set in (
        LabelSet(
            name="FERPlus",
            description="ten votes a face for eight classes, unknown and not-a-face",
            class_names=FERPLUS_CLASSES,
            rules=LABEL_RULES,
            read=sources.ferplus,
            uses_votes=True,
        ),
        LabelSet(
            name="FERPlus7",
            description="FERPlus without contempt",
            class_names=_without(FERPLUS_CLASSES, "contempt"),
            rules=LABEL_RULES,
            read=sources.ferplus,
            uses_votes=True,
        ),
        LabelSet(
            name="FER",
            description="the seven labels of FER2013 itself; needs fer2013.csv only",
            class_names=FER2013_CLASSES,
            rules={EMOTION_COLUMN.name: EMOTION_COLUMN},
            read=sources.fer2013,
        ),
        LabelSet(
            name="FER6",
            description="FER without disgust",
            class_names=_without(FER2013_CLASSES, "disgust"),
            rules={EMOTION_COLUMN.name: EMOTION_COLUMN},
            read=sources.fer2013,
        ),
        LabelSet(
            name="Folder",
            description="own pictures in --data_dir (docs/own_data.md)",
            class_names=(),
            rules={OWN_LABELS.name: OWN_LABELS},
            read=sources.own_folder,
        ),
    )
}
