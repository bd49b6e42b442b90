"""Explanations of one face, of several, and of a whole split by class, and pictures of them."""

import threading
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ferplus_keras.classifier import Classifier
from ferplus_keras.data.dataset import Split
from ferplus_keras.errors import unknown
from ferplus_keras.explain.methods import METHODS, Method, Scores
from ferplus_keras.files import replacing
from ferplus_keras.lazy import cv2, plt
from ferplus_keras.progress import progress_bar

FOR, AGAINST = (0.85, 0.25, 0.0), (0.0, 0.35, 0.85)
"""Red for what speaks for a class, blue for what speaks against it: colours that the colour-blind
distinguish. A map without signs is drawn in the first."""

OPACITY = 0.85  # of the strongest colour: some of the face still shows
BLACK = 0.25  # grey, 0-1, as which black is drawn under a map: colours would drown in dark faces
FULL_COLOUR = 99.0  # percentile of a map that gets the strongest colour: few pixels lie far above

ROWS_PER_PAGE = 8

_PANEL, _TITLE, _LEGEND, _MARGIN, _NARROWEST = 1.5, 0.3, 0.8, 0.12, 5.6  # inches

_TURN = threading.Lock()  # gradients are not made for several threads


class Faces(NamedTuple):
    """Faces (n, s, s[, 3]) uint8, what each is called, and its true class; "" where unknown."""

    images: np.ndarray
    names: list[str]
    labels: list[str]


@lru_cache(maxsize=8)
def scores_of(classifier: Classifier, batch_size: int = 64) -> Scores:
    """Return a classifier as methods take it: cut open if it can be, else its scores alone."""
    if classifier.network is not None:
        from ferplus_keras.explain.network import Network, can_cut_open

        if can_cut_open(classifier.network):
            return Network(classifier, batch_size)
    return Scores(classifier, batch_size)


def methods_of(classifier: Classifier) -> list[Method]:
    """Return the methods that can explain a classifier."""
    with _TURN:
        network = scores_of(classifier)
        return [method for method in METHODS.values() if method.refusal(network) is None]


def explain_face(
    classifier: Classifier, face: np.ndarray, class_name: str, method: str
) -> np.ndarray:
    """Return which pixels of a face, (s, s[, 3]) uint8, speak for a class: (s, s) float32.

    Thread-safe. A Keras network is explained by its logits; an export, which only occlusion can
    explain, by its probabilities. `method` is a row of `METHODS`.

    Raises:
        UsageError: an unknown class or method.
        InputError: the method cannot explain this classifier.
    """
    if class_name not in classifier.class_names:
        raise unknown("class", class_name, classifier.class_names)
    explained = np.array([classifier.class_names.index(class_name)])
    with _TURN:
        return METHODS[method](scores_of(classifier), face[None], explained)[0]


def explain_faces(
    network: Scores, faces: Faces, methods: Sequence[Method], class_name: str | None = None
) -> dict[str, np.ndarray]:
    """Explain faces by several methods; `class_name` None means each face's most probable class.

    Returns:
        The arrays of explanations.npz: `maps` (n, m, s, s) float32, each in its method's own units;
        `methods` (m,) and `names` (n,); `labels` (n,), "" where unknown; `explained` (n,), the
        class that each face's maps are about; `probabilities` (n, C) float32; `class_names` (C,).
    """
    probabilities = network.predict(faces.images)
    classes = probabilities.argmax(axis=1)
    if class_name is not None:
        classes[:] = network.class_names.index(class_name)
    class_names = np.array(network.class_names)
    return {
        "maps": np.concatenate(list(_maps(network, faces.images, classes, methods))),
        "methods": np.array([method.name for method in methods]),
        "names": np.array(faces.names),
        "labels": np.array(faces.labels),
        "explained": class_names[classes],
        "probabilities": probabilities,
        "class_names": class_names,
    }


