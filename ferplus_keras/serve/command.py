"""The command `serve`: its arguments, checks, and the server until Ctrl-C."""

from __future__ import annotations

import argparse
import ipaddress
import math
import os
import sys
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path

from ferplus_keras.errors import InputError, UsageError
from ferplus_keras.extras import SERVER, require
from ferplus_keras.inference.detectors import DETECTORS, find_detector
from ferplus_keras.inference.weights import find_yunet
from ferplus_keras.serve.limits import MEGABYTE, Limits

DESCRIPTION = """\
Serve a page and a REST interface that find faces and classify what they express.

  python -m ferplus_keras serve
  python -m ferplus_keras serve --checkpoint_path checkpoints/experiment_1

The page is at /, the interface under /v1 and described at /docs. Only this machine reaches them
unless --host says otherwise. With FERPLUS_TOKEN in the environment, clients must send it as a
bearer token. Nothing is kept, nothing is sent elsewhere. Ctrl-C ends it."""

PORT = 7860
TOKEN = "FERPLUS_TOKEN"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Give a parser the arguments of `serve`."""
    limits = Limits()
    parser.description = DESCRIPTION
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "--checkpoint_path",
        type=Path,
        nargs="+",
        default=[],
        metavar="PATH",
        help="run folders, checkpoints and exports to choose from, beside the bundled model",
    )
    parser.add_argument(
        "--faces",
        choices=list(DETECTORS),
        help="default face detector [the first that can be used]",
    )
    parser.add_argument("--faces_weights", type=Path, help="file that the detector yunet needs")
    parser.add_argument(
        "--host", default="127.0.0.1", help="address to listen on; 0.0.0.0 is all [127.0.0.1]"
    )
    parser.add_argument("--port", type=int, default=PORT, help=f"0 takes any that is free [{PORT}]")
    parser.add_argument(
        "--allowed_hosts",
        nargs="+",
        default=[],
        metavar="NAME",
        help="further names by which browsers may call the server, such as a proxy's",
    )
    for name, default, text in (
        ("max_upload_mb", limits.request_bytes / MEGABYTE, "largest request, files together"),
        ("max_megapixels", limits.pixels / 1e6, "largest picture, checked before it is decoded"),
        ("max_rate", limits.rate, "requests per second and client address"),
        ("max_concurrent", limits.concurrent, "requests that are worked on at a time"),
    ):
        parser.add_argument(f"--{name}", type=float, default=default, help=f"{text} [{default:g}]")


def serve(arguments: argparse.Namespace) -> None:
    """Run `serve` until it is interrupted.

    Args:
        arguments: as `add_arguments` describes them.

    Raises:
        UsageError: a port or limit that there is not.
        InputError: a package, a model or a detector is missing, or the port is taken.
    """
    if not 0 <= arguments.port <= 65535:
        raise UsageError(f"--port: expected 0 to 65535, got {arguments.port}")
    for name in ("max_upload_mb", "max_megapixels", "max_rate", "max_concurrent"):
        if not 0 < getattr(arguments, name) < math.inf:
            raise UsageError(f"--{name}: expected more than 0, got {getattr(arguments, name):g}")
    token = os.environ.get(TOKEN) or None
    if token and not (token.isascii() and token.isprintable() and " " not in token):
        raise UsageError(f"{TOKEN}: expected ASCII letters, digits and signs without spaces")
    require(SERVER, "the server", "serve")
    models = find_models(arguments.checkpoint_path)
    detectors = find_detectors(arguments.faces, arguments.faces_weights)
    limits = Limits(
        request_bytes=round(arguments.max_upload_mb * MEGABYTE),
        held_bytes=round(max(512, 4 * arguments.max_upload_mb) * MEGABYTE),
        pixels=round(arguments.max_megapixels * 1e6),
        rate=arguments.max_rate,
        concurrent=math.ceil(arguments.max_concurrent),
    )

    from ferplus_keras.serve.engine import Engine
    from ferplus_keras.serve.guard import Guard, Metrics
    from ferplus_keras.serve.listen import listen, make_server, url
    from ferplus_keras.serve.server import make_app

    with listen(arguments.host, arguments.port) as taken:
        metrics = Metrics()
        engine = Engine(models, detectors, metrics.batches.observe)
        hosts = [arguments.host, *arguments.allowed_hosts]
        app = make_app(engine, limits, metrics, token=bool(token))
        if not token and not ipaddress.ip_address(taken.getsockname()[0]).is_loopback:
            print(
                f"Everybody who reaches {arguments.host} can use it; set {TOKEN} to ask for a "
                "token",
                file=sys.stderr,
            )
        print(f"The page is at {url(taken)} (Ctrl-C ends it)", flush=True)
        make_server(Guard(app, limits, hosts, token, metrics), limits).run(sockets=[taken])


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


def find_detectors(wanted: str | None, weights: Path | None) -> dict[str, Callable | str]:
    """Return the detectors that can be used here without fetching a file, the default one first.

    Args:
        wanted: row of `DETECTORS` that must be among them; None or "auto" takes any.
        weights: YuNet's file; None takes the one that is on this machine.

    Raises:
        InputError: what the one asked for needs is missing.
    """
    first = None if wanted == "auto" else wanted
    first = "yunet" if weights and not first else first
    found = {}
    for name in sorted(
        (name for name in DETECTORS if name != "auto"), key=lambda name: name != first
    ):
        try:
            file = (weights or find_yunet(fetch=False)) if name == "yunet" else None
            found[name] = name if name == "whole" else find_detector(name, file)
        except InputError as error:
            if name == first:
                raise
            if first is None:
                print(f"note: the detector {name} is not offered: {error}", file=sys.stderr)
    return found
