import keras
import numpy as np
import pytest
from scipy.special import logit
from sklearn.metrics import f1_score

from ferplus_keras.data.labels import LABEL_RULES
from ferplus_keras.errors import UsageError
from ferplus_keras.training.losses import (
    find_loss,
    find_metrics,
    multi_target,
)

TINY = np.finfo(np.float32).tiny


def test_multi_target_takes_the_best_of_the_right_classes():
    targets = np.array([[1, 0, 1, 0], [0, 1, 0, 0], [0, 0, 0, 1]], "float32")
    probabilities = np.array(
        [[0.2, 0.5, 0.3, 0.0], [0.25, 0.25, 0.25, 0.25], [0.5, 0.25, 0.25, 0]], "float32"
    )
    found = keras.ops.convert_to_numpy(multi_target(targets, probabilities))
    np.testing.assert_allclose(found, [-np.log(0.3), -np.log(0.25), -np.log(TINY)], rtol=1e-5)


def test_each_kind_of_target_has_its_loss_and_accuracy():
    assert find_loss(LABEL_RULES["ms_multi_target"].kind.loss) is multi_target
    assert find_loss(LABEL_RULES["majority"].kind.loss) is keras.losses.categorical_crossentropy
    for name in ("crossentropi", "sparse_categorical_crossentropy", "LossFunctionWrapper"):
        with pytest.raises(UsageError, match=f"a Keras loss of one-hot targets, .*; got '{name}'"):
            find_loss(name)
    for rule in LABEL_RULES.values():
        find_loss(rule.kind.loss)
        find_metrics((), rule.kind.accuracy)


def test_a_sigmoids_answers_are_divided_by_their_sum():
    """Else every class at 1 would cost nothing; the report divides them, too."""
    targets = np.eye(3, dtype="float32")
    answers = np.array([[0.9, 0.9, 0.9], [0.25, 0.5, 0.25], [1, 1, 0]], "float32")
    expected = -np.log([1 / 3, 0.5, TINY])
    for name in ("categorical_crossentropy", "CategoricalCrossentropy", "multi_target"):
        found = find_loss(name, "sigmoid")(targets, keras.activations.sigmoid(logit(answers)))
        np.testing.assert_allclose(keras.ops.convert_to_numpy(found), expected, rtol=1e-4)


@pytest.mark.parametrize("name", ["binary_crossentropy", "BinaryCrossentropy", "bce"])
def test_binary_losses_and_metrics_are_of_the_probabilities(name):
    """TensorFlow's would take the logits of a softmax as those of sigmoids."""
    targets, logits = np.eye(3, dtype="float32"), np.array([[1, 2, 4]] * 3, "float32")
    outputs = keras.activations.softmax(keras.ops.convert_to_tensor(logits))
    p = keras.ops.convert_to_numpy(outputs)
    expected = -(targets * np.log(p) + (1 - targets) * np.log(1 - p)).mean(axis=1)
    found = find_loss(name)(targets, outputs)
    np.testing.assert_allclose(keras.ops.convert_to_numpy(found), expected, rtol=1e-4)
    _, metric = find_metrics((name,), "categorical_accuracy")
    metric.update_state(targets, outputs)
    assert float(metric.result()) == pytest.approx(expected.mean(), rel=1e-4)
    assert metric.name == name  # its column in training.csv
    both = ("categorical_crossentropy",), "categorical_accuracy"
    assert find_metrics(*both)[1] == "categorical_crossentropy"
    _, metric = find_metrics(*both, activation="sigmoid")
    metric.update_state(targets, keras.activations.sigmoid(keras.ops.convert_to_tensor(logits)))
    shares = 1 / (1 + np.exp(-logits)) / (1 / (1 + np.exp(-logits))).sum(axis=1, keepdims=True)
    assert float(metric.result()) == pytest.approx(-np.log(shares[targets > 0]).mean(), rel=1e-4)


