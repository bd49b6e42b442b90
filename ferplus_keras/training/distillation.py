"""Distillation: what finished networks say of the training faces becomes part of the targets.

After Hinton et al. 2015 (arXiv 1503.02531), at temperature 1. There the teacher sees each batch as
it was changed; here it sees each face once, unchanged and mirrored, so that an epoch costs no more
than without a teacher.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from ferplus_keras.config import TrainConfig
from ferplus_keras.data.split import Split
from ferplus_keras.errors import UsageError
from ferplus_keras.evaluation.members import find_checkpoint, load_member, mean_answer, predict


def check_teachers(config: TrainConfig) -> None:
    """Refuse teachers that are not there, or that cannot teach.

    Raises:
        UsageError: a weight without a teacher, or targets that are sets of right classes.
        InputError: there is no such file.
    """
    if not config.teacher:
        if config.teacher_weight is not None:
            raise UsageError(f"--teacher_weight {config.teacher_weight} needs --teacher PATH")
        return
    if config.label_rule == "ms_multi_target":
        raise UsageError(
            "--teacher needs targets that are distributions; those of --label_rule "
            "ms_multi_target are sets of right classes"
        )
    for path in config.teacher:
        find_checkpoint(Path(path))


def describe_teachers(config: TrainConfig) -> list[dict[str, str]]:
    """Return path and SHA-256 of every teacher, JSON-ready."""
    paths = [find_checkpoint(Path(path)) for path in config.teacher or ()]
    return [
        {"path": str(path), "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
        for path in paths
    ]


def teach(split: Split, teachers: Sequence[str], weight: float) -> Split:
    """Return a split whose targets are (1 - weight) of its own and weight of the teachers' mean.

    Args:
        split: faces with targets (n, C) that are distributions.
        teachers: checkpoints, or run folders, of the same classes in any order. They must not have
            been trained on validation or test rows.
        weight: the teachers' share, 0-1.

    Raises:
        InputError: a teacher cannot be read, or has other classes.
    """
    answers = []
    for path in teachers:
        member = load_member(find_checkpoint(Path(path)), split.class_names)
        answers.append(predict(member, split.images, tta="flip", name=f"teacher {path}")[0])
    taught = mean_answer(answers, "probabilities")
    sums = split.targets.sum(axis=1, keepdims=True)
    right = (taught.argmax(axis=1) == split.targets.argmax(axis=1)).mean()
    print(
        f"targets: {weight:g} of them from {len(answers)} teacher{'s' * (len(answers) > 1)}, whose "
        f"largest class is that of {right:.1%} of the training faces",
        flush=True,
    )
    return split._replace(targets=(1 - weight) * split.targets + weight * sums * taught)
