"""`predict.py`: its arguments, checked before anything slow; `job.py` does the work."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from ferplus_keras.arguments import LineParser
from ferplus_keras.data.views import VIEWS
from ferplus_keras.errors import UsageError
from ferplus_keras.files import require_writable
from ferplus_keras.inference.crop import MARGIN
from ferplus_keras.inference.detectors import DETECTORS
from ferplus_keras.inference.job import Job
from ferplus_keras.inference.predictor import Predictor
from ferplus_keras.inference.sources import copy_paths, find_sources, is_video
from ferplus_keras.inference.video import EVERY

DESCRIPTION = """\
Say what faces express, on photos and video.

  python predict.py photo.jpg holiday/ 'more/*.png'
  python predict.py clip.mp4 --save_dir annotated
  python predict.py --webcam

The model that comes with the package is used unless --checkpoint_path names another one."""


def build_parser(prog: str = "predict.py") -> argparse.ArgumentParser:
    """Return the command-line parser of predict.py."""
    parser = LineParser(
        prog=prog,
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "sources",
        nargs="*",
        metavar="SOURCE",
        help="picture, video, folder or pattern; - reads them from standard input",
    )
    parser.add_argument(
        "--checkpoint_path", help=".keras checkpoint or export; default: the bundled model"
    )
    parser.add_argument(
        "--faces",
        choices=list(DETECTORS),
        default="auto",
        help="face detector; whole takes each picture as one face [auto]",
    )
    parser.add_argument("--faces_weights", help="YuNet's file [found or fetched]")
    parser.add_argument(
        "--margin",
        type=float,
        default=MARGIN,
        help=f"how much wider than the detected box a face is cut out [{MARGIN}]",
    )
    parser.add_argument(
        "--tta", choices=list(VIEWS), default="none", help="average over views of each face [none]"
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--csv", type=Path, help="write a line a face, in videos a face and frame")
    parser.add_argument("--submission", type=Path, help="write a file,emotion line a picture")
    parser.add_argument("--save_dir", type=Path, help="folder for annotated copies")
    video = parser.add_argument_group("video")
    video.add_argument(
        "--webcam", type=int, nargs="?", const=0, metavar="NUMBER", help="read a camera [0]"
    )
    video.add_argument(
        "--every", type=int, default=EVERY, help=f"frames from one detection to the next [{EVERY}]"
    )
    video.add_argument("--seconds", type=float, help="stop after this many seconds of video")
    return parser


def predict(argv: Sequence[str]) -> None:
    """Run predict.py.

    Raises:
        UsageError: wrong arguments.
        InputError: a source cannot be used. Of several the others are finished first.
    """
    arguments = build_parser().parse_args(argv)
    _check(arguments)
    files = find_sources(arguments.sources) if arguments.sources else []
    videos = [file for file in files if is_video(file)]
    if arguments.submission and (videos or arguments.webcam is not None):
        raise UsageError(f"--submission: expected pictures only, got {[*videos, 'a camera'][0]}")
    for path in (arguments.csv, arguments.submission):
        if path:
            require_writable(path.parent, "place for the table")
    copies = {}
    if arguments.save_dir:
        copies = copy_paths(files, arguments.save_dir)
        require_writable(arguments.save_dir, "--save_dir")

    predictor = Predictor(
        arguments.checkpoint_path,
        faces=arguments.faces,
        faces_weights=arguments.faces_weights,
        margin=arguments.margin,
        tta=arguments.tta,
    )
    Job(predictor, arguments, copies).run(files)


def _check(arguments: argparse.Namespace) -> None:
    if not arguments.sources and arguments.webcam is None:
        raise UsageError("expected pictures, videos or folders, or --webcam; see --help")
    if not -0.5 <= arguments.margin <= 2:
        raise UsageError(f"--margin: expected a share from -0.5 to 2, got {arguments.margin}")
    if arguments.every < 1:
        raise UsageError(f"--every: expected 1 frame or more, got {arguments.every}")
    if arguments.seconds is not None and not arguments.seconds > 0:
        raise UsageError(f"--seconds: expected more than 0, got {arguments.seconds}")
