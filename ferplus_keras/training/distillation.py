"""Distillation: what finished networks say of the training faces becomes part of the targets.

After Hinton et al. 2015 (arXiv 1503.02531), at temperature 1. There the teacher sees each batch as
it was changed; here it sees each face once, unchanged and mirrored, so that an epoch costs no more
than without a teacher.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ferplus_keras.config import TrainConfig
from ferplus_keras.data.split import Split
from ferplus_keras.errors import UsageError
from ferplus_keras.evaluation.members import (
    OF_OLDER_PROJECT,
    find_checkpoint,
    load_member,
    mean_answer,
    predict,
)
from ferplus_keras.files import sha256
from ferplus_keras.models.checkpoint import read_info
from ferplus_keras.training.run_folder import WRITTEN


def check_teachers(config: TrainConfig) -> None:
    """Refuse teachers that are not there, or would not be for long.

    Raises:
        UsageError: a weight without a teacher, or a teacher that the run would overwrite.
        InputError: there is no such file, or it is not a checkpoint.
    """
    if not config.teacher:
        if config.teacher_weight is not None:
            raise UsageError(f"--teacher_weight {config.teacher_weight} needs --teacher PATH")
        return
    for path in config.teacher:
        file = find_checkpoint(Path(path))
        if file.suffix not in OF_OLDER_PROJECT:
            read_info(file)
        of_run = file.resolve().parent == config.run_dir.resolve() and file.name in WRITTEN
        if config.overwrite and of_run:
            raise UsageError(
                f"--overwrite would delete the teacher {file}: choose another --name for the run"
            )


def describe_teachers(config: TrainConfig) -> list[dict[str, str]]:
    """Return path and SHA-256 of every teacher, JSON-ready."""
    paths = [find_checkpoint(Path(path)) for path in config.teacher or ()]
    return [{"path": str(path), "sha256": sha256(path)} for path in paths]


def teach(split: Split, teachers: Sequence[str], weight: float) -> Split:
    """Return a split whose targets are (1 - weight) of its own and weight of the teachers' mean.

    Args:
        split: faces with targets (n, C) that are distributions.
        teachers: checkpoints, or run folders, of the same classes in any order. They must not have
            been trained on validation or test rows. What a sigmoid says is divided by its sum.
        weight: the teachers' share, 0-1.

    Raises:
        InputError: a teacher cannot be read, or has other classes.
    """
    # All are loaded before the first is asked: a wrong one is refused now.
    members = [load_member(find_checkpoint(Path(path)), split.class_names) for path in teachers]
    answers = [
        predict(member, split.images, tta="flip", name=f"teacher {path}")[0]
        for member, path in zip(members, teachers, strict=True)
    ]
    taught = mean_answer([_distributions(answer) for answer in answers], "probabilities")
    sums = split.targets.sum(axis=1, keepdims=True)
    right = (taught.argmax(axis=1) == split.targets.argmax(axis=1)).mean()
    print(
        f"targets: {weight:g} of them from {len(answers)} teacher{'s' * (len(answers) > 1)}, whose "
        f"largest class is that of {right:.1%} of the training faces",
        flush=True,
    )
    return split._replace(targets=(1 - weight) * split.targets + weight * sums * taught)


def _distributions(answer: np.ndarray) -> np.ndarray:
    """Return answers (n, C) of which every row sums to 1; a softmax's are left to the last bit."""
    sums = answer.sum(axis=1, keepdims=True)
    return answer if np.allclose(sums, 1, atol=1e-3) else answer / sums
