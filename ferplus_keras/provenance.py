"""What a result depends on besides its settings: source, packages and hardware."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGES = (
    "ferplus-keras",
    "keras",
    "tensorflow",
    "tensorflow-cpu",
    "jax",
    "torch",
    "numpy",
    "albumentations",
    "opencv-python-headless",
)

COMMIT = "FERPLUS_COMMIT"
"""Environment variable that names the commit of a copy of the source without its history."""


def versions() -> dict[str, str]:
    """Return the versions of Python and of the installed packages that shape a result."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def source_commit() -> str | None:
    """Return the commit of the package's source, with "+" if files in it were changed.

    Returns:
        40 hexadecimal digits; $FERPLUS_COMMIT if that is set; None for an installed package.
    """
    if COMMIT in os.environ:
        return os.environ[COMMIT]
    package = Path(__file__).resolve().parent
    tracked = ["git", "-C", str(package), "ls-files", "--error-unmatch", Path(__file__).name]
    if _output(tracked) is None:  # not a checkout, or one of another project
        return None
    commit = _output(["git", "-C", str(package), "rev-parse", "HEAD"])
    changed = _output(["git", "-C", str(package), "status", "--porcelain", "."])
    return commit and commit + ("+" if changed else "")


def hardware() -> dict[str, Any]:
    """Return what computes: {"processor": name, "cores": usable ones, "gpus": [names]}."""
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # macOS, Windows
        cores = os.cpu_count()
    return {"processor": _processor(), "cores": cores, "gpus": _gpus()}


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _gpus() -> list[str]:
    """Return the makers' names of the GPUs that the Keras backend sees."""
    from keras.backend import backend

    if backend() == "torch":
        import torch

        return [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    if backend() == "jax":
        import jax

        return [device.device_kind for device in jax.local_devices() if device.platform == "gpu"]
    import tensorflow as tf

    details = map(tf.config.experimental.get_device_details, tf.config.list_physical_devices("GPU"))
    return [found.get("device_name", "GPU") for found in details]


def _output(command: list[str]) -> str | None:
    """Return what a program prints; None if it is not there or fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
