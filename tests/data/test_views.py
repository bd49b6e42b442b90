import numpy as np

from ferplus_keras.data.augment import VIEWS


def faces():
    return np.random.default_rng(0).integers(0, 256, (3, 48, 48), dtype=np.uint8)


def test_views_keep_shape_type_and_number():
    for name, count in {"none": 1, "flip": 2, "ten_crop": 10}.items():
        views = VIEWS[name](faces())
        assert len(views) == count
        for view in views:
            assert (view.shape, view.dtype) == ((3, 48, 48), np.uint8)
    assert len(VIEWS) == 3


def test_flip_is_a_mirror():
    plain, mirrored = VIEWS["flip"](faces())
    np.testing.assert_array_equal(plain, faces())
    np.testing.assert_array_equal(mirrored, faces()[:, :, ::-1])


def test_the_centre_of_ten_crops_is_the_crop_of_each_corner():
    """What a network sees that looks at the centre 40x40 pixels."""
    seen = [view[:, 4:44, 4:44] for view in VIEWS["ten_crop"](faces())]
    expected = []
    for top, left in ((4, 4), (0, 0), (0, 8), (8, 0), (8, 8)):
        crop = faces()[:, top : top + 40, left : left + 40]
        expected += [crop, crop[:, :, ::-1]]
    for view, crop in zip(seen, expected, strict=True):
        np.testing.assert_array_equal(view, crop)


def test_views_of_larger_faces_in_colour_are_those_of_each_channel():
    grey = np.random.default_rng(0).integers(0, 256, (2, 96, 96), dtype=np.uint8)
    colour = np.stack([grey, 255 - grey, grey // 2], axis=-1)
    for name, views in VIEWS.items():
        for view, of_grey in zip(views(colour), views(grey), strict=True):
            np.testing.assert_array_equal(view[..., 0], of_grey)
            np.testing.assert_array_equal(view[..., 1], 255 - of_grey, err_msg=name)
    np.testing.assert_array_equal(VIEWS["ten_crop"](grey)[2][:, 8:, 8:], grey[:, :88, :88])
