"""Random changes in training (augmentation, sampling, mixup, CutMix), and test-time views.

A preset is a list of steps. Each step draws its numbers for a whole batch at once and changes
uint8 faces, before the model's own resizing. The same images with the same seed integers give the
same pixels, on any thread. Steps draw what albumentations 2.0's transforms of the same parameters
draw, several times as fast (tests/data/test_augment.py compares the two).
"""

import math
from collections.abc import Callable, Sequence

import numpy as np

from ferplus_keras.lazy import cv2
from ferplus_keras.registry import Registry

Augmentation = Callable[..., np.ndarray]
"""(images (b, s, s) or (b, s, s, 3) uint8, non-negative seed integers) -> new images alike.

A third argument `own`, (b,) bool, restricts the work to some rows, whose pixels are the same as
without it.
"""

Step = Callable[[np.ndarray, np.random.Generator, np.ndarray], None]
"""Changes images (b, s, s) or (b, s, s, 3) uint8 in place, at least the rows `own` (b,) bool.

What it draws does not depend on `own`.
"""

PRESETS: Registry[Callable[[], list[Step]]] = Registry("augmentation")
"""Every augmentation preset by name."""

SAMPLINGS: Registry[Callable[[np.ndarray, np.random.Generator], np.ndarray]] = Registry("sampling")
"""Name -> function from targets (n, C) and a generator to the rows of an epoch, (n,) int64."""

VIEWS: Registry[Callable[[np.ndarray], list[np.ndarray]]] = Registry("kind of views")
"""Name -> function from faces (b, s, s) or (b, s, s, 3) uint8 to views of that shape."""


@PRESETS.register("none")
def none() -> list[Step]:
    """Leave faces as they are."""
    return []


@PRESETS.register("wtomin")
def wtomin() -> list[Step]:
    """Crop 80–100 % of the area, vary the brightness, flip (the older project)."""
    return [crop((0.8, 1.0), (4 / 5, 5 / 4)), light(0.1, 0.1, p=0.5), flip(p=0.5)]


@PRESETS.register("khaireddin")
def khaireddin() -> list[Step]:
    """Crop, shift 20 %, rotate 10°, flip, move 4 pixels, erase (Khaireddin).

    The steps of usef-kh/fer (Khaireddin & Chen 2021, arXiv 2105.03588). Its random 40x40 crop is a
    move by up to 4 of 48 pixels here, since the network looks at the centre.
    """
    return [
        crop((0.8, 1.2), (3 / 4, 4 / 3)),
        affine(shift=0.2, p=0.5),
        flip(p=0.5),
        affine(rotate=10, p=0.5),
        affine(jitter=1 / 12),
        erase((0.02, 0.33), (0.3, 3.3), p=0.5),
    ]


@PRESETS.register("microsoft")
def microsoft() -> list[Step]:
    """Rotate 20°, shift 8 %, scale by 1.05, skew by 0.05, flip (Barsoum et al. 2016, FERPlus)."""
    skew = math.degrees(math.atan(0.05))
    return [
        affine(rotate=20, shift=0.08, scale=(1 / 1.05, 1.05), shear=skew, border="REFLECT"),
        flip(p=0.5),
    ]


@PRESETS.register("strong")
def strong() -> list[Step]:
    """Flip, rotate 15°, shift 10 %, scale by 0.85–1.15, shear, vary the brightness, erase."""
    return [
        flip(p=0.5),
        affine(rotate=15, shift=0.1, scale=(0.85, 1.15), shear=5, border="REPLICATE", p=0.9),
        light(0.2, 0.3, p=0.8),
        erase((0.02, 0.2), (0.4, 2.5), grey=True, p=0.4),
    ]


def augmentation(name: str) -> Augmentation:
    """Return the preset called `name` as one function over batches; raises UsageError.

    Several threads may call it at once; its input, which may be read-only, stays as it is.
    """
    steps = PRESETS[name]()

    def change(
        images: np.ndarray, seeds: Sequence[int], own: np.ndarray | None = None
    ) -> np.ndarray:
        changed, rng = np.array(images), np.random.default_rng(list(seeds))
        own = np.ones(len(images), bool) if own is None else own
        for step in steps:
            step(changed, rng, own)
        return changed

    return change


def flip(*, p: float) -> Step:
    """Mirror left and right, with probability `p`."""

    def step(images: np.ndarray, rng: np.random.Generator, own: np.ndarray) -> None:
        rows = _chosen(images, rng, p)
        rows = rows[own[rows]]
        images[rows] = images[rows, :, ::-1]

    return step


