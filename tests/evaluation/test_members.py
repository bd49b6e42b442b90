from pathlib import Path

import numpy as np
import pytest

from ferplus_keras.emotions import FERPLUS_CLASSES
from ferplus_keras.errors import InputError, UsageError
from ferplus_keras.evaluation.members import Member, class_order, mean_answer, predict
from ferplus_keras.models.checkpoint import CheckpointInfo

INFO = CheckpointInfo("Tiny", 48, FERPLUS_CLASSES, "FERPlus", "majority", "majority")


class LeftRight:
    """A stand-in network: how bright the left and the right half of a face are."""

    def predict_on_batch(self, faces):
        halves = np.stack([faces[:, :, :24].mean((1, 2)), faces[:, :, 24:].mean((1, 2))], axis=1)
        return (halves / halves.sum(axis=1, keepdims=True)).astype(np.float32)


def faces(n=5):
    return np.random.default_rng(0).integers(1, 256, (n, 48, 48), dtype=np.uint8)


def test_flip_averages_over_both_views():
    member = Member(Path("m"), LeftRight(), INFO, (0, 1))
    plain, _ = predict(member, faces(), batch_size=2)
    flipped, _ = predict(member, faces(), batch_size=2, tta="flip")
    np.testing.assert_allclose(plain.sum(axis=1), 1, atol=1e-6)
    assert np.abs(plain - 0.5).max() > 1e-3
    np.testing.assert_allclose(flipped, 0.5, atol=1e-6)


def test_columns_follow_the_classes_of_the_evaluation():
    swapped = Member(Path("m"), LeftRight(), INFO, (1, 0))
    straight = Member(Path("m"), LeftRight(), INFO, (0, 1))
    np.testing.assert_array_equal(
        predict(swapped, faces())[0], predict(straight, faces())[0][:, ::-1]
    )


def test_class_order_by_name_and_refusal():
    order = class_order(INFO, FERPLUS_CLASSES[::-1], Path("m"))
    assert order == tuple(range(7, -1, -1))
    with pytest.raises(InputError, match=r"8 classes .* 7 .*--dataset_name FERPlus"):
        class_order(INFO, FERPLUS_CLASSES[:7], Path("m"))


def test_means_of_probabilities_and_logits():
    a, b = np.array([[0.9, 0.1]]), np.array([[0.4, 0.6]])
    np.testing.assert_allclose(mean_answer([a, b], "probabilities"), [[0.65, 0.35]])
    geometric = np.sqrt(a * b)
    np.testing.assert_allclose(
        mean_answer([a, b], "logits"), geometric / geometric.sum(), rtol=1e-6
    )
    with pytest.raises(UsageError, match="probabilities or logits"):
        mean_answer([a, b], "votes")


def test_no_number_is_refused():
    class Broken:
        def predict_on_batch(self, faces):
            return np.full((len(faces), 2), np.nan, np.float32)

    with pytest.raises(InputError, match="no number for 5 of 5 faces"):
        predict(Member(Path("m"), Broken(), INFO, (0, 1)), faces())
