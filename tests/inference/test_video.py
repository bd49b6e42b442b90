"""Videos and cameras: frames in and out, faces followed, scores smoothed."""

import csv
import io
import itertools
import re
import struct
import sys
import threading
import time
import wave
from dataclasses import replace
from functools import partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import cv2
import numpy as np
import pytest

from ferplus_keras.emotions import FERPLUS_CLASSES
from ferplus_keras.errors import InputError, Terminated
from ferplus_keras.inference import sources, tables
from ferplus_keras.inference.predictor import Predictor
from ferplus_keras.inference.sources import AHEAD, open_video, video_writer
from ferplus_keras.inference.video import SMOOTHING, predict_frames, predict_video
from tests.inference.faces import by_brightness, grounds, head, lay, red_patches

FRAMES = 45


def frame(index: int) -> np.ndarray:
    """Return a picture with a dark head that moves, and a bright one in its first 20 frames."""
    picture = grounds()
    lay(picture, head(1, 70, 70), 20 + 3 * index, 40)
    if index < 20:
        lay(picture, head(2, 60, 200), 230, 150)
    return picture


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    with video_writer(path, 30) as add:
        for index in range(FRAMES):
            add(frame(index))
    return path


def decoding():
    return [thread for thread in threading.enumerate() if thread.name == "decode"]


def test_frames_come_back_as_they_were_written(clip):
    video = open_video(clip)
    assert (video.rate, video.count, video.name) == (30, FRAMES, str(clip))
    moments, found = zip(*video.frames, strict=True)
    np.testing.assert_allclose(moments, np.arange(FRAMES) / 30, atol=1e-3)
    assert len(found) == FRAMES
    for index in (0, 20, FRAMES - 1):
        difference = found[index].astype(int) - frame(index)
        assert np.abs(difference).mean() < 8
        assert found[index].shape == (240, 320, 3)
    assert not decoding()


def test_a_name_with_a_colon_is_no_address(clip, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("10:30.mp4").write_bytes(clip.read_bytes())
    assert len(list(open_video(Path("10:30.mp4")).frames)) == FRAMES


def test_a_full_disk_leaves_the_older_copy(tmp_path):
    resource = pytest.importorskip("resource", reason="not on Windows")
    path = tmp_path / "copy.mp4"
    path.write_text("older")

    def write():
        noise = np.random.default_rng(0)
        with video_writer(path, 10) as add:
            for _ in range(20):
                add(noise.integers(0, 256, (120, 160, 3), np.uint8))

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        with pytest.raises(InputError, match=r"cannot write .*copy\.mp4: .* is the disk full"):
            write()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_text() == "older"
    assert list(tmp_path.iterdir()) == [path]


def test_the_answers_survive_a_copy_that_cannot_be_written(clip, tmp_path):
    resource = pytest.importorskip("resource", reason="not on Windows")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2_000, hard))
    try:
        summary = predict_video(clip, Predictor(detector="whole"), copy=tmp_path / "copy.mp4")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "is the disk full" in summary.problem
    assert sum(face["frames"] for face in summary.entry()["faces"]) == FRAMES
    assert not list(tmp_path.glob("*copy*"))


def test_a_time_lapse_keeps_its_rate(tmp_path):
    path = tmp_path / "slow.mp4"
    with video_writer(path, 0.5) as add:
        for _ in range(3):
            add(np.zeros((48, 64, 3), np.uint8))
    video = open_video(path)
    assert (video.rate, [seconds for seconds, _ in video.frames]) == (0.5, [0, 2, 4])


@pytest.mark.parametrize(("turned", "scale"), [(False, 2), (True, 2), (False, 0.5), (False, 1.01)])
def test_frames_are_shown_with_square_pixels(clip, tmp_path, turned, scale):
    content = bytearray(clip.read_bytes())
    at = content.index(b"tkhd") - 4
    end = at + int.from_bytes(content[at : at + 4])  # matrix, width and height are its last fields
    content[end - 8 : end - 4] = round(320 * scale * 65536).to_bytes(4)
    if turned:
        content[end - 44 : end - 8] = struct.pack(">9i", 0, 1 << 16, 0, -1 << 16, *[0] * 4, 1 << 30)
    path = tmp_path / "wide.mp4"
    path.write_bytes(content)
    plain = frame(0)
    shape = {2: (240, 640), 0.5: (480, 320), 1.01: (240, 320)}[scale]
    expected = cv2.resize(plain, shape[::-1])
    expected = np.rot90(expected, -1) if turned else expected
    found = next(open_video(path).frames)[1]
    assert found.shape == expected.shape
    assert np.abs(found.astype(int) - expected).mean() < 8