def class_means(
    network: Scores,
    split: Split,
    methods: Sequence[Method],
    class_name: str | None = None,
    name: str | None = None,
) -> dict[str, np.ndarray]:
    """Average the maps of a split's faces by true class.

    Each face's map is first divided by its mean absolute value, so that every face counts the same,
    however steep its logit is. `class_name` None means each face's true class; `name` is shown
    beside the progress bar. The split's classes are the network's, in its order.

    Returns:
        The arrays of class_means.npz: `class_names` (C,) and `methods` (m,); `counts` (2, C) int64,
        faces of the class: all of them, and those recognised correctly; `faces` (C, s, s) float32,
        the mean face in grey levels 0-255; `maps` (2, C, m, s, s) float32, mean maps of all and of
        the recognised. Where there is no face, a mean is NaN.
    """
    probabilities = network.predict(split.images)
    labels = split.labels(probabilities)
    right = probabilities.argmax(axis=1) == labels
    explained = labels
    if class_name is not None:
        explained = np.full_like(labels, network.class_names.index(class_name))
    total, side = len(network.class_names), split.images.shape[1:]
    counts = np.stack([np.bincount(some, minlength=total) for some in (labels, labels[right])])
    faces = np.zeros((total, *side))
    maps = np.zeros((2, total, len(methods), *side[:2]))
    begin = 0
    for found in _maps(network, split.images, explained, methods, name):
        some = slice(begin, begin := begin + len(found))
        scale = np.abs(found).mean(axis=(2, 3), keepdims=True)
        found = np.divide(found, scale, out=np.zeros_like(found), where=scale > 0)
        np.add.at(faces, labels[some], split.images[some])
        np.add.at(maps[0], labels[some], found)
        np.add.at(maps[1], labels[some][right[some]], found[right[some]])
    with np.errstate(invalid="ignore"):  # 0 / 0: a class without faces has no mean
        return {
            "class_names": np.array(network.class_names),
            "methods": np.array([method.name for method in methods]),
            "counts": counts,
            "faces": (faces.T / counts[0]).T.astype(np.float32),
            "maps": (maps / counts[:, :, None, None, None]).astype(np.float32),
        }


def save(found: dict[str, np.ndarray], path: Path) -> None:
    """Write arrays as an .npz file, whole or not at all."""
    with replacing(path) as temporary:
        np.savez_compressed(temporary, **found)


def _maps(network: Scores, images, classes, methods: Sequence[Method], name: str | None = None):
    """Yield the maps of one batch after the other, (b, m, s, s) float32."""
    with progress_bar(total=len(classes), desc=name, unit=" images") as bar:
        for begin in range(0, len(classes), network.batch_size):
            some = slice(begin, begin + network.batch_size)
            batch, of_batch = images[some], classes[some]
            found = [method(network, batch, of_batch) for method in methods]
            yield np.stack(found, axis=1).astype(np.float32)
            bar.update(len(batch))


