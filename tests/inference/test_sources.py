"""What the words of predict.py's command line mean."""

import io
from pathlib import Path

import pytest

from ferplus_keras.errors import InputError, UsageError
from ferplus_keras.inference.sources import copy_paths, find_sources

FILES = ("b.jpg", "a.PNG", "notes.txt", "clip.mp4", "below/c.webp", ".hidden.jpg", ".x/d.jpg")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Make the working folder one with files in it."""
    for name in FILES:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "folder.jpg").mkdir()
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["."], ["a.PNG", "b.jpg", "below/c.webp", "clip.mp4"]),
        (["b.jpg", "notes.txt"], ["b.jpg", "notes.txt"]),  # what is named is tried
        (["*.jpg", "./b.jpg", "**/*.webp"], ["b.jpg", "below/c.webp"]),
        (["below", "b.jpg"], ["below/c.webp", "b.jpg"]),
        ([".hidden.jpg"], [".hidden.jpg"]),
    ],
)
def test_files_folders_and_patterns(folder, words, expected):
    assert [path.as_posix() for path in find_sources(words)] == expected


def test_standard_input_names_a_file_a_line(folder, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("b.jpg\n\n  below \n"))
    assert [path.as_posix() for path in find_sources(["a.PNG", "-"])] == [
        "a.PNG",
        "b.jpg",
        "below/c.webp",
    ]
    monkeypatch.setattr("sys.stdin", io.StringIO("\n"))
    with pytest.raises(InputError, match="standard input named none"):
        find_sources(["-"])


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("gone.jpg", r"no file, folder or pattern match for gone\.jpg"),
        ("*.gif", r"no file, folder or pattern match for \*\.gif"),
        ("folder.jpg", r"no pictures or videos in folder\.jpg \(looked for \.png"),
    ],
)
def test_words_that_name_nothing_are_refused(folder, word, expected):
    with pytest.raises(InputError, match=expected):
        find_sources([word])


def test_copies_lie_as_their_files_do_in_formats_that_can_be_written(tmp_path):
    names = ("one/a.jpg", "one/a.png", "two/a.jpg", "two/b.pgm", "two/c.mov", "two/d.mp4")
    files = [tmp_path / name for name in names]
    copies = copy_paths(files, tmp_path / "out")
    below = [copies[file].relative_to(tmp_path / "out").as_posix() for file in files]
    assert below == [*names[:3], "two/b.pgm.png", "two/c.mov.mp4", "two/d.mp4"]
    (copy,) = copy_paths(files[2:3], Path("out")).values()
    assert copy == Path("out/a.jpg")


def test_copies_never_overwrite_what_was_given(folder):
    with pytest.raises(UsageError, match=r"--save_dir: .* would overwrite \S*c\.webp;"):
        copy_paths([Path("below/c.webp"), Path("b.jpg")], Path("../" + Path.cwd().name))
