"""Read pictures of any kind as RGB uint8, and turn them into faces of a given shape."""

import io
import os
import re
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from ferplus_keras.emotions import FACE_SIZE
from ferplus_keras.errors import InputError, one_line
from ferplus_keras.extras import require
from ferplus_keras.inputs import plain
from ferplus_keras.lazy import Image, cv2

SUFFIXES = (
    *(".png", ".jpg", ".jpeg", ".jfif", ".webp", ".gif", ".avif", ".heic", ".heif"),
    *(".bmp", ".pgm", ".ppm", ".tif", ".tiff"),
)
"""Endings of the files that are read, in lower case; HEIC needs the package pillow-heif."""

DECODERS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM", "AVIF", "HEIF")
"""What Pillow may decode; some of its other decoders start programs."""

MOST_PIXELS = 178_000_000
"""Larger pictures are refused before they are unpacked: a small file can hold a huge one."""

EXPECTED = "expected a picture as a path, the bytes of a file, a Pillow image or an array"

_DEEP = ("I;16", "I;16B", "I;16L", "I;16N", "I")  # Pillow's modes for 16-bit grey levels
_ORIENTATION = 0x0112  # EXIF's tag
_TURNS = {
    **{2: "FLIP_LEFT_RIGHT", 3: "ROTATE_180", 4: "FLIP_TOP_BOTTOM", 5: "TRANSPOSE"},
    **{6: "ROTATE_270", 7: "TRANSVERSE", 8: "ROTATE_90"},
}  # its value -> what turns such a picture upright
_DRAWN = re.compile(
    r"(curves|lr_finder|confusion_matrix|compare|sweep|class_means|explanations(_\d+)?)\.png"
)
_OPENING = threading.Lock()  # held while Pillow's warning is off, which is off for all threads


def files_below(folder: Path) -> Iterator[Path]:
    """Yield the files below a folder that are not hidden; links are followed, no folder twice.

    Pictures that the commands draw are left out: training may have put them there.

    Raises:
        InputError: a folder cannot be read.
    """

    def refuse(error: OSError) -> None:
        raise InputError(f"cannot read {error.filename}: {error.strerror}") from None

    seen: dict[str, str] = {}
    for parent, folders, names in os.walk(folder, onerror=refuse, followlinks=True):
        first = seen.setdefault(os.path.realpath(parent), parent)
        if first != parent:
            print(f"warning: skipped {parent}, the same folder as {first}", file=sys.stderr)
            folders.clear()
            continue
        folders[:] = sorted(name for name in folders if name[0] != ".")
        yield from (Path(parent, n) for n in names if n[0] != "." and not _DRAWN.fullmatch(n))


def read_face(source: Path | bytes, box: tuple[int, ...] | None = None) -> np.ndarray:
    """Return the part of a picture in a box (left, top, right, bottom), or all of it: RGB uint8.

    Raises InputError as `read_picture` does, without the path, or where the box is empty.
    """
    picture = _read(source)
    if box:
        left, top, right, bottom = (max(edge, 0) for edge in box)
        picture = picture[top:bottom, left:right]
        if not picture.size:
            raise InputError(f"expected a face in the picture, found its box at {box}")
    return picture


def as_face(picture: np.ndarray, shape: tuple[int, ...] = (FACE_SIZE, FACE_SIZE)) -> np.ndarray:
    """Return a cropped face, (h, w, 3) uint8 RGB, in a shape (s, s) grey or (s, s, 3), uint8.

    Grey is 0.299 R + 0.587 G + 0.114 B. The face is resized, squeezed where it is not square: by
    area where it is larger (cv2.INTER_AREA), else bilinearly.
    """
    face = picture if len(shape) == 3 else cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    if face.shape == shape:
        return face
    method = cv2.INTER_AREA if min(face.shape[:2]) >= shape[0] else cv2.INTER_LINEAR
    return cv2.resize(face, shape[1::-1], interpolation=method)


def read_picture(source: Any) -> np.ndarray:
    """Return a picture as RGB: upright as its EXIF data say, on white where it is transparent.

    16 bits become 8. Of an animation the first frame is read.

    Args:
        source: a path; the bytes of a file, or a file opened for reading bytes; a Pillow image; or
            an array, also of another library, (h, w), (h, w, 1), (h, w, 3) RGB or (h, w, 4) RGBA,
            of uint8, uint16 or float in 0 to 1.

    Returns:
        (h, w, 3) uint8, 0-255.

    Raises:
        InputError: the file is missing, cut off, huge, or no picture of 8 or 16 bits; or the array
            has another shape or type; or `source` is none of these.
    """
    if not isinstance(source, str | os.PathLike):
        return _read(source)
    text = str(source)
    if (len(text) > 300 or text.startswith("data:")) and not os.path.lexists(text):
        raise InputError(
            f"cannot read '{text[:40]}…' as a path: decode base64 by base64.b64decode, pass bytes"
        )
    try:
        return _read(Path(source))
    except InputError as error:
        raise InputError(f"cannot read {source}: {error}") from None


