"""What stages may ask of the outside world. One protocol per outside thing, a file each; `infra/` holds the adapters.

Every method may raise `schemas.errors.DependencyUnavailable` when the thing behind it does not answer.
"""

from dataclasses import dataclass

from consumers.stages.ports.blobs import Blobs as Blobs
from consumers.stages.ports.catalogue import Catalogue as Catalogue
from consumers.stages.ports.children import Children as Children
from consumers.stages.ports.children import ChildSummary as ChildSummary
from consumers.stages.ports.documents import DocumentParser as DocumentParser
from consumers.stages.ports.index import VectorIndex as VectorIndex
from consumers.stages.ports.models import Embedder as Embedder
from consumers.stages.ports.models import Reranker as Reranker
from consumers.stages.ports.models import SparseEncoder as SparseEncoder
from consumers.stages.ports.text import GenerationOptions as GenerationOptions
from consumers.stages.ports.text import Generator as Generator
from schemas.catalogue import CollectionRecord as CollectionRecord
from schemas.catalogue import StoredDocument as StoredDocument


@dataclass(frozen=True, slots=True)
class Ports:
    """All that a stage is given. `embedder` and `reranker` are None where this process has no such model."""

    blobs: Blobs
    index: VectorIndex
    sparse: SparseEncoder
    embedder: Embedder | None
    embedder_name: str | None
    """The deployment's dense model, also where another pool has it loaded."""
    reranker: Reranker | None
    reranker_name: str | None
    """The deployment's reranker, also where another pool has it loaded."""
    parser: DocumentParser
    generator: Generator
    catalogue: Catalogue
    children: Children
    candidates: int = 30
    """How many passages a reranker reads: more than are asked for, so that it can bring some up."""
