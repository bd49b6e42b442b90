"""The Hugging Face Hub: models from hf://user/name, and files to it."""

from collections.abc import Mapping
from pathlib import Path

from ferplus_keras.errors import as_input_error
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
    require(("huggingface_hub",), "the Hugging Face Hub")
    with as_input_error(f"cannot get {name} of hf://{repository}", Exception):
        return Path(huggingface_hub.hf_hub_download(repository, name, revision=revision or None))


def push(repository: str, files: Mapping[str, Path], message: str) -> str:
    """Upload files, name there -> path here, in one commit; a missing repository is created.

    The token is the Hub's own: $HF_TOKEN, or that of `hf auth login`. Returns the model's address.

    Raises:
        InputError: huggingface_hub is not installed, or the Hub refuses.
    """
    require(("huggingface_hub",), "the Hugging Face Hub")
    with as_input_error(f"cannot push to {repository}", Exception):
        hub, add = huggingface_hub.HfApi(), huggingface_hub.CommitOperationAdd
        address = hub.create_repo(repository, exist_ok=True)
        adding = [add(name, str(path)) for name, path in files.items()]
        hub.create_commit(repository, adding, commit_message=message)
        return str(address)
