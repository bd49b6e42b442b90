"""Runs that were killed and started again equal unbroken ones: benchmarks/kill.py, in small."""

import importlib.util

from tests.conftest import REPOSITORY

spec = importlib.util.spec_from_file_location("kill", REPOSITORY / "benchmarks" / "kill.py")
kill = importlib.util.module_from_spec(spec)
spec.loader.exec_module(kill)


def test_a_killed_training_and_evaluation_equal_the_unbroken_ones(tmp_path):
    outcomes = kill.score("tensorflow", ["mid-epoch", "report"], 1, tmp_path)
    assert outcomes.keys() == {"mid-epoch", "report"}
    assert {outcome for each in outcomes.values() for outcome in each} <= {"equal", "late"}


def test_every_difference_is_seen():
    expected = {"half files": [], "training.csv": b"1", "final_model.keras": b"2"}
    assert kill.differences(expected, expected) == []
    assert kill.differences(expected | {"training.csv": b"0"}, expected) == ["training.csv"]
    assert kill.differences({"half files": ["x"]}, expected) == [*expected]
