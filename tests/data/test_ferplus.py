import numpy as np
import pytest

from ferplus_keras.data.dataset import load_split
from ferplus_keras.data.ferplus import ferplus_votes
from ferplus_keras.errors import InputError
from tests.data.csv_files import random_rows, text, votes_lines

ROWS = random_rows()
LINES = votes_lines(ROWS)


HARMLESS = {
    "as published": text(LINES),
    "byte-order mark": b"\xef\xbb\xbf" + text(LINES),
    "CRLF": text(LINES).replace(b"\n", b"\r\n"),
    "further column": text([line + b",note" for line in LINES]),
    "blanks": text(LINES).replace(b",", b" , "),
    # What a spreadsheet makes of the file.
    "semicolons": text(LINES).replace(b",", b";"),
    "UTF-16": text(LINES).decode().encode("utf-16"),
    "10.0": text([LINES[0], *(line.replace(b",10", b",10.0") for line in LINES[1:]), b"", b",,,"]),
    "quotes": text([b'"' + line.replace(b",", b'","') + b'"' for line in LINES]),
}


@pytest.mark.parametrize("data", HARMLESS.values(), ids=HARMLESS)
def test_votes_are_read_as_they_were_written(tmp_path, data):
    (tmp_path / "fer2013new.csv").write_bytes(data)
    votes = ferplus_votes(tmp_path)
    np.testing.assert_array_equal(votes.opinions, ROWS.votes)
    assert votes.opinions.dtype == np.int64
    assert votes.splits.tolist() == ROWS.splits


def test_a_file_beside_it_will_do_as_data_dir(tmp_path):
    (tmp_path / "fer2013new.csv").write_bytes(text(LINES))
    (tmp_path / "fer2013.csv").touch()
    assert list(ferplus_votes(tmp_path / "fer2013.csv").hashes) == ["fer2013new.csv"]


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (b"Training,a.png,11,0,0,0,0,0,0,0,0,0", "votes from 0 to 10, found '11' for neutral"),
        (b"Training,a.png,0,0,0,0,0,0,0,0,0,-1", "votes from 0 to 10, found '-1' for NF"),
        (b"Training,a.png,0,2.5,0,0,0,0,0,0,0,0", "found '2.5' for happiness"),
        (b"Training,a.png,,0,0,0,0,0,0,0,0,0", "found '' for neutral"),
        (b"Test,a.png,0,0,0,0,0,0,0,0,0,10", "found 'Test'"),
        (b"Training,a.png,0,0,0,0", "expected 12 columns, found 6"),
        (b"", "expected 12 columns, found an empty line"),
    ],
)
def test_a_wrong_row_is_refused_by_its_number(tmp_path, row, expected):
    path = tmp_path / "fer2013new.csv"
    path.write_bytes(text([*LINES[:4], row, *LINES[5:]]))
    with pytest.raises(InputError) as caught:
        ferplus_votes(tmp_path)
    message = str(caught.value)
    assert f"{path}: line 5 (data row 4, counted from 1): " in message
    assert expected in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", "missing Usage, neutral"),
        (b"<html>\n", "missing Usage"),
        (text(LINES[:1]), "has a header but no rows"),
        (text([line.rpartition(b",")[0] for line in LINES]), "missing NF"),
        (
            text([line + b",0" for line in (LINES[0].replace(b"NF", b"NF,NF"), *LINES[1:])])[:-3],
            "each column once in line 1, found NF again",
        ),
        (text([LINES[0], b"Training,\xff,0,0,0,0,0,0,0,0,0,0"]), "is not CSV text"),
        (text([LINES[0], b'Training,"a,0,0,0,0,0,0,0,0,0,0']), "is not CSV text"),
        (None, "https://github.com/microsoft/FERPlus"),
    ],
)
def test_another_file_is_refused(tmp_path, data, expected):
    if data is not None:
        (tmp_path / "fer2013new.csv").write_bytes(data)
    with pytest.raises(InputError) as caught:
        ferplus_votes(tmp_path)
    assert str(tmp_path) in str(caught.value)
    assert expected in str(caught.value)


def test_votes_that_were_sorted_are_refused(sample_data, tmp_path):
    """Within the splits, where every other check holds, by a column with few values."""
    lines = (sample_data / "fer2013new.csv").read_text().splitlines()
    (tmp_path / "fer2013.csv").symlink_to(sample_data / "fer2013.csv")
    order = sorted(
        lines[1:],
        key=lambda line: (
            ["Training", "PublicTest", "PrivateTest"].index(line.split(",")[0]),
            line.split(",")[3],
        ),
    )
    (tmp_path / "fer2013new.csv").write_text("\n".join([lines[0], *order]))
    with pytest.raises(InputError, match=r"fer2013new.csv was sorted"):
        load_split(tmp_path, "test")
