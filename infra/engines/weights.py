"""Where the weights of a model in this process are; files whose digests are given are compared first."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

from schemas.errors import Conflict
from schemas.models import LocalModel


def located(spec: LocalModel) -> str:
    """The folder, or the model's id on a hub, as loaders take it; a loader is given the `revision` beside it.

    Reads every file whose sha256 is given. Weights in object storage are fetched before (`infra/weights.py`). Raises
    `Conflict` (`weights_missing`, `weights_differ`).
    """
    if not spec.in_folder:
        return spec.weights
    folder = Path(spec.weights).expanduser()
    if not folder.is_dir():
        raise Conflict(f"model {spec.name!r}: weights: there is no folder {folder}", code="weights_missing")
    compare(spec.name, folder, spec.sha256)
    return str(folder)


def compare(model: str, folder: Path, digests: Mapping[str, str]) -> None:
    """Read the files whose sha256 is given. Raises `Conflict` (`weights_missing`, `weights_differ`)."""
    for name, digest in digests.items():
        try:
            with (folder / name).open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise Conflict(f"model {model!r}: weights: {error}", code="weights_missing") from error
        if found != digest:
            why = f"model {model!r}: weights: the sha256 of {folder / name} is {found}, not {digest}"
            raise Conflict(why, code="weights_differ")
