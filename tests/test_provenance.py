import re
import shutil
import subprocess
import sys

from ferplus_keras import hardware, provenance
from tests.conftest import REPOSITORY


def test_a_copy_without_history_has_no_commit_but_the_named_one(tmp_path, monkeypatch):
    shutil.copy(REPOSITORY / "ferplus_keras/provenance.py", tmp_path / "provenance.py")
    code = "from provenance import source_commit; print(source_commit())"

    def said():
        done = subprocess.run(
            [sys.executable, "-B", "-c", code],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout.strip()

    monkeypatch.delenv(provenance.COMMIT, raising=False)
    assert said() == "None"
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run([*git, "init", "-q"], check=True)
    assert said() == "None"  # in somebody else's repository
    subprocess.run([*git, "add", "provenance.py"], check=True)
    subprocess.run([*git, "commit", "-q", "-m", "x"], check=True)
    commit = said()
    assert re.fullmatch("[0-9a-f]{40}", commit)
    (tmp_path / "new.py").touch()
    assert said() == commit + "+"
    (tmp_path / "new.py").unlink()
    (tmp_path / "provenance.py").open("a").write("# changed\n")
    assert said() == commit + "+"
    monkeypatch.setenv(provenance.COMMIT, "abc")
    assert said() == "abc"


def test_hardware_and_versions_are_named():
    found = hardware.hardware()
    assert found["processor"]
    assert found["cores"] >= 1
    assert isinstance(found["gpus"], list)
    assert {"python", "keras", "numpy"} <= set(provenance.versions())
