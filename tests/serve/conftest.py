import dataclasses
import io

import numpy as np
import pytest

pytest.importorskip("fastapi")
pytest.importorskip("onnxruntime")

from starlette.testclient import TestClient

from ferplus_keras.inference.detectors import find_detector
from ferplus_keras.inference.predictor import BUNDLED
from ferplus_keras.serve.engine import Engine
from ferplus_keras.serve.guard import Guard, Limits, Metrics
from ferplus_keras.serve.server import make_app
from tests.exports import drawn

whole = find_detector("whole")


def halves(picture: np.ndarray) -> list:
    """Take the halves of a picture as faces, unless it is plain."""
    (face,) = whole(picture)
    height, width = picture.shape[:2]
    boxes = [(0.0, 0.0, width / 2, height), (width / 2, 0.0, width / 2, height)]
    return [face._replace(box=box) for box in boxes] if picture.std() else []


def two_faces(seed: int = 8) -> np.ndarray:
    """Return a picture (48, 96, 3) uint8 of two drawn faces."""
    return np.repeat(np.hstack(drawn(2, seed=seed))[..., None], 3, axis=-1)


def encoded(picture: np.ndarray, kind: str = "png") -> bytes:
    from PIL import Image

    out = io.BytesIO()
    Image.fromarray(picture).save(out, kind)
    return out.getvalue()


@pytest.fixture(scope="session")
def batches() -> list[int]:
    """Return the sizes of the batches that the engine has classified."""
    return []


@pytest.fixture(scope="session")
def engine(batches) -> Engine:
    return Engine({"bundled": BUNDLED}, {"halves": halves}, batches.append)


@pytest.fixture
def serve(engine):
    """Return a function from changed limits to a client of a server of its own."""

    def make(hosts=(), token=None, headers=None, **changed) -> TestClient:
        limits, metrics = dataclasses.replace(Limits(), **changed), Metrics()
        app = make_app(engine, limits, metrics, token=bool(token))
        app = Guard(app, limits, hosts, token, metrics)
        client = TestClient(app, base_url="http://localhost", headers=headers)
        client.guard = app
        return client

    return make


@pytest.fixture
def client(serve):
    return serve()