def light(brightness: float, contrast: float, *, p: float) -> Step:
    """Multiply by 1 ± `contrast` and add ± `brightness` of the whole range."""

    def step(images: np.ndarray, rng: np.random.Generator, own: np.ndarray) -> None:
        rows = _chosen(images, rng, p)
        gain = rng.uniform(1 - contrast, 1 + contrast, (len(rows), 1)).astype(np.float32)
        offset = 255 * rng.uniform(-brightness, brightness, (len(rows), 1)).astype(np.float32)
        mine = own[rows]
        levels = np.clip(np.arange(256, dtype=np.float32) * gain[mine] + offset[mine], 0, 255)
        for row, table in zip(rows[mine], levels.astype(np.uint8), strict=True):
            images[row] = cv2.LUT(images[row], table)

    return step


def crop(scale: tuple[float, float], ratio: tuple[float, float], *, attempts: int = 10) -> Step:
    """Stretch a box to the whole face: `scale` of its area, width to height in `ratio`.

    The first of `attempts` random boxes that fits into the face is taken, else the whole face.
    """

    def step(images: np.ndarray, rng: np.random.Generator, own: np.ndarray) -> None:
        count, size = images.shape[:2]
        area = size**2 * rng.uniform(*scale, (count, attempts))
        width_to_height = np.exp(rng.uniform(*np.log(ratio), (count, attempts)))
        sides = np.rint(np.sqrt(np.stack([area / width_to_height, area * width_to_height], -1)))
        fits = (sides <= size).all(axis=-1)
        first = sides[np.arange(count), fits.argmax(axis=1)]
        boxes = np.where(fits.any(axis=1)[:, None], first, size).astype(int)
        starts = rng.integers(0, size - boxes + 1)
        changed = (array[own] for array in (np.arange(count), boxes, starts))
        for row, (height, width), (top, left) in zip(*changed, strict=True):
            image = images[row]
            # A resize must not write what it reads.
            image[:] = cv2.resize(image[top : top + height, left : left + width], (size, size))

    return step


def affine(
    *,
    rotate: float = 0,
    shift: float = 0,
    jitter: float = 0,
    scale: tuple[float, float] = (1, 1),
    shear: float = 0,
    border: str = "CONSTANT",
    p: float = 1,
) -> Step:
    """Scale each axis, rotate, shear and shift about the centre, in that order.

    Args:
        rotate: largest angle, in degrees.
        shift: largest share of the side, rounded towards 0 to whole pixels.
        jitter: likewise, but every number of whole pixels is equally likely.
        scale: range of the factor.
        shear: largest angle along each axis, in degrees.
        border: what is shown outside, one of cv2's BORDER_ names: CONSTANT is black.
        p: probability.
    """
    mode = getattr(cv2, f"BORDER_{border}")

    def step(images: np.ndarray, rng: np.random.Generator, own: np.ndarray) -> None:
        rows = _chosen(images, rng, p)
        count, size = len(rows), images.shape[1]
        angles = np.radians(rng.uniform(-rotate, rotate, count))
        turned = np.array([[np.cos(angles), np.sin(angles)], [-np.sin(angles), np.cos(angles)]])
        sheared = np.broadcast_to(np.eye(2), (count, 2, 2)).copy()
        sheared[:, [0, 1], [1, 0]] = np.tan(np.radians(rng.uniform(-shear, shear, (count, 2))))
        matrices = sheared @ turned.transpose(2, 0, 1) * rng.uniform(*scale, (count, 1, 2))
        centre = (size - 1) / 2
        moves = np.trunc(size * rng.uniform(-shift, shift, (count, 2)))
        most = round(size * jitter)
        moves += rng.integers(-most, most, (count, 2), endpoint=True)
        moves += centre - (matrices @ np.full(2, centre))
        matrices = np.concatenate([matrices, moves[:, :, None]], axis=2)
        mine = own[rows]
        for row, matrix in zip(rows[mine], matrices[mine], strict=True):
            images[row] = cv2.warpAffine(images[row], matrix, (size, size), borderMode=mode)

    return step


def erase(
    scale: tuple[float, float], ratio: tuple[float, float], *, grey: bool = False, p: float
) -> Step:
    """Fill a box: `scale` of the area, width to height in `ratio`, black or of one random value."""

    def step(images: np.ndarray, rng: np.random.Generator, own: np.ndarray) -> None:
        rows = _chosen(images, rng, p)
        size = images.shape[1]
        largest = min(scale[1], *ratio, *(1 / each for each in ratio))
        area = rng.uniform(scale[0], largest, len(rows))
        width_to_height = rng.uniform(np.maximum(ratio[0], area), np.minimum(ratio[1], 1 / area))
        sides = np.stack([area / width_to_height, area * width_to_height], axis=1)
        boxes = np.rint(size * np.sqrt(sides)).astype(int)
        starts = rng.integers(0, size - boxes + 1)
        fills = rng.integers(0, 256 if grey else 1, (len(rows), *images.shape[3:]))
        mine = (array[own[rows]] for array in (rows, boxes, starts, fills))
        for row, (height, width), (top, left), fill in zip(*mine, strict=True):
            images[row, top : top + height, left : left + width] = fill

    return step


