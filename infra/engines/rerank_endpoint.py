"""A reranker behind an address that ends in `/rerank`, as Cohere, Jina, vLLM and others serve it."""

import asyncio
import math
from collections.abc import Sequence
from typing import Any, Final

from infra.engines.endpoint import Endpoint
from schemas.errors import DependencyUnavailable

AT_ONCE: Final = 8
"""Requests; the server makes the batches."""


class RerankEndpoint:
    """`base_url` is what comes before `/rerank`: `http://127.0.0.1:8000`, `https://api.cohere.com/v2`."""

    def __init__(self, base_url: str, model: str, api_key: str | None = None, timeout: float = 60.0) -> None:
        self._endpoint = Endpoint(f"{base_url.rstrip('/')}/rerank", api_key, timeout)
        self._model = model
        self._turn = asyncio.Semaphore(AT_ONCE)

    @property
    def name(self) -> str:
        """The model's name on the server."""
        return self._model

    async def rerank(self, question: str, texts: Sequence[str]) -> list[float]:
        """A relevance in 0..1 for each text. Raises what `Endpoint.post` raises."""
        if not texts:
            return []
        body = {"model": self._model, "query": question, "documents": list(texts), "top_n": len(texts)}
        async with self._turn:
            reply = await self._endpoint.post(body)
        scores = _read(reply, len(texts))
        # Some servers give logits.
        return scores if all(0 <= score <= 1 for score in scores) else [_sigmoid(score) for score in scores]

    async def close(self) -> None:
        """Close the connections."""
        await self._endpoint.close()


def _read(reply: Any, count: int) -> list[float]:
    try:
        found = {int(row["index"]): float(row["relevance_score"]) for row in reply["results"]}
        scores = [found[at] for at in range(count)]
    except (KeyError, TypeError, ValueError) as error:
        raise DependencyUnavailable("the engine's answer does not follow the rerank protocol") from error
    if not all(map(math.isfinite, scores)):
        raise DependencyUnavailable("the engine's answer holds scores that are no numbers")
    return scores


def _sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))