def heat_overlay(face: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Draw a map over a face.

    Args:
        face: (h, w) grey or (h, w, 3) RGB, 0-255; may be larger than the map, such as the crop
            that the face was made of.
        values: (s, s), above 0 drawn red, below 0 blue, 0 not at all.

    Returns:
        (h, w, 3) uint8, RGB.
    """
    strength = np.abs(values)
    scaled = values / (np.percentile(strength, FULL_COLOUR) or strength.max() or 1.0)
    if scaled.shape != face.shape[:2]:
        scaled = cv2.resize(scaled, face.shape[1::-1], interpolation=cv2.INTER_LINEAR)
    picture = np.asarray(face, float).reshape(*face.shape[:2], -1) / 255
    opacity = OPACITY * np.minimum(np.abs(scaled), 1)[..., None]
    colour = np.where(scaled[..., None] >= 0, FOR, AGAINST)
    mixed = (1 - opacity) * (BLACK + (1 - BLACK) * picture) + opacity * colour
    return np.rint(255 * mixed).astype(np.uint8)


def draw_explanations(
    found: Mapping[str, np.ndarray], images: np.ndarray, folder: Path
) -> list[Path]:
    """Draw explanations.png, or explanations_1.png, _2 … when there are many faces.

    Pages that an earlier call left in the folder are removed. `found` is what `explain_faces`
    returns of the faces `images`, (n, s, s) uint8. The paths of the pages are returned.
    """
    rows = [
        (_title(found, index), [face, *(heat_overlay(face, each) for each in found["maps"][index])])
        for index, face in enumerate(images)
    ]
    for old in folder.glob("explanations*.png"):
        if old.stem == "explanations" or old.stem.removeprefix("explanations_").isdigit():
            old.unlink()
    heads = ["face", *(METHODS[name].title for name in found["methods"])]
    paths = []
    for begin in range(0, len(rows), ROWS_PER_PAGE):
        number = f"_{begin // ROWS_PER_PAGE + 1}" if len(rows) > ROWS_PER_PAGE else ""
        paths.append(folder / f"explanations{number}.png")
        _draw(heads, rows[begin : begin + ROWS_PER_PAGE], found["methods"], paths[-1])
    return paths


def draw_class_means(found: Mapping[str, np.ndarray], path: Path) -> None:
    """Draw the mean face of each class and its mean maps, as `class_means` returns them."""
    rows = []
    for index, name in enumerate(found["class_names"]):
        total, right = found["counts"][:, index]
        if total:
            face = np.rint(found["faces"][index]).astype(np.uint8)
            blank = np.full((*face.shape[:2], 3), 255, np.uint8)
            overlays = [
                heat_overlay(face, each) if np.isfinite(each).all() else blank
                for of_method in found["maps"][:, index].swapaxes(0, 1)
                for each in of_method
            ]
            faces = "face" if total == 1 else "faces"
            rows.append((f"{name}: {total:,} {faces}, {right:,} recognised", [face, *overlays]))
    titles = [METHODS[name].title for name in found["methods"]]
    heads = [f"{title},\n{group}" for title in titles for group in ("all", "recognised")]
    _draw(["mean face", *heads], rows, found["methods"], path)


def _title(found: Mapping[str, np.ndarray], index: int) -> str:
    of_class = dict(zip(found["class_names"], found["probabilities"][index], strict=True))
    best, explained = max(of_class, key=of_class.get), found["explained"][index]
    name = str(found["names"][index])
    name = name if len(name) <= 60 else f"…{name[-59:]}"
    parts = [f"{name}: {best} {of_class[best]:.0%}"]
    if found["labels"][index]:
        parts.append(f"true class {found['labels'][index]}")
    share = "" if explained == best else f" ({of_class[explained]:.0%})"
    return "   ".join([*parts, f"why {explained}?{share}"])


def _draw(
    heads: Sequence[str],
    rows: Sequence[tuple[str, Sequence[np.ndarray]]],
    methods: Sequence[str],
    path: Path,
) -> None:
    """Draw one page: a title above each row of pictures, a head above each column."""
    above = _TITLE * (2 + max(1.5 * head.count("\n") for head in heads))
    width = max(2 * _MARGIN + len(heads) * _PANEL, _NARROWEST)
    height = above + len(rows) * _PANEL + (len(rows) - 1) * _TITLE + _LEGEND
    figure = plt.Figure(figsize=(width, height))
    place = {
        "left": _MARGIN / width,
        "right": (_MARGIN + len(heads) * _PANEL) / width,
        "top": 1 - above / height,
        "bottom": _LEGEND / height,
    }
    gaps = {"wspace": 0.05, "hspace": _TITLE / _PANEL}
    axes = figure.subplots(len(rows), len(heads), squeeze=False, gridspec_kw=place | gaps)
    for line, (title, pictures) in zip(axes, rows, strict=True):
        title = title.encode("utf-8", "backslashreplace").decode()  # a file's name may be no UTF-8
        line[0].set_title(title, loc="left", fontsize=9.5, pad=3, parse_math=False)
        for cell, picture in zip(line, pictures, strict=True):
            cell.imshow(picture, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
            cell.set_axis_off()
    middle = {"textcoords": "offset points", "ha": "center", "va": "bottom", "weight": "bold"}
    for cell, head in zip(axes[0], heads, strict=True):
        cell.annotate(head, (0.5, 1), (0, 20), xycoords="axes fraction", **middle)

    legend = figure.add_axes(((_MARGIN + 0.85) / width, 0.48 / height, 1.9 / width, 0.14 / height))
    low, least, most = -1, "against", "for the class"
    if all(METHODS[name].absolute for name in methods):
        low, least, most = 0, "no effect", "strong effect"
    colours = heat_overlay(np.full((1, 256), 120), np.linspace(low, 1, 256)[None])
    legend.imshow(colours, aspect="auto")
    legend.set_axis_off()
    beside = {"va": "center", "transform": legend.transAxes}
    legend.text(-0.04, 0.5, least, ha="right", **beside)
    legend.text(1.04, 0.5, most, ha="left", **beside)
    absolute = ", ".join(METHODS[name].title for name in methods if METHODS[name].absolute)
    note = f"{absolute}: red is how much, for or against; " if absolute else ""
    figure.text(_MARGIN / width, 0.2 / height, f"{note}every map has its own scale", fontsize=9)
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=100, bbox_inches="tight")
