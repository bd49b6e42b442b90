"""The Hugging Face Hub: models from hf://user/name, and files to it."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from ferplus_keras.errors import InputError, one_line
from ferplus_keras.extras import require
from ferplus_keras.lazy import huggingface_hub

SCHEME = "hf://"


def is_address(path: object) -> bool:
    """Return whether a path is hf://user/name, as text: pathlib would change it."""
    return str(path).startswith(SCHEME)


def fetch(address: str, name: str) -> Path:
    """Return the file `name` of hf://user/name or hf://user/name@revision, in the Hub's own cache.

    Raises:
        InputError: huggingface_hub is not installed, or there is no such model or connection.
    """
    repository, _, revision = address.removeprefix(SCHEME).partition("@")
    with _talking(f"cannot get {name} of hf://{repository}"):
        return Path(huggingface_hub.hf_hub_download(repository, name, revision=revision or None))


def push(repository: str, files: Mapping[str, Path], message: str) -> str:
    """Upload files, name there -> path here, in one commit; a missing repository is created.

    The token is the Hub's own: $HF_TOKEN, or that of `hf auth login`. Returns the model's address.

    Raises:
        InputError: huggingface_hub is not installed, or the Hub refuses.
    """
    with _talking(f"cannot push to {repository}"):
        hub, add = huggingface_hub.HfApi(), huggingface_hub.CommitOperationAdd
        address = hub.create_repo(repository, exist_ok=True)
        adding = [add(name, str(path)) for name, path in files.items()]
        hub.create_commit(repository, adding, commit_message=message)
        return str(address)


@contextmanager
def _talking(purpose: str) -> Iterator[None]:
    """Make one line of whatever goes wrong: the client raises errors of several packages."""
    require(("huggingface_hub",), "the Hugging Face Hub")
    try:
        yield
    except Exception as error:
        raise InputError(f"{purpose}: {one_line(error, 300)}") from error
