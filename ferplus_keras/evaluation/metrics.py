"""Scores of one split, computed by scikit-learn from probabilities, labels and votes."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ferplus_keras.evaluation.calibration import calibration_error, log_loss
from ferplus_keras.lazy import metrics, scipy

RESAMPLES = 2000
"""Bootstrap samples behind every interval."""

CLIP = 1e-7
"""Smallest probability whose divergence from votes is taken."""


def score(
    labels: np.ndarray, probabilities: np.ndarray, class_names: Sequence[str]
) -> dict[str, Any]:
    """Return the scores of one split as JSON-ready fractions.

    Args:
        labels: (n,) int, index of the true class.
        probabilities: (n, C) float, rows of class probabilities.
        class_names: C names.

    Returns:
        What `summary` returns, and: top2_accuracy; weighted_f1; cohens_kappa; loss (as `log_loss`);
        brier (sum over classes of squared differences, 0 to 2); calibration_error (expected, 15
        bins); macro_auroc and macro_average_precision (one class against the rest); per_class
        (precision, recall, f1, support, auroc, average_precision) and confusion_matrix (rows true,
        columns predicted). Means run over the classes that have rows. What is not defined is None:
        recall and F1 of a class without rows, precision of a class that was never predicted.
    """
    predicted = probabilities.argmax(axis=1)
    every = np.arange(len(class_names))
    precision, recall, f1, support = metrics.precision_recall_fscore_support(
        labels, predicted, labels=every, zero_division=np.nan
    )
    f1 = np.where(support > 0, np.nan_to_num(f1), np.nan)
    auroc, average_precision = np.full((2, len(class_names)), np.nan)
    for index, scores in enumerate(probabilities.T):
        truth = labels == index
        if truth.any() and not truth.all():
            auroc[index] = metrics.roc_auc_score(truth, scores)
            average_precision[index] = metrics.average_precision_score(truth, scores)
    kappa = np.nan
    if len(set(labels)) > 1:
        kappa = metrics.cohen_kappa_score(labels, predicted, labels=every)
    best_two = np.argsort(-probabilities, axis=1, kind="stable")[:, :2]  # ties as for `predicted`
    one_hot = np.eye(len(class_names))[labels]
    return summary(labels, predicted, class_names) | {
        "top2_accuracy": float((best_two == labels[:, None]).any(axis=1).mean()),
        "weighted_f1": float(np.nansum(f1 * support) / support.sum()),
        "cohens_kappa": _defined(kappa),
        "loss": log_loss(labels, probabilities),
        "brier": float(((probabilities - one_hot) ** 2).sum(axis=1).mean()),
        "calibration_error": calibration_error(labels, probabilities),
        "macro_auroc": _defined(auroc),
        "macro_average_precision": _defined(average_precision),
        "per_class": {
            name: {
                "precision": _defined(precision[index]),
                "recall": _defined(recall[index]),
                "f1": _defined(f1[index]),
                "support": int(support[index]),
                "auroc": _defined(auroc[index]),
                "average_precision": _defined(average_precision[index]),
            }
            for index, name in enumerate(class_names)
        },
        "confusion_matrix": metrics.confusion_matrix(labels, predicted, labels=every).tolist(),
    }


def summary(
    labels: np.ndarray, predicted: np.ndarray, class_names: Sequence[str]
) -> dict[str, Any]:
    """Return n, accuracy, macro_f1 and balanced_accuracy (mean recall) with their 95 % intervals.

    The intervals (`accuracy_interval` and so on: [low, high]) are percentiles of a bootstrap over
    rows. Of rows drawn with replacement only the confusion matrix counts, and its cells follow a
    multinomial distribution, from which it is drawn directly. Where all rows are right or none is,
    every draw is alike: the interval of the accuracy is then Wilson's, the others are None.
    Without rows every score is None.
    `labels` and `predicted` are (n,) int, indices of classes.
    """
    if not len(labels):
        names = ("accuracy", "macro_f1", "balanced_accuracy")
        return {"n": 0} | {f"{name}{part}": None for name in names for part in ("", "_interval")}
    matrix = metrics.confusion_matrix(labels, predicted, labels=np.arange(len(class_names)))
    rng = np.random.default_rng(0)
    drawn = rng.multinomial(len(labels), matrix.ravel() / len(labels), RESAMPLES)
    matrices = np.concatenate([matrix[None], drawn.reshape(-1, *matrix.shape)])
    right = np.diagonal(matrices, axis1=1, axis2=2)
    support, answers = matrices.sum(axis=2), matrices.sum(axis=1)
    classes = (support > 0).sum(axis=1)
    found: dict[str, Any] = {"n": len(labels)}
    for name, values in {
        "accuracy": right.sum(axis=1) / len(labels),
        "macro_f1": (2 * right / np.maximum(support + answers, 1)).sum(axis=1) / classes,
        "balanced_accuracy": (right / np.maximum(support, 1)).sum(axis=1) / classes,
    }.items():
        found[name] = float(values[0])
        found[f"{name}_interval"] = np.percentile(values[1:], [2.5, 97.5]).tolist()
    if found["accuracy"] in (0, 1):
        found |= {"macro_f1_interval": None, "balanced_accuracy_interval": None}
        found["accuracy_interval"] = wilson(found["accuracy"], len(labels))
    return found


def wilson(share: float | None, rows: int) -> list[float] | None:
    """Return Wilson's 95 % interval of a share of `rows` independent rows; None without rows."""
    if share is None:
        return None
    return [*scipy.stats.binomtest(round(share * rows), rows).proportion_ci(method="wilson")]


