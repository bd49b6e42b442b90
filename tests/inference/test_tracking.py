"""Faces keep their numbers while they move, grow, cross and leave."""

import cv2
import numpy as np
import pytest

from ferplus_keras.inference.crop import DetectedFace, overlap
from ferplus_keras.inference.video import REMEMBERED, Tracker
from tests.inference.faces import grounds, head, lay


def follow(places, every=10, seeds=(1, 2), side=60, detect=None):
    """Lay heads at their places, frame by frame, and follow them.

    Args:
        places: one list a frame of (x, y, side) a head, or None where it is out of sight; the
            last lies on top.
        detect: frame number and boxes in sight -> boxes that the detector finds.

    Returns:
        For each frame, number -> box.
    """
    tracker, found = Tracker(), []
    for index, frame in enumerate(places):
        picture = grounds()
        boxes = []
        for seed, place in zip(seeds, frame, strict=False):
            if place is None:
                continue
            x, y, size = place
            lay(picture, cv2.resize(head(seed, side), (round(size), round(size))), x, y)
            hidden = [box for box in boxes if overlap(box, (x, y, size, size)) > 0.3]
            boxes = [box for box in boxes if box not in hidden]
            if -size / 2 < x < 320 - size / 2:
                boxes.append((x, y, size, size))
        grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
        tracker.follow(grey)
        if index % every == 0 or tracker.lost:
            shown = detect(index, boxes) if detect else boxes
            tracker.correct(grey, [DetectedFace(box, 1.0, None) for box in shown])
        found.append({track.number: track.face.box for track in tracker.visible})
    return found


def test_a_face_that_moves_and_grows_is_followed_between_detections():
    places = [
        [(120 + 60 * np.sin(i / 10), 80 + 20 * np.cos(i / 7), 60 * (1 + 0.01 * i))]
        for i in range(40)
    ]
    found = follow(places, every=20)
    for frame, (place,) in zip(found, places, strict=True):
        assert list(frame) == [0]
        assert overlap(frame[0], (*place, place[2])) > 0.75


def test_two_faces_that_cross_keep_their_numbers():
    places = [[(20 + 4 * i, 90, 60), (240 - 4 * i, 95, 60)] for i in range(56)]
    for every in (1, 5, 10):
        found = follow(places, every)
        assert set().union(*found) == {0, 1}, every
        for index, frame in enumerate(found):
            left, right = places[index]
            assert overlap(frame[1], (*right, 60)) > 0.6  # it is in front
            if index * 8 < 220 - 60 or index * 8 > 220 + 60 + every * 8:  # found again by then
                assert overlap(frame[0], (*left, 60)) > 0.6


def test_a_face_that_leaves_is_given_up_and_comes_back_as_itself():
    places = [[(200 + 4 * i, 90, 60) if i < 30 else None, (40, 90, 60)] for i in range(40)]
    places += [[(250, 90, 60), (40, 90, 60)]] * 11
    found = follow(places)
    assert all(set(frame) == {1} for frame in found[32:40])
    assert all(1 in frame for frame in found)
    assert set(found[-1]) == {0, 1}
    never = [[None, (40, 90, 60)]] * (REMEMBERED + 20)
    found = follow(places[:40] + never + places[-1:] * 11)
    assert set(found[-1]) == {1, 2}  # too long ago


def test_a_face_that_vanishes_is_not_looked_for_in_every_frame():
    calls = []
    follow(
        [[(100, 90, 60) if i < 15 else None] for i in range(30)],
        detect=lambda index, boxes: calls.append(index) or boxes,
    )
    assert calls == [0, 10, 15, 20]  # 15: the face was just lost


def test_a_new_face_in_the_place_of_another_is_another():
    places = [[(100, 90, 60), None]] * 12 + [[None, (110, 95, 60)]] * 12
    found = follow(places, seeds=(1, 3))
    assert set(found[11]) == {0}
    assert set(found[12]) == {1}


