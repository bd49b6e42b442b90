"""Pictures of every kind, read as RGB."""

import io
import struct
import warnings

import cv2
import numpy as np
import pytest
from PIL import Image, features

from ferplus_keras.data import pictures
from ferplus_keras.data.pictures import as_face, read_picture
from ferplus_keras.errors import InputError

RAMP = np.add.outer(np.arange(60) * 2, np.arange(90)).astype(np.uint8)
COLOUR = np.stack([RAMP, 255 - RAMP, RAMP // 2], axis=-1)


def saved(picture, path, **options):
    picture.save(path, **options)
    return read_picture(path)


def test_kinds_of_files_and_arrays_give_the_same_picture(tmp_path):
    grey = np.stack([RAMP] * 3, axis=-1)
    deep = RAMP.astype(np.uint16) * 257
    for source in (RAMP, RAMP[..., None], grey, deep, RAMP / 255, Image.fromarray(RAMP)):
        found = read_picture(source)
        assert found.dtype == np.uint8
        assert found.flags.c_contiguous
        np.testing.assert_array_equal(found, grey)
    for mode in ("RGB", "RGBA", "P"):
        picture = Image.fromarray(COLOUR).convert(mode)
        expected = np.asarray(picture.convert("RGB"))
        np.testing.assert_array_equal(saved(picture, tmp_path / f"{mode}.png"), expected)
        np.testing.assert_array_equal(read_picture(picture), expected)
    np.testing.assert_array_equal(saved(Image.fromarray(deep), tmp_path / "deep.png"), grey)
    cv2.imwrite(str(tmp_path / "deep.tif"), np.stack([deep] * 3, axis=-1))
    np.testing.assert_array_equal(read_picture(str(tmp_path / "deep.tif")), grey)
    cmyk = saved(Image.fromarray(COLOUR).convert("CMYK"), tmp_path / "c.jpg", quality=95)
    assert np.abs(cmyk.astype(int) - COLOUR).mean() < 12


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_exif_orientation_is_turned_upright(orientation, tmp_path):
    lying = {
        1: COLOUR,
        2: COLOUR[:, ::-1],
        3: COLOUR[::-1, ::-1],
        4: COLOUR[::-1],
        5: COLOUR.transpose(1, 0, 2),
        6: np.rot90(COLOUR),
        7: COLOUR[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(COLOUR, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture = Image.fromarray(np.ascontiguousarray(lying))
    np.testing.assert_array_equal(saved(picture, tmp_path / "a.png", exif=exif), COLOUR)


def test_odd_exif_data_do_not_keep_a_picture_from_being_turned():
    # Pillow reads the maker's name as the fraction 72/1, but cannot write it again.
    entries = (8, 2, 0x010F, 5, 1, 38, 0x0112, 3, 1, 6, 0, 72, 1)
    exif = b"Exif\0\0II*\0" + struct.pack("<IHHHIIHHIIIII", *entries)
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(np.rot90(COLOUR))).save(file, "PNG", exif=exif)
    np.testing.assert_array_equal(read_picture(file.getvalue()), COLOUR)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("exif", [b"no TIFF header", b"II+\0\x08\0\0\0", b"II*\0\x08\0\0\0\x05"])
def test_damaged_exif_data_do_not_cost_the_picture(kind, exif):
    file = io.BytesIO()
    Image.fromarray(COLOUR).save(file, kind, exif=b"Exif\0\0" + exif)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, of the data
        found = read_picture(file.getvalue())
    assert np.abs(found.astype(int) - COLOUR).mean() < 12


def test_transparent_parts_are_white():
    clear = np.dstack([COLOUR, np.where(RAMP > 100, 255, 0).astype(np.uint8)])
    expected = np.where(RAMP[..., None] > 100, COLOUR, 255)
    np.testing.assert_array_equal(read_picture(clear), expected)
    np.testing.assert_array_equal(read_picture(Image.fromarray(clear)), expected)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (None, "No such file"),
        (b"", "an empty file"),
        (b"II*\0\xff", "a TIFF file of a kind that Pillow does not read, or damaged"),
        (b"<html>", "no picture, or damaged"),
        ("cut", "truncated"),
        ("folder", "Is a directory"),
    ],
)
def test_what_is_no_picture_is_named(content, expected, tmp_path):
    path = tmp_path / "face.jpg"
    if content == "cut":
        Image.fromarray(COLOUR).save(path)
        content = path.read_bytes()
        content = content[: len(content) * 2 // 3]
    if content == "folder":
        path.mkdir()
    elif content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=f"cannot read {path}: .*{expected}"):
        read_picture(path)


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (np.zeros((4, 5, 2), np.uint8), r"got \(4, 5, 2\)"),
        (np.zeros((0, 5), np.uint8), r"got \(0, 5\)"),
        (np.full((4, 5), 7.5), r"got float64 from 7\.5 to 7\.5"),
        (np.full((4, 5), np.nan), "got float64 from nan"),
        (np.zeros((4, 5), np.int64), "got int64"),
    ],
)
def test_arrays_that_cannot_be_meant_are_refused(array, expected):
    with pytest.raises(InputError, match=expected):
        read_picture(array)