def vote_shares(votes: np.ndarray) -> np.ndarray:
    """Return each class's share of a row's votes, (n, C) float; zeros for a row without votes."""
    return votes / np.maximum(votes.sum(axis=1, keepdims=True), 1)


def vote_entropy(votes: np.ndarray) -> np.ndarray:
    """Return the entropy of each row's votes (n, C) in bits, (n,) float; 0 without votes."""
    shares = np.sort(vote_shares(votes), axis=1)  # the same votes for other classes: a true tie
    return 0 - (shares * np.log2(np.maximum(shares, 1e-12))).sum(axis=1)  # never -0.0


def agreement(votes: np.ndarray, probabilities: np.ndarray) -> dict[str, float | int]:
    """Compare predictions with all votes for emotions; rows with fewer than 2 votes are left out.

    The last two numbers put model and human to the same test: each annotator in turn is held out,
    the label is what the other annotators voted for most (shared equally where they tie), and the
    model and the held-out annotator are scored against it.

    Args:
        votes: (n, C) int, votes for each of the model's classes.
        probabilities: (n, C) float.

    Returns:
        n (rows used), expected_accuracy (mean share of the votes that the predicted class got: the
        chance to agree with an annotator drawn at random), kl_divergence (mean KL of the predicted
        from the votes' distribution, in nats), model_accuracy and annotator_accuracy against the
        other annotators. Empty without rows.
    """
    used = votes.sum(axis=1) >= 2
    votes, probabilities = votes[used], probabilities[used]
    if not len(votes):
        return {}
    rows = np.arange(len(votes))
    predicted = probabilities.argmax(axis=1)
    shares = vote_shares(votes)
    by_model = by_annotator = 0.0
    for held_out, left_out in enumerate(np.eye(votes.shape[1], dtype=int)):
        left = votes - left_out
        leading = left == left.max(axis=1, keepdims=True)
        label = leading / leading.sum(axis=1, keepdims=True)
        chance = shares[:, held_out]
        by_model += np.mean(chance * label[rows, predicted])
        by_annotator += np.mean(chance * label[:, held_out])
    divergence = scipy.special.rel_entr(shares, np.clip(probabilities, CLIP, 1)).sum(axis=1)
    return {
        "n": len(votes),
        "expected_accuracy": float(shares[rows, predicted].mean()),
        "kl_divergence": float(divergence.mean()),
        "model_accuracy": float(by_model),
        "annotator_accuracy": float(by_annotator),
    }


def _defined(values: np.ndarray | float) -> float | None:
    """Return the mean of what is defined; None where nothing is."""
    return None if np.isnan(values).all() else float(np.nanmean(values))
