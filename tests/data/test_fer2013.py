import gzip
import hashlib
import io
import os
import re
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest

from ferplus_keras.data import fer2013
from ferplus_keras.data.fer2013 import FILE_NAMES, Fer2013Missing, read_fer2013
from ferplus_keras.errors import InputError
from tests.data.csv_files import (
    USAGES,
    fer2013_lines,
    icml_lines,
    packed_as,
    random_rows,
    tarred,
    text,
    zipped,
)

ROWS = random_rows()
LINES = fer2013_lines(ROWS)


def assert_holds(found, rows=ROWS):
    assert found.images.dtype == np.uint8
    np.testing.assert_array_equal(found.images, rows.images)
    np.testing.assert_array_equal(found.opinions, np.eye(7)[rows.emotions])
    assert found.splits.tolist() == rows.splits


def refusal(source, cache_dir) -> str:
    with pytest.raises(InputError) as caught:
        read_fer2013(source, cache_dir)
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize("name", [*FILE_NAMES, "archive.zip"])
def test_every_form_reads_alike(tmp_path, name):
    (tmp_path / name).write_bytes(packed_as(name, ROWS))
    found = read_fer2013(tmp_path)
    assert_holds(found)
    assert found.hashes == {name: hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()}
    assert not found.images.flags.writeable


def test_a_file_is_recognised_by_its_contents_whatever_its_name(tmp_path):
    for name in FILE_NAMES:
        path = tmp_path / f"{FILE_NAMES.index(name)}.data"
        path.write_bytes(packed_as(name, ROWS))
        assert_holds(read_fer2013(path))


def test_the_first_of_the_known_names_is_preferred(tmp_path):
    names = [*FILE_NAMES, "a.zip", "b.zip"]
    for name in names:
        (tmp_path / name).write_bytes(packed_as(name, ROWS))
    for name in names:
        assert list(read_fer2013(tmp_path).hashes) == [name]
        (tmp_path / name).unlink()


def test_the_archive_of_the_whole_challenge(tmp_path):
    """It holds the table in the other layout beside test.csv and a nested archive."""
    (tmp_path / "challenge.zip").write_bytes(zipped("icml_face_data.csv", text(icml_lines(ROWS))))
    (tmp_path / "another.zip").write_bytes(zipped("photo.txt", b"nothing"))
    (tmp_path / "broken.zip").write_bytes(b"PK\x03\x04 cut off")
    assert_holds(read_fer2013(tmp_path))


def quoted(lines, delimiter=b","):
    return [delimiter.join(b'"' + f + b'"' for f in line.split(b",")) for line in lines]


HARMLESS = {
    "byte-order mark": b"\xef\xbb\xbf" + text(LINES),
    "CRLF": text(LINES).replace(b"\n", b"\r\n"),
    "CR": text(LINES).replace(b"\n", b"\r"),
    "no last line end": text(LINES).rstrip(b"\n"),
    "header": text([b" Emotion ,pixels, usage ", *LINES[1:]]),
    "further column": text([b"number," + LINES[0]] + [b"7," + line for line in LINES[1:]]),
    "blanks": text([LINES[0]] + [line.replace(b",", b" , ") for line in LINES[1:]]),
    # What a spreadsheet makes of the file.
    "quotes": text(quoted(LINES)),
    "quotes;": text(quoted(LINES, b";")),
    "semicolons": text(line.replace(b",", b";") for line in LINES),
    "tabs": text(line.replace(b",", b"\t") for line in LINES),
    "UTF-16": text(LINES).decode().encode("utf-16"),
    "UTF-16 quotes": text(quoted(LINES)).decode().encode("utf-16"),
    "3.0": text([LINES[0]] + [re.sub(b"^(.),", b"\\1.0,", line) for line in LINES[1:]]),
    "3 comma 0": text([LINES[0]] + [re.sub(b"^(.),", b'"\\1,0",', line) for line in LINES[1:]]),
    "last lines": text([*LINES, b"", b"  ", b""]),
    "quotes CRLF": text(quoted(LINES)).replace(b"\n", b"\r\n") + b"\r\n",
}


