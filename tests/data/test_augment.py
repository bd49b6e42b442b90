from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from ferplus_keras.data.augment import PRESETS, augmentation
from ferplus_keras.errors import UsageError


@pytest.fixture(scope="module")
def faces(tmp_path_factory):
    """Forty smooth images as a read-only memory map."""
    path = tmp_path_factory.mktemp("faces") / "faces.npy"
    y, x = np.mgrid[:48, :48]
    shift = np.arange(40)[:, None, None]
    np.save(path, (100 + 2 * x + np.abs(y - shift)).astype(np.uint8))
    return np.load(path, mmap_mode="r")


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_repeats_itself_and_keeps_shape_type_and_input(faces, name):
    before = faces.copy()
    changed = augmentation(name)(faces, [1, 2, 3])
    np.testing.assert_array_equal(changed, augmentation(name)(faces, [1, 2, 3]))
    assert changed.shape == faces.shape
    assert changed.dtype == np.uint8
    assert changed.flags.writeable
    np.testing.assert_array_equal(faces, before)


def test_none_changes_nothing(faces):
    np.testing.assert_array_equal(augmentation("none")(faces, [0]), faces)


def test_wtomin_follows_each_seed_integer(faces):
    change = augmentation("wtomin")
    first = change(faces, [0, 0, 0])
    for seeds in ([1, 0, 0], [0, 1, 0], [0, 0, 1]):
        assert np.mean(change(faces, seeds) != first) > 0.5


def test_wtomin_crops_lights_and_mirrors_independently():
    """On a ramp from left to right the slope tells mirror and crop, the middle tells light."""
    ramp = np.broadcast_to((64 + 2 * np.arange(48)).astype(np.uint8), (2000, 48, 48))
    changed = augmentation("wtomin")(ramp, [5]).astype(float)
    slope = (changed[:, 24, 40] - changed[:, 24, 8]) / 32
    mirrored = slope < 0
    assert mirrored.mean() == pytest.approx(0.5, abs=0.05)
    assert 2 * 0.68 < np.abs(slope).min() < np.abs(slope).max() < 2 * 1.12  # crop and contrast
    light = changed.mean(axis=(1, 2))
    assert 70 < light.min() < light.max() < 155
    assert abs(np.corrcoef(mirrored, light)[0, 1]) < 0.1
    assert abs(np.corrcoef(mirrored, np.abs(slope))[0, 1]) < 0.1


def test_threads_do_not_disturb_each_other(faces):
    change = augmentation("wtomin")
    expected = [change(faces, [index]) for index in range(12)]
    with ThreadPoolExecutor(4) as pool:
        for got, want in zip(
            pool.map(lambda index: change(faces, [index]), range(12)), expected, strict=True
        ):
            np.testing.assert_array_equal(got, want)


def test_an_unknown_preset_is_refused_with_the_nearest_name():
    with pytest.raises(UsageError, match="did you mean 'wtomin'"):
        augmentation("wtomn")
