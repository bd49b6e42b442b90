"""The routes: pictures, faces, camera, models, health, metrics, documentation and the page."""

import asyncio
import json
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import fastapi_offline
from fastapi import FastAPI, Query, Request, Security, WebSocket, WebSocketDisconnect
from fastapi.exceptions import RequestValidationError, WebSocketRequestValidationError
from fastapi.responses import Response
from fastapi.security import HTTPBearer
from prometheus_client import generate_latest
from pydantic import BaseModel, Field

import ferplus_keras
from ferplus_keras.data.augment import VIEWS
from ferplus_keras.errors import InputError
from ferplus_keras.explain.explanations import methods_of
from ferplus_keras.explain.methods import METHODS
from ferplus_keras.hardware import cores
from ferplus_keras.inference.detectors import WHOLE
from ferplus_keras.serve.engine import Engine
from ferplus_keras.serve.guard import Limits, Metrics, Refused
from ferplus_keras.serve.pictures import decode, uploads
from ferplus_keras.templates import png

PAGE = Path(__file__).with_name("page")
SWAGGER = Path(fastapi_offline.__file__).with_name("static")

FILES = {
    "/": (PAGE / "index.html", "text/html"),
    "/style.css": (PAGE / "style.css", "text/css"),
    "/app.js": (PAGE / "app.js", "text/javascript"),
    "/proper-use": (PAGE / "proper-use.html", "text/html"),
    "/icon.svg": (PAGE / "icon.svg", "image/svg+xml"),
    "/example.jpg": (PAGE / "example.jpg", "image/jpeg"),
    "/docs": (PAGE / "docs.html", "text/html"),
    "/docs/docs.js": (PAGE / "docs.js", "text/javascript"),
    "/docs/swagger-ui.css": (SWAGGER / "swagger-ui.css", "text/css"),
    "/docs/swagger-ui.js": (SWAGGER / "swagger-ui-bundle.js", "text/javascript"),
}
"""Path -> file and its type: the page and the documentation, which load nothing else."""

DESCRIPTION = """\
Find faces and classify what they express. Pictures are held in memory for the answer only.

A camera connects to `/v1/stream` by WebSocket, with the query of `/v1/predict`, sends each frame as
one binary message (a picture file) and gets one JSON message per frame that was processed: `frame`,
its number from 1, and the fields of a picture. Frames that arrive while another one is processed
replace each other; the newest one is answered next."""

MOST_PROBABLE = "most_probable"
"""Stands for each face's most probable class."""


class Explanation(BaseModel):
    """Which pixels speak for a class."""

    method: str
    class_name: str
    signed: bool = Field(description="whether blue speaks against the class; else red is strength")
    picture: str = Field(description="PNG of the face under its map, as a data URL")


class Face(BaseModel):
    """One face, numbered from 1 per picture, most confidently detected first."""

    number: int
    box: list[float] = Field(description="x, y, width, height in pixels of the upright picture")
    label: str = Field(description="the most probable class")
    confidence: float = Field(description="its probability")
    probabilities: dict[str, float]
    crop: str | None = Field(None, description="PNG of what the network saw, as a data URL")
    explanation: Explanation | None = None


class Picture(BaseModel):
    """What one file shows, or why it cannot be read."""

    name: str
    width: int = 0
    height: int = 0
    faces: list[Face] = []
    error: str | None = None


class Answer(BaseModel):
    """Every file of a request, in its order."""

    model: str
    detector: str
    pictures: list[Picture]


class Model(BaseModel):
    """A model to choose."""

    name: str
    network: str
    class_names: list[str]
    explanations: list[str]


class Choices(BaseModel):
    """What requests may ask for; the first of each is the default."""

    models: list[Model]
    detectors: list[str]
    tta: list[str]


class Problem(BaseModel):
    """Why a request was not served."""

    detail: str


REFUSALS = {
    400: "The request is malformed",
    401: "A token is needed",
    403: "The request comes from a page of another origin",
    408: "The request arrived too slowly",
    413: "Too many bytes, pixels or files",
    415: "Not a picture",
    421: "Not this server's name",
    422: "A setting that does not exist, or a damaged picture",
    429: "Too many requests",
    503: "Too busy",
}