@pytest.mark.parametrize("rows", [7, fer2013._BLOCK_ROWS])
@pytest.mark.parametrize("data", HARMLESS.values(), ids=HARMLESS)
def test_harmless_differences_are_accepted(tmp_path, data, rows, monkeypatch):
    monkeypatch.setattr(fer2013, "_BLOCK_ROWS", rows)
    path = tmp_path / "fer2013.csv"
    path.write_bytes(data)
    assert_holds(read_fer2013(path))


PIXELS = LINES[7].split(b",")[1]
FIRST, _, OTHERS = PIXELS.partition(b" ")


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (b"0," + OTHERS + b",Training", "found 2303 of them"),
        (b"0," + PIXELS + b" 1,Training", "found 2305 of them"),
        (b"0,,Training", "found 0 of them"),
        (b"0,12a " + OTHERS + b",Training", "found '12a'"),
        (b"0," + OTHERS + b" 1.5,Training", "found '1.5'"),
        (b"0,-1 " + OTHERS + b",Training", "found '-1'"),
        (b"0,256 " + OTHERS + b",Training", "found '256'"),
        (b"0,999999999999 " + OTHERS + b",Training", "found '999999999999'"),
        (b"0,0001 " + OTHERS + b",Training", "found '0001'"),
        (b"0,1  " + OTHERS + b",Training", "one blank between them, found ''"),
        (b"0,1\t" + OTHERS + b",Training", r"found '1\t"),
        (b"0,\xc2\xb2 " + OTHERS + b",Training", "found '²'"),
        (b"7," + PIXELS + b",Training", "emotion from 0 to 6, found '7'"),
        (b"happy," + PIXELS + b",Training", "emotion from 0 to 6, found 'happy'"),
        (b"," + PIXELS + b",Training", "emotion from 0 to 6, found ''"),
        (b"0," + PIXELS + b",Test", "Training, PublicTest, PrivateTest, found 'Test'"),
        (b"0," + PIXELS, "expected 3 columns, found 2"),
        (b"0," + PIXELS + b",Training,", "expected 3 columns, found 4"),
        (b"", "the line is empty"),
    ],
)
def test_a_wrong_row_is_refused_by_its_number(tmp_path, row, expected):
    path = tmp_path / "fer2013.csv"
    path.write_bytes(text([*LINES[:7], row, *LINES[8:]]))
    message = refusal(path, tmp_path)
    assert str(path) in message
    assert "line 8 (data row 7, counted from 1): " in message
    assert expected in message


def test_rows_are_counted_across_blocks(tmp_path, monkeypatch):
    monkeypatch.setattr(fer2013, "_BLOCK_ROWS", 3)
    path = tmp_path / "fer2013.csv"
    path.write_bytes(text(LINES))
    assert_holds(read_fer2013(path))
    path.write_bytes(text([*LINES[:25], LINES[25].replace(b" ", b"  ", 1), *LINES[26:]]))
    assert "line 26 (data row 25, counted from 1): " in refusal(path, tmp_path)


def plainly_parsed(data: bytes):
    """The same rules, number by number; None where they are broken."""
    _, *lines = data.removesuffix(b"\n").split(b"\n")
    rows = []
    for line in lines:
        fields = [field.strip() for field in line.split(b",")]
        if len(fields) != 3 or fields[0] not in list(b"0 1 2 3 4 5 6".split()):
            return None
        numbers = fields[1].split(b" ")
        if fields[2].decode("latin-1") not in USAGES or len(numbers) != 2304:
            return None
        if not all(re.fullmatch(rb"[0-9]{1,3}", number) for number in numbers):
            return None
        rows.append([int(fields[0]), *map(int, numbers)])
        if max(rows[-1]) > 255:
            return None
    return rows


