"""What embedder and reranker are called, from the settings alone: every process knows it, none need load a model."""

from typing import Final

from infra.settings import EmbedderSettings, RerankerSettings
from schemas.models import Models

E5_SMALL: Final = "multilingual-e5-small-q4"
"""What a collection is recorded with. The weights are part of a package whose version is pinned."""


def embedder_name(settings: EmbedderSettings) -> str | None:
    """What a collection is recorded with: the model, and every setting that changes its vectors."""
    if settings.engine == "none":
        return None
    if settings.engine == "e5-small":
        return E5_SMALL
    name = f"{settings.model}+learned" if settings.engine == "bge-m3" else settings.model
    if settings.dimension is not None:
        name += f"[:{settings.dimension}]"
    prefixes = settings.query_prefix, settings.document_prefix
    return f"{name}{prefixes}" if any(prefixes) else name


def reranker_name(settings: RerankerSettings, models: Models) -> str | None:
    """The reranker's model: of the models file, or of the settings; None without one."""
    row = models.default("rerank")
    if row is not None:
        return row.title
    return None if settings.engine == "none" else settings.model
