"""The routes: pictures, faces, camera, models, health, metrics, documentation and the page."""

import asyncio
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import fastapi_offline
from fastapi import FastAPI, Query, Request, WebSocket, WebSocketDisconnect
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, Field

import ferplus_keras
from ferplus_keras.data.views import VIEWS
from ferplus_keras.explain.methods import METHODS
from ferplus_keras.serve import explanations
from ferplus_keras.serve.engine import WHOLE, Engine, png
from ferplus_keras.serve.limits import Limits, Refused
from ferplus_keras.serve.metrics import Metrics
from ferplus_keras.serve.pictures import decode, uploads

PAGE = Path(__file__).with_name("page")
SWAGGER = Path(fastapi_offline.__file__).with_name("static")

FILES = {
    "/": (PAGE / "index.html", "text/html; charset=utf-8"),
    "/style.css": (PAGE / "style.css", "text/css; charset=utf-8"),
    "/app.js": (PAGE / "app.js", "text/javascript; charset=utf-8"),
    "/icon.svg": (PAGE / "icon.svg", "image/svg+xml"),
    "/example.jpg": (PAGE / "example.jpg", "image/jpeg"),
    "/docs": (PAGE / "docs.html", "text/html; charset=utf-8"),
    "/docs/docs.js": (PAGE / "docs.js", "text/javascript; charset=utf-8"),
    "/docs/swagger-ui.css": (SWAGGER / "swagger-ui.css", "text/css; charset=utf-8"),
    "/docs/swagger-ui.js": (SWAGGER / "swagger-ui-bundle.js", "text/javascript; charset=utf-8"),
}
"""Path -> file and its type: the page and the documentation, which load nothing else."""

MOST_PROBABLE = "most_probable"
"""Stands for each face's most probable class."""

DESCRIPTION = """\
Find faces and classify what they express. Pictures are held in memory for the answer only.

A camera connects to `/v1/stream` by WebSocket, sends each frame as one binary message (a JPEG, PNG
or WebP) and gets one JSON message per frame that was processed. Frames that arrive while another
one is processed replace each other; the newest one is answered next."""


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
    request_bytes: int
    files: int


class Problem(BaseModel):
    """Why a request was not served."""

    detail: str


REFUSALS = {
    code: {"model": Problem, "description": reason}
    for code, reason in {
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
    }.items()
}

UPLOAD = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["files"],
                    "properties": {
                        "files": {
                            "type": "array",
                            "minItems": 1,
                            "items": {"type": "string", "format": "binary"},
                        }
                    },
                }
            },
            **{
                kind: {"schema": {"type": "string", "format": "binary", "minLength": 1}}
                for kind in ("image/jpeg", "image/png", "application/octet-stream")
            },
        },
    }
}


