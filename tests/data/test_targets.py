import numpy as np
import pytest

from ferplus_keras.data.dataset import duplicate_groups
from ferplus_keras.data.targets import DISTRIBUTION, ONE_CLASS, RIGHT_SET, Split


def test_of_several_right_classes_the_most_probable_one_is_the_label():
    """Accuracy by labels is a plain loop's: an answer is right where it is in the set."""
    rng = np.random.default_rng(0)
    targets = (rng.random((500, 8)) < 0.3).astype(np.float32)
    targets[np.arange(500), rng.integers(8, size=500)] = 1
    probabilities = rng.dirichlet(np.ones(8), 500)
    right, losses = 0, []
    for target, answer in zip(targets, probabilities, strict=True):
        right += target[answer.argmax()] == 1
        losses.append(-max(np.log(p) for p, t in zip(answer, target, strict=True) if t))
    labels = RIGHT_SET.labels(targets, probabilities)
    assert (probabilities.argmax(axis=1) == labels).sum() == right
    assert right > (probabilities.argmax(axis=1) == targets.argmax(axis=1)).sum()
    found = -np.log(probabilities[np.arange(500), labels])
    np.testing.assert_allclose(found, losses)


def test_shares_are_scored_against_the_largest():
    targets = np.array([[0.2, 0.5, 0.3], [0.4, 0.4, 0.2]], np.float32)
    answers = np.array([[0.9, 0.05, 0.05], [0.1, 0.8, 0.1]])
    assert DISTRIBUTION.labels(targets, answers).tolist() == [1, 0]
    assert ONE_CLASS.labels(np.eye(3, dtype=np.float32)).tolist() == [0, 1, 2]


def test_only_sets_refuse_to_be_blended():
    assert ONE_CLASS.mixable
    assert DISTRIBUTION.mixable
    assert not RIGHT_SET.mixable


def test_duplicates_are_found_in_faces_of_any_shape():
    faces = np.random.default_rng(0).integers(0, 256, (6, 20, 20, 3), dtype=np.uint8)
    faces[4] = faces[1]
    assert duplicate_groups(faces).tolist() == [0, 1, 2, 3, 1, 5]


def test_a_split_is_shown_in_one_line_without_its_pixels():
    split = Split(np.zeros((3, 48, 48), np.uint8), np.eye(3, 2), np.arange(3), ("calm", "cross"))
    assert repr(split) == ("<Split: images (3, 48, 48), one class of ('calm', 'cross')>")


def test_rows_are_taken_as_numpy_takes_them():
    faces = np.arange(5, dtype=np.uint8)[:, None, None] * np.ones((1, 4, 4), np.uint8)
    split = Split(faces, np.eye(5, dtype=np.float32), np.arange(5), tuple("abcde"))
    for rows in (
        [-1],
        [-1, 0],
        [-2, -1],
        [1, 2],
        [4, 1],
        np.arange(5) > 2,
        [False] * 5,
        [True] * 5,
    ):
        taken = split.take(np.array(rows))
        np.testing.assert_array_equal(taken.images, faces[rows])
        np.testing.assert_array_equal(taken.images[:, 0, 0], taken.labels())
    with pytest.raises(IndexError):
        split.take(np.array([5]))