def test_of_sets_of_right_classes_too_the_gradient_is_that_of_the_loss():
    targets, answers = np.array([[1, 1, 0]], "float32"), np.array([[0.2, 0.3, 0.5]], "float32")
    layer = keras.layers.Dense(3, "softmax", use_bias=False)
    model = keras.Sequential([keras.Input((1,)), layer])
    layer.set_weights([np.log(answers)])
    loss = find_loss("categorical_crossentropy", shares=False)
    model.compile(keras.optimizers.SGD(1.0), loss, jit_compile=False)
    model.train_on_batch(np.ones((1, 1), "float32"), targets)
    moved = np.log(answers) - layer.get_weights()[0]
    np.testing.assert_allclose(moved, 2 * answers - targets, atol=1e-5)


@pytest.mark.parametrize("name", ["kl_divergence", "KLDivergence", "kld"])
def test_divergence_needs_a_softmax(name):
    find_loss(name)
    with pytest.raises(UsageError, match=f"--loss {name} needs --activation softmax"):
        find_loss(name, "sigmoid")


def test_any_right_class_counts_as_right():
    """The metric equals a plain loop over sets of right classes, and Keras' own over one-hot."""
    rng = np.random.default_rng(0)
    targets = (rng.random((200, 8)) < 0.3).astype("float32")
    targets[np.arange(200), rng.integers(8, size=200)] = 1
    probabilities = rng.dirichlet(np.ones(8), 200).astype("float32")
    right = [t[p.argmax()] == 1 for t, p in zip(targets, probabilities, strict=True)]
    (metric,) = find_metrics((), "multi_target_accuracy")
    assert metric.__name__ == "accuracy"  # under which Keras logs it
    found = keras.ops.convert_to_numpy(metric(targets, probabilities))
    np.testing.assert_array_equal(found, right)
    one_hot = np.eye(8, dtype="float32")[rng.integers(8, size=200)]
    found = keras.ops.convert_to_numpy(metric(one_hot, probabilities))
    expected = keras.metrics.categorical_accuracy(one_hot, probabilities)
    np.testing.assert_array_equal(found, keras.ops.convert_to_numpy(expected))


def test_f1_is_one_number_also_in_a_second_stage():
    rng = np.random.default_rng(0)
    images, targets = rng.random((60, 4), np.float32), np.eye(3, dtype="float32")[[0, 1, 2] * 20]
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, activation="softmax")])
    metrics = find_metrics(("F1Score",), "categorical_accuracy")
    for _ in range(2):
        model.compile("adam", "categorical_crossentropy", metrics=metrics)
        found = model.evaluate(images, targets, verbose=0, return_dict=True)["f1_score"]
        answers = model.predict(images, verbose=0).argmax(axis=1)
        assert found == pytest.approx(f1_score(targets.argmax(axis=1), answers, average="macro"))


def test_a_metric_is_tried_on_as_many_classes_as_there_are(monkeypatch):
    """PyTorch finds no top five of two."""
    tried = []

    def try_on(y_true, y_pred):
        tried.append(y_true.shape[1])

    monkeypatch.setattr(keras.metrics, "get", lambda name: try_on)
    find_metrics(("top_k_categorical_accuracy",), "categorical_accuracy", 5)
    find_metrics(("top_k_categorical_accuracy",), "categorical_accuracy")
    assert tried == [5, 8]


def test_accuracy_is_always_among_the_metrics():
    assert find_metrics(("acc",), "categorical_accuracy") == ["accuracy"]
    assert find_metrics(("top_k_categorical_accuracy", "accuracy"), "categorical_accuracy") == [
        "accuracy",
        "top_k_categorical_accuracy",
    ]
    # MeanIoU needs arguments; Mean takes no targets.
    for name in ("f3", "sparse_categorical_accuracy", "MeanIoU", "Mean", "Sum"):
        with pytest.raises(UsageError, match=f"metric of one-hot targets, .*; got '{name}'"):
            find_metrics((name,), "categorical_accuracy")


@pytest.mark.parametrize("name", ["dice", "tversky", "Dice"])
def test_a_loss_of_the_whole_batch_takes_no_class_weights(name):
    find_loss(name)
    with pytest.raises(UsageError, match=f"--loss {name} has one value per batch"):
        find_loss(name, weighted=True)
    for other in ("multi_target", "categorical_focal_crossentropy", "mse", "KLDivergence"):
        find_loss(other, weighted=True)
