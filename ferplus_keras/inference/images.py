"""Pictures in: files, arrays and PIL images, all made RGB uint8."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ferplus_keras.errors import InputError

SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
"""Endings of the files that count as images in a folder."""


def read_image(source: Any) -> np.ndarray:
    """Return an image as (h, w, 3) uint8, RGB, turned as its EXIF tag says.

    Args:
        source: a path; an array (h, w), (h, w, 1), (h, w, 3) RGB or (h, w, 4) RGBA, of uint8,
            uint16 or float in 0 to 1; or a PIL image. Transparent parts become white.

    Raises:
        InputError: the file is missing, empty or not an image, or the array has another shape or
            type.
    """
    if isinstance(source, str | Path):
        return _read_file(Path(source))
    if hasattr(source, "getexif"):  # PIL, without importing it
        from PIL import ImageOps

        turned = ImageOps.exif_transpose(source)
        source = np.asarray(turned.convert("RGBA" if "A" in turned.getbands() else "RGB"))
    return _as_rgb(np.asarray(source), "the array")


def _read_file(path: Path) -> np.ndarray:
    import cv2

    try:
        data = np.frombuffer(path.read_bytes(), np.uint8)
    except FileNotFoundError:
        raise InputError(f"no image at {path}") from None
    except IsADirectoryError:
        raise InputError(f"{path} is a folder, not an image") from None
    if not data.size:
        raise InputError(f"{path} is empty (0 bytes)")
    # Colour without alpha is turned by OpenCV; IMREAD_UNCHANGED would keep alpha but not turn.
    image = cv2.imdecode(data, cv2.IMREAD_COLOR_RGB | cv2.IMREAD_ANYDEPTH)
    if image is None:
        raise InputError(f"{path} is not an image that can be read; is it damaged or cut short?")
    raw = cv2.imdecode(data, cv2.IMREAD_UNCHANGED)
    if raw is not None and raw.ndim == 3 and raw.shape[2] == 4:
        image = cv2.cvtColor(raw, cv2.COLOR_BGRA2RGBA)
    return _as_rgb(image, str(path))


def _as_rgb(image: np.ndarray, name: str) -> np.ndarray:
    if image.ndim == 2:
        image = image[..., None]
    if image.ndim != 3 or image.shape[2] not in (1, 3, 4) or 0 in image.shape:
        raise InputError(
            f"expected {name} to be an image of shape (h, w), (h, w, 3) or (h, w, 4), got "
            f"{image.shape}"
        )
    image = _as_uint8(image, name)
    if image.shape[2] == 4:
        alpha = image[..., 3:].astype(np.float32) / 255
        image = np.rint(image[..., :3] * alpha + 255 * (1 - alpha)).astype(np.uint8)
    return np.ascontiguousarray(np.broadcast_to(image, (*image.shape[:2], 3)))


def _as_uint8(image: np.ndarray, name: str) -> np.ndarray:
    if image.dtype == np.uint8:
        return image
    if image.dtype == np.uint16:
        return (image >> 8).astype(np.uint8)
    if (
        image.dtype.kind == "f"
        and np.isfinite(image).all()
        and 0 <= image.min() <= image.max() <= 1
    ):
        return np.rint(image * 255).astype(np.uint8)
    raise InputError(
        f"expected {name} as uint8, uint16 or float from 0 to 1, got {image.dtype} from "
        f"{image.min()} to {image.max()}"
    )