def test_any_changed_byte_is_accepted_or_refused_as_by_a_plain_loop():
    rng = np.random.default_rng(0)
    original = text(LINES[:3])
    refused = 0
    for _ in range(300):
        data = bytearray(original)
        at = rng.integers(len(LINES[0]) + 1, len(data) - 1)
        data[at] = rng.choice(list(b"0123456789 ,-.x\n\r\t\xb2\x00"))
        expected = plainly_parsed(bytes(data))
        stream = io.BufferedReader(io.BytesIO(data))
        if expected is None:
            refused += 1
            with pytest.raises(InputError, match=r"data row [123], "):
                fer2013.parse_rows(stream, "changed")
        else:
            found = fer2013.parse_rows(stream, "changed")
            images, emotions, _ = found
            flat = np.column_stack([emotions, images.reshape(len(images), -1)])
            np.testing.assert_array_equal(flat, expected)
    assert 50 < refused < 250


def test_a_file_cut_inside_its_last_row_is_refused(tmp_path):
    whole = text(LINES)
    path = tmp_path / "fer2013.csv"
    for missing in (2, 5, len(b"Training\n"), 100, 5000, len(LINES[-1])):
        path.write_bytes(whole[:-missing])
        assert "data row 30, " in refusal(path, tmp_path)


@pytest.mark.parametrize("name", ["fer2013.csv.gz", "fer2013.csv.zip", "fer2013.tar.gz"])
def test_a_damaged_archive_is_refused(tmp_path, name):
    whole = packed_as(name, ROWS)
    path = tmp_path / name
    for share in (0.001, 0.3, 0.7, 0.999):
        path.write_bytes(whole[: max(4, int(len(whole) * share))])
        assert f"{path} is damaged or cut off" in refusal(path, tmp_path)
    changed = bytearray(whole)
    changed[len(whole) // 2] ^= 0xFF
    path.write_bytes(changed)
    assert str(path) in refusal(path, tmp_path)


@pytest.mark.parametrize("name", ["fer2013.csv.gz", "fer2013.tar.gz"])
def test_the_checksum_of_a_gzip_file_counts(tmp_path, name):
    whole = bytearray(packed_as(name, ROWS))
    whole[-8] ^= 1
    (tmp_path / name).write_bytes(whole)
    assert "is damaged or cut off (CRC check failed" in refusal(tmp_path, tmp_path)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", "is empty"),
        (b"\n\n", "is empty"),
        (b"<!DOCTYPE html>\n<html>log in</html>\n", "is a web page, not fer2013.csv"),
        (text(LINES[:1]), "has a header but no rows"),
        (text([b"emotion,pixels", *LINES[1:]]), "missing Usage"),
        (text([b"label,Usage", *LINES[1:]]), "missing emotion, pixels"),
        (text(LINES[1:]), "missing emotion, pixels, Usage"),
        (bytes(range(200)) * 1000, "missing emotion, pixels, Usage"),
        (zipped("faces.csv", text(LINES)), "holds no fer2013.csv or icml_face_data.csv"),
        (tarred("faces.csv", text(LINES)), "holds no fer2013.csv or icml_face_data.csv"),
    ],
)
def test_another_file_is_refused(tmp_path, data, expected):
    path = tmp_path / "fer2013.csv"
    path.write_bytes(data)
    message = refusal(path, tmp_path)
    assert str(path) in message
    assert expected in message


def test_a_missing_file_says_what_was_looked_for_and_where_to_get_it(tmp_path):
    (tmp_path / "archive.zip").write_bytes(b"PK\x03\x04 cut off")
    with pytest.raises(Fer2013Missing) as caught:
        read_fer2013(tmp_path)
    for part in (str(tmp_path), *FILE_NAMES, "Kaggle", "sample-data", "archive.zip cannot be"):
        assert part in str(caught.value)
    with pytest.raises(Fer2013Missing, match=r"there is no .*nowhere.*sample-data"):
        read_fer2013(tmp_path / "nowhere")


