"""What a model is called wherever its scores stand: its name, and what tells one version of it from another."""

import hashlib
from typing import Final

from schemas.models import Models, ModelSpec

_NO_MATTER: Final = {
    "api_key",
    "api_key_env",
    "headers",
    "timeout_s",
    "limits",
    "price",
    "tasks",
    "adapters",
    "vectors",
}
"""Of a model's row, what does not change its replies."""


def judge_name(model: str, version: str | None, models: Models) -> str:
    """`name@version`: as results name the model, and the owner's version, else a fingerprint of the model's row."""
    base, colon, adapter = model.partition(":")
    found = models.find(model, "chat") or models.find(base, "chat")
    title = model if found is None else found.title + (f":{adapter}" if colon and found.title != model else "")
    return f"{title}@{version or ('' if found is None else _fingerprint(found))}"


def _fingerprint(spec: ModelSpec) -> str:
    row = spec.model_dump_json(exclude=_NO_MATTER)
    return hashlib.sha256(row.encode()).hexdigest()[:8]
