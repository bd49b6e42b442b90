"""Distillation: what trained networks predict for the training faces becomes part of the targets.

After Hinton et al. 2015 (arXiv 1503.02531), at temperature 1. There the teacher sees each batch as
it was augmented; here it sees each face once, unchanged and mirrored, so that an epoch costs no
more than without a teacher.
"""

from collections.abc import Sequence

from ferplus_keras.classifier import Classifier, mean_probabilities, shares
from ferplus_keras.data.dataset import Split
from ferplus_keras.formats import digest
from ferplus_keras.run import find_checkpoint


def describe_teachers(paths: Sequence[str] | None) -> list[dict[str, str]]:
    """Return path and SHA-256 (`formats.digest`) of every teacher, JSON-ready."""
    files = [find_checkpoint(path) for path in paths or ()]
    return [{"path": str(file), "sha256": digest(file)} for file in files]


def distil(split: Split, teachers: Sequence[str], weight: float) -> Split:
    """Return a split whose targets are (1 - weight) of its own and weight of the teachers' mean.

    Args:
        split: faces with targets (n, C) that are distributions.
        teachers: trained models, or run folders, of the same classes in any order. They must not
            have been trained on validation or test rows. Sigmoid outputs are divided by their sum.
        weight: the teachers' share, 0-1.

    Raises:
        InputError: a teacher cannot be read, or has other classes.
    """
    # All are opened before the first predicts: a wrong one is refused now.
    opened = [Classifier.open(path).arranged(split.class_names) for path in teachers]
    predicted = [
        shares(classifier.probabilities(split.images, tta="flip", name=f"teacher {path}"))
        for classifier, path in zip(opened, teachers, strict=True)
    ]
    mean = mean_probabilities(predicted)
    sums = split.targets.sum(axis=1, keepdims=True)
    right = (mean.argmax(axis=1) == split.labels(mean)).mean()
    print(
        f"targets: {weight:g} of them from {len(predicted)} teacher{'s' * (len(predicted) > 1)}, "
        f"right on {right:.1%} of the training faces",
        flush=True,
    )
    return split._replace(targets=(1 - weight) * split.targets + weight * sums * mean)
