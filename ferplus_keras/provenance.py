"""What a result depends on besides its settings and the hardware: source and packages."""

import os
import platform
import subprocess
from contextlib import suppress
from importlib import metadata
from pathlib import Path

PACKAGES = (
    "ferplus-keras",
    "keras",
    "tensorflow",
    "tensorflow-cpu",
    "jax",
    "torch",
    "numpy",
    "opencv-python-headless",
)

COMMIT = "FERPLUS_COMMIT"
"""Environment variable that names the commit of a copy of the source without its history."""


def versions() -> dict[str, str]:
    """Return the versions of Python and of the installed packages that shape a result."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        with suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def source_commit() -> str | None:
    """Return the commit of the package's source, 40 hexadecimal digits, with "+" if it was changed.

    $FERPLUS_COMMIT replaces it. An installed package has none.
    """
    if COMMIT in os.environ:
        return os.environ[COMMIT]
    here = Path(__file__).resolve()
    if _git(here.parent, "ls-files", "--error-unmatch", here.name) is None:
        return None  # not a checkout, or one of another project
    commit = _git(here.parent, "rev-parse", "HEAD")
    return commit and commit + ("+" if _git(here.parent, "status", "--porcelain", ".") else "")


def _git(folder: Path, *words: str) -> str | None:
    """Return what git prints; None if it is not there or fails."""
    with suppress(OSError, subprocess.SubprocessError):
        done = subprocess.run(
            ["git", "-C", folder, *words], capture_output=True, text=True, timeout=20, check=True
        )
        return done.stdout.strip()
    return None
