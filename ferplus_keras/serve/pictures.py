"""Pictures out of requests: held in memory, checked by their header, then decoded."""

import io
from collections.abc import Collection

import numpy as np
from PIL import Image
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from ferplus_keras.data.pictures import MOST_PIXELS, read_picture
from ferplus_keras.errors import InputError, one_line
from ferplus_keras.serve.guard import Limits, Refused

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM")
"""Pillow's decoders that a stranger may reach; some of the others start programs."""


async def uploads(
    request: Request, limits: Limits, settings: Collection[str]
) -> list[tuple[str, bytes]]:
    """Return name and content of each file of a request, multipart or raw.

    Raises:
        Refused: 415 another content type, 422 no file, a damaged form or one of the `settings` of
            the address in it, 413 too many files.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "application/octet-stream" or kind.startswith("image/"):
        content = await request.body()
        if not content:
            raise Refused(422, "the body is empty; expected a picture")
        return [("", content)]
    if kind != "multipart/form-data":
        raise Refused(
            415,
            "expected multipart/form-data with files, or one picture as image/* or "
            f"application/octet-stream; got {kind[:80] or 'no content type'}",
        )
    parser = MultiPartParser(request.headers, request.stream(), max_files=limits.files)
    # A larger file would be written to disk; Starlette before 0.46 has the other name.
    parser.spool_max_size = parser.max_file_size = limits.request_bytes + 1
    try:
        form = await parser.parse()
    except (MultiPartException, ValueError) as error:  # older Starlettes pass on the parser's own
        reason = getattr(error, "message", str(error))
        status = 413 if "Too many files" in reason else 422
        raise Refused(status, f"cannot read the form: {reason}") from None
    if misplaced := [name for name in form if name in settings]:
        raise Refused(422, f"{misplaced[0]} belongs into the address: ?{misplaced[0]}=…")
    files = [each for _, each in form.multi_items() if isinstance(each, UploadFile)]
    if not files:
        raise Refused(422, "the form holds no file; expected pictures in the field 'files'")
    return [(each.filename or "", await each.read()) for each in files]


def decode(content: bytes, most_pixels: int) -> np.ndarray:
    """Return a picture (h, w, 3) uint8 RGB, upright.

    Raises:
        Refused: 415 no picture, 413 too many pixels by its header, 422 damaged.
    """
    most_pixels = min(most_pixels, MOST_PIXELS)
    too_large = f"expected at most {most_pixels / 1e6:g} million pixels"
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as picture:
            if picture.width * picture.height > most_pixels:
                raise Refused(413, f"{too_large}, got {picture.width} x {picture.height}")
            return read_picture(picture)
    except Image.DecompressionBombError:
        raise Refused(413, too_large) from None
    except Image.UnidentifiedImageError:
        raise Refused(
            415, f"not a picture that can be read; expected {', '.join(FORMATS)}"
        ) from None
    except (InputError, OSError, ValueError, SyntaxError, TypeError, EOFError) as error:
        reason = one_line(error, 120)
        raise Refused(422, f"the picture is damaged or of an unknown kind: {reason}") from None
