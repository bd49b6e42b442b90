"""Turn FER+ votes into labels: the rules of the literature, side by side."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ferplus_keras.data.targets import DISTRIBUTION, ONE_CLASS, RIGHT_SET, Labels, TargetKind
from ferplus_keras.emotions import FERPLUS_CLASSES, VOTE_COLUMNS
from ferplus_keras.registry import Registry

UNKNOWN_FIRST = "unknown or not a face has the most votes"
THREE_SHARE = "three or more classes share the most votes"
TOP_TOO_WEAK = "the classes with the most votes hold too few of them"
NO_MAJORITY = "no class has more than half of the votes"
TOO_MANY_TAKEN = "more than three classes are needed"
TAKEN_TOO_WEAK = "the leading classes hold too few of the votes"
NOTHING_LEFT = "no class has more than a single vote"
NO_EMOTION_LEFT = "no emotion has a vote"

_EMOTIONS = slice(0, len(FERPLUS_CLASSES))
_NO_EMOTION = slice(len(FERPLUS_CLASSES), len(VOTE_COLUMNS))

Apply = Callable[[np.ndarray], Labels]


@dataclass(frozen=True)
class LabelRule:
    """A way to make labels of votes."""

    name: str
    description: str
    apply: Apply  # from votes (n, 10) int, or one-hot labels (n, C) float32
    evaluate_with: str  # name of the rule that validation and test rows are labelled by
    kind: TargetKind = ONE_CLASS  # decides loss, scoring, merging and mixing
    draw: bool = False  # whether training draws one class from the target at every read
    class_weights: str = "none"  # default of `--class_weights` where all eight classes are trained


LABEL_RULES: Registry[LabelRule] = Registry("label rule")
"""Every label rule by name."""


def label_rule(name: str, description: str, **attributes: Any) -> Callable[[Apply], Apply]:
    """Return a decorator that enters a function from votes to `Labels` in `LABEL_RULES`.

    `attributes` are further ones of `LabelRule`; `evaluate_with` is the rule itself by default.
    """
    attributes.setdefault("evaluate_with", name)
    return LABEL_RULES.register(
        name, lambda apply: LabelRule(name, description, apply, **attributes)
    )


@label_rule("majority", "most votes, at least half of them (wtomin)", class_weights="wtomin")
def majority(votes: np.ndarray) -> Labels:
    """Label by the most votes, one-hot, as the wtomin FER+ fine-tuning project does.

    Dropped are rows where unknown or not-a-face is among the classes with the most votes, where
    three or more share them, and where these hold less than half of all votes. Of two equal
    emotions the first wins.
    """
    return _first_maximum(votes, lambda held, total: 2 * held < total)


@label_rule("albanie_majority", "most votes, over half of them, single votes ignored (Albanie)")
def albanie_majority(votes: np.ndarray) -> Labels:
    """Label as `majority` without single votes; half of the votes is too little (Albanie 2018)."""
    return _first_maximum(_without_single(votes), lambda held, total: 2 * held <= total)


@label_rule("ms_majority", "one class with more than half of the votes (Microsoft)")
def ms_majority(votes: np.ndarray) -> Labels:
    """Label by the class with more than half of all votes but single ones: mode `majority`."""
    votes = _without_single(votes)
    no_majority = 2 * votes.max(axis=1) <= votes.sum(axis=1)
    return _microsofts(votes, first_choice(votes), {NO_MAJORITY: no_majority})


_MS = {"evaluate_with": "ms_majority", "kind": DISTRIBUTION}


@label_rule("ms_crossentropy", "the leading classes' shares of the votes (Microsoft)", **_MS)
@label_rule(
    "ms_probability",
    "one class, drawn by the leading classes' shares at every read (Microsoft)",
    draw=True,
    **_MS,
)
def ms_distribution(votes: np.ndarray) -> Labels:
    """Label by the leading emotions' shares: modes `probability` and `crossentropy` of FERPlus.

    Single votes are set to 0. Classes are taken in descending order, equal ones together, until
    three are taken or they hold 75 % of the votes. Unknown or not-a-face in first place drops the
    row; further down it ends the taking, after the emotions that equal it. More than three classes
    drop the row, and so do classes that hold half of the votes or less.
    """
    votes = _without_single(votes)
    total = votes.sum(axis=1)
    emotions = votes[:, _EMOTIONS]
    leads = emotions[:, None, :] > emotions[:, :, None]  # [row, i, j]: j has more votes than i
    votes_ahead = (leads * emotions[:, None, :]).sum(axis=2)
    behind_no_emotion = emotions < votes[:, _NO_EMOTION].max(axis=1, keepdims=True)
    not_enough = (4 * votes_ahead < 3 * total[:, None]) & (leads.sum(axis=2) < 3)
    taken = (emotions > 0) & not_enough & ~behind_no_emotion
    held = emotions * taken
    shares = held / np.maximum(held.sum(axis=1, keepdims=True), 1)
    too_weak = 2 * held.sum(axis=1) <= total
    drop = {TOO_MANY_TAKEN: taken.sum(axis=1) > 3, TAKEN_TOO_WEAK: too_weak}
    return _microsofts(votes, shares, drop)


@label_rule(
    "ms_multi_target",
    "every class with 30 % of the votes is right (Microsoft)",
    evaluate_with="ms_majority",
    kind=RIGHT_SET,
)
def ms_multi_target(votes: np.ndarray) -> Labels:
    """Label with 1 for every emotion with 30 % of the votes: mode `multi_target` of FERPlus.

    Single votes are set to 0. Dropped are rows where unknown or not-a-face alone has the most
    votes, and where the classes with 30 %, these two included, hold half of the votes or less.
    """
    votes = _without_single(votes)
    total = votes.sum(axis=1)
    taken = 10 * votes >= 3 * total[:, None]
    too_weak = 2 * (votes * taken).sum(axis=1) <= total
    return _microsofts(votes, taken[:, _EMOTIONS], {TAKEN_TOO_WEAK: too_weak})


@label_rule(
    "distribution",
    "all votes for emotions as shares of their sum",
    evaluate_with="majority",
    kind=DISTRIBUTION,
)
def distribution(votes: np.ndarray) -> Labels:
    """Label by all votes for emotions, divided by their sum; single votes count.

    Dropped are only the rows where unknown or not-a-face is among the classes with the most votes.
    """
    emotions = votes[:, _EMOTIONS]
    shares = emotions / np.maximum(emotions.sum(axis=1, keepdims=True), 1)
    leads = votes[:, _NO_EMOTION].max(axis=1) >= emotions.max(axis=1)
    return Labels.of(shares, {UNKNOWN_FIRST: leads})


@label_rule("plurality", "the emotion with the most votes, however few")
def plurality(votes: np.ndarray) -> Labels:
    """Label by the first emotion with the most votes; unknown and not-a-face do not count."""
    return Labels.of(first_choice(votes), {NO_EMOTION_LEFT: ~votes[:, _EMOTIONS].any(axis=1)})


def first_choice(votes: np.ndarray) -> np.ndarray:
    """Return the emotion with the most votes (n, 10), the first of equal ones, (n, 8) one-hot."""
    return np.eye(len(FERPLUS_CLASSES))[votes[:, _EMOTIONS].argmax(axis=1)]


def _first_maximum(votes: np.ndarray, too_weak: Callable[..., np.ndarray]) -> Labels:
    """Label by the first emotion with the most votes; `too_weak` takes votes held and total."""
    most = votes.max(axis=1)
    number = (votes == most[:, None]).sum(axis=1)
    return Labels.of(
        first_choice(votes),
        {
            UNKNOWN_FIRST: votes[:, _NO_EMOTION].max(axis=1) == most,
            THREE_SHARE: number >= 3,
            TOP_TOO_WEAK: too_weak(number * most, votes.sum(axis=1)),
        },
    )


def _microsofts(votes: np.ndarray, targets: np.ndarray, drop: dict[str, np.ndarray]) -> Labels:
    """Return labels that leave out `drop` and, as every mode does, rows that no emotion leads."""
    nothing, unknown = votes.sum(axis=1) == 0, _no_emotion_leads(votes)
    return Labels.of(targets, {NOTHING_LEFT: nothing, UNKNOWN_FIRST: unknown} | drop)


def _without_single(votes: np.ndarray) -> np.ndarray:
    return np.where(votes == 1, 0, votes)


def _no_emotion_leads(votes: np.ndarray) -> np.ndarray:
    """Return where unknown or not-a-face has more votes than every emotion, (n,) bool."""
    return votes[:, _NO_EMOTION].max(axis=1) > votes[:, _EMOTIONS].max(axis=1)
