"""Several processes, on one machine or many, that train or evaluate one network together by JAX."""

import importlib.util
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ferplus_keras.backend import choose_backend
from ferplus_keras.errors import UsageError, as_input_error, one_line
from ferplus_keras.lazy import jax
from ferplus_keras.run import CONFIG, HISTORY, RECORD, STATE, Run

SIZES = ("SLURM_NTASKS", "OMPI_COMM_WORLD_SIZE")
"""Where Slurm and Open MPI say how many processes there are."""


def join(coordinator: str | None, num_processes: int | None, process_id: int | None) -> None:
    """Join the other processes of a job, before JAX computes anything; arguments as the flags.

    Without a coordinator, JAX detects Slurm, Open MPI and Kubernetes. Then only process 0 prints.

    Raises:
        UsageError: a part is missing, or the backend is not JAX.
        InputError: the other processes cannot be reached.
    """
    given = (coordinator, num_processes, process_id)
    detected = coordinator is None and process_id is None and _in_cluster()
    if given == (None, 1, None) or (given == (None, None, None) and not detected):
        return
    if None in given and not detected:
        raise UsageError("--coordinator, --num_processes and --process_id belong together")
    if process_id is not None and process_id >= num_processes:
        raise UsageError(f"--process_id: expected 0 to {num_processes - 1}, got {process_id}")
    choose_backend()
    backend = os.environ["KERAS_BACKEND"]
    if backend != "jax":
        raise UsageError(
            f"several processes need KERAS_BACKEND=jax; this is {backend} (--num_processes 1 "
            "ignores the cluster)"
        )
    if not jax.distributed.is_initialized():
        with as_input_error("cannot join the other processes", RuntimeError, ValueError):
            jax.distributed.initialize(*given, shutdown_timeout_seconds=60)  # the wait at the end
        if jax.process_index():
            sys.stdout = open(os.devnull, "w")  # noqa: SIM115


def process_count() -> int:
    """Return how many processes `join` has brought together."""
    jax = sys.modules.get("jax")
    return jax.process_count() if jax and jax.distributed.is_initialized() else 1


def _in_cluster() -> bool:
    """Return whether a cluster started this process as one of several."""
    if any(os.environ.get(name, "1") != "1" for name in SIZES):
        return "SLURM_STEP_NODELIST" in os.environ or "OMPI_COMM_WORLD_SIZE" in os.environ
    # JAX asks Kubernetes by this package (jax[k8s]).
    indexed = {"KUBERNETES_SERVICE_HOST", "JOB_COMPLETION_INDEX"} <= os.environ.keys()
    return indexed and importlib.util.find_spec("kubernetes") is not None


@contextmanager
def own_run(run: Run) -> Iterator[Run]:
    """Yield the run that this process may write: in process 0 itself, else a temporary copy."""
    if process_count() == 1 or not sys.modules["jax"].process_index():
        yield run
        return
    with tempfile.TemporaryDirectory(prefix="ferplus_keras_") as folder:
        for name in (CONFIG, RECORD, STATE, HISTORY):
            if (run / name).is_file():
                shutil.copy(run / name, folder)
        yield Run(Path(folder))


def lost_process(error: Exception) -> str | None:
    """Return what to tell a user if the loss of another process raised an error, else None."""
    of_jax = type(error).__name__ == "JaxRuntimeError" or "Gloo" in str(error)  # on processors
    if process_count() == 1 or not of_jax:
        return None
    return (
        f"a process of this job was lost ({one_line(error, 80)}); start it again, with any number "
        "of devices (train.py --resume)"
    )


def leave(code: int) -> None:
    """End this process now if it is one of several: JAX's own exit would wait for all of them."""
    if process_count() > 1:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