def vary_rate(path, durations):
    """Give the frames of an .mp4 file durations of their own, in seconds."""
    content = bytearray(path.read_bytes())
    scale_at = content.index(b"mdhd") + 16
    scale = int.from_bytes(content[scale_at : scale_at + 4])
    at = content.index(b"stts") - 4
    old = int.from_bytes(content[at : at + 4])
    table = b"".join(
        (1).to_bytes(4) + round(duration * scale).to_bytes(4) for duration in durations
    )
    box = b"stts" + bytes(4) + len(durations).to_bytes(4) + table
    new = (len(box) + 4).to_bytes(4) + box
    for name in (b"moov", b"trak", b"mdia", b"minf", b"stbl"):
        size_at = content.index(name) - 4
        assert size_at > content.index(b"mdat")  # else the frames would move
        size = int.from_bytes(content[size_at : size_at + 4]) + len(new) - old
        content[size_at : size_at + 4] = size.to_bytes(4)
    content[at : at + old] = new
    path.write_bytes(content)


def test_frames_of_a_variable_rate_have_their_own_times(light, clip, tmp_path):
    path = tmp_path / "phone.mp4"
    path.write_bytes(clip.read_bytes())
    durations = np.where(np.arange(FRAMES) % 3 == 0, 3, 1) / 50
    assert durations.sum() == pytest.approx(FRAMES / 30)
    vary_rate(path, durations)
    expected = np.cumsum(durations) - durations
    moments = [seconds for seconds, _ in open_video(path).frames]
    np.testing.assert_allclose(moments, expected, atol=2e-3)
    with tables.csv_table(tmp_path / "f.csv", FERPLUS_CLASSES, video=True) as add:
        copy = tmp_path / "copy.mp4"
        summary = predict_video(path, Predictor(), add_to_table=add, copy=copy)
    with (tmp_path / "f.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            assert float(row["seconds"]) == pytest.approx(expected[int(row["frame"])], abs=2e-3)
    assert summary.faces[1].ends == pytest.approx(expected[19], abs=2e-3)
    video = open_video(copy)
    assert video.count / video.rate == pytest.approx(expected[-1], abs=0.15)  # in step
    stopped = predict_video(path, Predictor(), seconds=0.7)
    assert stopped.frames == np.count_nonzero(expected < 0.7 - 0.5 / 30)


def test_what_annotated_copies_lack_is_said_with_the_command_that_adds_it(monkeypatch, tmp_path):
    said = []
    monkeypatch.setattr(sources, "say_once", said.append)
    with video_writer(tmp_path / "a.mp4", 10) as add:
        add(grounds())
    (note,) = said
    assert note.startswith("note: annotated copies have no sound")
    assert "ffmpeg -i COPY -i ORIGINAL -map 0:v -map '1:a?' -c:v " in note
    monkeypatch.setattr(sources, "CODECS", ("none", "mp4v"))
    with video_writer(tmp_path / "b.mp4", 10) as add:
        add(grounds())
    assert "browsers do not play them: OpenCV has no H.264 here" in said[1]
    assert "-c:v libx264" in said[1]


def test_a_video_by_its_address(light, clip, tmp_path):
    handler = partial(SimpleHTTPRequestHandler, directory=clip.parent)
    handler.func.log_message = lambda *args: None
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://user:secret@127.0.0.1:{server.server_port}/{clip.name}"
        try:
            summary = predict_video(address, Predictor())
        finally:
            server.shutdown()
    assert summary.frames == FRAMES
    assert "secret" not in summary.name
    with pytest.raises(InputError, match=r"cannot open http://127.0.0.1:9/x: no answer, or no vid"):
        open_video("http://user:secret@127.0.0.1:9/x")


class MotionJpeg(BaseHTTPRequestHandler):
    """A network camera that sends ten pictures per second."""

    picture = cv2.imencode(".jpg", np.zeros((48, 64, 3), np.uint8))[1].tobytes()

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=next")
        self.end_headers()
        for _ in range(16):
            self.wfile.write(b"--next\r\nContent-Type: image/jpeg\r\n")
            length = len(self.picture)
            self.wfile.write(b"Content-Length: %d\r\n\r\n%b\r\n" % (length, self.picture))
            time.sleep(0.1)

    def log_message(self, *args):
        pass


def test_frames_of_a_network_camera_have_the_time_at_which_they_arrive():
    with ThreadingHTTPServer(("127.0.0.1", 0), MotionJpeg) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            video = open_video(f"http://127.0.0.1:{server.server_port}/camera.mjpg")
            moments = [seconds for seconds, _ in video.frames]
        finally:
            server.shutdown()
    assert video.live
    assert moments == sorted(moments)
    assert moments[-1] > 1.2, "FFmpeg says 0.6, as if they were 25 per second"


def test_the_address_of_a_picture_is_named(light, tmp_path):
    cv2.imwrite(str(tmp_path / "photo.JPG"), frame(0))
    with ThreadingHTTPServer(
        ("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=tmp_path)
    ) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            address = f"http://127.0.0.1:{server.server_port}/photo.JPG"
            summary = predict_video(address, Predictor())
        finally:
            server.shutdown()
    assert summary.frames == 1
    assert "photo.JPG is a picture, read as a video: download it" in summary.problem


def test_a_reader_that_stops_early_stops_the_thread(clip):
    opened = open_video(clip).frames
    next(opened)
    assert FRAMES > AHEAD + 2
    assert len(decoding()) == 1
    opened.close()
    assert not decoding()


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (None, "no video at .*x.mp4"),
        (b"", "cannot open .*x.mp4: no video, or damaged"),
        (b"no video at all", "cannot open .*x.mp4: no video, or damaged"),
        ("head", "(cannot open|has no frames)"),
        ("sound", "(cannot open|has no frames)"),
    ],
)
def test_what_is_no_video_is_said_in_one_line(clip, content, expected, tmp_path, capfd):
    path = tmp_path / "x.mp4"
    if content == "head":
        content = clip.read_bytes()[:500]
    elif content == "sound":
        with wave.open(str(tmp_path / "sound"), "wb") as sound:
            sound.setparams((1, 2, 8000, 0, "NONE", ""))
            sound.writeframes(bytes(8000))
        content = (tmp_path / "sound").read_bytes()
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=expected):
        open_video(path)
    assert capfd.readouterr().err == ""


