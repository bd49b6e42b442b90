"""The weights of dlib's face-recognition network: read dlib's own file or face-api's.

Each of its 29 convolutions is followed by an affine layer of one scale and one offset per channel,
which is returned as a BatchNormalization that has nothing to normalise: it subtracts the
convolution's bias, negated, and divides by 1. `calibration.calibrate` gives it real statistics.
"""

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ferplus_keras.errors import InputError, as_input_error
from ferplus_keras.inputs import plain, read_json

STAGES = ((32, 3), (64, 4), (128, 3), (256, 3), (256, 1))
"""Channels and residual blocks of each stage; all but the first begin by halving the side."""

EPSILON = 1e-5
"""Of the BatchNormalization layers, which stand for the affine ones."""

DESCRIPTOR = "descriptor"
"""Name of the last layer, which makes the descriptor of 128 numbers."""

Weights = dict[str, dict[str, np.ndarray]]
"""Layer name -> variable name -> values, as `weights.open_layers` shows them."""

_OUTPUTS = 128

_NO_TENSOR = b"\x01\x02" + 4 * b"\x01\x00"  # version 2, four sides of 0

_GAP = 512
"""Bytes within which the next layer's tag must follow; what lies between is of no use here."""

_FACE_API_PARTS = ("conv/filters", "conv/bias", "scale/weights", "scale/biases")
"""Kernel, bias, scale and offset of a convolution in face-api's manifest."""


class _Convolution(NamedTuple):
    """A convolution and the affine layer behind it; strided ones have no padding."""

    name: str  # of both here, with `{}` for `conv` or `bn`
    face_api: str  # their name in face-api's manifest
    shape: tuple[int, int, int, int]  # filters, channels, height and width of the kernel
    strides: int


def _convolutions() -> Iterator[_Convolution]:
    """Yield the convolutions in the files' order, which is that of the graph."""
    yield _Convolution("stem_{}", "conv32_down", (32, 3, 7, 7), 2)
    channels = 32
    for stage, (filters, blocks) in enumerate(STAGES, start=1):
        for block in range(1, blocks + 1):
            down = stage > 1 and block == 1
            number = "down" if down else str(block - (stage > 1))
            own = f"conv{filters}_{number}" + "_out" * (stage == len(STAGES))
            for i in (1, 2):
                yield _Convolution(
                    f"stage{stage}_block{block}_{{}}{i}",
                    f"{own}/conv{i}",
                    (filters, channels, 3, 3),
                    2 if down and i == 1 else 1,
                )
                channels = filters


def _entry(convolution: _Convolution, kernel, bias, scale, offset) -> Weights:
    """Return a convolution, its kernel (h, w, in, out), and its affine layer as layers here."""
    return {
        convolution.name.format("conv"): {"kernel": np.ascontiguousarray(kernel)},
        convolution.name.format("bn"): {
            "gamma": scale,
            "beta": offset,
            "moving_mean": -bias,
            "moving_variance": np.full_like(bias, 1 - EPSILON),
        },
    }


def read_dat(path: Path) -> Weights:
    """Read dlib_face_recognition_resnet_model_v1.dat, all 59 tensors of it.

    The file is dlib's serialised network. A layer begins with its tag, a string that its length
    precedes. An integer, never negative here, is the number of its bytes and those bytes, lowest
    first. A tensor is its version, 2, its four sides and raw float32.

    Returns:
        Kernels are (h, w, in, out), as Keras has them, that of `DESCRIPTOR` (256, 128).

    Raises:
        InputError: the file is cut short, or anything in it is not as in that network.
    """
    stream = _Stream(path)
    stream.expect_tag("loss_metric_2")
    layers: Weights = {}
    for convolution in _convolutions():
        out, _, side, _ = shape = convolution.shape
        strides = convolution.strides
        padding = side // 2 if strides == 1 else 0
        stream.expect_tag("con_4")
        values = stream.tensor(math.prod(shape) + out)
        stream.expect_integers(out, side, side, strides, strides, padding, padding, 1, *shape)
        kernel, bias = np.split(values, [-out])
        stream.expect_tag("affine_")
        scale, offset = np.split(stream.tensor(2 * out), 2)
        kernel = kernel.reshape(shape).transpose(2, 3, 1, 0)
        layers |= _entry(convolution, kernel, bias, scale, offset)
    stream.expect_tag("fc_2")
    stream.expect_integers(_OUTPUTS, out)
    layers[DESCRIPTOR] = {"kernel": stream.tensor(out, _OUTPUTS).reshape(out, _OUTPUTS)}
    stream.expect_integers(1, out, _OUTPUTS, 1, 1)
    stream.expect_end()
    return layers


