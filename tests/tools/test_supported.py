from packaging.requirements import Requirement

from tests.conftest import REPOSITORY
from tools.supported import constraints, declared, oldest


def test_the_oldest_versions_are_those_that_setup_py_names():
    found = oldest(list(map(Requirement, ("numpy>=2,<3", "a>=1.0.2,<2", "b>=2026.1", "c==0.3"))))
    assert found == ["numpy==2.0.*", "a==1.0.2", "b==2026.1.*"]
    assert {"keras==3.15.*", "numpy==2.0.*"} <= {*oldest(declared())}


def test_the_tested_versions_are_in_the_declared_ranges():
    lines = (REPOSITORY / "constraints.txt").read_text(encoding="utf-8").splitlines()[1:]
    tested = dict(line.split("==") for line in lines)
    needed = [each for each in declared() if each.name.lower() in tested]
    assert {"numpy", "keras", "onnxruntime", "fastapi", "pytest"} <= {each.name for each in needed}
    for each in needed:
        assert each.specifier.contains(tested[each.name.lower()], prereleases=True), each
    assert {line.partition("==")[0] for line in constraints()} >= {"numpy", "pillow"}