def test_huge_frames_are_refused_before_one_is_decoded(tmp_path, monkeypatch):
    path = tmp_path / "huge.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"FFV1"), 30, (320, 240))
    for index in range(3):
        writer.write(frame(index))
    writer.release()
    content = path.read_bytes()
    sides = content.index(b"strf") + 12  # width and height of BITMAPINFOHEADER
    assert struct.unpack_from("<2i", content, sides) == (320, 240)
    path.write_bytes(content[:sides] + struct.pack("<2i", 20_000, 10_000) + content[sides + 8 :])

    class Capture:
        """OpenCV's, which may not decode."""

        def __init__(self, name):
            opened = cv2_capture(name)
            self.get, self.isOpened = opened.get, opened.isOpened

    cv2_capture = cv2.VideoCapture
    monkeypatch.setattr(cv2, "VideoCapture", Capture)
    said = "cannot open .*huge.avi: expected at most 178 million pixels, found 20000 x 10000"
    with pytest.raises(InputError, match=said):
        open_video(path)


def test_a_missing_camera_is_said_in_one_line(capfd):
    with pytest.raises(InputError, match="cannot open camera 99: is it connected"):
        open_video(99)
    assert capfd.readouterr().err == ""


def test_the_annotated_copy_and_the_table_and_the_summary(light, clip, tmp_path):
    with tables.csv_table(tmp_path / "f.csv", Predictor().class_names, video=True) as add:
        summary = predict_video(
            clip, Predictor(), every=10, copy=tmp_path / "copy.mp4", add_to_table=add
        )
    assert (summary.frames, summary.rate, list(summary.faces)) == (FRAMES, 30, [0, 1])
    dark, bright = summary.faces.values()
    assert (dark.first, dark.last, dark.frames) == (0, FRAMES - 1, FRAMES)
    assert (bright.first, bright.last) == (0, 19)
    entry = summary.entry()
    assert entry["file"] == str(clip)
    assert entry["faces"][0]["label"] != entry["faces"][1]["label"]
    assert sum(entry["faces"][0]["probabilities"].values()) == pytest.approx(1)
    said = str(summary).splitlines()
    assert f"{FRAMES} frames in" in said[0]
    assert f"seen in {FRAMES} frames (0.0 to 1.5 s)" in said[1]

    with (tmp_path / "f.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == FRAMES + 20
    for row in rows:
        index = int(row["frame"])
        assert float(row["seconds"]) == pytest.approx(index / 30, abs=1e-3)
        x = 20 + 3 * index if row["face"] == "0" else 230
        assert float(row["x"]) == pytest.approx(x, abs=5)
        assert row["label"] == entry["faces"][int(row["face"])]["label"]

    copy = open_video(tmp_path / "copy.mp4")
    plain = [frame for _, frame in open_video(clip).frames]
    drawn = [frame for _, frame in copy.frames]
    assert (len(drawn), copy.rate) == (FRAMES, 30)
    differs = np.abs(drawn[30].astype(int) - plain[30]).max(axis=2) > 60
    rows, columns = np.nonzero(differs)
    assert abs(columns.min() - 110) < 6
    assert abs(rows.max() - 110) < 6
    assert not differs[60:100, 120:170].any()


def test_scores_are_smoothed_within_a_face(light):
    """A head whose brightness jumps: each frame's answer counts a fixed share."""
    pictures = []
    for index in range(8):
        picture = grounds()
        lay(picture, head(1, 80, 60 if index < 4 else 180), 100, 80)
        pictures.append(picture)
    predictor = Predictor()
    raw = [list(face.probabilities.values()) for (face,) in predictor(pictures)]
    for chunk_size in (1, 3, 16):  # chunks change nothing
        seen = predict_frames(enumerate(pictures), predictor, every=1, chunk_size=chunk_size)
        expected = np.array(raw[0])
        for index, (_, _, ((number, face),)) in enumerate(seen):
            expected = SMOOTHING * expected + (1 - SMOOTHING) * np.array(raw[index])
            assert number == 0
            np.testing.assert_allclose(list(face.probabilities.values()), expected, atol=1e-5)


def test_faces_are_detected_now_and_then_on_a_small_copy(light):
    predictor = Predictor()
    asked = []
    predictor.detect = lambda image: asked.append(image.shape) or red_patches(image)
    large = [cv2.resize(frame(index), (960, 720)) for index in range(20)]
    found = [faces for *_, faces in predict_frames(enumerate(large), predictor, every=8)]
    assert asked == [(360, 480, 3)] * 3
    for index, faces in enumerate(found):
        ((_, first), _) = sorted(faces)
        np.testing.assert_allclose(first.box, np.multiply((20 + 3 * index, 40, 70, 70), 3), atol=12)


def test_a_lost_face_is_looked_for_at_once(light):
    predictor, seen, asked = Predictor(), [], []

    def jumping():
        for index in range(8):
            seen.append(index)
            yield index, frame(20 if index < 5 else 50)

    predictor.detect = lambda image: asked.append(seen[-1]) or red_patches(image)
    list(predict_frames(jumping(), predictor, every=20))
    assert asked[:2] == [0, 5]


def test_the_whole_frame_is_the_face_whatever_moves_in_it(light):
    moving = [np.roll(frame(0), 4 * index, axis=1) for index in range(6)]
    for *_, ((number, face),) in predict_frames(enumerate(moving), Predictor(detector="whole")):
        assert (number, face.box) == (0, (0, 0, 320, 240))


class Camera:
    """Stands in for cv2.VideoCapture: frames without end."""

    def __init__(self, source):
        self.index = -1
        assert source == 0

    def isOpened(self):
        return True

    def read(self):
        self.index += 1
        return True, frame(self.index % 20)[..., ::-1].copy()

    def get(self, what):
        known = {cv2.CAP_PROP_FPS: 0, cv2.CAP_PROP_FRAME_COUNT: -1}
        return known.get(what, 1000 + 40 * self.index)  # CAP_PROP_POS_MSEC

    def release(self):
        pass


def test_the_faces_of_a_camera_are_printed_frame_by_frame(light, monkeypatch):
    printed = io.BytesIO()
    monkeypatch.setattr(cv2, "VideoCapture", Camera)
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(printed))
    predictor, seen = Predictor(), []
    with tables.csv_table(tables.STANDARD_OUTPUT, predictor.class_names, video=True) as add:

        def add_and_look(*line):
            seen.append(printed.getvalue().count(b"camera 0,"))
            add(*line)

        predict_video(0, predictor, seconds=0.4, add_to_table=add_and_look)
    assert seen[0] == 0
    assert all(later > earlier for earlier, later in itertools.pairwise(seen))


