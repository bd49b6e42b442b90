"""One picture file as a face: 48x48 grey levels, whatever the picture is like."""

from pathlib import Path

import numpy as np

from ferplus_keras.emotions import FACE_SIZE
from ferplus_keras.errors import InputError

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".pgm", ".tif", ".tiff")
"""Endings of the files that are read, in small letters."""

_DEEP = ("I;16", "I;16B", "I;16L", "I")
"""Pillow's modes for 16-bit grey levels."""


def read_face(path: Path) -> np.ndarray:
    """Return a picture of a face as this toolkit's networks take it.

    It is turned upright as its EXIF data say, laid on white where it is transparent, made grey
    (0.299 R + 0.587 G + 0.114 B), brought from 16 to 8 bits where need be, and resized to 48x48:
    by area where it is larger (cv2.INTER_AREA), else bilinearly. A picture that is not square is
    squeezed.

    Args:
        path: picture of one face, cropped.

    Returns:
        (48, 48) uint8 grey levels, 0-255.

    Raises:
        InputError: the file is missing, cut off, or no picture of 8 or 16 bits; one line without
            the path.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with Image.open(path) as file:
            grey = _grey(ImageOps.exif_transpose(file))
    except UnidentifiedImageError:
        raise InputError("no picture, or damaged") from None
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(" ".join(str(reason).split())[:120]) from None
    return _resize(grey)


def _grey(picture) -> np.ndarray:
    """Return the grey levels of a Pillow picture, (h, w) uint8."""
    from PIL import Image

    if picture.mode in _DEEP:
        return np.rint(np.clip(np.asarray(picture, np.float32), 0, 65535) / 257).astype(np.uint8)
    if picture.mode == "F":
        raise ValueError("expected 8 or 16 bits a pixel, found floating point")
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
    return np.asarray(picture.convert("RGB").convert("L"))


def _resize(grey: np.ndarray) -> np.ndarray:
    import cv2

    if grey.shape == (FACE_SIZE, FACE_SIZE):
        return grey
    method = cv2.INTER_AREA if min(grey.shape) >= FACE_SIZE else cv2.INTER_LINEAR
    return cv2.resize(grey, (FACE_SIZE, FACE_SIZE), interpolation=method)
