"""Pages that need nothing but a browser: Jinja2 templates and one style sheet."""

from __future__ import annotations

import base64
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ferplus_keras.files import replacing
from ferplus_keras.lazy import cv2, jinja2

FOLDER = Path(__file__).parent

PERCENT = "\N{NO-BREAK SPACE}%"


def write_page(path: Path, template: str, **values: Any) -> None:
    """Write a template of this folder with its values as one whole HTML file without scripts.

    Text among the values is escaped, `markupsafe.Markup` is not.
    """
    with replacing(path) as temporary:
        temporary.write_text(render(template, **values) + "\n", "utf-8", "backslashreplace")


def render(template: str, **values: Any) -> str:
    """Return a template of this folder with its values, without a line end."""
    return environment().get_template(template).render(values).rstrip()


@functools.cache
def environment() -> jinja2.Environment:
    """Return the environment of all templates, with its filters."""
    found = jinja2.Environment(
        loader=jinja2.FileSystemLoader(FOLDER),
        autoescape=jinja2.select_autoescape(default_for_string=True),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters |= {
        "thousands": "{:,}".format,
        "percent": percent,
        "decimal": decimal,
        "interval": interval,
    }
    return found


def percent(value: float | None, digits: int = 1) -> str:
    """Return a fraction as a percentage."""
    return "not defined" if value is None else f"{100 * value:.{digits}f}{PERCENT}"


def decimal(value: float | None, digits: int = 3) -> str:
    """Return a number with `digits` decimals."""
    return "not defined" if value is None else f"{value:.{digits}f}"


def interval(bounds: Sequence[float] | None, shown: str = "percent") -> str:
    """Return a 95 % interval, as "percent" or "decimal"; nothing where there is none."""
    if bounds is None:
        return ""
    if shown == "decimal":
        return " to ".join(map(decimal, bounds))
    return " to ".join(f"{100 * bound:.1f}" for bound in bounds) + PERCENT


def png(image: np.ndarray) -> str:
    """Return a picture, (h, w) uint8 grey or (h, w, 3) uint8 RGB, as an address that holds it."""
    _, encoded = cv2.imencode(".png", image[..., ::-1] if image.ndim == 3 else image)
    return "data:image/png;base64," + base64.b64encode(encoded.tobytes()).decode("ascii")