def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "fer2013.csv"
    path.write_bytes(text(LINES[:20]))
    parse = fer2013._parse

    def parse_while_it_grows(source):
        rows = parse(source)
        path.write_bytes(text(LINES))
        return rows

    monkeypatch.setattr(fer2013, "_parse", parse_while_it_grows)
    assert "changed while it was read" in refusal(path, tmp_path / "cache")


def test_progress_is_shown_on_a_terminal_only(tmp_path, capfd):
    termios = pytest.importorskip("termios", reason="needs a pseudo-terminal")
    (tmp_path / "fer2013.csv").write_bytes(text(LINES))
    read_fer2013(tmp_path)
    assert capfd.readouterr().err == ""
    ours, theirs = os.openpty()
    termios.tcsetwinsize(theirs, (24, 80))
    os.set_blocking(ours, False)
    code = f"from ferplus_keras.data.fer2013 import read_fer2013; read_fer2013({str(tmp_path)!r})"
    environment = os.environ | {"FERPLUS_CACHE_DIR": str(tmp_path / "another cache")}
    command = [sys.executable, "-c", code]
    subprocess.run(command, stderr=theirs, env=environment, check=True, timeout=60)
    assert b"reading fer2013.csv" in os.read(ours, 10_000)
    os.close(ours)
    os.close(theirs)


MEASURE = """
import sys
from pathlib import Path
from ferplus_keras.data.fer2013 import read_fer2013
found = read_fer2013(*sys.argv[1:])
status = Path("/proc/self/status").read_text().split()
print(len(found.images), int(status[status.index("VmHWM:") + 1]) / 1000)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_the_real_file_needs_little_memory(real_data, tmp_path):
    command = [sys.executable, "-c", MEASURE, str(real_data), str(tmp_path)]
    for megabytes_allowed in (800, 400):  # first start, later starts
        rows, megabytes = subprocess.check_output(command, text=True).split()
        assert int(rows) == 35_887
        assert float(megabytes) < megabytes_allowed


def test_faults_are_named_in_a_spreadsheets_file_too(tmp_path):
    path = tmp_path / "fer2013.csv"
    lines = quoted(LINES)
    path.write_bytes(text([*lines[:7], lines[7].replace(b" ", b"  ", 1), *lines[8:]]))
    message = refusal(path, tmp_path)
    assert "line 8 (data row 7, counted from 1): expected 2304 whole numbers" in message
    path.write_bytes(text([*lines[:7], b"", *lines[7:]]))
    assert "the line is empty" in refusal(path, tmp_path)


def test_the_challenges_training_file_gets_a_way_on(tmp_path):
    path = tmp_path / "train.csv"
    path.write_bytes(text(line.rpartition(b",")[0] for line in LINES))
    for source in (path, tmp_path):
        assert "icml_face_data.csv" in refusal(source, tmp_path)
    assert "train.csv" in refusal(tmp_path, tmp_path)


def test_a_utf_16_file_that_is_cut_off_is_refused(tmp_path):
    path = tmp_path / "fer2013.csv"
    whole = text(LINES).decode().encode("utf-16")
    for missing in (1, 3, 1001, 1000):
        path.write_bytes(whole[:-missing])
        assert "cut off" in refusal(path, tmp_path)


@pytest.mark.parametrize("unit", [b"0 ", b"\n", b"\n\n,"])
def test_a_bomb_is_not_unpacked_into_memory(tmp_path, unit):
    """The lines of a small archive may be huge, or too many."""
    header = b"\n".join([*LINES[:3], b""])
    with gzip.open(tmp_path / "fer2013.csv.gz", "wb") as file:
        file.write(header)
        for _ in range(40):
            file.write(unit * (1_000_000 // len(unit)))
    tracemalloc.start()
    try:
        if unit == b"\n":
            assert len(read_fer2013(tmp_path, tmp_path).images) == 2
        else:
            refusal(tmp_path, tmp_path)
        assert tracemalloc.get_traced_memory()[1] < 30_000_000
    finally:
        tracemalloc.stop()
