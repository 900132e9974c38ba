"""Where the weights of a model in this process are; files whose digests are given are compared first."""

import hashlib
from pathlib import Path

from schemas.errors import Conflict
from schemas.models import TransformersModel, VllmModel


def located(spec: VllmModel | TransformersModel) -> str:
    """The folder, or the model's id on a hub, as loaders take it; a loader is given the `revision` beside it.

    Reads every file whose sha256 is given. Raises `Conflict` (`weights_missing`, `weights_differ`).
    """
    if not spec.in_folder:
        return spec.weights
    folder = Path(spec.weights).expanduser()
    if not folder.is_dir():
        raise Conflict(f"model {spec.name!r}: weights: there is no folder {folder}", code="weights_missing")
    for name, digest in spec.sha256.items():
        try:
            with (folder / name).open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise Conflict(f"model {spec.name!r}: weights: {error}", code="weights_missing") from error
        if found != digest:
            why = f"model {spec.name!r}: weights: the sha256 of {folder / name} is {found}, not {digest}"
            raise Conflict(why, code="weights_differ")
    return str(folder)
