"""Turn FER+ votes into labels: the rules of the literature, side by side.

Ten people voted on every face of FER2013 (Barsoum, Zhang, Canton Ferrer, Zhang: "Training Deep
Networks for Facial Expression Recognition with Crowd-Sourced Label Distribution", ICMI 2016). The
field compares accuracies reached under different rules and so on different rows; `LABEL_RULES` is
the one list of them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ferplus_keras.data.targets import DISTRIBUTION, ONE_CLASS, RIGHT_SET, TargetKind
from ferplus_keras.emotions import FERPLUS_CLASSES, VOTE_COLUMNS
from ferplus_keras.registry import Registry

UNKNOWN_FIRST = "unknown or not a face has the most votes"
THREE_SHARE = "three or more classes share the most votes"
TOP_TOO_WEAK = "the classes with the most votes hold too few of them"
NO_MAJORITY = "no class has more than half of the votes"
TOO_MANY_TAKEN = "more than three classes are needed"
TAKEN_TOO_WEAK = "the leading classes hold too few of the votes"
NOTHING_LEFT = "no class has more than a single vote"

_EMOTIONS = slice(0, len(FERPLUS_CLASSES))
_NO_EMOTION = slice(len(FERPLUS_CLASSES), len(VOTE_COLUMNS))


class Labels(NamedTuple):
    """What a rule makes of the votes.

    Attributes:
        targets: (n, C) float32, zeros where the row is dropped; rules give them in the order of
            `FERPLUS_CLASSES`.
        keep: (n,) bool.
        reasons: (n,) str, why the row is dropped, "" where it is kept.
    """

    targets: np.ndarray
    keep: np.ndarray
    reasons: np.ndarray

    def without(self, rows: np.ndarray, reason: str) -> "Labels":
        """Return labels that drop `rows`, (n,) bool, too; rows dropped before keep their reason."""
        dropped = rows & self.keep
        return Labels(
            np.where(dropped[:, None], np.float32(0), self.targets),
            self.keep & ~dropped,
            np.where(dropped, reason, self.reasons),
        )


@dataclass(frozen=True)
class LabelRule:
    """A way to make labels of votes.

    Attributes:
        name: as on the command line.
        description: one line.
        apply: votes (n, 10) int to `Labels`.
        draw: whether training draws one class from the target, anew at every read.
        evaluate_with: name of the rule that validation and test rows are labelled by.
        kind: what the targets mean.
    """

    name: str
    description: str
    apply: Callable[[np.ndarray], Labels]
    draw: bool
    evaluate_with: str
    kind: TargetKind = ONE_CLASS


def majority(votes: np.ndarray) -> Labels:
    """Label by the most votes, as the wtomin FER+ fine-tuning project does.

    Dropped are rows where unknown or not-a-face is among the classes with the most votes, where
    three or more share them, and where the classes with the most votes hold less than half of all
    votes. Of two equal emotions the first in `FERPLUS_CLASSES` wins. Targets are one-hot.
    """
    return _first_maximum(votes, lambda held, total: 2 * held < total)


def albanie_majority(votes: np.ndarray) -> Labels:
    """Label by the most votes, as the VGG group's benchmark loader does (Albanie et al. 2018).

    As `majority` after single votes are set to 0; and exactly half of the votes is too little.
    Targets are one-hot.
    """
    return _first_maximum(_without_single(votes), lambda held, total: 2 * held <= total)


def ms_majority(votes: np.ndarray) -> Labels:
    """Label by absolute majority: mode `majority` of Microsoft's FERPlus code (Barsoum et al.).

    Single votes are set to 0; the class must have more than half of what remains, votes for
    unknown and not-a-face included. Targets are one-hot.
    """
    votes = _without_single(votes)
    return _labels(
        _one_hot(votes),
        {
            NOTHING_LEFT: votes.sum(axis=1) == 0,
            UNKNOWN_FIRST: _no_emotion_leads(votes),
            NO_MAJORITY: 2 * votes.max(axis=1) <= votes.sum(axis=1),
        },
    )


def ms_distribution(votes: np.ndarray) -> Labels:
    """Label by the leading emotions' shares: modes `probability` and `crossentropy` of FERPlus.

    Single votes are set to 0. Classes are taken in descending order, equal ones together, until
    three are taken or they hold 75 % of the votes. Unknown or not-a-face in first place drops the
    row; further down it ends the taking, after the emotions that equal it. Dropped too are rows
    where more than three classes were taken, or where they hold half of the votes or less. Targets
    are the taken votes divided by their sum.
    """
    votes = _without_single(votes)
    total = votes.sum(axis=1)
    emotions = votes[:, _EMOTIONS]
    leads = emotions[:, None, :] > emotions[:, :, None]  # [row, i, j]: j has more votes than i
    votes_ahead = (leads * emotions[:, None, :]).sum(axis=2)
    behind_no_emotion = emotions < votes[:, _NO_EMOTION].max(axis=1, keepdims=True)
    taken = (
        (emotions > 0)
        & (4 * votes_ahead < 3 * total[:, None])
        & (leads.sum(axis=2) < 3)
        & ~behind_no_emotion
    )
    held = emotions * taken
    return _labels(
        held / np.maximum(held.sum(axis=1, keepdims=True), 1),
        {
            NOTHING_LEFT: total == 0,
            UNKNOWN_FIRST: _no_emotion_leads(votes),
            TOO_MANY_TAKEN: taken.sum(axis=1) > 3,
            TAKEN_TOO_WEAK: 2 * held.sum(axis=1) <= total,
        },
    )


def ms_multi_target(votes: np.ndarray) -> Labels:
    """Label by every emotion with 30 % of the votes: mode `multi_target` of FERPlus.

    Single votes are set to 0. Dropped are rows where unknown or not-a-face alone has the most
    votes, and where the classes with 30 % hold half of the votes or less together (unknown and
    not-a-face count here). Targets are multi-hot and not normalised: 1 for every emotion with
    30 % of the votes, all of which count as right.
    """
    votes = _without_single(votes)
    total = votes.sum(axis=1)
    taken = 10 * votes >= 3 * total[:, None]
    return _labels(
        taken[:, _EMOTIONS],
        {
            NOTHING_LEFT: total == 0,
            UNKNOWN_FIRST: _no_emotion_leads(votes),
            TAKEN_TOO_WEAK: 2 * (votes * taken).sum(axis=1) <= total,
        },
    )


def distribution(votes: np.ndarray) -> Labels:
    """Label by all votes for emotions, divided by their sum.

    No vote is set to 0. Dropped are only the rows where unknown or not-a-face is among the classes
    with the most votes, as under `majority`; elsewhere the votes for these two are left out.
    """
    emotions = votes[:, _EMOTIONS]
    leads = votes[:, _NO_EMOTION].max(axis=1) >= emotions.max(axis=1)
    return _labels(
        emotions / np.maximum(emotions.sum(axis=1, keepdims=True), 1), {UNKNOWN_FIRST: leads}
    )


LABEL_RULES: Registry[LabelRule] = Registry("label rule")
"""Every label rule by name: the command line's choices, and a row of the documentation each."""

