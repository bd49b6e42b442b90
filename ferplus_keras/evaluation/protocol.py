"""What the numbers of an evaluation mean: data set, label rules, classes, and the rows behind."""

from __future__ import annotations

import contextlib
from typing import NamedTuple

import numpy as np

from ferplus_keras.config import EvaluateConfig
from ferplus_keras.data.class_map import find_class_map
from ferplus_keras.data.dataset import Split, load_split
from ferplus_keras.data.label_sets import DATASETS
from ferplus_keras.data.votes_csv import read_votes
from ferplus_keras.emotions import VOTE_COLUMNS
from ferplus_keras.errors import InputError
from ferplus_keras.models.checkpoint import CheckpointInfo


class Protocol(NamedTuple):
    """What the numbers of an evaluation mean.

    Attributes:
        dataset_name: label set.
        label_rule: rule of the report's main numbers.
        class_map: how classes were merged, None for the label set's own.
        class_names: the checkpoint's classes where the data do not say which there are; else None.
        other_rules: rules whose numbers stand beside the main ones.
    """

    dataset_name: str
    label_rule: str
    class_map: tuple[str, ...] | None
    class_names: tuple[str, ...] | None
    other_rules: tuple[str, ...]


class Rows(NamedTuple):
    """The rows of one split under every rule that it is judged by.

    Attributes:
        split: rows of the main label rule.
        others: other label rule -> its rows.
        votes: (n, C) int, votes for each class on the rows of `split`; None where nobody voted on
            these classes.
    """

    split: Split
    others: dict[str, Split]
    votes: np.ndarray | None


def find_protocol(config: EvaluateConfig, info: CheckpointInfo | None) -> Protocol:
    """Return what the evaluation goes by: the flags, else what the checkpoint says."""
    dataset_name = config.dataset_name or (info.dataset_name if info else "FERPlus")
    own = info is not None and dataset_name == info.dataset_name
    label_set = DATASETS[dataset_name]
    rule = label_set.rule(config.label_rule or (info.evaluation_rule if own else "majority")).name
    return Protocol(
        dataset_name,
        rule,
        config.class_map or (info.class_map if own else None),
        info.class_names if own and not label_set.class_names else None,
        tuple(name for name in label_set.rules if name != rule),
    )


def read_rows(name: str, data_dir: str, protocol: Protocol, cache_dir: str | None) -> Rows:
    """Read one split under every rule; a rule that keeps none of it is passed over."""

    def rows(rule: str) -> Split:
        return load_split(
            data_dir,
            name,
            protocol.dataset_name,
            rule,
            cache_dir,
            class_map=protocol.class_map,
            class_names=protocol.class_names,
        )

    split = rows(protocol.label_rule)
    others = {}
    for rule in protocol.other_rules:
        with contextlib.suppress(InputError):
            others[rule] = rows(rule)
    return Rows(split, others, _votes(split, data_dir, protocol))


def labels_of(split: Split) -> np.ndarray:
    """Return (n,) int: the class of each row, of soft targets the largest."""
    return split.targets.argmax(axis=1)


def _votes(split: Split, data_dir: str, protocol: Protocol) -> np.ndarray | None:
    """Return the votes for each class on a split's rows; None where nobody voted on them."""
    label_set = DATASETS[protocol.dataset_name]
    if not label_set.uses_votes:
        return None
    votes = read_votes(data_dir).votes[split.row_ids]
    members = find_class_map(protocol.class_map, label_set.class_names).members
    columns = [[VOTE_COLUMNS.index(name) for name in of_class] for of_class in members]
    return np.stack([votes[:, chosen].sum(axis=1) for chosen in columns], axis=1)