def make_app(engine: Engine, limits: Limits, metrics: Metrics) -> FastAPI:
    """Return the application; it expects a `guard.Guard` before it."""
    methods = {name: explanations.methods(each) for name, each in engine.classifiers.items()}
    some_methods = [name for name in METHODS if any(name in each for each in methods.values())]
    all_classes = dict.fromkeys(
        name for each in engine.classifiers.values() for name in each.class_names
    )

    class Faces(BaseModel):
        model: Literal[tuple(engine.classifiers)] = next(iter(engine.classifiers))
        tta: Annotated[Literal[tuple(VIEWS)], Field(description="views to average over")] = "none"
        explain: Annotated[
            Literal[("none", *some_methods)], Field(description="method that explains each face")
        ] = "none"
        explain_class: Annotated[
            Literal[(MOST_PROBABLE, *all_classes)], Field(description="class to explain")
        ] = MOST_PROBABLE
        crops: Annotated[bool, Field(description="also return what the network saw")] = False

    class Pictures(Faces):
        detector: Literal[tuple(engine.detectors)] = next(iter(engine.detectors))

    async def seen(name: str, content: bytes, asked: Faces) -> Picture:
        classifier = engine.classifiers[asked.model]
        detector = getattr(asked, "detector", WHOLE)
        found = await engine.find(partial(decode, content, limits.pixels), asked.model, detector)
        rows = await engine.probabilities(found.crops, asked.model, asked.tta)
        metrics.faces.labels(asked.model).inc(len(rows))
        faces = []
        for box, crop, row in zip(found.boxes, found.crops, rows, strict=True):
            face = Face(
                number=len(faces) + 1,
                box=[round(float(side), 1) for side in box],
                label=classifier.class_names[row.argmax()],
                confidence=row.max(),
                probabilities=dict(zip(classifier.class_names, map(float, row), strict=True)),
                crop=png(crop) if asked.crops else None,
            )
            if asked.explain != "none":
                chosen = face.label if asked.explain_class == MOST_PROBABLE else asked.explain_class
                drawn = await engine.explain(crop, asked.model, chosen, asked.explain)
                face.explanation = Explanation(
                    method=asked.explain,
                    class_name=chosen,
                    signed=not METHODS[asked.explain].absolute,
                    picture=drawn,
                )
            faces.append(face)
        width, height = found.size
        return Picture(name=name, width=width, height=height, faces=faces)

    async def answer(request: Request, asked: Faces) -> Answer:
        if asked.explain not in ("none", *methods[asked.model]):
            known = ", ".join(methods[asked.model])
            raise Refused(422, f"explain: expected {known} for {asked.model}, got {asked.explain}")
        if asked.explain_class not in (MOST_PROBABLE, *engine.classifiers[asked.model].class_names):
            raise Refused(422, f"explain_class: {asked.model} has no class {asked.explain_class}")

        async def one(name: str, content: bytes) -> Picture | Refused:
            try:
                return await seen(name, content, asked)
            except Refused as refused:
                return refused

        files = await uploads(request, limits)
        pictures = await asyncio.gather(*(one(*file) for file in files))
        refused = [each for each in pictures if isinstance(each, Refused)]
        if len(refused) == len(pictures):
            raise refused[0]
        return Answer(
            model=asked.model,
            detector=getattr(asked, "detector", WHOLE),
            pictures=[
                Picture(name=name, error=str(each)) if isinstance(each, Refused) else each
                for (name, _), each in zip(files, pictures, strict=True)
            ],
        )

    app = FastAPI(
        title="Facial expressions",
        version=ferplus_keras.__version__,
        description=DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
    )
    app.add_exception_handler(Refused, lambda _, error: _problem(error.status, str(error)))
    app.add_exception_handler(RequestValidationError, _wrong_setting)
    short = {"response_model_exclude_none": True, "responses": REFUSALS}

    @app.post("/v1/predict", tags=["pictures"], openapi_extra=UPLOAD, **short)
    async def predict(request: Request, asked: Annotated[Pictures, Query()]) -> Answer:
        """Find the faces of pictures and classify them.

        One picture is the whole body, several are the files of a form. A picture that cannot be
        read has an `error` beside the others; if none can be read, the status says why.
        """
        return await answer(request, asked)

    @app.post("/v1/predict-faces", tags=["pictures"], openapi_extra=UPLOAD, **short)
    async def predict_faces(request: Request, asked: Annotated[Faces, Query()]) -> Answer:
        """Classify pictures that are cropped faces."""
        return await answer(request, asked)

    @app.get("/v1/models", tags=["server"], responses=REFUSALS)
    async def models() -> Choices:
        """List what requests may ask for."""
        return Choices(
            models=[
                Model(
                    name=name,
                    network=each.info.model_name,
                    class_names=each.class_names,
                    explanations=methods[name],
                )
                for name, each in engine.classifiers.items()
            ],
            detectors=list(engine.detectors),
            tta=list(VIEWS),
            request_bytes=limits.request_bytes,
            files=limits.files,
        )

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
                    found = await seen("", newest, asked)
                    frame |= found.model_dump(exclude_none=True)
                except Refused as refused:
                    frame |= {"error": str(refused)}
                async with asyncio.timeout(limits.idle_seconds):
                    await socket.send_json(frame)
            await receiving
        except (WebSocketDisconnect, RuntimeError):  # closed by the client
            pass
        except TimeoutError:
            await socket.close(1001, "idle for too long")
        except KeyError:  # Starlette's word for a message that is text
            await socket.close(1003, "expected frames as binary messages")
        finally:
            receiving.cancel()

    @app.get("/healthz", tags=["server"])
    async def healthz() -> dict[Literal["status"], Literal["ready"]]:
        """Say that every model is loaded; before that, nothing is answered."""
        return {"status": "ready"}

    def serve_text(path: str, media_type: str, text: Callable[[], bytes], tag: str) -> None:
        async def get() -> Response:
            return Response(text(), media_type=media_type)

        documented = {200: {"content": {media_type.partition(";")[0]: {}}}}
        name = path.strip("/") or "page"
        app.get(
            path, tags=[tag], summary=name, name=name, response_class=Response, responses=documented
        )(get)

    serve_text("/metrics", "text/plain; version=0.0.4; charset=utf-8", metrics.text, "server")
    serve_text(
        "/openapi.json", "application/json", lambda: JSONResponse(app.openapi()).body, "page"
    )
    for path, (file, media_type) in FILES.items():
        content = file.read_bytes()
        serve_text(path, media_type, lambda content=content: content, "page")
    return app


def _problem(status: int, detail: str, headers: dict[str, str] | None = None) -> JSONResponse:
    return JSONResponse({"detail": detail}, status, headers)


def _wrong_setting(_: Request, error: RequestValidationError) -> JSONResponse:
    first = error.errors()[0]
    return _problem(422, f"{first['loc'][-1]}: {first['msg']}")
