"""The page: what stands where, and what happens when something is given to it."""

from __future__ import annotations

from pathlib import Path

import gradio as gr

from ferplus_keras.errors import InputError
from ferplus_keras.explain.methods import METHODS
from ferplus_keras.extras import not_installed
from ferplus_keras.inference.app import shown
from ferplus_keras.inference.app.answers import Answers, Look
from ferplus_keras.inference.app.uploads import Upload, inside, read_upload

TITLE = "Facial expressions"
LEAD = "Give it a picture: it finds the faces and says what they express. Nothing is kept."

FRAME_EVERY = 0.5
"""Seconds from one camera frame to the next that is looked at."""

CAMERAS = 4
"""Cameras at a time; another one waits until one of them stops."""

AUTOMATIC = "the most probable"
"""Stands in the list of classes for the face's most probable one."""


PROGRESS = gr.Progress()
"""Gradio shows a bar for a function that has it as a default."""

UNREAD = {"preprocess": False}
"""For events with uploads: Gradio would open them, and fail on what is not a picture."""


def build_page(answers: Answers, detector: str, max_mb: float) -> gr.Blocks:
    """Return the page, not served yet.

    Args:
        answers: what it asks.
        detector: row of the detectors that is chosen at first.
        max_mb: largest upload, told to the reader.
    """
    models = list(answers.models)
    with gr.Blocks(title=TITLE, analytics_enabled=False) as page:
        gr.HTML(f"<h1>{TITLE}</h1><p>{LEAD}</p>", elem_id="lead")
        with gr.Row():
            model = gr.Dropdown(models, value=models[0], label="Model", min_width=280)
            finder = gr.Dropdown(
                list(answers.detectors), value=detector, label="Face detector", min_width=280
            )
        with gr.Tab("Picture"):
            _picture_tab(answers, model, finder, max_mb)
        with gr.Tab("Camera"):
            _camera_tab(answers, model, finder)
        with gr.Tab("Batch"):
            _batch_tab(answers, model, finder, max_mb)
    return page


def _picture_tab(answers: Answers, model, finder, max_mb: float) -> None:
    last = gr.State(None)
    with gr.Row(equal_height=False):
        with gr.Column(scale=3, min_width=320):
            given = gr.Image(
                sources=["upload", "clipboard"],
                label=f"Picture, up to {max_mb:g} MB",
                height=200,
                elem_id="picture",
                buttons=[],
            )
            _take_uploads_only(given)
            drawn = gr.HTML(elem_classes="drawn")
        with gr.Column(scale=2, min_width=320):
            cards = gr.HTML()
            with gr.Group(visible=False) as why:
                number = gr.Dropdown([], label="Face", type="index")
                class_name = gr.Dropdown([AUTOMATIC], label="Expression")
                method = gr.Dropdown([], label="Method")
                ask = gr.Button("Explain", variant="primary")
            reason = gr.HTML()

    def reply(look: Look) -> dict:
        return {
            last: look,
            drawn: shown.picture(look),
            cards: shown.faces(look),
            why: gr.update(visible=bool(look.faces)),
            reason: "",
            **_choices(look),
        }

    def _choices(look: Look) -> dict:
        names = [shown.face_name(i, face) for i, face in enumerate(look.faces)]
        classes = [AUTOMATIC, *answers.class_names(look.model)]
        methods = [(each.title, each.name) for each in answers.methods(look.model)]
        return {
            number: gr.update(choices=names, value=names[0] if names else None),
            class_name: gr.update(choices=classes, value=AUTOMATIC),
            method: gr.update(choices=methods, value=methods[-1][1]),
        }

    def new_picture(file: dict | None, model: str, detector: str) -> dict:
        """Find the faces of a picture and say what they express."""
        if file is None:
            return {given: None}
        try:
            look = answers.look(read_upload(_upload(file)), model, detector)
        except InputError as error:
            gone = {last: None, drawn: "", cards: shown.message(str(error)), reason: ""}
            return {given: None, why: gr.update(visible=False), **gone}
        return {given: None, **reply(look)}

    def look_again(look: Look | None, model: str, detector: str) -> dict:
        return {} if look is None else reply(answers.look(look.picture, model, detector))

    def explain(look: Look | None, number: int, class_name: str, method: str) -> str:
        if look is None or number is None:
            return shown.message("The picture is no longer in memory; give it once more.")
        name = look.faces[number].label if class_name == AUTOMATIC else class_name
        try:
            values = answers.explain(look, number, name, method)
            return shown.explanation(look, number, name, METHODS[method], values)
        except InputError as error:
            return shown.message(str(error))
        except ModuleNotFoundError as error:
            return shown.message(str(not_installed(error) or error))

    changed = [last, drawn, cards, why, reason, number, class_name, method]
    asked = {"api_visibility": "private"}
    outputs = [given, *changed]
    given.input(new_picture, [given, model, finder], outputs, api_name="picture", **UNREAD)
    for choice in (model, finder):
        choice.input(look_again, [last, model, finder], changed, **asked)
    ask.click(explain, [last, number, class_name, method], reason, **asked)


def _camera_tab(answers: Answers, model, finder) -> None:
    with gr.Row(equal_height=False):
        with gr.Column(scale=2, min_width=320):
            camera = gr.Image(
                sources=["webcam"],
                streaming=True,
                type="numpy",
                label="Camera",
                elem_id="camera",
                buttons=[],
            )
            _take_uploads_only(camera)
        with gr.Column(scale=3, min_width=320):
            drawn = gr.HTML(elem_classes="drawn")
            cards = gr.HTML()

    def frame(image, model: str, detector: str):
        if image is None:
            return "", ""
        look = answers.look(image, model, detector)
        return shown.picture(look), shown.faces(look)

    camera.stream(
        frame,
        [camera, model, finder],
        [drawn, cards],
        stream_every=FRAME_EVERY,
        show_progress="hidden",
        concurrency_limit=CAMERAS,
        api_visibility="private",
    )


def _batch_tab(answers: Answers, model, finder, max_mb: float) -> None:
    files = gr.File(
        file_count="multiple",
        file_types=["image"],
        label=f"Pictures, up to {max_mb:g} MB together",
        height=200,
        elem_id="files",
    )
    _take_uploads_only(files)
    table = gr.HTML()

    def several(given: list[dict], model: str, detector: str, progress=PROGRESS):
        """Find the faces of several pictures."""
        found, failures = [], []
        for upload in progress.tqdm(list(map(_upload, given)), desc="pictures"):
            try:
                look = answers.look(read_upload(upload), model, detector)
                found.append((upload.name, look.crops, look.faces))
            except InputError as error:
                failures.append(str(error))
        return None, shown.batch(found, failures)

    files.upload(several, [files, model, finder], [files, table], api_name="batch", **UNREAD)


def _take_uploads_only(component) -> None:
    """Keep Gradio from copying another file, or fetching an address, that a request names."""
    folder = Path(component.GRADIO_CACHE)

    async def stay(path: str) -> str:
        if not inside(path, folder):
            raise gr.Error(f"{path} was not uploaded", print_exception=False)
        return path

    component.async_move_resource_to_block_cache = stay


def _upload(file: dict) -> Upload:
    path = Path(file["path"])
    return Upload(path, Path(file.get("orig_name") or path.name).name)