def test_after_a_cut_a_face_in_the_place_of_another_is_another():
    other_room = cv2.resize(head(7)[..., 1], (320, 240))
    other_room[90:150, 100:160] = cv2.cvtColor(head(2), cv2.COLOR_RGB2GRAY)
    tracker, numbers = Tracker(), []
    for grey in [grey_with(head(1))] * 3 + [other_room] * 3 + [grey_with(head(1))] * 3:
        tracker.follow(grey)
        if not tracker.visible:
            tracker.correct(grey, [DetectedFace((100, 90, 60, 60))])
        numbers += [track.number for track in tracker.visible]
    assert numbers == [0, 0, 0, 1, 1, 1, 0, 0, 0]  # the first is known again


def test_a_face_that_turns_while_the_camera_shakes_stays_itself():
    rough = np.random.default_rng(0).normal(128, 60, (240, 340)).astype(np.float32)
    ground = cv2.GaussianBlur(rough, (0, 0), 2).clip(0, 255).astype(np.uint8)
    tracker = Tracker()
    for shift, seed in ((0, 1), (10, 2)):  # turned, it looks a little as it did
        grey = ground[:, shift : shift + 320].copy()
        grey[90:150, 100:160] = cv2.cvtColor(head(seed), cv2.COLOR_RGB2GRAY)
        tracker.follow(grey)
        assert not tracker.visible
        tracker.correct(grey, [DetectedFace((100, 90, 60, 60))])
        assert [track.number for track in tracker.visible] == [0]


def test_frames_may_change_their_shape():
    tracker, face = Tracker(), DetectedFace((100, 90, 60, 60))
    for grey in (grey_with(head(1)), grey_with(head(1))[:200], grey_with(head(1))):
        tracker.follow(grey)
        tracker.correct(grey, [face])
    assert [track.number for track in tracker.visible] == [0]


def test_a_face_that_the_detector_misses_once_keeps_its_number():
    found = follow(
        [[(100 + i, 90, 60)] for i in range(31)],
        detect=lambda index, boxes: [] if index == 10 else boxes,
    )
    assert [index for index, frame in enumerate(found) if set(frame) != {0}] == [10]


def grey_with(pixels):
    picture = grounds()
    lay(picture, pixels, 100, 90)
    return cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)


def test_eyes_turn_and_move_with_their_face():
    still, eyes = grey_with(head(1)), np.array([[115.0, 110], [145, 110]])
    tracker = Tracker()
    for step in range(8):
        matrix = cv2.getRotationMatrix2D((130, 120), -step, 1)
        matrix[:, 2] += 3 * step
        grey = cv2.warpAffine(still, matrix, (320, 240), borderMode=cv2.BORDER_REPLICATE)
        tracker.follow(grey)
        if not step:
            tracker.correct(grey, [DetectedFace((100, 90, 60, 60), eyes=eyes)])
    (track,) = tracker.visible
    np.testing.assert_allclose(track.face.eyes, eyes @ matrix[:, :2].T + matrix[:, 2], atol=1)


@pytest.mark.parametrize("order", [1, -1])
def test_of_two_faces_in_one_place_the_more_similar_stays(order):
    faces = [DetectedFace((100, 90, 60, 60)), DetectedFace((106, 90, 60, 60))]
    grey = grey_with(head(1))
    other = grey.copy()
    other[:, 160:] = 0  # inside the second box only
    tracker = Tracker()
    tracker.follow(grey)
    tracker.correct(other, faces[::order])
    tracker.follow(grey)
    (track,) = tracker.visible
    assert track.face.box[0] == pytest.approx(100, abs=1)


def test_a_face_that_turns_is_compared_with_how_it_was_last_detected():
    tracker = Tracker()
    for share in (0, 0.5, 1):
        grey = grey_with(cv2.addWeighted(head(1), 1 - share, head(2), share, 0))
        tracker.follow(grey)
        tracker.correct(grey, [DetectedFace((100, 90, 60, 60))])
        tracker.follow(grey)
        assert [track.number for track in tracker.visible] == [0]


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ((0, 0, 10, 10), (0, 0, 10, 10), 1),
        ((0, 0, 10, 10), (5, 0, 10, 10), 1 / 3),
        ((0, 0, 10, 10), (10, 0, 10, 10), 0),
        ((0, 0, 10, 10), (15, 15, 10, 10), 0),
        ((0, 0, 0, 0), (0, 0, 0, 0), 0),
    ],
)
def test_overlap(one, other, expected):
    assert overlap(one, other) == pytest.approx(expected)