def _chosen(images: np.ndarray, rng: np.random.Generator, p: float) -> np.ndarray:
    """Return the rows that a step of probability `p` changes."""
    return np.flatnonzero(rng.random(len(images)) < p)


@VIEWS.register("none")
def _as_they_are(images: np.ndarray) -> list[np.ndarray]:
    """Return the face itself."""
    return [images]


@VIEWS.register("flip")
def _flip(images: np.ndarray) -> list[np.ndarray]:
    """Return the face and its mirror image."""
    return [images, np.ascontiguousarray(images[:, :, ::-1])]


@VIEWS.register("ten_crop")
def _ten_crop(images: np.ndarray) -> list[np.ndarray]:
    """Return crops of the centre and the four corners, mirrored too (Krizhevsky et al. 2012).

    A face is moved by a twelfth, 4 of 48 pixels, towards the opposite corner, its border repeated.
    A network that looks at the centre 40x40 pixels thus sees exactly the 40x40 crop of that corner.
    """
    side = images.shape[1]
    shift = round(side / 12)
    around = [(0, 0), (shift, shift), (shift, shift), (0, 0)]
    padded = np.pad(images, around[: images.ndim], mode="edge")
    corners = ((shift, shift), (0, 0), (0, 2 * shift), (2 * shift, 0), (2 * shift, 2 * shift))
    crops = (padded[:, top : top + side, left : left + side] for top, left in corners)
    return [view for crop in crops for view in _flip(np.ascontiguousarray(crop))]


@SAMPLINGS.register("shuffled")
def shuffled(targets: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return every row once, in a random order."""
    return rng.permutation(len(targets))


@SAMPLINGS.register("balanced")
def balanced(targets: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return as many rows as there are, drawn with replacement, every class equally often.

    A row with a soft target stands for each class by its share, which leaves common classes more
    common. Classes without rows are skipped.
    """
    shares = targets / targets.sum(axis=1, keepdims=True, dtype=np.float64)
    of_class = shares.sum(axis=0)
    wanted = np.divide(1, of_class, out=np.zeros_like(of_class), where=of_class > 0)
    chance = shares @ wanted
    return rng.choice(len(targets), len(targets), p=chance / chance.sum())


def mixup(
    images: np.ndarray, targets: np.ndarray, alpha: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Blend each face (b, h, w) or (b, h, w, 3) uint8 and target (b, C) float32 with another's.

    Zhang et al. 2018 (arXiv 1710.09412): the share is drawn from Beta(alpha, alpha), once per face.
    Returns new images and targets, of the same shapes and types.
    """
    other = rng.permutation(len(images))
    share = rng.beta(alpha, alpha, len(images)).astype(np.float32)
    blend = share.reshape(-1, *[1] * (images.ndim - 1))
    blended = images * blend + images[other] * (1 - blend)
    return np.rint(blended).astype(np.uint8), _mix_targets(targets, other, share)


def cutmix(
    images: np.ndarray, targets: np.ndarray, alpha: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Paste a rectangle of another face, and mix the targets by its area; arrays as for `mixup`.

    Yun et al. 2019 (arXiv 1905.04899): the area is drawn from Beta(alpha, alpha), its centre
    uniformly, once per face; what reaches over the edge is cut off.
    """
    count, side = images.shape[:2]
    other = rng.permutation(count)
    half = np.rint(np.sqrt(1 - rng.beta(alpha, alpha, count)) * side)[:, None] / 2
    distance = [np.arange(side) - rng.integers(0, side, (count, 1)) for _ in ("rows", "columns")]
    down, across = ((-half <= d) & (d < half) for d in distance)
    inside = down[:, :, None] & across[:, None]
    share = 1 - inside.mean(axis=(1, 2), dtype=np.float32)
    pasted = inside.reshape(*inside.shape, *[1] * (images.ndim - 3))
    return np.where(pasted, images[other], images), _mix_targets(targets, other, share)


def smooth(targets: np.ndarray, amount: float) -> np.ndarray:
    """Give every class an equal part of `amount`, 0 to 1, of each target (Szegedy et al. 2016)."""
    total = targets.sum(axis=1, keepdims=True)
    return targets * np.float32(1 - amount) + total * np.float32(amount / targets.shape[1])


def _mix_targets(targets: np.ndarray, other: np.ndarray, share: np.ndarray) -> np.ndarray:
    return targets * share[:, None] + targets[other] * (1 - share[:, None])
