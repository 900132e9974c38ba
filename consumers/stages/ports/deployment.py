"""What a stage may know of the deployment without a port: facts of its settings, the same for all workers."""

from dataclasses import dataclass

from schemas.models import WITHOUT_MODELS, Models


@dataclass(frozen=True, slots=True)
class Deployment:
    """The models of this deployment, also those that only another pool has loaded; None where there is none."""

    embedder: str | None = None
    """The dense model, named as collections record it."""
    reranker: str | None = None
    candidates: int = 30
    """How many passages a reranker reads: more than requested, so that it can move some up."""
    models: Models = WITHOUT_MODELS
    """What requests may name."""
    digest: str = ""
    """Of everything above and of all other settings that shape answers: another value, perhaps other answers."""
