import re

import numpy as np
import pytest

from ferplus_keras.data.dataset import load_dataset, load_split
from ferplus_keras.data.ferplus import ferplus_votes
from ferplus_keras.data.labels import (
    LABEL_RULES,
    NO_EMOTION_LEFT,
    NOTHING_LEFT,
    UNKNOWN_FIRST,
    Labels,
    label_rule,
)
from ferplus_keras.data.targets import RIGHT_SET
from ferplus_keras.emotions import SPLITS
from tests.conftest import REPOSITORY
from tests.data.csv_files import random_rows, write_both

DOCUMENTATION = (REPOSITORY / "docs/label_rules.md").read_text(encoding="utf-8")
KEPT = {
    "majority": (26_153, 3_305, 3_275),
    "albanie_majority": (26_196, 3_318, 3_294),
    "ms_majority": (25_060, 3_199, 3_153),
    "ms_probability": (27_956, 3_505, 3_505),
    "ms_crossentropy": (27_956, 3_505, 3_505),
    "ms_multi_target": (27_671, 3_472, 3_472),
    "distribution": (28_153, 3_524, 3_521),
    "plurality": (28_559, 3_579, 3_573),
}


@pytest.fixture(scope="module")
def real_votes(real_data):
    return ferplus_votes(real_data)


@pytest.fixture(scope="module")
def random_votes():
    """Ten votes a row with clear, mixed and tied winners, and rows of any sum from 0 up."""
    rng = np.random.default_rng(0)
    chances = rng.dirichlet(np.full(10, 0.4), 6_000)
    ten = np.array([rng.multinomial(10, row) for row in chances])
    any_sum = rng.integers(0, 11, (1_000, 10)) * rng.integers(0, 2, (1_000, 10))
    small = rng.integers(0, 4, (1_000, 10))
    return np.concatenate([ten, any_sum, small, np.zeros((1, 10), int)])


def one_hot(index):
    return [float(index == other) for other in range(8)]


def plain_majority(votes):
    most = max(votes)
    winners = [column for column in range(10) if votes[column] == most]
    if 8 in winners or 9 in winners or len(winners) >= 3:
        return None
    return None if len(winners) * most < sum(votes) / 2 else one_hot(winners[0])


def plain_albanie_majority(votes):
    votes = [vote if vote > 1 else 0 for vote in votes]
    exactly_half = 2 * votes.count(max(votes)) * max(votes) == sum(votes)
    return None if exactly_half else plain_majority(votes)


def plain_ms_majority(votes):
    votes = [vote if vote > 1 else 0 for vote in votes]
    for column in range(8):
        if votes[column] > sum(votes) / 2:
            return one_hot(column)
    return None


def plain_ms_distribution(votes):
    left = [vote if vote > 1 else 0 for vote in votes]
    total = sum(left)
    taken = [0] * 8
    classes = 0
    while sum(taken) < 0.75 * total and classes < 3:
        most = max(left)
        equal = [column for column in range(10) if left[column] == most]
        for column in equal:
            if column < 8:
                taken[column] = most
                classes += 1
            left[column] = 0
        if equal[-1] >= 8:
            break
    if sum(taken) <= total / 2 or classes > 3:
        return None
    return [vote / sum(taken) for vote in taken]


def plain_ms_multi_target(votes):
    votes = [vote if vote > 1 else 0 for vote in votes]
    taken = [column for column in range(10) if votes[column] / max(sum(votes), 1) >= 0.3]
    if sum(votes[column] for column in taken) <= sum(votes) / 2:
        return None
    if max(votes[8:]) > max(votes[:8]):
        return None
    return [float(column in taken) for column in range(8)]


def plain_distribution(votes):
    if max(votes[8:]) >= max(votes[:8]):
        return None
    return [vote / sum(votes[:8]) for vote in votes[:8]]


def plain_plurality(votes):
    return one_hot(votes.index(max(votes[:8]))) if any(votes[:8]) else None


PLAIN = {
    "majority": plain_majority,
    "albanie_majority": plain_albanie_majority,
    "ms_majority": plain_ms_majority,
    "ms_probability": plain_ms_distribution,
    "ms_crossentropy": plain_ms_distribution,
    "ms_multi_target": plain_ms_multi_target,
    "distribution": plain_distribution,
    "plurality": plain_plurality,
}