def test_a_camera_runs_until_its_time_is_up(light, monkeypatch, tmp_path):
    monkeypatch.setattr(cv2, "VideoCapture", Camera)
    summary = predict_video(0, Predictor(), seconds=0.4)
    assert summary.name == "camera 0"
    assert 1 <= summary.frames <= 10  # at 25 frames/s, less those that nobody had time for
    assert not decoding()


def test_a_camera_that_stops_before_its_time_is_named(light, monkeypatch):
    class Unplugged(Camera):
        def read(self):
            good, image = super().read()
            return good and self.index < 9, image

    monkeypatch.setattr(cv2, "VideoCapture", Unplugged)
    ended = predict_video(0, Predictor()).problem
    assert re.match(r"camera 0 ended by itself after 0\.\d s$", ended)
    assert re.match(
        r"camera 0 ends after 0\.\d of 60\.0 s$", predict_video(0, Predictor(), seconds=60).problem
    )


@pytest.mark.parametrize(("announced", "slower"), [(60, 60 / 45), (45, 0.1)])
def test_a_video_is_whole_if_its_frames_or_its_seconds_are(light, monkeypatch, announced, slower):
    """A variable rate, of which FFmpeg knows the mean of two; a last frame that is held."""

    class Variable(Camera):
        def __init__(self, source):
            self.index = -1

        def read(self):
            good, image = super().read()
            return good and self.index < 45, image

        def get(self, what):
            known = {cv2.CAP_PROP_FPS: 29.97, cv2.CAP_PROP_FRAME_COUNT: announced}
            return known.get(what, 1000 / 29.97 * self.index * slower)

    monkeypatch.setattr(cv2, "VideoCapture", Variable)
    summary = predict_video("http://localhost/clip.webm", Predictor())
    assert (summary.frames, summary.problem) == (45, None)


