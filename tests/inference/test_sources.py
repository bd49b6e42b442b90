"""What the words of predict.py's command line mean."""

import io
import os
from pathlib import Path

import pytest

from ferplus_keras.errors import InputError, UsageError
from ferplus_keras.inference.sources import copy_paths, find_sources, is_video, shown_name

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
        (["b*"], ["b.jpg", "below/c.webp"]),  # as a shell expands it
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
    monkeypatch.setattr("sys.stdin", io.StringIO("b.jpg\0below\0"))  # of find -print0
    assert [path.as_posix() for path in find_sources(["-"])] == ["b.jpg", "below/c.webp"]
    odd = Path("a\u2028\nb.jpg")
    odd.touch()
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{odd}\0"))
    assert find_sources(["-"]) == [odd]
    monkeypatch.setattr("sys.stdin", io.StringIO("\n"))
    with pytest.raises(InputError, match="standard input named none"):
        find_sources(["-"])


def test_names_with_spaces_at_their_ends_and_empty_ones(folder, monkeypatch):
    names = [" b.jpg", "c .jpg ", " "]
    for name in names:
        Path(name).touch()
    assert find_sources(names) == [Path(name) for name in names]
    monkeypatch.setattr("sys.stdin", io.StringIO("c .jpg \nb.jpg \n"))
    assert find_sources(["-"]) == [Path("c .jpg "), Path("b.jpg")]
    with pytest.raises(InputError, match="got an empty one"):
        find_sources(["b.jpg", ""])  # of a shell's unset variable


def test_links_to_folders_are_followed_but_not_in_circles(folder, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "e.jpg").touch()
    (elsewhere / "circle").symlink_to(elsewhere, target_is_directory=True)
    Path("link").symlink_to(elsewhere, target_is_directory=True)
    assert [path.as_posix() for path in find_sources(["link"])] == ["link/e.jpg"]
    (elsewhere / "gone.jpg").symlink_to("nowhere")
    assert [path.name for path in find_sources(["link"])] == ["e.jpg", "gone.jpg"]
    assert Path("link/e.jpg") in find_sources(["."])


def test_folders_with_brackets_take_patterns(folder):
    Path("album [2019]").mkdir()
    Path("album [2019]/x.jpg").touch()
    for pattern in ("album [2019]/*.jpg", "album [2019]", "album [2019]/x.jpg"):
        assert find_sources([pattern]) == [Path("album [2019]/x.jpg")]


def test_what_a_folder_holds_beside_is_counted(folder, capsys):
    find_sources(["."])
    assert capsys.readouterr().err == (
        "note: skipped what is neither picture nor video by its ending in .: 1 .txt\n"
    )


def test_addresses_are_videos_and_show_no_password(folder):
    address = "rtsp://user:secret@10.0.0.7:554/live?x=1"
    (source,) = find_sources([address])
    assert source == address
    assert is_video(source)
    assert shown_name(source) == "rtsp://10.0.0.7:554/live?x=1"
    (copy,) = copy_paths([source], Path("out")).values()
    assert copy == Path("out/rtsp_10_0_0_7_554_live_x_1.mp4")
    assert shown_name("rtsp://user:p@ss@camera/live") == "rtsp://camera/live"
    assert shown_name("http://camera/live?to=a@b") == "http://camera/live?to=a@b"
    assert shown_name("http://camera?to=a@b") == "http://camera?to=a@b"


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


def test_pipes_and_devices_are_no_sources(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    for name in (str(tmp_path / "pipe.png"), "/dev/zero"):
        with pytest.raises(InputError, match="is a pipe or a device"):
            find_sources([name])


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


def test_copies_never_leave_their_folder(folder, monkeypatch):
    monkeypatch.chdir("below")
    copies = copy_paths([Path("../b.jpg"), Path("c.webp"), Path("../below/c.webp")], Path("out"))
    assert [path.as_posix() for path in copies.values()] == [
        "out/b.jpg",
        "out/below/c.webp",
        "out/below/c.webp",
    ]


@pytest.mark.parametrize(
    "sources",
    [
        [Path("one/a.gif"), Path("one/a.gif.png")],
        ["rtsp://camera/live/1", "rtsp://camera/live?1"],
    ],
)
def test_copies_never_overwrite_each_other(sources):
    with pytest.raises(UsageError, match=r"--save_dir: the annotated copy of .* would overwrite"):
        copy_paths(sources, Path("out"))


def test_a_pattern_does_not_take_the_copies(folder):
    Path("annotated").mkdir()
    Path("annotated/b.jpg").touch()
    assert Path("annotated/b.jpg") in find_sources(["*"])
    assert Path("annotated/b.jpg") not in find_sources(["*"], Path("annotated"))
    assert Path("annotated/b.jpg") in find_sources(["*"], Path("not_there_yet"))
