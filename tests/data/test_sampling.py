import numpy as np

from ferplus_keras.data.augment import SAMPLINGS, balanced, shuffled


def test_shuffled_reads_every_row_once():
    order = shuffled(np.ones((50, 2)), np.random.default_rng(0))
    assert sorted(order) == list(range(50))
    assert list(order) != list(range(50))


def test_balanced_draws_every_class_equally_often_by_its_share():
    hard = np.repeat(np.eye(3), [9000, 900, 100], axis=0)
    drawn = hard[balanced(hard, np.random.default_rng(0))]
    np.testing.assert_allclose(drawn.mean(axis=0), 1 / 3, atol=0.02)
    soft = np.tile([[0.5, 0.5, 0.0]], (1000, 1))
    mixed = np.concatenate([hard, soft])
    drawn = mixed[balanced(mixed, np.random.default_rng(0))]
    # A row that is half of each of two classes counts for both; the third is drawn as often.
    assert drawn[:, 2].mean() > 0.25


def test_a_class_without_rows_is_skipped():
    targets = np.repeat(np.eye(3)[:2], [30, 10], axis=0)
    drawn = targets[balanced(targets, np.random.default_rng(0))]
    assert drawn.sum() == 40


def test_every_sampling_has_a_case():
    assert set(SAMPLINGS) == {"shuffled", "balanced"}