@pytest.mark.parametrize("rate", [0.01, 23.976, 59.9412, 119.8834, 229.2737])
def test_copies_of_any_rate_are_written(tmp_path, rate, monkeypatch):
    class Rated(Camera):
        def get(self, what):
            return {cv2.CAP_PROP_FPS: rate, cv2.CAP_PROP_FRAME_COUNT: -1}.get(what, 40 * self.index)

    with monkeypatch.context() as patch:
        patch.setattr(cv2, "VideoCapture", Rated)
        found = open_video(0).rate
    assert found == pytest.approx(rate, abs=0.05)
    with video_writer(tmp_path / "copy.mp4", found) as add:
        for index in range(3):
            add(frame(index))
    assert len(list(open_video(tmp_path / "copy.mp4").frames)) == 3


def test_large_frames_are_few_at_a_time(clip, monkeypatch):
    assert open_video(clip).ahead == 16
    monkeypatch.setattr(sources, "IN_MEMORY", 3 * 320 * 240 * 3)
    assert open_video(clip).ahead == 4


@pytest.mark.parametrize("stop", [KeyboardInterrupt(), Terminated(15)])
def test_ctrl_c_or_a_signal_ends_a_camera_and_keeps_what_it_saw(light, monkeypatch, tmp_path, stop):
    predictor = Predictor()
    answered = []

    def interrupted(faces):
        answered.append(len(faces))
        if len(answered) == 16:  # a face has three frames
            raise stop
        return by_brightness().probabilities(faces)

    predictor.classifier = replace(by_brightness(), run=interrupted)
    with monkeypatch.context() as patch:
        file = cv2.VideoCapture  # reads the copy
        patch.setattr(cv2, "VideoCapture", lambda of: Camera(of) if of == 0 else file(of))
        summary = predict_video(0, predictor, copy=tmp_path / "camera.mp4")
    assert summary.frames == 5
    assert summary.stopped is (stop if isinstance(stop, Terminated) else None)  # else the next
    assert open_video(tmp_path / "camera.mp4").count >= 5  # in step, dropped frames or not
    assert not decoding()


def test_ctrl_c_in_a_file_leaves_nothing_half_written(light, clip, tmp_path):
    predictor = Predictor()

    def interrupted(faces):
        raise KeyboardInterrupt

    predictor.classifier = replace(by_brightness(), run=interrupted)
    with pytest.raises(KeyboardInterrupt):
        predict_video(clip, predictor, copy=tmp_path / "copy.mp4")
    assert list(tmp_path.iterdir()) == []
    assert not decoding()
