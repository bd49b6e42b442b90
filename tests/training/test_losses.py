import keras
import numpy as np
import pytest

from ferplus_keras.errors import UsageError
from ferplus_keras.training.losses import find_loss, find_metrics, multi_target


def test_multi_target_takes_the_best_of_the_right_classes():
    targets = np.array([[1, 0, 1, 0], [0, 1, 0, 0], [0, 0, 0, 1]], "float32")
    probabilities = np.array(
        [[0.2, 0.5, 0.3, 0.0], [0.25, 0.25, 0.25, 0.25], [0.5, 0.25, 0.25, 0]], "float32"
    )
    found = keras.ops.convert_to_numpy(multi_target(targets, probabilities))
    np.testing.assert_allclose(found, [-np.log(0.3), -np.log(0.25), -np.log(1e-7)], rtol=1e-5)


def test_each_label_rule_has_its_loss():
    assert find_loss(None, "ms_multi_target") is multi_target
    assert find_loss(None, "majority") is keras.losses.categorical_crossentropy
    assert find_loss("multi_target", "majority") is multi_target
    with pytest.raises(UsageError, match="unknown loss 'crossentropi'"):
        find_loss("crossentropi", "majority")


def test_accuracy_is_always_among_the_metrics():
    assert find_metrics(("acc",)) == ["accuracy"]
    assert find_metrics(("top_k_categorical_accuracy", "accuracy")) == [
        "accuracy",
        "top_k_categorical_accuracy",
    ]
    with pytest.raises(UsageError, match="unknown metric 'f3'"):
        find_metrics(("f3",))
