"""What benchmarks/rare_classes.py measures: frequencies divided out, by a power of other rows."""

import numpy as np
from sklearn.metrics import f1_score

from benchmarks.rare_classes import FOLDS, adjusted, crossfit


def test_dividing_by_the_frequencies_finds_rare_classes_and_no_row_chooses_its_power():
    rng, prior = np.random.default_rng(0), np.array([0.7, 0.2, 0.1])
    labels = rng.choice(3, 60, p=prior)
    likelihoods = rng.dirichlet(np.ones(3), 60) + 0.4 * np.eye(3)[labels]
    probabilities = likelihoods * prior
    plain = adjusted(probabilities, prior, 0)
    np.testing.assert_array_equal(plain, probabilities.argmax(axis=1))
    np.testing.assert_array_equal(adjusted(probabilities, prior, 1), likelihoods.argmax(axis=1))

    answers = crossfit(probabilities, prior, labels)
    before, after = (f1_score(labels, found, average="macro") for found in (plain, answers))
    assert after > before + 0.1
    folds = np.random.default_rng(0).permutation(60) % FOLDS
    for own in (folds == each for each in range(FOLDS)):
        other = np.where(own, (labels + 1) % 3, labels)
        np.testing.assert_array_equal(crossfit(probabilities, prior, other)[own], answers[own])
