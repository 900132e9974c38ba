"""Where the weights of a model in this process are, and whether all of them are there before an engine sees them."""

import hashlib
from pathlib import Path
from typing import Final

from pydantic import BaseModel

from schemas.errors import Conflict
from schemas.models import LocalModel

INDEXES: Final = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
"""Files that name the parts of weights in several files, as transformers writes them."""


class Index(BaseModel):
    """Such a file: which part holds which tensor."""

    weight_map: dict[str, str]


def located(spec: LocalModel) -> str:
    """The folder, or the model's id on a hub, as loaders take it; a loader is given the `revision` beside it.

    Weights in object storage are fetched before (`infra/weights.py`). Raises `Conflict` as `check` does.
    """
    if not spec.in_folder:
        return spec.weights
    folder = Path(spec.weights).expanduser()
    if not folder.is_dir():
        raise Conflict(f"model {spec.name!r}: weights: there is no folder {folder}", code="weights_missing")
    check(spec, folder)
    return str(folder)


def check(spec: LocalModel, folder: Path) -> None:
    """Compare the files in `folder` whose sha256 is given, and find those that the weights' index names.

    Raises `Conflict` (`weights_missing`, `weights_differ`), which names the file where `spec.weights` has it.
    """
    for name, digest in spec.sha256.items():
        try:
            with (folder / name).open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise _missing(spec, name, error.strerror or str(error)) from error
        if found != digest:
            why = f"model {spec.name!r}: weights: the sha256 of {spec.weights}/{name} is {found}, not {digest}"
            raise Conflict(why, code="weights_differ")
    for index in INDEXES:
        for name in _parts(spec, folder, index):
            if not (folder / name).is_file():
                raise _missing(spec, name, f"{index} names it")


def _parts(spec: LocalModel, folder: Path, index: str) -> list[str]:
    try:
        return sorted(set(Index.model_validate_json((folder / index).read_bytes()).weight_map.values()))
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        raise _missing(spec, index, f"it is unreadable ({error})") from error


def _missing(spec: LocalModel, name: str, why: str) -> Conflict:
    return Conflict(f"model {spec.name!r}: weights: no {spec.weights}/{name}: {why}", code="weights_missing")
