"""Picks the adapters that the settings name: the one place where ports meet infrastructure."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from consumers.stages.ports import ChildSummary, Embedder, Generator, Ports, Reranker, VectorIndex
from infra.blobs.open import open_blobs
from infra.engines.open import embedder_name, open_embedder, open_reranker, reranker_name
from infra.postgres.catalogue import PostgresCatalogue
from infra.postgres.children import PostgresChildren
from infra.postgres.database import Database
from infra.postgres.embeddings import PostgresEmbeddingCache
from infra.settings import (
    BlobsSettings,
    EmbedderSettings,
    GeneratorSettings,
    IndexSettings,
    ParserSettings,
    RerankerSettings,
)
from schemas.errors import DependencyMissing
from schemas.topics import Pool


@dataclass(frozen=True, slots=True)
class AdapterSettings:
    """What picks the adapters."""

    blobs: BlobsSettings
    index: IndexSettings
    generator: GeneratorSettings
    embedder: EmbedderSettings
    reranker: RerankerSettings
    parser: ParserSettings


def build_ports(database: Database, settings: AdapterSettings, pools: Sequence[Pool]) -> Ports:
    """The ports of a worker of these pools. Raises `DependencyMissing` naming the group to install."""
    try:
        from infra.documents.parser import ProcessDocumentParser
        from infra.text.sparse import KiwiSparseEncoder
    except ImportError as error:
        raise DependencyMissing(
            f"a worker of the pools {', '.join(pools)} needs the `cpu` group ({error}): pip install 'welip[cpu]'"
        ) from error
    sparse = KiwiSparseEncoder()
    embedder, reranker = _models(database, settings, pools)
    return Ports(
        blobs=open_blobs(settings.blobs),
        index=_index(settings.index),
        sparse=sparse,
        embedder=embedder,
        embedder_name=embedder_name(settings.embedder),
        reranker=reranker,
        reranker_name=reranker_name(settings.reranker),
        candidates=settings.reranker.candidates,
        parser=ProcessDocumentParser(settings.parser),
        generator=_generator(settings.generator),
        catalogue=PostgresCatalogue(database),
        children=PostgresChildren(database, ChildSummary),
    )


def _index(settings: IndexSettings) -> VectorIndex:
    address = urlsplit(settings.url)
    if address.scheme == "edge":
        try:
            from infra.vectors.edge import EdgeIndex
        except ImportError as error:
            raise DependencyMissing(
                f"WELIP_INDEX_URL={settings.url} needs the `embedded` group ({error}): pip install 'welip[embedded]'"
            ) from error
        return EdgeIndex(Path(address.netloc + address.path))
    from infra.vectors.server import QdrantIndex

    return QdrantIndex(settings.url, settings.api_key.get_secret_value() if settings.api_key else None)


def _models(
    database: Database, settings: AdapterSettings, pools: Sequence[Pool]
) -> tuple[Embedder | None, Reranker | None]:
    """Models are loaded where the pool `gpu` is worked for, once a process; those behind an address need no loading."""
    # One thread for all of them: they share the device.
    thread = ThreadPoolExecutor(1, thread_name_prefix="models")
    cache = PostgresEmbeddingCache(database)
    loads = Pool.GPU in pools
    embedder = (
        open_embedder(settings.embedder, cache, thread) if loads or settings.embedder.engine == "openai" else None
    )
    return embedder, open_reranker(settings.reranker, thread) if loads else None


def _generator(settings: GeneratorSettings) -> Generator:
    match settings.engine:
        case "extractive":
            from infra.engines.extractive import ExtractiveGenerator

            return ExtractiveGenerator()
        case "openai":
            from infra.engines.openai import OpenAIGenerator

            return OpenAIGenerator(
                settings.url,
                settings.model,
                settings.api_key.get_secret_value() if settings.api_key else None,
                settings.timeout.total_seconds(),
            )
