import math

import numpy as np
import pytest

from ferplus_keras.evaluation.metrics import score, summary

NAMES = ("a", "b", "c", "d")


@pytest.fixture(scope="module")
def case():
    rng = np.random.default_rng(3)
    labels = rng.integers(0, 3, 200)  # class d has no rows
    probabilities = rng.dirichlet(np.ones(4), 200)
    probabilities[:, 2] = 0  # class c is never predicted
    return labels, probabilities / probabilities.sum(axis=1, keepdims=True)


@pytest.fixture(scope="module")
def scores(case):
    return score(*case, NAMES)


def matrix_of(labels, probabilities):
    matrix = [[0] * 4 for _ in range(4)]
    for label, row in zip(labels, probabilities, strict=True):
        matrix[label][max(range(4), key=lambda k: row[k])] += 1
    return matrix


def test_scores_of_the_matrix_equal_plain_loops(case, scores):
    matrix = matrix_of(*case)
    right = sum(matrix[k][k] for k in range(4))
    assert scores["n"] == 200
    assert scores["accuracy"] == pytest.approx(right / 200)
    assert scores["confusion_matrix"] == matrix

    f1s, recalls, weighted = [], [], 0
    for k, name in enumerate(NAMES):
        support = sum(matrix[k])
        predicted = sum(row[k] for row in matrix)
        of_class = scores["per_class"][name]
        assert of_class["support"] == support
        if support:
            recalls.append(matrix[k][k] / support)
            f1s.append(2 * matrix[k][k] / (support + predicted))
            weighted += support * f1s[-1] / 200
            assert of_class["recall"] == pytest.approx(recalls[-1])
            assert of_class["f1"] == pytest.approx(f1s[-1])
        if predicted:
            assert of_class["precision"] == pytest.approx(matrix[k][k] / predicted)
    assert scores["macro_f1"] == pytest.approx(sum(f1s) / 3)
    assert scores["weighted_f1"] == pytest.approx(weighted)
    assert scores["balanced_accuracy"] == pytest.approx(sum(recalls) / 3)

    columns = [sum(row[k] for row in matrix) for k in range(4)]
    by_chance = sum(sum(matrix[k]) * columns[k] for k in range(4)) / 200**2
    kappa = (right / 200 - by_chance) / (1 - by_chance)
    assert scores["cohens_kappa"] == pytest.approx(kappa)


def test_scores_of_probabilities_equal_plain_loops(case, scores):
    loss = brier = top2 = 0.0
    for label, row in zip(*case, strict=True):
        loss -= math.log(max(row[label], float(np.finfo(np.float32).tiny)))
        brier += sum((p - (k == label)) ** 2 for k, p in enumerate(row))
        top2 += sum(p > row[label] for p in row) < 2
    assert scores["loss"] == pytest.approx(loss / 200)
    assert scores["brier"] == pytest.approx(brier / 200)
    assert scores["top2_accuracy"] == pytest.approx(top2 / 200)


def test_classes_that_tie_are_ranked_as_the_prediction_ranks_them():
    """Of an answer of 1 for one class and 0 for the others, the first other is second."""
    labels = np.array([1, 1, 2, 0])
    answers = np.eye(3)[[1, 2, 0, 1]]
    assert score(labels, answers, ("a", "b", "c"))["top2_accuracy"] == 0.5


def test_ranking_scores_equal_plain_loops(case, scores):
    labels, probabilities = case
    aurocs = []
    for k in range(3):
        of_class, others = probabilities[labels == k, k], probabilities[labels != k, k]
        pairs = [(a > b) + (a == b) / 2 for a in of_class for b in others]
        aurocs.append(sum(pairs) / len(pairs))
        assert scores["per_class"][NAMES[k]]["auroc"] == pytest.approx(aurocs[-1])
    assert scores["macro_auroc"] == pytest.approx(sum(aurocs) / 3)

    k = 0
    order = sorted(range(200), key=lambda i: -probabilities[i, k])
    found, precisions = 0, []
    for rank, i in enumerate(order, start=1):
        if labels[i] == k:
            found += 1
            precisions.append(found / rank)
    average = sum(precisions) / len(precisions)
    assert scores["per_class"]["a"]["average_precision"] == pytest.approx(average)


def test_what_is_not_defined_is_none_and_never_zero(scores):
    per_class = scores["per_class"]
    for name in ("recall", "f1", "auroc", "average_precision"):
        assert per_class["d"][name] is None
    assert per_class["d"]["precision"] == 0  # predicted, and always wrong
    assert per_class["c"]["precision"] is None
    assert per_class["c"]["recall"] == 0
    assert per_class["c"]["f1"] == 0


def test_one_class_alone_leaves_rankings_and_kappa_undefined():
    scores = score(np.zeros(5, int), np.full((5, 4), 0.25), NAMES)
    assert scores["accuracy"] == 1
    assert scores["cohens_kappa"] is None
    assert scores["macro_auroc"] is None


def test_no_rows_are_no_scores():
    found = summary(np.zeros(0, int), np.zeros(0, int), NAMES)
    assert found == {
        "n": 0,
        "accuracy": None,
        "accuracy_interval": None,
        "macro_f1": None,
        "macro_f1_interval": None,
        "balanced_accuracy": None,
        "balanced_accuracy_interval": None,
    }


@pytest.mark.parametrize(("answer", "interval"), [(0, [0.839, 1]), (1, [0, 0.161])])
def test_few_rows_that_are_all_right_or_all_wrong_are_not_certain(answer, interval):
    found = summary(np.zeros(20, int), np.full(20, answer), NAMES)
    assert found["accuracy_interval"] == pytest.approx(interval, abs=1e-3)
    assert found["macro_f1_interval"] is found["balanced_accuracy_interval"] is None


def test_intervals_are_those_of_resampled_rows(case):
    labels, probabilities = case
    predicted = probabilities.argmax(axis=1)
    found = summary(labels, predicted, NAMES)
    rng = np.random.default_rng(1)
    drawn = {"accuracy": [], "balanced_accuracy": [], "macro_f1": []}
    for _ in range(2000):
        rows = rng.integers(0, 200, 200)
        right = predicted[rows] == labels[rows]
        drawn["accuracy"].append(right.mean())
        recalls = [right[labels[rows] == k].mean() for k in range(3)]
        drawn["balanced_accuracy"].append(np.mean(recalls))
        sizes = [sum((each[rows] == k).sum() for each in (labels, predicted)) for k in range(3)]
        f1s = [2 * right[labels[rows] == k].sum() / size for k, size in enumerate(sizes)]
        drawn["macro_f1"].append(np.mean(f1s))
    for name, values in drawn.items():
        low, high = found[f"{name}_interval"]
        assert low < found[name] < high
        np.testing.assert_allclose([low, high], np.percentile(values, [2.5, 97.5]), atol=0.006)
    assert summary(labels, predicted, NAMES) == found
