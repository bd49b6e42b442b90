"""The ways to label the faces of fer2013.csv: `DATASETS` is the one list of them."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ferplus_keras.data.votes import LABEL_RULES, LabelRule, Labels
from ferplus_keras.emotions import FER2013_CLASSES, FERPLUS_CLASSES
from ferplus_keras.errors import unknown


@dataclass(frozen=True)
class LabelSet:
    """One way to label the faces of fer2013.csv.

    Attributes:
        name: as on the command line.
        description: one line.
        class_names: the classes, in the order of the targets.
        rules: label rules to choose from; where there is but one, it applies whatever is chosen.
        uses_votes: whether rules apply to the votes of fer2013new.csv, (n, 10); else to the
            emotion column of fer2013.csv, (n,).
    """

    name: str
    description: str
    class_names: tuple[str, ...]
    rules: Mapping[str, LabelRule]
    uses_votes: bool

    def rule(self, name: str) -> LabelRule:
        """Return the rule called `name`, or the only rule; raises UsageError for an unknown one."""
        if len(self.rules) == 1:
            return next(iter(self.rules.values()))
        if name not in self.rules:
            raise unknown("label rule", name, self.rules)
        return self.rules[name]


def _emotion_column(emotions: np.ndarray) -> Labels:
    """Label by FER2013's own emotion; targets are one-hot and no row is dropped."""
    targets = np.eye(len(FER2013_CLASSES), dtype=np.float32)[emotions]
    return Labels(targets, np.ones(len(emotions), bool), np.full(len(emotions), ""))


EMOTION_COLUMN = LabelRule(
    name="emotion column",
    description="FER2013's own label",
    apply=_emotion_column,
    draw=False,
    evaluate_with="emotion column",
)

DATASETS: dict[str, LabelSet] = {
    label_set.name: label_set
    for label_set in (
        LabelSet(
            name="FERPlus",
            description="ten votes a face for eight classes, unknown and not-a-face",
            class_names=FERPLUS_CLASSES,
            rules=LABEL_RULES,
            uses_votes=True,
        ),
        LabelSet(
            name="FER",
            description="the seven labels of FER2013 itself; needs fer2013.csv only",
            class_names=FER2013_CLASSES,
            rules={EMOTION_COLUMN.name: EMOTION_COLUMN},
            uses_votes=False,
        ),
    )
}
"""Every data set by name."""


def find_label_set(name: str) -> LabelSet:
    """Return the row of `DATASETS` called `name`; raises UsageError for an unknown one."""
    if name not in DATASETS:
        raise unknown("data set", name, DATASETS)
    return DATASETS[name]
