"""A whole page: head, table of contents and sections; no scripts, nothing from elsewhere."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ferplus_keras.files import replacing
from ferplus_keras.page.markup import Markup, tag
from ferplus_keras.page.style import STYLE


def write_document(
    path: Path, title: str, subtitle: str, parts: Sequence[tuple[str, Markup]]
) -> None:
    """Write a page whole, for screens, telephones and paper.

    Args:
        path: HTML file, replaced whole.
        title: heading of the page.
        subtitle: line beneath.
        parts: headings of the sections with what stands under them.
    """
    links = [tag("li", tag("a", name, href=f"#{_anchor(name)}")) for name, _ in parts]
    page = tag(
        "html",
        tag(
            "head",
            tag("meta", charset="utf-8"),
            tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
            tag("title", title),
            tag("style", Markup(STYLE)),
        ),
        tag(
            "body",
            tag("header", tag("h1", title), tag("p", subtitle)),
            tag("nav", tag("ul", links), aria_label="Contents"),
            tag(
                "main",
                [
                    tag("section", tag("h2", name), content, id=_anchor(name))
                    for name, content in parts
                ],
            ),
        ),
        lang="en",
    )
    with replacing(path) as temporary:
        temporary.write_text(f"<!DOCTYPE html>\n{page}\n", encoding="utf-8")


def png(image: np.ndarray) -> str:
    """Return a picture, (h, w) uint8 grey or (h, w, 3) uint8 BGR, as an address that holds it."""
    import cv2

    _, encoded = cv2.imencode(".png", image)
    return "data:image/png;base64," + base64.b64encode(encoded.tobytes()).decode("ascii")


def _anchor(title: str) -> str:
    return title.lower().replace(" ", "-")