def _read(source: Any) -> np.ndarray:
    """Return a picture as RGB; what Pillow and NumPy raise becomes an InputError of one line."""
    try:
        if isinstance(source, Path):
            with plain(source).open("rb") as file:
                return _read_file(file)
        if isinstance(source, bytes | bytearray | memoryview):
            return _read_file(io.BytesIO(source))
        if hasattr(source, "getexif"):  # Pillow's, recognised without importing it
            if 0 in source.size:
                raise InputError(f"expected a picture, got one of {source.width} x {source.height}")
            return _as_rgb(source)
        if hasattr(source, "read"):
            return _read_file(source)
        if not hasattr(source, "__array__") and not isinstance(source, list | tuple):
            raise InputError(f"{EXPECTED}; got {type(source).__name__}")
        return _array_as_rgb(np.asarray(source))
    except (OSError, SyntaxError, ValueError, EOFError, TypeError, KeyError, RuntimeError) as error:
        raise InputError(one_line(getattr(error, "strerror", None) or error, 120)) from None


def _read_file(file: Any) -> np.ndarray:
    require(("PIL",), "reading pictures")
    try:
        # Pillow warns of large pictures: `MOST_PIXELS` is the limit here.
        with _OPENING, warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            picture = Image.open(file, formats=_decoders())
        if picture.width * picture.height > MOST_PIXELS:
            raise InputError(too_large(*picture.size))
        return _as_rgb(picture)
    except Image.UnidentifiedImageError:
        file.seek(0)
        raise InputError(_unidentified(file.read(40))) from None
    except Image.DecompressionBombError:
        raise InputError(too_large()) from None


def too_large(*sides: int) -> str:
    """Say that a picture or frame has more than `MOST_PIXELS`; its sides where they are known."""
    found = f", found {' x '.join(map(str, sides))}" if sides else ""
    return f"expected at most {MOST_PIXELS // 10**6} million pixels{found}"


@cache
def _decoders() -> list[str]:
    """Return those of `DECODERS` that are installed; HEIF is read by a package of its own."""
    if find_spec("pillow_heif"):
        import pillow_heif

        pillow_heif.register_heif_opener()
    Image.init()
    return [name for name in DECODERS if name in Image.OPEN]


def _unidentified(start: bytes) -> str:
    """Describe a file that Pillow cannot identify, by its first bytes."""
    if not start:
        return "an empty file"
    if start[:4] in (b"II*\0", b"MM\0*"):
        return "a TIFF file of a kind that Pillow does not read, or damaged"
    brands = (b"heic", b"heix", b"hevc", b"mif1", b"heim", b"msf1")
    kind = "AVIF" if b"avif" in start else "HEIF" if any(map(start.__contains__, brands)) else None
    if start[4:8] != b"ftyp" or kind in _decoders():
        return "no picture, or damaged"
    if kind == "AVIF":
        return "an AVIF picture, which needs a newer Pillow: pip install -U pillow"
    if kind == "HEIF":
        return "a HEIC picture, which needs one more package: pip install pillow-heif"
    return "a video or sound, not a picture"


def _as_rgb(picture: Any) -> np.ndarray:
    """Return one of Pillow's pictures as RGB."""
    deep = ";16" in str(getattr(picture, "tile", ""))  # Pillow keeps the upper byte of colours
    picture.load()
    # Not by Pillow's exif_transpose: it also writes the EXIF data again, which odd ones prevent.
    turn = None
    with suppress(Exception):  # damaged EXIF data raise errors of many kinds
        turn = _TURNS.get(picture.getexif().get(_ORIENTATION))
    if turn:
        picture = picture.transpose(Image.Transpose[turn])
    if picture.mode in _DEEP:
        levels = np.asarray(picture)
        fits = levels.min() >= 0 and levels.max() <= 65535
        return _array_as_rgb(levels.astype(np.uint16) if fits else levels)
    if deep:
        _refuse_shallow(256 * np.max(picture.convert("RGB").getextrema()) + 255)
    if picture.mode == "F":
        raise InputError("expected 8 or 16 bits per pixel, found floating point (Pillow's mode F)")
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
    return np.array(picture.convert("RGB"))


def _refuse_shallow(brightest: int) -> None:
    """Refuse 16 bits that hold 8-bit or 12-bit values: the picture would be black."""
    if 0 < brightest < 4096:
        raise InputError(
            f"its 16 bits hold no value above {brightest}, so it would be black; they seem to hold "
            f"{8 if brightest < 256 else 12}-bit values: save it with 8 bits"
        )


def _array_as_rgb(image: np.ndarray) -> np.ndarray:
    given = image.shape
    if image.dtype.kind not in "uifb":
        raise InputError(f"{EXPECTED} of numbers; got an array of {image.dtype}")
    if image.ndim == 2:
        image = image[..., None]
    if image.ndim != 3 or image.shape[2] not in (1, 3, 4) or 0 in given:
        raise InputError(
            f"expected a picture as an array of shape (h, w), (h, w, 3) or (h, w, 4), got {given}"
        )
    if image.dtype.kind == "u" and image.dtype.itemsize == 2:
        _refuse_shallow(image.max())
        image = np.rint(image / np.float32(257)).astype(np.uint8)
    elif image.dtype.kind == "f" and image.min() >= 0 and image.max() <= 1:  # false for NaN
        image = np.rint(image * 255).astype(np.uint8)
    elif image.dtype != np.uint8:
        raise InputError(
            "expected a picture as uint8, uint16 or float from 0 to 1, got "
            f"{image.dtype} from {image.min()} to {image.max()}"
        )
    if image.shape[2] == 4:
        return _as_rgb(Image.fromarray(image))
    return np.ascontiguousarray(np.broadcast_to(image, (*image.shape[:2], 3)))
