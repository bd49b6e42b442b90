"""Boxes and labels on pictures."""

import cv2
import numpy as np
import pytest
from PIL import Image

from ferplus_keras.inference.annotate import annotate, write_picture
from ferplus_keras.inference.predictor import Prediction
from tests.inference.faces import grounds


def test_annotation_draws_the_box_and_keeps_the_rest():
    image = np.full((200, 300, 3), 128, np.uint8)
    face = Prediction((100, 80, 60, 70), "glad", 0.8, {"cross": 0.2, "glad": 0.8})
    drawn = annotate(image, [face])
    assert (image == 128).all()
    changed = (drawn != 128).any(axis=2)
    assert changed[80:151, 100].all()
    assert changed[150, 100:161].all()
    assert not changed[100:140, 110:150].any()  # the face itself
    assert changed[40:80, 100:160].any()  # its label
    assert not changed[160:].any()
    other = Prediction((100, 80, 60, 70), "cross", 0.8, {"cross": 0.8, "glad": 0.2})
    assert (annotate(image, [other])[100, 100] != drawn[100, 100]).any()


def test_the_ninth_class_has_the_colour_of_the_first():
    image = np.full((200, 300, 3), 128, np.uint8)
    faces = (Prediction((100, 80, 60, 70), name, 0.1, dict.fromkeys("abcdefghi")) for name in "ai")
    first, ninth = (annotate(image, [face]) for face in faces)
    np.testing.assert_array_equal(first[80:, 100], ninth[80:, 100])


@pytest.mark.parametrize("box", [(-20, -10, 60, 60), (270, 170, 80, 80), (0, 0, 300, 200)])
def test_labels_stay_inside_the_picture(box):
    image = np.full((200, 300, 3), 128, np.uint8)
    face = Prediction(box, "glad", 0.8, {"cross": 0.2, "glad": 0.8})
    background = annotate(image, [face])
    texts = (background == 0).all(axis=2)  # black letters
    rows, columns = np.nonzero(texts)
    assert len(rows) > 20
    assert columns.min() > 0
    assert columns.max() < 299
    assert rows.min() > 0
    assert annotate(np.zeros((1, 1, 3), np.uint8), [face]).shape == (1, 1, 3)


def test_pictures_are_written_in_their_format(tmp_path):
    image = grounds()
    image[..., 2] //= 2
    for name in ("a.png", "below/b.jpg"):
        write_picture(image, tmp_path / name)
        read = cv2.imread(str(tmp_path / name))[..., ::-1]
        assert np.abs(read.astype(int) - image).max() < 8
    with Image.open(tmp_path / "below/b.jpg") as file:
        assert file.format == "JPEG"