def assert_equals_plain_loop(name, votes):
    labels = LABEL_RULES[name].apply(votes)
    expected = [PLAIN[name](row) for row in votes.tolist()]
    np.testing.assert_array_equal(labels.keep, [target is not None for target in expected])
    np.testing.assert_allclose(labels.targets, [t or [0.0] * 8 for t in expected], rtol=1e-6)
    assert labels.targets.dtype == np.float32


def test_every_rule_is_tested():
    assert set(LABEL_RULES) == set(KEPT) == set(PLAIN)
    assert len(LABEL_RULES) == 8


def test_every_rule_has_its_row_in_the_documentation_with_what_it_keeps():
    rows = re.findall(r"^\| `(\w+)` \|.*\| ([\d,/ ]+) \| ([\d,]+) \|$", DOCUMENTATION, re.M)
    documented = {name: (kept, total) for name, kept, total in rows}
    assert documented == {
        name: (" / ".join(f"{number:,}" for number in kept), f"{sum(kept):,}")
        for name, kept in KEPT.items()
    }


@pytest.mark.parametrize("name", PLAIN)
def test_a_rule_equals_its_plain_loop_on_random_votes(random_votes, name):
    assert_equals_plain_loop(name, random_votes)


@pytest.mark.parametrize("name", PLAIN)
def test_a_rule_equals_its_plain_loop_on_the_real_votes(real_votes, name):
    assert_equals_plain_loop(name, real_votes.opinions)


@pytest.mark.parametrize("name", KEPT)
def test_what_a_rule_keeps_of_the_real_votes(real_votes, name):
    keep = LABEL_RULES[name].apply(real_votes.opinions).keep
    kept = tuple(np.count_nonzero(keep[real_votes.splits == name]) for name in SPLITS)
    assert kept == KEPT[name]


def test_the_published_class_counts_of_the_majority_rule(real_votes):
    """32,733 divided by them gives the wtomin project's class weights."""
    targets = LABEL_RULES["majority"].apply(real_votes.opinions).targets
    assert targets.sum(axis=0).tolist() == [11_929, 9_187, 4_133, 3_875, 2_667, 152, 648, 142]


def test_the_published_class_counts_of_the_plurality_rule(real_votes):
    """As https://github.com/StevenHSKim/FERPlus-Vote-To-Label counts them."""
    targets = LABEL_RULES["plurality"].apply(real_votes.opinions).targets
    assert targets.sum(axis=0).tolist() == [13_013, 9_367, 4_493, 4_415, 3_124, 253, 825, 221]


@pytest.mark.parametrize("name", LABEL_RULES)
def test_a_row_is_either_labelled_or_dropped_for_a_reason(random_votes, name):
    labels = LABEL_RULES[name].apply(random_votes)
    assert 0 < labels.keep.mean() < 1
    np.testing.assert_array_equal(labels.reasons == "", labels.keep)
    sums = labels.targets.sum(axis=1)
    assert np.all(sums[~labels.keep] == 0)
    if LABEL_RULES[name].kind is RIGHT_SET:
        assert set(np.unique(labels.targets)) == {0.0, 1.0}
        assert np.all(sums[labels.keep] >= 1)
    else:
        np.testing.assert_allclose(sums[labels.keep], 1, rtol=1e-6)


@pytest.mark.parametrize("name", LABEL_RULES)
def test_rows_are_labelled_one_by_one(random_votes, name):
    """No row's label depends on the others, and the votes are left as they were."""
    before = random_votes.copy()
    order = np.random.default_rng(1).permutation(len(random_votes))
    labels, shuffled = (LABEL_RULES[name].apply(v) for v in (random_votes, random_votes[order]))
    np.testing.assert_array_equal(labels.targets[order], shuffled.targets)
    np.testing.assert_array_equal(labels.reasons[order], shuffled.reasons)
    np.testing.assert_array_equal(random_votes, before)


