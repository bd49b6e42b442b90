"""The command `app`: its arguments, checks, and the server until Ctrl-C."""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from ferplus_keras.errors import InputError, UsageError
from ferplus_keras.extras import require
from ferplus_keras.inference.faces import DETECTORS, Detector, find_detector

DESCRIPTION = """\
Serve a page that says what faces express: pictures, camera, many files at once.

  python -m ferplus_keras app
  python -m ferplus_keras app --checkpoint_path checkpoints/experiment_1/model_max_acc.keras

Only this machine reaches it unless --host says otherwise. Nothing is kept, nothing is sent
elsewhere. Ctrl-C ends it."""

PORT = 7860

MEGABYTE = 1 << 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Give a parser the arguments of `app`."""
    parser.description = DESCRIPTION
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "--checkpoint_path",
        type=Path,
        nargs="+",
        default=[],
        metavar="PATH",
        help="checkpoints and exports to choose from, beside the bundled model",
    )
    parser.add_argument(
        "--faces",
        choices=list(DETECTORS),
        help="face detector chosen at first [the first that can be used]",
    )
    parser.add_argument("--faces_weights", type=Path, help="file that the detector yunet needs")
    parser.add_argument(
        "--host", default="127.0.0.1", help="address to listen on; 0.0.0.0 is all [127.0.0.1]"
    )
    parser.add_argument("--port", type=int, default=PORT, help=f"0 takes any that is free [{PORT}]")
    parser.add_argument(
        "--max_upload_mb", type=float, default=50, help="largest upload, files together [50]"
    )


def app(arguments: argparse.Namespace) -> None:
    """Run `app` until it is interrupted.

    Args:
        arguments: as `add_arguments` describes them.

    Raises:
        UsageError: a port or size that there is not.
        InputError: Gradio, a model or a detector is missing, or the port is taken.
    """
    if not 0 <= arguments.port <= 65535:
        raise UsageError(f"--port: expected 0 to 65535, got {arguments.port}")
    if not 0 < arguments.max_upload_mb < math.inf:
        raise UsageError(f"--max_upload_mb: expected more than 0, got {arguments.max_upload_mb:g}")
    require(("gradio",), "the page", "app")
    models = find_models(arguments.checkpoint_path)
    detectors = find_detectors(arguments.faces, arguments.faces_weights)

    from ferplus_keras.inference.app.answers import Answers
    from ferplus_keras.inference.app.server import (
        address,
        listen,
        make_server,
        quiet_environment,
    )
    from ferplus_keras.inference.app.uploads import private_folder

    with (
        listen(arguments.host, arguments.port) as taken,
        private_folder() as folder,
        quiet_environment(folder),
    ):
        answers = Answers(models, detectors)
        from ferplus_keras.inference.app.page import build_page
        from ferplus_keras.inference.app.style import look

        first = "yunet" if arguments.faces_weights else next(iter(detectors))
        page = build_page(answers, arguments.faces or first, arguments.max_upload_mb)
        max_bytes = round(arguments.max_upload_mb * MEGABYTE)
        server = make_server(page, look(), folder, max_bytes)
        print(f"The page is at {address(taken)} (Ctrl-C ends it)", flush=True)
        server.run(sockets=[taken])


def find_models(paths: Sequence[Path]) -> dict[str, Path]:
    """Return the models to choose from by name: those given, then the bundled one.

    The bundled model is left out where others are given and ONNX Runtime is not installed.

    Raises:
        InputError: a file is missing.
    """
    from ferplus_keras.inference.predictor import BUNDLED

    for path in paths:
        if not path.exists():
            raise InputError(f"no model at {path}")
    places = [path.resolve() for path in paths]
    names = [f"{place.parent.name}/{place.name}" for place in places]
    if len(set(names)) < len(names):
        names = [str(place) for place in places]
    models = dict(zip(names, places, strict=True))
    if not paths or (BUNDLED.is_file() and find_spec("onnxruntime")):
        models[f"{BUNDLED.stem} (bundled)"] = BUNDLED
    return models


def find_detectors(wanted: str | None, weights: Path | None) -> dict[str, Detector]:
    """Return the detectors that can be used here; the one asked for must be among them.

    Args:
        wanted: row of `DETECTORS`, or None.
        weights: file of the detector `yunet`, or None.

    Raises:
        InputError: what the one asked for needs is missing.
    """
    found = {}
    for name in DETECTORS:
        try:
            found[name] = find_detector(name, weights)
        except InputError:
            if name == wanted or (name == "yunet" and weights):
                raise
    return found
