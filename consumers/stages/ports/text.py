"""What answers a question from passages."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from schemas.retrieval import GeneratedAnswer, Passage


@dataclass(frozen=True, slots=True)
class GenerationOptions:
    """How to generate: tokens at most, sampling temperature in 0..2."""

    max_tokens: int = 256
    temperature: float = 0.2


class Generator(Protocol):
    """Answers a question from passages."""

    @property
    def name(self) -> str:
        """What the result names as `model`."""

    async def generate(self, question: str, passages: Sequence[Passage], options: GenerationOptions) -> GeneratedAnswer:
        """An answer whose citations are a subset of `passages`, or an honest "not found" (`found=False`)."""

    async def close(self) -> None:
        """Let go of connections and models."""
