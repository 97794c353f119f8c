"""Where a model from the Hugging Face hub lies on this machine: a folder of safetensors, never of pickles.

Nothing is fetched unless that was allowed in so many words. What both `timm` and `transformers` teachers need.
"""

import importlib.util
import json
from pathlib import Path
from typing import Any

from edgekd.errors import BadInputError, EnvironmentFault
from edgekd.files import sha256

WANTED = ("*.json", "*.safetensors")
"""Files of a repository that are fetched: no code, and no pickles, which could run code."""

PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")


KINDS = {"timm": ("image",), "transformers": ("image", "audio", "text")}
"""Package -> the kinds of data whose classifiers are read from it."""


def check_kind(package: str, data_kind: str) -> None:
    """Refuse data that a package has no classifiers of. Raises BadInputError."""
    if data_kind not in KINDS[package]:
        raise BadInputError(
            f"a teacher of kind '{package}' takes data of kind {' or '.join(KINDS[package])}, the data is of kind "
            f"{data_kind}; export the teacher to ONNX, or write its scores into a table (kind = 'scores')"
        )


def check_installed(package: str) -> None:
    """Raises EnvironmentFault where the optional package is not installed, with the line that installs it."""
    if importlib.util.find_spec(package) is None:
        raise EnvironmentFault(
            f"a teacher of kind '{package}' needs the package {package}, which is not installed; "
            f"pip install 'edgekd[{package}]'"
        )


def folder_of(*, model: str | None, path: str | None, revision: str | None, allow_download: bool) -> Path:
    """The folder with the model's config.json and safetensors.

    model: a name on the hub, `owner/name`; path: a local folder, instead. revision: a branch, tag or commit.

    Raises:
        BadInputError: no such folder or name, or one without safetensors.
        EnvironmentFault: it is not on this machine and may not, or cannot, be fetched.
    """
    folder = Path(path) if path is not None else _snapshot(str(model), revision=revision, fetch=allow_download)
    if not (folder / "config.json").is_file():
        raise BadInputError(
            f"{folder}: holds no config.json; expected the folder of a model that save_pretrained wrote"
        )
    weights(folder)
    return folder


def weights(folder: Path) -> list[Path]:
    """The safetensors files of a model, all of them.

    Raises:
        BadInputError: there are none, or one that the index names is missing.
    """
    found = sorted(folder.glob("*.safetensors"))
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        named = {folder / name for name in read_json(index).get("weight_map", {}).values()}
        missing = sorted(path.name for path in named if not path.is_file())
        if missing:
            raise BadInputError(f"{folder}: lacks {missing[0]}, which its index names; fetch or copy it again")
    if found:
        return found
    pickles = sorted(path.name for pattern in PICKLES for path in folder.glob(pattern))
    if pickles:
        raise BadInputError(
            f"{folder}: holds its weights as a pickle ({pickles[0]}), which could run code and is never loaded; "
            "expected model.safetensors. Convert it once where you trust it, by save_pretrained(folder)"
        )
    raise BadInputError(f"{folder}: holds no *.safetensors; expected the weights beside config.json. Fetch it again")


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file of a model. Raises BadInputError."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as err:
        raise BadInputError(f"{path}: cannot be read ({err}); expected JSON. Fetch or copy the model again") from err
    if not isinstance(value, dict):
        raise BadInputError(f"{path}: a JSON {type(value).__name__}; expected an object. Fetch or copy the model again")
    return value


def digests(folder: Path) -> list[str]:
    """SHA-256 of all that decides what the model answers: its weights, its architecture, its preprocessing."""
    described = [folder / name for name in ("config.json", "preprocessor_config.json")]
    return [sha256(path) for path in (*described, *weights(folder)) if path.is_file()]


def _snapshot(model: str, *, revision: str | None, fetch: bool) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    def find(*, local: bool) -> Path:
        return Path(snapshot_download(model, revision=revision, allow_patterns=list(WANTED), local_files_only=local))

    named = f"'{model}'" if revision is None else f"'{model}' at revision '{revision}'"
    command = f"hf download {model}" + (f" --revision {revision}" if revision else "")
    try:
        return find(local=True)
    except HFValidationError as err:
        raise BadInputError(f"teacher.model = '{model}' is no name on the hub; expected owner/name") from err
    except LocalEntryNotFoundError as err:
        if not fetch:
            raise EnvironmentFault(
                f"the model {named} is not on this machine, and nothing is downloaded unasked; fetch it once: "
                f"{command}, or set teacher.allow_download = true (--allow-download), or name a folder in teacher.path"
            ) from err
    try:
        return find(local=False)
    except (HfHubHTTPError, OSError, ValueError) as err:
        raise EnvironmentFault(
            f"the model {named} cannot be fetched: {str(err).splitlines()[0]}; is this machine offline, or the name "
            f"wrong? Fetch it where there is a network ({command}) and copy it to a folder for teacher.path"
        ) from err
