import math
import random
from concurrent.futures import ThreadPoolExecutor

import albumentations as a
import cv2
import numpy as np
import pytest

from ferplus_keras.data.augment import PRESETS, affine, augmentation, crop, erase, flip, light
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


def centres(images):
    """Return where the bright spot of each image is, (n, 2); not a number where it is erased."""
    light = images.astype(float) - np.median(images, axis=(1, 2), keepdims=True)
    light[light < 60] = 0
    with np.errstate(invalid="ignore"):
        shares = light / light.sum(axis=(1, 2), keepdims=True)
    return np.stack([(shares * axis).sum(axis=(1, 2)) for axis in np.mgrid[:48, :48]], axis=1)


@pytest.mark.parametrize(
    ("name", "shift", "angle", "lengths", "skew"),
    [
        # A crop of 0.8 of the area moves its middle by up to 5 and stretches by up to 1.25.
        ("wtomin", (3.5, 6), (0, 1), (0.97, 1.28), (0, 1.5)),
        # 0.08 * 48 = 3.8 in whole pixels; 20 degrees and up to 3 more by the skew of either axis.
        ("microsoft", (2.5, 4), (17, 23), (0.9, 1.1), (3.5, 6)),
        # 0.2 * 48 + 4 = 13.6; 10 degrees, of a crop that is stretched by up to 4/3.
        ("khaireddin", (9.7, 14.5), (7.5, 13.4), (0.7, 1.6), (0, 14)),
    ],
)
def test_presets_move_turn_and_stretch_as_far_as_their_sources(name, shift, angle, lengths, skew):
    """By three spots, one above and one beside another, that the same seed changes alike."""
    y, x = np.mgrid[:48, :48]
    spots = []
    for row, column in ((23.5, 23.5), (13.5, 23.5), (23.5, 33.5)):
        spot = 250 * np.exp(-((y - row) ** 2 + (x - column) ** 2) / 8)
        faces = np.broadcast_to(spot.astype(np.uint8), (1500, 48, 48))
        spots.append(centres(augmentation(name)(faces, [7])))
    middle, above, beside = spots
    up, right = (middle - above)[:, 0], (above - middle)[:, 1]
    down, across = (beside - middle).T
    seen = ~np.isnan(up + right + across)
    assert seen.mean() > 0.75

    def extreme(values):
        return np.percentile(values[seen], 98.5)  # a spot that is half erased seems to have moved

    assert shift[0] < extreme(np.abs(middle - 23.5).max(axis=1)) < shift[1]
    turned = np.degrees(np.arctan2(right, up))
    assert angle[0] <= extreme(np.abs(turned)) < angle[1]
    length = np.hypot(up, right) / 10
    assert lengths[0] < -extreme(-length) < extreme(length) < lengths[1]
    sine = (right * across - up * down) / np.hypot(up, right) / np.hypot(across, down)
    assert skew[0] <= extreme(np.degrees(np.arcsin(np.abs(sine)))) < skew[1]
    if angle[1] > 1:
        assert np.mean(turned[seen] > 1) == pytest.approx(np.mean(turned[seen] < -1), abs=0.06)


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


def torchvision_crop(image, **_):
    """RandomResizedCrop(48, scale=(0.8, 1.2)) by its rule; albumentations refuses more than 1."""
    for _ in range(10):
        area, ratio = 48**2 * random.uniform(0.8, 1.2), (4 / 3) ** random.uniform(-1, 1)
        width, height = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if width <= 48 and height <= 48:
            top, left = random.randint(0, 48 - height), random.randint(0, 48 - width)
            return cv2.resize(image[top : top + height, left : left + width], (48, 48))
    return image


