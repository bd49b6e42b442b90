import numpy as np
import pytest

from ferplus_keras.evaluation.calibration import (
    BINS,
    at_temperature,
    calibration_error,
    fit_temperature,
    log_loss,
    reliability,
)


def drawn_case(rows, sharpness, seed=0):
    """Labels drawn from known probabilities, and those probabilities with logits times a factor."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, (rows, 4))
    truth = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels = np.array([rng.choice(4, p=row) for row in truth])
    powers = np.exp(logits * sharpness)
    return labels, powers / powers.sum(axis=1, keepdims=True)


def test_error_equals_a_plain_loop():
    labels, probabilities = drawn_case(300, 1.5)
    bins = [[] for _ in range(BINS)]
    for label, row in zip(labels, probabilities, strict=True):
        confidence = max(row)
        index = next(k for k in range(BINS) if confidence <= (k + 1) / BINS)
        bins[index].append((confidence, row.argmax() == label))
    error = 0.0
    for rows in bins:
        if rows:
            confidence, right = np.mean(rows, axis=0)
            error += len(rows) / 300 * abs(confidence - right)
    assert calibration_error(labels, probabilities) == pytest.approx(error)
    assert reliability(labels, probabilities)["rows"] == [len(rows) for rows in bins]


def test_a_confidence_between_two_bins_is_of_the_lower_one():
    rows = reliability(np.zeros(2, int), np.array([[0.6, 0.4], [1, 0]]))["rows"]
    assert np.flatnonzero(rows).tolist() == [round(0.6 * BINS) - 1, BINS - 1]


def test_bins_without_rows_are_none():
    bins = reliability(np.array([0, 0]), np.array([[0.9, 0.1], [0.3, 0.7]]))
    assert sum(bins["rows"]) == 2
    assert bins["accuracy"].count(None) == BINS - 2
    assert [a for a in bins["accuracy"] if a is not None] == [0, 1]


@pytest.mark.parametrize("true", [0.5, 2.5, 5.0])
def test_temperature_is_found_again(true):
    labels, probabilities = drawn_case(4000, true)
    temperature = fit_temperature(labels, probabilities)
    assert temperature == pytest.approx(true, rel=0.08)
    scaled = at_temperature(probabilities, temperature)
    np.testing.assert_allclose(scaled.sum(axis=1), 1)
    np.testing.assert_array_equal(scaled.argmax(axis=1), probabilities.argmax(axis=1))
    assert calibration_error(labels, scaled) < calibration_error(labels, probabilities) / 2


def test_classes_that_a_model_lacks_tell_nothing_of_its_temperature():
    labels, probabilities = drawn_case(4000, 2.5)
    padded = np.pad(probabilities, ((0, 0), (0, 1)))
    more, lacking = np.append(labels, [4] * 20), np.concatenate([padded, padded[:20]])
    expected = fit_temperature(labels, probabilities)
    assert fit_temperature(more, lacking) == pytest.approx(expected, rel=1e-3)
    scaled = at_temperature(lacking, expected)
    assert (scaled[:, 4] == 0).all()
    gain = log_loss(labels, probabilities) - log_loss(labels, scaled[:4000])
    assert log_loss(more, lacking) - log_loss(more, scaled) == pytest.approx(gain * 4000 / 4020)


def test_sure_answers_have_no_temperature():
    labels = np.array([0, 1, 1])
    sure = np.eye(2)[[0, 1, 0]]
    assert fit_temperature(labels, sure) == 1
    np.testing.assert_array_equal(at_temperature(sure, 3.0), sure)


def test_temperature_one_changes_nothing():
    _, probabilities = drawn_case(20, 1)
    np.testing.assert_allclose(at_temperature(probabilities, 1.0), probabilities, atol=1e-9)
