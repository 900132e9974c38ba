"""Picks the adapters that the settings name: the one place where ports meet infrastructure."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from consumers.stages.ports import ChildSummary, Embedder, Generator, Ports, StoredDocument, VectorIndex
from infra.blobs.open import open_blobs
from infra.postgres.catalogue import PostgresCatalogue, PostgresChildren
from infra.postgres.database import Database
from infra.settings import BlobsSettings, EmbedderSettings, GeneratorSettings, IndexSettings
from schemas.errors import DependencyMissing
from schemas.topics import Pool

if TYPE_CHECKING:
    from infra.text.sentences import KiwiSentenceSplitter
    from infra.text.sparse import KiwiSparseEncoder


@dataclass(frozen=True, slots=True)
class AdapterSettings:
    """What picks the adapters."""

    blobs: BlobsSettings
    index: IndexSettings
    generator: GeneratorSettings
    embedder: EmbedderSettings


def build_ports(database: Database, settings: AdapterSettings, pools: Sequence[Pool]) -> Ports:
    """The ports of a worker of these pools. Raises `DependencyMissing` naming the group to install."""
    try:
        from infra.text.parsing import TextParser
        from infra.text.sentences import KiwiSentenceSplitter
        from infra.text.sparse import KiwiSparseEncoder
    except ImportError as error:
        raise DependencyMissing(
            f"a worker of the pools {', '.join(pools)} needs the `cpu` group ({error}): pip install 'welip[cpu]'"
        ) from error
    sparse = KiwiSparseEncoder()
    splitter = KiwiSentenceSplitter()
    return Ports(
        blobs=open_blobs(settings.blobs),
        index=_index(settings.index),
        sparse=sparse,
        embedder=_embedder(settings.embedder),
        parser=TextParser(),
        splitter=splitter,
        generator=_generator(settings.generator, splitter, sparse),
        catalogue=PostgresCatalogue(database, StoredDocument),
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


def _embedder(settings: EmbedderSettings) -> Embedder | None:
    match settings.engine:
        case "none":
            return None
        case "sentence-transformers":
            from infra.engines.sentence_transformer import SentenceTransformerEmbedder

            return SentenceTransformerEmbedder(settings.model, device=settings.device)


def _generator(settings: GeneratorSettings, splitter: "KiwiSentenceSplitter", sparse: "KiwiSparseEncoder") -> Generator:
    match settings.engine:
        case "extractive":
            from infra.engines.extractive import ExtractiveGenerator

            return ExtractiveGenerator(splitter, sparse)
        case "openai":
            from infra.engines.openai import OpenAIGenerator

            return OpenAIGenerator(
                settings.url,
                settings.model,
                settings.api_key.get_secret_value() if settings.api_key else None,
                settings.timeout.total_seconds(),
            )