SKEW = math.degrees(math.atan(0.05))
STEPS = {
    "flip": (flip(p=0.5), a.HorizontalFlip(p=0.5)),
    "light": (
        light(0.2, 0.3, p=0.8),
        a.RandomBrightnessContrast(brightness_limit=0.2, contrast_limit=0.3, p=0.8),
    ),
    "crop": (
        crop((0.8, 1.0), (4 / 5, 5 / 4)),
        a.RandomResizedCrop(size=(48, 48), scale=(0.8, 1.0), ratio=(4 / 5, 5 / 4)),
    ),
    "shift": (affine(shift=0.2, p=0.5), a.Affine(translate_percent=(-0.2, 0.2), p=0.5)),
    "jitter": (affine(jitter=1 / 12), a.Affine(translate_px=(-4, 4), p=1)),
    "rotate": (affine(rotate=10, p=0.5), a.Rotate(limit=10, p=0.5)),
    "affine": (
        affine(rotate=20, shift=0.08, scale=(1 / 1.05, 1.05), shear=SKEW, border="REFLECT"),
        a.Affine(
            rotate=(-20, 20),
            translate_percent=(-0.08, 0.08),
            scale=(1 / 1.05, 1.05),
            shear=(-SKEW, SKEW),
            border_mode=cv2.BORDER_REFLECT,
            p=1,
        ),
    ),
    "affine with a repeated border": (
        affine(rotate=15, shift=0.1, scale=(0.85, 1.15), shear=5, border="REPLICATE", p=0.9),
        a.Affine(
            rotate=(-15, 15),
            translate_percent=(-0.1, 0.1),
            scale=(0.85, 1.15),
            shear=(-5, 5),
            border_mode=cv2.BORDER_REPLICATE,
            p=0.9,
        ),
    ),
    "black box": (
        erase((0.02, 0.33), (0.3, 3.3), p=0.5),
        a.Erasing(scale=(0.02, 0.33), ratio=(0.3, 3.3), fill=0, p=0.5),
    ),
    "grey box": (
        erase((0.02, 0.2), (0.4, 2.5), grey=True, p=0.4),
        a.Erasing(scale=(0.02, 0.2), ratio=(0.4, 2.5), fill="random_uniform", p=0.4),
    ),
}

THEIRS = {name: [transform] for name, (_, transform) in STEPS.items()} | {
    "wtomin": [
        STEPS["crop"][1],
        a.RandomBrightnessContrast(brightness_limit=0.1, contrast_limit=0.1, p=0.5),
        STEPS["flip"][1],
    ],
    "khaireddin": [
        a.Lambda(image=torchvision_crop, p=1),
        *(STEPS[name][1] for name in ("shift", "flip", "rotate", "jitter", "black box")),
    ],
    "microsoft": [STEPS["affine"][1], STEPS["flip"][1]],
    "strong": [
        STEPS[name][1] for name in ("flip", "affine with a repeated border", "light", "grey box")
    ],
}
"""Every step and every preset that changes something, of albumentations' transforms."""


def test_every_preset_has_its_transforms():
    assert set(PRESETS) - {"none"} == set(THEIRS) - set(STEPS)


@pytest.mark.parametrize(
    ("name", "shape"), [*((name, (48, 48)) for name in THEIRS), ("grey box", (48, 48, 3))], ids=str
)
def test_steps_and_presets_draw_what_albumentations_draws(name, shape):
    """By the means over many draws, compared with their standard errors: 1 is expected."""
    steps = [STEPS[name][0]] if name in STEPS else PRESETS[name]()
    blocks = np.random.default_rng(3).integers(0, 256, (12, 12, 1))
    face = np.kron(blocks, np.ones((4, 4, 3))).astype(np.uint8)
    face = face if len(shape) == 3 else np.ascontiguousarray(face[:, :, 0])
    random.seed(8)
    compose = a.Compose(THEIRS[name], seed=1)
    theirs = np.stack([compose(image=face)["image"] for _ in range(4000)])
    ours, rng = np.broadcast_to(face, theirs.shape).copy(), np.random.default_rng(1)
    for step in steps:
        step(ours, rng, np.ones(len(ours), bool))
    ours, theirs = (images[:, 1::3, 1::3] / 255 for images in (ours, theirs))  # soon reckoned

    def statistics(images):
        """The levels, and of each image: mean, deviation, and how much of it is one level."""
        inside = tuple(range(1, images.ndim))
        flat = (images[:, 1:] == images[:, :-1]).mean(axis=inside)
        found = (images, images.mean(axis=inside), images.std(axis=inside), flat)
        return [*found, *(each**2 for each in found)]

    for got, expected in zip(statistics(ours), statistics(theirs), strict=True):
        error = (got.var(axis=0) + expected.var(axis=0)) / len(got)
        difference = got.mean(axis=0) - expected.mean(axis=0)
        assert np.mean(difference**2 / (error + 1e-9)) < (3 if error.shape else 9)


@pytest.mark.parametrize("name", [name for name in STEPS if name != "grey box"])
def test_each_channel_of_a_colour_face_changes_as_a_grey_face(faces, name):
    def changed(images):
        images = images.copy()
        STEPS[name][0](images, np.random.default_rng(4), np.ones(len(images), bool))
        return images

    channels = [faces, faces[:, ::-1], 255 - faces]
    expected = np.stack([changed(channel) for channel in channels], axis=-1)
    np.testing.assert_array_equal(changed(np.stack(channels, axis=-1)), expected)
    assert np.any(expected[..., 0] != faces)
