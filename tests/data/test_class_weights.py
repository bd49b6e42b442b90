import math

import numpy as np
import pytest

from ferplus_keras.data.batches import Batches
from ferplus_keras.data.class_weights import WTOMIN_WEIGHTS, class_weights
from ferplus_keras.data.counts import label_counts
from ferplus_keras.data.dataset import Split, load_split
from ferplus_keras.emotions import FERPLUS_CLASSES
from ferplus_keras.errors import InputError, UsageError


def split_of(targets, class_names=FERPLUS_CLASSES):
    targets = np.array(targets, np.float32)
    images = np.zeros((len(targets), 48, 48), np.uint8)
    return Split(images, targets, np.arange(len(targets)), tuple(class_names))


EVEN = split_of(np.eye(8))


def weigh(setting, split=EVEN, dataset_name="FERPlus", label_rule="majority"):
    return class_weights(setting, split, dataset_name, label_rule)


@pytest.mark.parametrize("setting", ["wtomin", ("wtomin",), None])
def test_the_published_numbers_are_the_default_of_ferplus_under_majority(setting):
    weights = weigh(setting)
    np.testing.assert_array_equal(weights, np.array(WTOMIN_WEIGHTS, np.float32))
    assert weights.dtype == np.float32


@pytest.mark.parametrize(("dataset_name", "label_rule"), [("FERPlus", "ms_majority"), ("FER", "")])
def test_elsewhere_the_default_is_none(dataset_name, label_rule):
    assert weigh(None, dataset_name=dataset_name, label_rule=label_rule) is None


@pytest.mark.parametrize("setting", ["none", ["none"]])
def test_none_is_none(setting):
    assert weigh(setting) is None


@pytest.mark.parametrize(
    "targets",
    [
        [[1, 0, 0]] * 6 + [[0, 1, 0]] * 3 + [[0, 0, 1]],
        [[0.5, 0.5, 0], [0, 0.75, 0.25], [1, 0, 0]],
        [[1, 1, 0], [0, 1, 1], [1, 0, 0]],
    ],
    ids=["hard", "soft", "several right"],
)
def test_balanced_gives_each_class_the_same_total_and_the_mean_row_1(targets):
    split = split_of(targets, "abc")
    weights = weigh("balanced", split).astype(float)
    shares = np.array(targets) / np.sum(targets, axis=1, keepdims=True)
    assert (shares @ weights).mean() == pytest.approx(1)
    np.testing.assert_allclose(shares.sum(axis=0) * weights, len(targets) / 3, rtol=1e-6)


def test_balanced_refuses_a_class_without_rows():
    with pytest.raises(InputError, match="none has c:"):
        weigh("balanced", split_of([[1, 0, 0], [0, 1, 0]], "abc"))


def test_numbers_are_taken_as_they_are_and_one_is_for_every_class():
    given = [0.5, 2, 3, 4, 5, 6, 7, 0]
    np.testing.assert_array_equal(weigh(given), given)
    np.testing.assert_array_equal(weigh([2.0]), [2] * 8)
    np.testing.assert_array_equal(weigh(2), [2] * 8)


@pytest.mark.parametrize(
    "setting",
    [[1, 2, 3], [], [1] * 9, [-1] + [1] * 7, [math.nan] * 8, [math.inf], ["wtomin", 2], 0],
    ids=str,
)
def test_unusable_numbers_are_refused_with_the_classes_order(setting):
    with pytest.raises(UsageError, match=r"8 numbers of at least 0.*neutral, happiness"):
        weigh(setting)


def test_an_unknown_name_is_refused_with_the_nearest():
    with pytest.raises(UsageError, match="did you mean 'balanced'"):
        weigh(["balance"])


def test_the_published_numbers_are_refused_for_fer2013():
    with pytest.raises(UsageError, match=r"'wtomin' are FER\+'s, .* the 7 of this FER "):
        weigh("wtomin", split_of(np.eye(7), "abcdefg"), "FER", "emotion column")


def test_the_published_numbers_are_not_for_merged_classes():
    merged = split_of(np.eye(8), "abcdefgh")
    assert weigh(None, merged) is None
    with pytest.raises(UsageError, match="for its eight classes"):
        weigh("wtomin", merged)


def test_balanced_makes_the_mean_row_of_soft_targets_weigh_1(real_data):
    split = load_split(real_data, "train", label_rule="distribution")
    batches = Batches(split, 2_000, sampling=None, class_weights=weigh("balanced", split))
    weights = np.concatenate([batches[index][2] for index in range(len(batches))])
    assert len(weights) == 28_153
    assert weights.mean(dtype=float) == pytest.approx(1, abs=1e-5)


def test_the_published_numbers_are_kept_rows_over_rows_of_all_three_splits(real_data):
    total = label_counts(real_data, "FERPlus", "majority")["total"]
    rows = np.array([total["per_class"][name] for name in FERPLUS_CLASSES])
    assert total["kept"] == rows.sum() == 32733
    np.testing.assert_allclose(total["kept"] / rows, WTOMIN_WEIGHTS, rtol=0, atol=5e-9)


def test_the_figures_of_the_documentation(real_data):
    split = load_split(real_data, "train")
    weights = weigh("wtomin", split)
    shares = split.targets.sum(axis=0) * weights / np.sum(split.targets @ weights)
    assert np.mean(split.targets @ weights) == pytest.approx(7.907, abs=1e-3)
    assert shares[[5, 7]].sum() == pytest.approx(0.2438, abs=1e-4)
    balanced = [0.344, 0.442, 0.993, 1.047, 1.559, 29.452, 6.410, 28.427]
    np.testing.assert_allclose(weigh("balanced", split), balanced, atol=5e-4)