@pytest.mark.parametrize(
    ("votes", "rule", "expected"),
    [
        ([0, 0, 0, 0, 0, 0, 0, 0, 0, 10], "majority", UNKNOWN_FIRST),
        ([5, 0, 0, 0, 0, 0, 0, 0, 5, 0], "majority", UNKNOWN_FIRST),
        ([5, 5, 0, 0, 0, 0, 0, 0, 0, 0], "majority", [1, 0, 0, 0, 0, 0, 0, 0]),
        ([5, 2, 1, 1, 1, 0, 0, 0, 0, 0], "majority", [1, 0, 0, 0, 0, 0, 0, 0]),
        ([1] * 10, "ms_majority", NOTHING_LEFT),
        ([5, 5, 0, 0, 0, 0, 0, 0, 0, 0], "ms_crossentropy", [0.5, 0.5, 0, 0, 0, 0, 0, 0]),
        ([6, 0, 0, 0, 0, 0, 0, 0, 4, 0], "ms_crossentropy", [1, 0, 0, 0, 0, 0, 0, 0]),
        ([4, 4, 0, 0, 0, 0, 0, 0, 2, 0], "ms_crossentropy", [0.5, 0.5, 0, 0, 0, 0, 0, 0]),
        ([4, 3, 3, 0, 0, 0, 0, 0, 0, 0], "ms_multi_target", [1, 1, 1, 0, 0, 0, 0, 0]),
        ([4, 1, 0, 0, 0, 0, 3, 0, 1, 1], "distribution", [0.5, 0.125, 0, 0, 0, 0, 0.375, 0]),
        ([4, 2, 0, 0, 0, 0, 0, 0, 0, 4], "distribution", UNKNOWN_FIRST),
        ([0, 1, 0, 1, 0, 0, 0, 0, 0, 8], "plurality", [0, 1, 0, 0, 0, 0, 0, 0]),
        ([0, 0, 0, 0, 0, 0, 0, 0, 3, 7], "plurality", NO_EMOTION_LEFT),
    ],
)
def test_examples(votes, rule, expected):
    labels = LABEL_RULES[rule].apply(np.array([votes]))
    found = labels.targets[0].tolist() if labels.keep[0] else labels.reasons[0]
    assert found == expected


def test_soft_rules_are_evaluated_with_a_majority():
    evaluated = {name: rule.evaluate_with for name, rule in LABEL_RULES.items()}
    soft = dict.fromkeys(("ms_probability", "ms_crossentropy", "ms_multi_target"), "ms_majority")
    soft["distribution"] = "majority"
    assert evaluated == {name: soft.get(name, name) for name in LABEL_RULES}
    assert [name for name, rule in LABEL_RULES.items() if rule.draw] == ["ms_probability"]
    assert [name for name, rule in LABEL_RULES.items() if rule.kind is RIGHT_SET] == [
        "ms_multi_target"
    ]


def test_a_new_rule_with_sets_of_right_classes_is_one_decorated_function(tmp_path):
    before = dict(LABEL_RULES)
    try:

        @label_rule(
            "any_vote", "every class with a vote is right", evaluate_with="majority", kind=RIGHT_SET
        )
        def any_vote(votes):
            return Labels.of(votes[:, :8] > 0, {UNKNOWN_FIRST: votes[:, :8].max(axis=1) == 0})

        rows = random_rows()
        rows.votes[:] = [0, 5, 3, 0, 2, 0, 0, 0, 0, 0]
        rows.votes[4] = [0, 0, 0, 0, 0, 0, 0, 0, 2, 8]
        folder = write_both(tmp_path / "data", rows)
        dataset = load_dataset(folder, label_rule="any_vote")
        merged = load_split(
            folder, "train", label_rule="any_vote", class_map=["a=happiness+fear", "b=surprise"]
        )
    finally:
        LABEL_RULES.clear()
        LABEL_RULES.update(before)
    train = dataset.splits["train"]
    assert (dataset.rule.name, dataset.evaluation_rule.name) == ("any_vote", "majority")
    assert (train.kind.loss, train.kind.accuracy) == ("multi_target", "multi_target_accuracy")
    assert not train.kind.mixable
    assert len(train.images) == 19
    assert np.all(train.targets == [0, 1, 1, 0, 1, 0, 0, 0])
    answers = np.tile(np.array([[0.5, 0.1, 0.2, 0, 0.15, 0, 0, 0.05]]), (19, 1))
    assert set(train.labels(answers)) == {2}
    assert np.all(merged.targets == [1, 1])
    assert dataset.splits["test"].kind.mixable