LABEL_RULES |= {
    rule.name: rule
    for rule in (
        LabelRule(
            name="majority",
            description="most votes, at least half of them (the wtomin project)",
            apply=majority,
            draw=False,
            evaluate_with="majority",
        ),
        LabelRule(
            name="albanie_majority",
            description="most votes, more than half of them without single ones (Albanie)",
            apply=albanie_majority,
            draw=False,
            evaluate_with="albanie_majority",
        ),
        LabelRule(
            name="ms_majority",
            description="one class with more than half of the votes (Microsoft)",
            apply=ms_majority,
            draw=False,
            evaluate_with="ms_majority",
        ),
        LabelRule(
            name="ms_probability",
            description="one class drawn anew at every read by the leading shares (Microsoft)",
            apply=ms_distribution,
            draw=True,
            evaluate_with="ms_majority",
            kind=DISTRIBUTION,
        ),
        LabelRule(
            name="ms_crossentropy",
            description="the leading classes' shares of the votes (Microsoft)",
            apply=ms_distribution,
            draw=False,
            evaluate_with="ms_majority",
            kind=DISTRIBUTION,
        ),
        LabelRule(
            name="ms_multi_target",
            description="every class with 30 % of the votes is right (Microsoft)",
            apply=ms_multi_target,
            draw=False,
            evaluate_with="ms_majority",
            kind=RIGHT_SET,
        ),
        LabelRule(
            name="distribution",
            description="all votes for emotions as shares of their sum",
            apply=distribution,
            draw=False,
            evaluate_with="majority",
            kind=DISTRIBUTION,
        ),
    )
}


def not_a_face(votes: np.ndarray) -> np.ndarray:
    """Tell where more than half of the votes (n, 10) are for not-a-face, (n,) bool."""
    return 2 * votes[:, VOTE_COLUMNS.index("NF")] > votes.sum(axis=1)


def _first_maximum(
    votes: np.ndarray, too_weak: Callable[[np.ndarray, np.ndarray], np.ndarray]
) -> Labels:
    """Label by the first emotion with the most votes; `too_weak` takes votes held and total."""
    most = votes.max(axis=1)
    number = (votes == most[:, None]).sum(axis=1)
    return _labels(
        _one_hot(votes),
        {
            UNKNOWN_FIRST: votes[:, _NO_EMOTION].max(axis=1) == most,
            THREE_SHARE: number >= 3,
            TOP_TOO_WEAK: too_weak(number * most, votes.sum(axis=1)),
        },
    )


def _without_single(votes: np.ndarray) -> np.ndarray:
    return np.where(votes == 1, 0, votes)


def _no_emotion_leads(votes: np.ndarray) -> np.ndarray:
    """Tell where unknown or not-a-face has more votes than every emotion, (n,) bool."""
    return votes[:, _NO_EMOTION].max(axis=1) > votes[:, _EMOTIONS].max(axis=1)


def _one_hot(votes: np.ndarray) -> np.ndarray:
    return np.eye(len(FERPLUS_CLASSES))[votes[:, _EMOTIONS].argmax(axis=1)]


def _labels(targets: np.ndarray, drop: dict[str, np.ndarray]) -> Labels:
    """Drop rows for the first reason that holds; `drop` maps reason to (n,) bool."""
    reasons = np.select(list(drop.values()), list(drop), default="")
    keep = reasons == ""
    return Labels((targets * keep[:, None]).astype(np.float32), keep, reasons)
