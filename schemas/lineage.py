"""Where a trained adapter comes from. It is kept with the adapter, because its job and files may be removed before."""

from typing import Any

from pydantic import BaseModel


class SourceFile(BaseModel):
    """A file as it was read. It may be removed later; its digest says which one it was."""

    file: str
    filename: str
    bytes: int
    sha256: str


class Lineage(BaseModel):
    """What made an adapter.

    `weights` and `revision`: of the base model; a folder's path is left out. `code`: WeLIP's version. `rows`: examples
    trained on, `held_out`: those that were not. `archive`: the file of the tenant that holds tokenizer and chat
    template, too.
    """

    job: str
    base: str
    weights: str | None
    revision: str | None
    code: str
    method: str
    adapter: str
    dataset: SourceFile | None
    validation: SourceFile | None
    rows: int
    held_out: int
    tokens: int
    archive: str
    parameters: dict[str, Any]
    metrics: dict[str, float]
    trained_at: str
