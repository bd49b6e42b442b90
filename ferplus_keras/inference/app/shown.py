"""What the page shows, as HTML that needs no file and nothing from elsewhere."""

from __future__ import annotations

import base64
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from ferplus_keras.explain.methods import Method
from ferplus_keras.inference import tables
from ferplus_keras.inference.annotate import annotate
from ferplus_keras.inference.app.answers import Look
from ferplus_keras.inference.predictor import Prediction
from ferplus_keras.page.document import png
from ferplus_keras.page.markup import Markup, bar_cell, join, percent, table, tag

LONGER_SIDE = 960
"""Of a picture as it is shown, in pixels: boxes and letters come out alike on all. The model saw
it as it is."""

NO_FACE = "No face found. Try another face detector; “whole” takes the picture as one face."


def message(text: str) -> Markup:
    """Return a sentence that says what went wrong."""
    return tag("p", text, class_="message", role="alert")


def picture(look: Look) -> Markup:
    """Return the picture with boxes around its faces."""
    image, scale = _resized(look.picture)
    seen = [replace(face, box=tuple(scale * value for value in face.box)) for face in look.faces]
    said = ", ".join(f"{face.label} {percent(face.confidence, 0)}" for face in look.faces)
    return tag(
        "img", src=_jpeg(annotate(image, seen)), alt=f"The picture: {said or 'no face found'}"
    )


def faces(look: Look) -> Markup:
    """Return a card a face: what the model saw, and a bar a class."""
    if not look.faces:
        return message(NO_FACE)
    cards = [
        tag(
            "article",
            tag(
                "header",
                tag("img", src=png(crop), alt=""),
                tag("h3", face.label, tag("small", percent(face.confidence), " sure")),
            ),
            tag("ul", [_bar(face, name) for name in face.probabilities]),
        )
        for crop, face in zip(look.crops, look.faces, strict=True)
    ]
    return tag("div", cards, class_="faces")


def face_name(number: int, face: Prediction) -> str:
    """Return what the list of a picture's faces calls one of them, counted from 1."""
    return f"{number + 1}: {face.label} {percent(face.confidence, 0)}"


def explanation(look: Look, number: int, class_name: str, method: Method, values) -> Markup:
    """Return a face beside its map.

    Args:
        look: the picture.
        number: of the face, from 0.
        class_name: class that the map is about.
        method: what made the map.
        values: (48, 48) the map; above 0 speaks for the class.
    """
    from ferplus_keras.explain.overlay import AGAINST, FOR, heat_overlay

    face = look.crops[number]
    red = heat_overlay(face, values)
    share = look.faces[number].probabilities[class_name]
    ends = [f"rgb({' '.join(f'{255 * part:.0f}' for part in c)})" for c in (AGAINST, FOR)]
    scale = f"{ends[0]}, #999, {ends[1]}"
    if method.absolute:
        legend = tag("p", "The redder, the more a pixel matters, for or against.")
    else:
        legend = tag(
            "p", "against ", tag("i", style=f"--scale:{scale}"), f" for {class_name}", class_="key"
        )
    return tag(
        "figure",
        tag("img", src=png(face), alt="The face as the model saw it"),
        tag("img", src=png(red[..., ::-1]), alt=f"Where the face speaks for {class_name}"),
        tag(
            "figcaption",
            tag("p", f"Why {class_name} ({percent(share)})? By {method.title}."),
            legend,
        ),
        class_="why",
    )


def batch(
    found: Sequence[tuple[str, np.ndarray, list[Prediction]]], failures: Sequence[str]
) -> Markup:
    """Return a row a face of several pictures, a file to download, and what could not be read.

    Args:
        found: name of each picture, crops (n, 48, 48) uint8 of its n faces, what they express.
        failures: a sentence each.
    """
    said = [message(failure) for failure in failures]
    if not found:
        return join(said)
    rows = []
    for name, crops, seen in found:
        if not seen:
            rows.append([name, "", tag("td", "no face found", class_="text"), "", ""])
        for crop, face in zip(crops, seen, strict=True):
            second = sorted(face.probabilities, key=face.probabilities.get)[-2:][0]
            rows.append(
                [
                    name,
                    tag("td", tag("img", src=png(crop), alt="")),
                    tag("td", face.label, class_="text"),
                    bar_cell(percent(face.confidence), face.confidence),
                    tag("td", f"{second} {percent(face.probabilities[second])}", class_="text"),
                ]
            )
    total = sum(len(seen) for _, _, seen in found)
    caption = f"{_count(len(found), 'picture')}, {_count(total, 'face')}"
    heads = ("picture", "face", "expression", "probability", "next")
    return tag("div", said, _download(found), table(caption, heads, rows), class_="batch")


def _download(found: Sequence[tuple[str, np.ndarray, list[Prediction]]]) -> Markup:
    """Return a link that holds the file it downloads: the table that predict.py --csv writes."""
    files = [(Path(name), seen) for name, _, seen in found]
    class_names = next((seen[0].probabilities for _, seen in files if seen), ())
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "faces.csv"
        tables.write_csv(files, tuple(class_names), path)
        held = base64.b64encode(path.read_bytes()).decode("ascii")
    address = f"data:text/csv;charset=utf-8;base64,{held}"
    return tag("a", "Download as CSV", href=address, download="faces.csv", class_="download")


def _bar(face: Prediction, name: str) -> Markup:
    share = face.probabilities[name]
    return tag(
        "li",
        tag("span", name),
        tag("i", style=f"--v:{share:.4f}"),
        tag("b", percent(share)),
        class_="best" if name == face.label else None,
    )


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}" + ("" if number == 1 else "s")


def _resized(image: np.ndarray) -> tuple[np.ndarray, float]:
    """Return a picture of `LONGER_SIDE`, and the factor that its places were multiplied by."""
    import cv2

    scale = LONGER_SIDE / max(image.shape[:2])
    size = (max(round(image.shape[1] * scale), 1), max(round(image.shape[0] * scale), 1))
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    return cv2.resize(image, size, interpolation=method), scale


def _jpeg(image: np.ndarray) -> str:
    """Return a picture (h, w, 3) uint8 RGB as an address that holds it."""
    import cv2

    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    _, encoded = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, 90])
    return "data:image/jpeg;base64," + base64.b64encode(encoded.tobytes()).decode("ascii")
