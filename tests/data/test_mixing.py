import numpy as np
import pytest

from ferplus_keras.data.augment import cutmix, mixup, smooth


@pytest.fixture
def batch():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (40, 48, 48), dtype=np.uint8)
    targets = np.eye(5, dtype=np.float32)[rng.integers(0, 5, 40)]
    return images, targets


@pytest.mark.parametrize("mix", [mixup, cutmix])
def test_targets_stay_distributions_and_inputs_stay_as_they_were(batch, mix):
    images, targets = batch
    before = images.copy(), targets.copy()
    mixed, soft = mix(images, targets, 1.0, np.random.default_rng(1))
    assert mixed.dtype == np.uint8
    assert mixed.shape == images.shape
    np.testing.assert_allclose(soft.sum(axis=1), 1, atol=1e-6)
    assert np.any((soft > 0) & (soft < 1))
    np.testing.assert_array_equal(images, before[0])
    np.testing.assert_array_equal(targets, before[1])


def test_mixup_equals_a_plain_loop(batch):
    images, targets = batch
    mixed, soft = mixup(images, targets, 0.4, np.random.default_rng(7))
    rng = np.random.default_rng(7)
    other = rng.permutation(len(images))
    shares = rng.beta(0.4, 0.4, len(images))
    for i, share in enumerate(shares):
        face = share * images[i].astype(float) + (1 - share) * images[other[i]]
        np.testing.assert_allclose(mixed[i], face, atol=0.51)
        wanted = share * targets[i] + (1 - share) * targets[other[i]]
        np.testing.assert_allclose(soft[i], wanted, atol=1e-6)


def test_cutmix_pastes_one_rectangle_whose_area_is_its_share():
    # Each face is one grey level that no other has, so that every pixel tells where it is from.
    images = np.repeat(np.arange(40, dtype=np.uint8), 48 * 48).reshape(40, 48, 48)
    targets = np.eye(40, dtype=np.float32)
    mixed, soft = cutmix(images, targets, 1.0, np.random.default_rng(3))
    pasted = 0
    for i, face in enumerate(mixed):
        levels = set(face.ravel())
        assert i in levels or len(levels) == 1
        assert len(levels) <= 2
        for level in levels:
            assert soft[i, level] == pytest.approx((face == level).mean(), abs=1e-6)
        foreign = face != i
        if foreign.any():
            pasted += 1
            rows, columns = np.flatnonzero(foreign.any(1)), np.flatnonzero(foreign.any(0))
            box = foreign[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
            assert box.all()
    assert pasted > 20


def test_smoothing_spreads_a_share_over_all_classes():
    targets = np.array([[1, 0, 0, 0], [0.5, 0.5, 0, 0]], np.float32)
    expected = [[0.925, 0.025, 0.025, 0.025], [0.475, 0.475, 0.025, 0.025]]
    np.testing.assert_allclose(smooth(targets, 0.1), expected, atol=1e-6)


@pytest.mark.parametrize("mix", [mixup, cutmix])
def test_colour_is_mixed_as_grey_is(batch, mix):
    images, targets = batch
    colour = np.stack([images, 255 - images, images], axis=-1)
    grey, soft = mix(images, targets, 1.0, np.random.default_rng(1))
    mixed, same = mix(colour, targets, 1.0, np.random.default_rng(1))
    np.testing.assert_array_equal(mixed[..., 0], grey)
    np.testing.assert_array_equal(mixed[..., 2], grey)
    np.testing.assert_array_equal(same, soft)
