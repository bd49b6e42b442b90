"""How tests start Python again with Keras on another backend."""

import os
from pathlib import Path

from tests.conftest import REPOSITORY

HIDING = Path(__file__).parent / "without_tensorflow"
QUICK = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
"""XLA's flags to compile quickly; what it compiles is slower."""


def environment(backend: str, xla_flags: str = "") -> dict[str, str]:
    """Return the variables of a process in which Keras runs on `backend`, on the processor.

    Any other than TensorFlow does without it: Keras would import it wherever it is installed.
    """
    variables = os.environ | {"KERAS_BACKEND": backend}
    if backend != "tensorflow":
        variables["PYTHONPATH"] = os.pathsep.join([str(HIDING), str(REPOSITORY)])
    if backend == "jax":
        variables |= {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": f"{QUICK} {xla_flags}"}
    return variables
