import numpy as np

from ferplus_keras.classifier import Classifier
from tests.exports import drawn
from tools.store_half import store_half


def test_half_of_the_size_answers_alike_and_is_always_the_same_file(tiny_checkpoint, tmp_path):
    paths = [tmp_path / name for name in ("one.keras", "two.keras")]
    for path in paths:
        store_half(tiny_checkpoint, path)
    one, two = (path.read_bytes() for path in paths)
    assert one == two
    assert len(one) < 0.8 * tiny_checkpoint.stat().st_size
    whole, half = (Classifier.open(path) for path in (tiny_checkpoint, paths[0]))
    assert half.info == whole.info
    faces = drawn(20)
    np.testing.assert_allclose(half.probabilities(faces), whole.probabilities(faces), atol=0.01)
