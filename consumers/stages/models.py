"""Models as stages use them: the one that a collection was made with, and the text of a chunk that models read."""

from consumers.stages.ports import Embedder, Ports
from schemas.errors import Conflict, DependencyMissing


def embedder_for(ports: Ports, wanted: str) -> Embedder:
    """This worker's embedder, if it is the model `wanted`, which the pool that sent the job here knows of.

    Raises `DependencyMissing` (`embedder_missing`) and `Conflict` (`encoder_mismatch`).
    """
    if ports.embedder is None:
        raise DependencyMissing(
            f"a worker of the pool `gpu` has no embedding model, {wanted} is needed: set WELIP_EMBEDDER and"
            " WELIP_EMBEDDER_MODEL for all workers",
            code="embedder_missing",
        )
    if ports.embedder.name != wanted:
        raise Conflict(
            f"a worker of the pool `gpu` has {ports.embedder.name}, {wanted} is needed: set WELIP_EMBEDDER and"
            " WELIP_EMBEDDER_MODEL alike for all workers",
            code="encoder_mismatch",
        )
    return ports.embedder


def under_headings(title: str | None, heading: str | None, text: str) -> str:
    """A chunk under its document's title and its headings, for chunks that never name their subject."""
    return "\n".join(part for part in (title, heading, text) if part)
