"""A reranker behind an address that ends in `/rerank`, as Cohere, Jina, vLLM and others serve it."""

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Final

from infra.engines.admission import Admission
from infra.engines.blame import each
from infra.engines.endpoint import Endpoint, address, unreadable
from infra.engines.reranker import told
from schemas.errors import JobError
from schemas.models import Limits

AT_ONCE: Final = 8
"""Requests; the server makes the batches."""


class RerankEndpoint:
    """`base_url` is what comes before `/rerank`: `http://127.0.0.1:8000`, `https://api.cohere.com/v2`.

    What the server refuses for lack of capacity is repeated within `limits`, fewer requests at a time.
    """

    def __init__(
        self,
        base_url: str,
        model: str,
        api_key: str | None = None,
        timeout: float = 60.0,
        *,
        headers: Mapping[str, str] | None = None,
        limits: Limits = Limits(),  # noqa: B008 - it never changes
    ) -> None:
        self._endpoint = Endpoint(address(base_url, "rerank", version=""), api_key, timeout, headers=headers)
        self._model = model
        within = limits.model_copy(update={"at_once": limits.at_once or AT_ONCE})
        self._admission = Admission(model, within, adapts=True)

    @property
    def name(self) -> str:
        """The model's name on the server."""
        return self._model

    async def rerank(self, question: str, texts: Sequence[str]) -> list[float | JobError]:
        """A relevance in 0..1 for each text, or the error of a text that the server refuses."""
        scores = await each(partial(self._scores, question), texts, probe=question)
        # Some servers give logits.
        if not all(0 <= score <= 1 for score in scores if not isinstance(score, Exception)):
            scores = [score if isinstance(score, Exception) else _sigmoid(score) for score in scores]
        return told(scores)

    async def _scores(self, question: str, texts: Sequence[str]) -> list[float]:
        body = {"model": self._model, "query": question, "documents": list(texts), "top_n": len(texts)}
        size = len(question.encode()) * len(texts) + sum(len(text.encode()) for text in texts)
        return _read(await self._admission.posted(self._endpoint.post, body, size), len(texts))

    async def close(self) -> None:
        """Close the connections."""
        await self._endpoint.close()


def _read(reply: Any, count: int) -> list[float]:
    try:
        found = {int(row["index"]): float(row["relevance_score"]) for row in reply["results"]}
        scores = [found[at] for at in range(count)]
    except (KeyError, TypeError, ValueError) as error:
        raise unreadable("rerank") from error
    if not all(map(math.isfinite, scores)):
        raise unreadable("rerank")
    return scores


def _sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))
