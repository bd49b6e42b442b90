"""What computes: processor, cores and GPUs."""

import os
import platform
import re
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from ferplus_keras.lazy import jax, keras, tf, torch

GPU_INSTALL = {
    "tensorflow": "pip install 'ferplus-keras[tensorflow-gpu]'",
    "jax": "pip install 'ferplus-keras[jax-gpu]'",
    "torch": "pip install --force-reinstall torch",
}
"""What installs each backend with CUDA's libraries."""


def hardware() -> dict[str, Any]:
    """Return what computes: {"processor": name, "cores": usable ones, "gpus": [names]}."""
    processor = platform.processor() or platform.machine()
    with suppress(OSError, IndexError):  # only Linux has the file, and not every processor a name
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
        processor = re.findall(r"^model name\s*: *(.*\S)", text, re.MULTILINE)[0]
    return {"processor": processor, "cores": cores(), "gpus": _gpus()}


def announce(
    doing: str, precision: str = "float32", *, on_keras: bool = True, gpus: int = 1
) -> None:
    """Say on standard error where the numbers are computed, such as "training on NVIDIA H100".

    A second line warns of an NVIDIA GPU that the Keras backend does not see, unless it is hidden
    from it (`--num_gpus 0`, `$CUDA_VISIBLE_DEVICES`).

    Args:
        doing: the first word.
        precision: of the network's layers.
        on_keras: False for a model that another runtime runs, on the processor.
        gpus: how many are used at most.
    """
    found, count = _gpus()[:gpus] if on_keras else [], cores()
    processor = "1 processor core" if count == 1 else f"{count} processor cores"
    computed = f", {precision}" if on_keras else ""  # an export may compute in bfloat16 or int8
    print(f"{doing} on {' and '.join(found) or processor}{computed}", file=sys.stderr)
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1")
    hidden = hidden or os.environ.get("JAX_PLATFORMS") == "cpu"
    if on_keras and not found and not hidden and _has_nvidia_device():
        used = keras.backend.backend()
        print(
            f"warning: this machine has an NVIDIA GPU, which {used} does not see; run: "
            f"{GPU_INSTALL[used]} (docs/gpu.md), or decline it: CUDA_VISIBLE_DEVICES=-1",
            file=sys.stderr,
        )


def cores() -> int:
    """Return how many processor cores this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # macOS, Windows
        return os.cpu_count()


def _has_nvidia_device() -> bool:
    said = ""
    with suppress(OSError, subprocess.SubprocessError):
        done = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=20)
        said = done.stdout
    return said.startswith("GPU 0") or Path("/dev/nvidia0").exists()  # no such file on Windows


def _gpus() -> list[str]:
    """Return the makers' names of the GPUs that the Keras backend sees."""
    if keras.backend.backend() == "torch":
        return [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    if keras.backend.backend() == "jax":
        return [device.device_kind for device in jax.local_devices() if device.platform == "gpu"]
    details = map(tf.config.experimental.get_device_details, tf.config.list_physical_devices("GPU"))
    return [found.get("device_name", "GPU") for found in details]