def test_huge_pictures_are_refused_before_they_are_unpacked(tmp_path, monkeypatch):
    path = tmp_path / "bomb.png"
    Image.new("1", (20_000, 20_000)).save(path)  # 400 million pixels in 50 kB
    with pytest.raises(InputError, match="expected at most 178 million pixels"):
        read_picture(path)
    monkeypatch.setattr(pictures, "MOST_PIXELS", 5_000)
    with pytest.raises(InputError, match="pixels, found 90 x 60"):
        saved(Image.fromarray(COLOUR), tmp_path / "a.png")


def test_decoders_that_start_programs_are_out_of_reach(tmp_path):
    page = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n"
    (tmp_path / "page.png").write_bytes(page)
    assert Image.open(io.BytesIO(page)).format == "EPS"
    for source in (tmp_path / "page.png", page):
        with pytest.raises(InputError, match="no picture"):
            read_picture(source)


def test_large_pictures_are_read_without_pillows_warning(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 5_000)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert saved(Image.fromarray(COLOUR), tmp_path / "a.png").shape == (60, 90, 3)


def test_a_single_pixel_becomes_a_face():
    face = as_face(read_picture(np.full((1, 1), 77, np.uint8)))
    np.testing.assert_array_equal(face, np.full((48, 48), 77))


@pytest.mark.parametrize("bits", [8, 12])
@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_16_bits_that_hold_fewer_are_refused_in_colour_too(name, bits, tmp_path):
    path = str(tmp_path / name)
    deep = COLOUR[..., ::-1].astype(np.uint16)
    for pixels in (deep, deep[..., 2], np.dstack([deep, deep[..., :1]])):
        assert cv2.imwrite(path, pixels * 257)
        assert read_picture(path).max() > 200
        assert cv2.imwrite(path, pixels << (bits - 8))
        with pytest.raises(InputError, match=f"16 bits hold .* {bits}-bit values"):
            read_picture(path)


def test_levels_beyond_16_bits_are_refused():
    levels = RAMP.astype(np.int32)
    np.testing.assert_array_equal(read_picture(Image.fromarray(levels * 257))[..., 0], RAMP)
    for wrong in (levels * 400, -levels):
        with pytest.raises(InputError, match="got int32 from"):
            read_picture(Image.fromarray(wrong))


@pytest.mark.parametrize("mode", ["F", "La"])
def test_pictures_in_modes_that_cannot_be_shown_are_refused_in_one_line(mode, tmp_path):
    with pytest.raises(InputError, match=r"floating point|not supported") as caught:
        read_picture(Image.new(mode, (5, 6)))
    assert "\n" not in str(caught.value)
    if mode == "F":
        with pytest.raises(InputError, match=r"cannot read .*f\.tif: .*floating point"):
            saved(Image.new(mode, (5, 6)), tmp_path / "f.tif")


@pytest.mark.parametrize(
    "mode", ["1", "L", "P", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "HSV", "I", "LA", "PA", "RGBX"]
)
def test_every_other_mode_of_pillow_is_read(mode):
    assert read_picture(Image.new(mode, (5, 6))).shape == (6, 5, 3)


@pytest.mark.parametrize("name", ["a.gif", "a.jfif", "a.avif", "a.ppm", "a.webp"])
def test_further_kinds_of_files_are_read(name, tmp_path):
    if name == "a.avif" and not features.check("avif"):
        pytest.skip("this Pillow reads no AVIF")
    assert name[1:] in pictures.SUFFIXES
    found = saved(
        Image.fromarray(COLOUR), tmp_path / name, **({"format": "jpeg"} if "jf" in name else {})
    )
    assert np.abs(found.astype(int) - COLOUR).mean() < 16
    if name == "a.avif":  # not what is said without its decoder
        with pytest.raises(InputError, match=r"^no picture, or damaged$"):
            read_picture((tmp_path / name).read_bytes()[:60])


def test_bytes_and_open_files_are_read_too(tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(COLOUR).save(path)
    data = path.read_bytes()
    with path.open("rb") as file:
        for source in (data, bytearray(data), io.BytesIO(data), file):
            np.testing.assert_array_equal(read_picture(source), COLOUR)
    with pytest.raises(InputError, match="no picture, or damaged"):
        read_picture(b"abc")


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (None, "expected a picture as a path, the bytes of a file, .* got NoneType"),
        (Image.new("RGB", (0, 4)), "expected a picture, got one of 0 x 4"),
        ("aGVsbG8=" * 100, r"cannot read 'aGVs.*…' as a path"),
        ([1, [2, 3]], "inhomogeneous"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "a HEIC picture.*pip install pillow-heif"),
        (b"\0\0\0\x18ftypmp42\0\0\0\0isom", "a video or sound"),
    ],
)
def test_what_cannot_be_a_picture_is_named_in_one_line(source, expected):
    with pytest.raises(InputError, match=expected) as caught:
        read_picture(source)
    assert len(str(caught.value)) < 200
    assert "\n" not in str(caught.value)