class _Stream:
    """A serialised network of dlib, read from its beginning to its end."""

    def __init__(self, path: Path):
        self.path = path
        self.data = path.read_bytes()
        self.at = 0

    def fault(self, found: str) -> InputError:
        return InputError(
            f"{self.path} is not dlib's face-recognition network "
            f"(dlib_face_recognition_resnet_model_v1.dat): {found} at byte {self.at:,}"
        )

    def take(self, count: int) -> bytes:
        if self.at + count > len(self.data):
            self.at = len(self.data)
            raise self.fault("it is cut short")
        self.at += count
        return self.data[self.at - count : self.at]

    def integer(self) -> int:
        (length,) = self.take(1)
        return int.from_bytes(self.take(length), "little")

    def expect_integers(self, *expected: int) -> None:
        found = [self.integer() for _ in expected]
        if found != list(expected):
            raise self.fault(f"{found} instead of {list(expected)}")

    def expect_tag(self, tag: str) -> None:
        word = bytes([1, len(tag)]) + tag.encode()
        place = self.data.find(word, self.at, self.at + _GAP)
        if place < 0:
            raise self.fault(f"no layer {tag} follows")
        self.at = place + len(word)

    def tensor(self, *sides: int) -> np.ndarray:
        """Return the numbers of the tensor that follows; its other sides are 1."""
        self.expect_integers(2, *sides, *[1] * (4 - len(sides)))
        return np.frombuffer(self.take(4 * math.prod(sides)), "<f4").astype(np.float32)

    def expect_end(self) -> None:
        """Check that only a few settings follow and, as for every layer, three empty tensors."""
        rest = self.data[self.at :]
        if len(rest) > _GAP or not rest.endswith(3 * _NO_TENSOR):
            raise self.fault("it does not end as it should")


def read_face_api(path: Path) -> Weights:
    """Read face-api's copy of the network: a manifest in JSON and the file of its numbers.

    Args:
        path: the file of numbers, or the manifest beside it, `*-weights_manifest.json`. Numbers
            are float32, or uint8 with a scale and a minimum.

    Returns:
        As `read_dat`.

    Raises:
        InputError: there is no manifest, or it or the numbers are not that network's.
    """
    manifest, entries, data = _open_manifest(path)
    expected: dict[str, tuple[int, ...]] = {"fc": (STAGES[-1][0], _OUTPUTS)}
    for convolution in _convolutions():
        out, inside, *sides = convolution.shape
        for part in _FACE_API_PARTS:
            shape = (*sides, inside, out) if part == "conv/filters" else (out,)
            expected[f"{convolution.face_api}/{part}"] = shape
    numbers: dict[str, np.ndarray] = {}
    what = f"{manifest} and its numbers are not face-api's face_recognition_model"
    with as_input_error(what, KeyError, TypeError, ValueError):
        found = {entry["name"]: tuple(entry["shape"]) for entry in entries}
        if wrong := sorted(name for name, _ in found.items() ^ expected.items()):
            raise ValueError(f"{wrong[0]} is missing, unknown or of another shape")
        for entry in entries:
            packed, shape = entry.get("quantization"), expected[entry["name"]]
            dtype = np.dtype(packed["dtype"] if packed else "<f4")
            size = math.prod(shape) * dtype.itemsize
            values = np.frombuffer(data[:size], dtype).reshape(shape)
            if packed:
                values = values * packed["scale"] + packed["min"]
            numbers[entry["name"]] = values.astype(np.float32)
            data = data[size:]
        if data:
            raise ValueError(f"{len(data):,} bytes of numbers are left over")
    layers: Weights = {DESCRIPTOR: {"kernel": numbers["fc"]}}
    for convolution in _convolutions():
        parts = [numbers[f"{convolution.face_api}/{part}"] for part in _FACE_API_PARTS]
        layers |= _entry(convolution, *parts)
    return layers


def _open_manifest(path: Path) -> tuple[Path, list[dict], bytes]:
    """Return the manifest to which a file belongs, its entries, and the bytes of its numbers."""
    manifests = [path] if path.suffix == ".json" else path.parent.glob("*-weights_manifest.json")
    for manifest in sorted(manifests):
        try:
            (group,) = read_json(manifest.read_text(encoding="utf-8"))
            files = [plain(manifest.parent / Path(name).name) for name in group["paths"]]
            if path in (manifest, *files):
                return manifest, group["weights"], b"".join(file.read_bytes() for file in files)
        except (KeyError, OSError, TypeError, ValueError) as error:
            if path == manifest:
                raise InputError(f"{path} is not a manifest of face-api: {error}") from None
    raise InputError(
        f"no manifest for {path}: put face-api's *-weights_manifest.json, which lists it, beside it"
    )


READERS: dict[str, Callable[[Path], Weights]] = {
    ".dat": read_dat,
    ".bin": read_face_api,
    ".json": read_face_api,
}
"""Suffix of a file of this network -> what reads it."""
