import math

import numpy as np
import pytest

from ferplus_keras.evaluation.metrics import score

NAMES = ("a", "b", "c", "d")


@pytest.fixture(scope="module")
def case():
    rng = np.random.default_rng(3)
    labels = rng.integers(0, 3, 200)  # class d has no rows
    probabilities = rng.dirichlet(np.ones(4), 200)
    probabilities[:, 2] = 0  # class c is never predicted
    return labels, probabilities


def test_scores_equal_plain_loops(case):
    labels, probabilities = case
    matrix = [[0] * 4 for _ in range(4)]
    loss = 0.0
    for label, row in zip(labels, probabilities, strict=True):
        predicted = max(range(4), key=lambda k: row[k])
        matrix[label][predicted] += 1
        loss -= math.log(min(max(row[label], 1e-7), 1 - 1e-7))
    right = sum(matrix[k][k] for k in range(4))

    scores = score(labels, probabilities, NAMES)
    assert scores["n"] == 200
    assert scores["accuracy"] == pytest.approx(right / 200)
    assert scores["loss"] == pytest.approx(loss / 200)
    assert scores["confusion_matrix"] == matrix

    f1s, recalls = [], []
    for k, name in enumerate(NAMES):
        support = sum(matrix[k])
        predicted = sum(row[k] for row in matrix)
        of_class = scores["per_class"][name]
        assert of_class["support"] == support
        if support:
            recall = matrix[k][k] / support
            f1 = 2 * matrix[k][k] / (support + predicted)
            assert of_class["recall"] == pytest.approx(recall)
            assert of_class["f1"] == pytest.approx(f1)
            recalls.append(recall)
            f1s.append(f1)
        if predicted:
            assert of_class["precision"] == pytest.approx(matrix[k][k] / predicted)
    assert scores["macro_f1"] == pytest.approx(sum(f1s) / 3)
    assert scores["balanced_accuracy"] == pytest.approx(sum(recalls) / 3)


def test_what_is_not_defined_is_none_and_never_zero(case):
    per_class = score(*case, NAMES)["per_class"]
    assert per_class["d"]["recall"] is None
    assert per_class["d"]["f1"] is None
    assert per_class["d"]["precision"] == 0  # predicted, and always wrong
    assert per_class["c"]["precision"] is None
    assert per_class["c"]["recall"] == 0
    assert per_class["c"]["f1"] == 0
