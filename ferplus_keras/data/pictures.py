"""Pictures in, whatever they are like: RGB uint8, or one face of 48x48 grey levels."""

from __future__ import annotations

import threading
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ferplus_keras.emotions import FACE_SIZE
from ferplus_keras.errors import InputError
from ferplus_keras.extras import require

if TYPE_CHECKING:
    from PIL import Image

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".pgm", ".tif", ".tiff")
"""Endings of the files that are read, in small letters."""

MOST_PIXELS = 178_000_000
"""Larger pictures are refused before they are unpacked: a small file can hold a huge one."""

_DEEP = ("I;16", "I;16B", "I;16L", "I")
"""Pillow's modes for 16-bit grey levels."""

_OPENING = threading.Lock()
"""Held while Pillow's warning is off, which is off for all threads."""


def read_face(path: Path) -> np.ndarray:
    """Return a picture of one face, cropped, as this toolkit's networks take it.

    Args:
        path: what `read_picture` reads; a picture that is not square is squeezed.

    Returns:
        (48, 48) uint8 grey levels, 0-255.

    Raises:
        InputError: as `read_picture`, but one line without the path.
    """
    return as_face(_read_file(path))


def as_face(picture: np.ndarray) -> np.ndarray:
    """Return a cropped face as this toolkit's networks take it.

    It is made grey (0.299 R + 0.587 G + 0.114 B) and resized to 48x48: by area where it is larger
    (cv2.INTER_AREA), else bilinearly.

    Args:
        picture: (h, w, 3) uint8, RGB.

    Returns:
        (48, 48) uint8 grey levels, 0-255.
    """
    import cv2

    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    if grey.shape == (FACE_SIZE, FACE_SIZE):
        return grey
    method = cv2.INTER_AREA if min(grey.shape) >= FACE_SIZE else cv2.INTER_LINEAR
    return cv2.resize(grey, (FACE_SIZE, FACE_SIZE), interpolation=method)


def read_picture(source: Any) -> np.ndarray:
    """Return a picture as RGB.

    It is turned upright as its EXIF data say, laid on white where it is transparent, and brought
    from 16 to 8 bits where need be.

    Args:
        source: a path; an array (h, w), (h, w, 1), (h, w, 3) RGB or (h, w, 4) RGBA, of uint8,
            uint16 or float in 0 to 1; or a Pillow image.

    Returns:
        (h, w, 3) uint8, 0-255.

    Raises:
        InputError: the file is missing, cut off, huge, or no picture of 8 or 16 bits; or the array
            has another shape or type.
    """
    if isinstance(source, str | Path):
        try:
            return _read_file(Path(source))
        except InputError as error:
            raise InputError(f"cannot read {source}: {error}") from None
    if hasattr(source, "getexif"):  # Pillow's, told without importing it
        from PIL import ImageOps

        return _as_rgb(ImageOps.exif_transpose(source))
    return _array_as_rgb(np.asarray(source))


def _read_file(path: Path) -> np.ndarray:
    require(("PIL",), "reading pictures")
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with _open(path) as file:
            if file.width * file.height > MOST_PIXELS:
                raise ValueError(
                    f"expected at most {MOST_PIXELS // 10**6} million pixels, found "
                    f"{file.width} x {file.height}"
                )
            return _as_rgb(ImageOps.exif_transpose(file))
    except UnidentifiedImageError:
        raise InputError("no picture, or damaged") from None
    except Image.DecompressionBombError:
        raise InputError(f"expected at most {MOST_PIXELS // 10**6} million pixels") from None
    except (OSError, SyntaxError, ValueError, EOFError, TypeError) as error:  # of damaged files
        reason = getattr(error, "strerror", None) or error
        raise InputError(" ".join(str(reason).split())[:120]) from None


def _open(path: Path) -> Image.Image:
    """Open a file without the warning of large pictures: `MOST_PIXELS` is the limit here."""
    from PIL import Image

    with _OPENING, warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        return Image.open(path)


def _as_rgb(picture: Image.Image) -> np.ndarray:
    from PIL import Image

    if picture.mode in _DEEP:
        levels = np.clip(np.asarray(picture, np.float32), 0, 65535) / 257
        return _three(np.rint(levels).astype(np.uint8)[..., None])
    if picture.mode == "F":
        raise ValueError("expected 8 or 16 bits a pixel, found floating point")
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
    return np.array(picture.convert("RGB"))


def _array_as_rgb(image: np.ndarray) -> np.ndarray:
    given = image.shape
    if image.ndim == 2:
        image = image[..., None]
    if image.ndim != 3 or image.shape[2] not in (1, 3, 4) or 0 in given:
        raise InputError(
            f"expected a picture as an array of shape (h, w), (h, w, 3) or (h, w, 4), got {given}"
        )
    if image.dtype == np.uint16:
        image = np.rint(image / np.float32(257)).astype(np.uint8)
    elif image.dtype.kind == "f" and image.min() >= 0 and image.max() <= 1:  # false for NaN
        image = np.rint(image * 255).astype(np.uint8)
    elif image.dtype != np.uint8:
        raise InputError(
            "expected a picture as uint8, uint16 or float from 0 to 1, got "
            f"{image.dtype} from {image.min()} to {image.max()}"
        )
    if image.shape[2] == 4:
        alpha = image[..., 3:].astype(np.float32) / 255
        image = np.rint(image[..., :3] * alpha + 255 * (1 - alpha)).astype(np.uint8)
    return _three(image)


def _three(image: np.ndarray) -> np.ndarray:
    """Return (h, w, 1) or (h, w, 3) as (h, w, 3), one piece of memory."""
    return np.ascontiguousarray(np.broadcast_to(image, (*image.shape[:2], 3)))
