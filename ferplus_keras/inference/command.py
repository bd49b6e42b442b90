"""`predict.py`: arguments, pictures one by one, results; videos go to `video.py`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from ferplus_keras.arguments import LineParser
from ferplus_keras.data.views import VIEWS
from ferplus_keras.errors import InputError, UsageError
from ferplus_keras.files import replacing, require_writable
from ferplus_keras.inference.faces import DETECTORS, MARGIN
from ferplus_keras.inference.sources import find_sources, is_video
from ferplus_keras.progress import progress_bar

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
        help="image, video, folder or pattern; - reads paths from standard input",
    )
    parser.add_argument(
        "--checkpoint_path", help=".keras checkpoint or export; default: the bundled model"
    )
    parser.add_argument(
        "--faces",
        choices=list(DETECTORS),
        default="mtcnn",
        help="face detector; whole takes each picture as one face [mtcnn]",
    )
    parser.add_argument("--faces_weights", help="file that the detector yunet needs")
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
    parser.add_argument("--csv", type=Path, help="write one line a face (of video: a frame) here")
    parser.add_argument("--submission", type=Path, help="write file,emotion lines here")
    parser.add_argument("--save_dir", type=Path, help="write annotated copies here")
    video = parser.add_argument_group("video")
    video.add_argument(
        "--webcam", type=int, nargs="?", const=0, metavar="NUMBER", help="read a camera [0]"
    )
    video.add_argument(
        "--every", type=int, default=5, help="detect faces anew every so many frames [5]"
    )
    video.add_argument("--seconds", type=float, help="stop after this many seconds of video")
    return parser


def predict(argv: Sequence[str]) -> None:
    """Run predict.py.

    Raises:
        UsageError: wrong arguments.
        InputError: a source cannot be used. Of several pictures the others are finished first.
    """
    arguments = build_parser().parse_args(argv)
    if not arguments.sources and arguments.webcam is None:
        raise UsageError("expected images, videos or folders, or --webcam; see --help")
    if not -0.5 <= arguments.margin <= 2:
        raise UsageError(f"--margin: expected a share from -0.5 to 2, got {arguments.margin}")
    if arguments.every < 1:
        raise UsageError(f"--every: expected 1 frame or more, got {arguments.every}")
    files = find_sources(arguments.sources) if arguments.sources else []
    for path in (arguments.csv, arguments.submission):
        if path:
            require_writable(path.parent, str(path))
    if arguments.save_dir:
        require_writable(arguments.save_dir, "--save_dir")

    from ferplus_keras.inference.predictor import Predictor

    predictor = Predictor(
        arguments.checkpoint_path,
        faces=arguments.faces,
        faces_weights=arguments.faces_weights,
        margin=arguments.margin,
        tta=arguments.tta,
    )
    videos = [arguments.webcam] if arguments.webcam is not None else []
    videos += [path for path in files if is_video(path)]
    if videos:
        from ferplus_keras.inference.video import predict_video

        for source in videos:
            predict_video(
                source,
                predictor,
                every=arguments.every,
                seconds=arguments.seconds,
                save_dir=arguments.save_dir,
                csv_path=arguments.csv,
            )
    pictures = [path for path in files if not is_video(path)]
    if pictures:
        _pictures(pictures, predictor, arguments)


def _pictures(paths: list[Path], predictor, arguments: argparse.Namespace) -> None:
    from ferplus_keras.inference import tables

    found, failed = [], []
    with progress_bar(total=len(paths), desc="pictures", unit=" pictures") as bar:
        for path in paths:
            try:
                found.append((path, _one(path, predictor, arguments.save_dir)))
            except InputError as error:
                failed.append(error)
            bar.update()
    if arguments.csv:
        tables.write_csv(found, predictor.class_names, arguments.csv)
    if arguments.submission:
        tables.write_submission(found, arguments.submission)
    print(tables.to_json(found) if arguments.json else tables.format_table(found))
    if len(failed) == 1:
        raise failed[0]
    if failed:
        for error in failed:
            print(f"error: {error}", file=sys.stderr)
        raise InputError(f"{len(failed)} of {len(paths)} pictures could not be read")


def _one(path: Path, predictor, save_dir: Path | None) -> list:
    from ferplus_keras.inference.images import read_image

    picture = read_image(path)
    (faces,) = predictor([picture])
    if save_dir:
        import cv2

        from ferplus_keras.inference.annotate import annotate

        with replacing(save_dir / f"{path.stem}.png") as temporary:
            drawn = cv2.cvtColor(annotate(picture, faces), cv2.COLOR_RGB2BGR)
            temporary.write_bytes(cv2.imencode(".png", drawn)[1].tobytes())
    return faces
