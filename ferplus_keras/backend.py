"""Choose the Keras backend and its devices. Must run before `keras` is first imported."""

import importlib.util
import json
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ferplus_keras.errors import InputError
from ferplus_keras.extras import require

BACKENDS = ("tensorflow", "jax", "torch")
"""Backends that train, each the name of the module it needs; the first installed is the default."""


def choose_backend(num_gpus: int = 1) -> None:
    """Make Keras use an installed backend when it is imported.

    `$KERAS_BACKEND` is obeyed, then `~/.keras/keras.json` if what it names is installed (Keras
    itself writes that file, naming TensorFlow), then the first of TensorFlow, JAX and Torch.
    `num_gpus` 0 hides every GPU from the backend.

    Raises:
        InputError: no backend is installed, or not the one asked for; or Keras is not.
    """
    # deepface asks for it; Keras 3 and TensorFlow's older Keras do not go together.
    os.environ.pop("TF_USE_LEGACY_KERAS", None)
    installed = [name for name in BACKENDS if importlib.util.find_spec(name)]
    asked = os.environ.get("KERAS_BACKEND")
    if asked and asked not in installed:
        raise InputError(
            f"KERAS_BACKEND={asked}: expected one of {', '.join(BACKENDS)} that is installed; "
            f"installed: {', '.join(installed) or 'none'}"
        )
    if not installed:
        raise InputError(
            "Keras needs TensorFlow, JAX or Torch; run: pip install 'ferplus-keras[tensorflow]'"
        )
    require(("keras",), "this command")
    if not asked:
        configured = None
        with suppress(OSError, ValueError, AttributeError):
            home = Path(os.environ.get("KERAS_HOME") or os.path.expanduser("~/.keras"))
            configured = json.loads((home / "keras.json").read_text()).get("backend")
        os.environ["KERAS_BACKEND"] = configured if configured in installed else installed[0]
    # TensorFlow would take all of a GPU's memory, whatever it needs.
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
    if os.environ["KERAS_BACKEND"] == "jax":
        _avoid_broken_fusions()
    if num_gpus == 0:
        hide_gpus()


def _avoid_broken_fusions() -> None:
    """Keep JAX 0.11 off YNNPACK, whose fusions return NaN for bfloat16 on processors.

    Other versions may not know the flag, and XLA ends the process for one that it does not know.
    """
    from importlib.metadata import version  # slow; only here

    flag, flags = "--xla_cpu_experimental_ynn_fusion_type", os.environ.get("XLA_FLAGS", "")
    if version("jax").startswith("0.11.") and flag not in flags:
        os.environ["XLA_FLAGS"] = f"{flags} {flag}=".strip()


def hide_gpus() -> None:
    """Keep every backend that is imported later on the CPU."""
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    os.environ["JAX_PLATFORMS"] = "cpu"


def load_keras(num_gpus: int = 1) -> None:
    """Import Keras on the backend that `choose_backend` chooses, without TensorFlow's notices.

    Raises InputError in a fork of a process that has done so; or as `choose_backend`.
    """
    refuse_fork(_owners.setdefault("keras", os.getpid()))
    choose_backend(num_gpus)
    logging.getLogger("tensorflow").setLevel(logging.ERROR)  # advice on functions that are Keras'
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    if "keras" not in sys.modules:
        with leaving_out(b"absl::InitializeLog", b"oneDNN custom operations"):
            import keras  # noqa: F401


_owners: dict[str, int] = {}  # the process that loaded Keras first, which its forks inherit


def refuse_fork(owner: int) -> None:
    """Refuse to go on in a fork of the process `owner`: it would wait for its parent's threads.

    Torch alone does not.
    """
    if os.getpid() != owner and os.environ.get("KERAS_BACKEND") != "torch":
        raise InputError(
            "a network does not run in a forked process, unless it is an .onnx export: use "
            "multiprocessing.get_context('spawn')"
        )


@contextmanager
def leaving_out(*parts: bytes) -> Iterator[None]:
    """Keep lines with any of these parts off standard error, for libraries that obey no setting.

    They write to the file descriptor, some before any logging setting counts. During the block a
    process of its own reads those lines and passes the others on, a crash's last words too.
    """
    command = [sys.executable, "-ISc", _FILTER, *(part.hex() for part in parts)]
    with _STDERR, subprocess.Popen(command, stdin=subprocess.PIPE, stdout=2) as reader:
        sys.stderr.flush()
        shown = os.dup(2)
        os.dup2(reader.stdin.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(shown, 2)
            os.close(shown)


_STDERR = threading.RLock()  # threads that restored it crosswise would wait for each other
_FILTER = """
import signal, sys
signal.signal(signal.SIGINT, signal.SIG_IGN)
parts = [bytes.fromhex(part) for part in sys.argv[1:]]
for line in sys.stdin.buffer:
    if not any(part in line for part in parts):
        sys.stdout.buffer.write(line)
        sys.stdout.buffer.flush()
"""