BYTES = {"type": "string", "format": "binary"}
BYTES_LIST = {"type": "array", "minItems": 1, "items": BYTES}
FORM = {"type": "object", "required": ["files"], "properties": {"files": BYTES_LIST}}
UPLOAD = {"multipart/form-data": {"schema": FORM}}
KINDS = ("image/jpeg", "image/png", "application/octet-stream")
UPLOAD |= {kind: {"schema": {**BYTES, "minLength": 1}} for kind in KINDS}


def make_app(engine: Engine, limits: Limits, metrics: Metrics, token: bool = False) -> FastAPI:
    """Return the application; it expects a `guard.Guard` before it, which checks tokens."""
    models = [
        Model(
            name=name,
            network=each.info.model_name,
            class_names=each.class_names,
            explanations=[method.name for method in methods_of(each)],
        )
        for name, each in engine.classifiers.items()
    ]
    names = tuple(each.name for each in models)
    detectors = list(dict.fromkeys(detector for _, detector in engine.predictors))
    known_methods = [name for name in METHODS if any(name in each.explanations for each in models)]
    known_classes = dict.fromkeys(name for each in models for name in each.class_names)

    class Asked(BaseModel, extra="forbid"):
        model: Literal[names] = names[0]
        tta: Annotated[Literal[tuple(VIEWS)], Field(description="views to average over")] = "none"
        explain: Annotated[
            Literal[("none", *known_methods)], Field(description="method that explains each face")
        ] = "none"
        explain_class: Annotated[
            Literal[(MOST_PROBABLE, *known_classes)], Field(description="class to explain")
        ] = MOST_PROBABLE
        crops: Annotated[bool, Field(description="also return what the network saw")] = False

    class Faces(Asked):
        detector: ClassVar = WHOLE

    class Pictures(Asked):
        detector: Literal[tuple(detectors)] = detectors[0]

    async def classified(name: str, content: bytes, asked: Asked) -> Picture:
        picture = partial(decode, content, limits.pixels)
        (width, height), boxes, crops = await engine.find(picture, asked.model, asked.detector)
        rows = await engine.probabilities(crops, asked.model, asked.tta)
        metrics.faces.labels(asked.model).inc(len(rows))
        describe = engine.predictors[asked.model, asked.detector].describe
        faces = []
        for number, (box, (crop, *_), row) in enumerate(zip(boxes, crops, rows, strict=True), 1):
            face = Face(number=number, **vars(describe(box, row)))
            face.box = [round(side, 1) for side in face.box]
            if asked.crops:
                face.crop = png(crop)
            if asked.explain != "none":
                chosen = face.label if asked.explain_class == MOST_PROBABLE else asked.explain_class
                try:
                    drawn = await engine.explain(crop, asked.model, chosen, asked.explain)
                except InputError as error:  # of another model's methods and classes
                    raise Refused(422, str(error)) from None
                face.explanation = Explanation(
                    method=asked.explain,
                    class_name=chosen,
                    signed=not METHODS[asked.explain].absolute,
                    picture=png(drawn),
                )
            faces.append(face)
        return Picture(name=name, width=width, height=height, faces=faces)

    async def answer(request: Request, asked: Asked) -> Answer:
        files = await uploads(request, limits, Pictures.model_fields)
        turns = asyncio.Semaphore(cores())  # many pictures leave room for those of others

        async def one(name: str, content: bytes) -> Picture:
            async with turns:
                return await classified(name, content, asked)

        pictures = await asyncio.gather(*(one(*file) for file in files), return_exceptions=True)
        wrong = [each for each in pictures if isinstance(each, Exception)]
        for error in wrong:
            if not isinstance(error, Refused) or len(wrong) == len(files):
                raise error
        for number, (name, _) in enumerate(files):
            if isinstance(pictures[number], Refused):
                pictures[number] = Picture(name=name, error=str(pictures[number]))
        return Answer(model=asked.model, detector=asked.detector, pictures=pictures)

    app = FastAPI(
        title="Facial expressions",
        version=ferplus_keras.__version__,
        description=DESCRIPTION,
        openapi_url=None,  # nor pages of it: they would load scripts from elsewhere
        redirect_slashes=False,
    )
    app.add_exception_handler(Refused, lambda _, refused: refused.response())
    app.add_exception_handler(RequestValidationError, _wrong_setting)

    @app.exception_handler(WebSocketRequestValidationError)
    async def deny(socket: WebSocket, error: WebSocketRequestValidationError) -> None:
        await socket.send_denial_response(_wrong_setting(socket, error))

    refusals = {code: {"model": Problem, "description": why} for code, why in REFUSALS.items()}
    documented = {"responses": refusals}
    if token:  # else a document that asks for one would not hold
        documented["dependencies"] = [Security(HTTPBearer(auto_error=False))]
    upload = {
        **documented,
        "tags": ["pictures"],
        "response_model_exclude_none": True,
        "openapi_extra": {"requestBody": {"required": True, "content": UPLOAD}},
    }

    @app.post("/v1/predict", **upload)
    async def predict(request: Request, asked: Annotated[Pictures, Query()]) -> Answer:
        """Find the faces of pictures and classify them.

        One picture is the whole body, several are the files of a form. A picture that cannot be
        read has an `error` beside the others; if none can be read, the status says why.
        """
        return await answer(request, asked)

    @app.post("/v1/predict-faces", **upload)
    async def predict_faces(request: Request, asked: Annotated[Faces, Query()]) -> Answer:
        """Classify pictures that are cropped faces."""
        return await answer(request, asked)

    @app.websocket("/v1/stream")
    async def stream(socket: WebSocket, asked: Annotated[Pictures, Query()]) -> None:
        offered = socket.scope.get("subprotocols", ())
        await socket.accept("ferplus" if "ferplus" in offered else None)
        came, newest, count = asyncio.Event(), b"", 0

        async def receive() -> None:
            nonlocal newest, count
            while True:
                async with asyncio.timeout(limits.idle_seconds):
                    newest = await socket.receive_bytes()
                count += 1
                came.set()

        receiving = asyncio.create_task(receive())
        receiving.add_done_callback(lambda _: came.set())
        try:
            while await came.wait() and not receiving.done():
                came.clear()
                frame = {"frame": count}
                try:
                    frame |= (await classified("", newest, asked)).model_dump(exclude_none=True)
                except Refused as refused:
                    frame["error"] = str(refused)
                with suppress(RuntimeError):  # the client has gone
                    async with asyncio.timeout(limits.idle_seconds):
                        await socket.send_json(frame)
            await receiving
        except WebSocketDisconnect:
            pass
        except TimeoutError:
            await socket.close(1001, "idle for too long")
        except KeyError:  # what Starlette raises for a text message
            await socket.close(1003, "expected frames as binary messages")
        finally:
            receiving.cancel()

    @app.get("/v1/models", tags=["server"], **documented)
    async def list_models() -> Choices:
        """List what requests may ask for."""
        return Choices(models=models, detectors=detectors, tta=list(VIEWS))

    @app.get("/healthz", tags=["server"])
    async def healthz() -> dict[Literal["status"], Literal["ready"]]:
        """Say that every model is loaded; before that, nothing is answered."""
        return {"status": "ready"}

    def serve_text(path: str, media_type: str, text: Callable[[], str | bytes], tag: str) -> None:
        async def get() -> Response:
            return Response(text(), media_type=media_type)

        content = {200: {"content": {media_type.partition(";")[0]: {}}}}
        about = {"name": path.strip("/") or "page", "tags": [tag], "responses": content}
        app.add_api_route(path, get, response_class=Response, **about)

    kind = "text/plain; version=0.0.4; charset=utf-8"
    serve_text("/metrics", kind, lambda: generate_latest(metrics.registry), "server")
    serve_text("/openapi.json", "application/json", lambda: json.dumps(app.openapi()), "page")
    for path, (file, media_type) in FILES.items():
        serve_text(path, media_type, partial(bytes, file.read_bytes()), "page")
    return app


def _wrong_setting(_: Request, error: RequestValidationError) -> Response:
    first = error.errors()[0]
    reason = first["msg"] if first["type"] != "extra_forbidden" else "no setting of this route"
    return Refused(422, f"{first['loc'][-1]}: {reason}").response()
