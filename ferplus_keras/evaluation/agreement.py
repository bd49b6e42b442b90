"""The model beside the ten annotators: a label is a summary of votes that often disagree."""

from __future__ import annotations

import numpy as np


def agreement(votes: np.ndarray, probabilities: np.ndarray) -> dict[str, float | int]:
    """Compare predictions with all votes for emotions.

    The last two numbers put model and human to the same test: each annotator in turn is held out,
    the label is what the other annotators voted for most (shared equally where they tie), and the
    model and the held-out annotator are scored against it.

    Args:
        votes: (n, C) int, votes for each of the model's classes.
        probabilities: (n, C) float.

    Returns:
        n (rows with 2 votes or more), expected_accuracy (mean share of the votes that the predicted
        class got: the chance to agree with an annotator drawn at random), kl_divergence (mean KL
        of the predicted from the votes' distribution, in nats), model_accuracy and
        annotator_accuracy against the other annotators. Empty without rows.
    """
    used = votes.sum(axis=1) >= 2
    votes, probabilities = votes[used].astype(np.float64), probabilities[used]
    if not len(votes):
        return {}
    rows = np.arange(len(votes))
    predicted = probabilities.argmax(axis=1)
    shares = votes / votes.sum(axis=1, keepdims=True)
    logs = np.log(np.maximum(shares, 1e-12)) - np.log(np.clip(probabilities, 1e-7, 1))
    by_model = by_annotator = 0.0
    for held_out in range(votes.shape[1]):
        left = votes.copy()
        left[:, held_out] -= 1
        leading = left == left.max(axis=1, keepdims=True)
        label = leading / leading.sum(axis=1, keepdims=True)
        chance = shares[:, held_out]
        by_model += np.mean(chance * label[rows, predicted])
        by_annotator += np.mean(chance * label[:, held_out])
    return {
        "n": len(votes),
        "expected_accuracy": float(shares[rows, predicted].mean()),
        "kl_divergence": float((shares * logs).sum(axis=1).mean()),
        "model_accuracy": float(by_model),
        "annotator_accuracy": float(by_annotator),
    }
