import json

import numpy as np
import pytest
import yaml

from ferplus_keras.arguments import to_plain
from ferplus_keras.cli import main
from ferplus_keras.config import TrainConfig, read_config
from ferplus_keras.data.dataset import load_split
from ferplus_keras.data.ferplus import ferplus_votes
from ferplus_keras.data.labels import LABEL_RULES, Labels
from ferplus_keras.data.targets import LEFT_OUT, RIGHT_SET, find_class_map, merge_classes
from ferplus_keras.emotions import FERPLUS_CLASSES
from ferplus_keras.errors import InputError, UsageError
from tests.data.csv_files import random_rows, write_both

ABCD = tuple("abcd")


def labels_of(targets):
    targets = np.array(targets, np.float32)
    return Labels(targets, np.full(len(targets), ""))


def merged(targets, entries, **options):
    labels = merge_classes(labels_of(targets), ABCD, find_class_map(entries, ABCD), **options)
    assert labels.targets.dtype == np.float32
    np.testing.assert_array_equal(labels.reasons, np.where(labels.keep, "", LEFT_OUT))
    return labels.targets.tolist()


def test_shares_add_up_and_left_out_ones_are_taken_from_the_whole():
    """Dropped, as zeros, is only the row whose left-out class d leads alone."""
    soft = [[0.25, 0.25, 0.5, 0], [0.2, 0.2, 0.1, 0.5], [0.25, 0.25, 0, 0.5], [0, 0.4, 0, 0.6]]
    found = merged(soft, ["c=c", "new=a+b"])
    expected = [[0.5, 0.5], [0, 0], [0, 1], [0, 0]]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_of_several_right_classes_what_is_left_stays_right():
    found = merged([[1, 1, 0, 1], [0, 0, 0, 1], [1, 0, 1, 0]], ["ab=a+b", "c=c"], kind=RIGHT_SET)
    assert found == [[1, 0], [0, 0], [1, 1]]


def test_rows_dropped_before_keep_their_reason():
    before = labels_of(np.eye(4)).without(np.array([True, False, False, False]), "blurred")
    after = merge_classes(before, ABCD, find_class_map(["b=b", "c=c"], ABCD))
    assert after.reasons.tolist() == ["blurred", "", "", LEFT_OUT]
    assert after.keep.tolist() == [False, True, True, False]
    twice = before.without(np.array([True, True, False, False]), "asleep")
    assert twice.reasons.tolist() == ["blurred", "asleep", "", ""]


def test_without_entries_nothing_changes():
    labels = labels_of(np.eye(4))
    assert merge_classes(labels, ABCD, find_class_map(None, ABCD)) is labels


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        (["x=a+e", "y=b"], "unknown class in --class_map 'e'. Known: a, b, c, d"),
        (["x=a+b", "y=b"], "the class 'b' is named twice"),
        (["x=a+a", "y=b"], "the class 'a' is named twice"),
        (["x=a", "x=b"], "'x' appears before '=' twice"),
        (["x=a"], "two new classes or more, got 1"),
        ([], "two new classes or more, got 0"),
        (["a", "b"], "expected NEW=OLD or NEW=OLD.OLD, .* got 'a'"),
        (["=a", "y=b"], "got '=a'"),
        (["x=a+", "y=b"], r"got 'x=a\+'"),
    ],
)
def test_a_map_that_makes_no_sense_is_refused(entries, message):
    with pytest.raises(UsageError, match=message):
        find_class_map(entries, ABCD)


def test_classes_in_another_order_and_missing_ones_have_their_columns(tmp_path):
    rows = random_rows()
    folder = write_both(tmp_path / "data", rows)
    plain = load_split(folder, "train", "FERPlus7")
    arranged = load_split(folder, "train", "FERPlus7", class_names=FERPLUS_CLASSES[::-1])
    assert arranged.class_names == FERPLUS_CLASSES[::-1]
    np.testing.assert_array_equal(arranged.targets[:, 1:], plain.targets[:, ::-1])
    assert not arranged.targets[:, 0].any()
    with pytest.raises(InputError, match="has the class 'happiness', expected only neutral, anger"):
        load_split(folder, "train", "FERPlus7", class_names=["neutral", "anger"])


def test_a_recipe_may_write_the_map_as_a_mapping(tmp_path):
    (tmp_path / "recipe.yaml").write_text(
        "class_map:\n  negative: [sadness, anger]\n  positive: happiness\n"
    )
    config = read_config(TrainConfig, ["--config", str(tmp_path / "recipe.yaml")], "train.py")
    assert config.class_map == ("negative=sadness+anger", "positive=happiness")
    (tmp_path / "saved.yaml").write_text(yaml.safe_dump(to_plain(config)))
    words = ["--config", str(tmp_path / "saved.yaml"), "--name", config.name]
    assert read_config(TrainConfig, words, "") == config


def test_the_labels_command_takes_a_map(tmp_path, capsys):
    folder = write_both(tmp_path / "data", random_rows())
    command = ["labels", "--data_dir", str(folder), "--dataset_name", "FER", "--json"]
    assert main([*command, "--class_map", "low=sadness+fear", "high=happiness"]) == 0
    counts = json.loads(capsys.readouterr().out)
    assert counts["classes"] == ["low", "high"]
    assert counts["total"]["reasons"].keys() == {LEFT_OUT}
    assert main([*command, "--class_map", "low=sad", "high=happiness"]) == 2
    assert "unknown class in --class_map 'sad'; did you mean 'sadness'?" in capsys.readouterr().err
    (folder / "fer2013.csv").unlink()
    assert main(["labels", "--data_dir", str(folder), "--class_map", "@a=fear", "b=anger"]) == 1
    assert "--class_map: a class name may not begin with @" in capsys.readouterr().err


def plain_merge(target, groups, *, kind):
    """Return the new target of one row as a list, None where it is dropped."""
    new = [[target[FERPLUS_CLASSES.index(old)] for old in of_new] for of_new in groups]
    named = {old for of_new in groups for old in of_new}
    left_out = [
        share for old, share in zip(FERPLUS_CLASSES, target, strict=True) if old not in named
    ]
    if kind is RIGHT_SET:
        new = [max(shares) for shares in new]
        return new if any(new) else None
    new = [sum(shares) for shares in new]
    if max(left_out) > max(new) + 1e-6:
        return None
    return [share / sum(new) for share in new]


@pytest.mark.parametrize("name", ["distribution", "ms_multi_target"])
def test_merging_equals_a_plain_loop_on_the_real_votes(real_data, name):
    rule = LABEL_RULES[name]
    labels = rule.apply(ferplus_votes(real_data).opinions)
    class_map = {"bad": ("sadness", "anger", "fear"), "fine": ("neutral", "happiness")}
    found = merge_classes(labels, FERPLUS_CLASSES, class_map, kind=rule.kind)
    expected = [
        plain_merge(target, class_map.values(), kind=rule.kind) if keep else None
        for target, keep in zip(labels.targets.tolist(), labels.keep, strict=True)
    ]
    np.testing.assert_array_equal(found.keep, [target is not None for target in expected])
    assert 0 < np.count_nonzero(found.reasons == LEFT_OUT) < len(expected) / 3
    filled = [target or [0.0, 0.0] for target in expected]
    np.testing.assert_allclose(found.targets, filled, rtol=1e-5)
