"""Dense vectors from any server that speaks OpenAI's embeddings: vLLM, TEI, Ollama, or a hosted model."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from infra.engines.admission import Admission
from infra.engines.dense import embeddings
from infra.engines.endpoint import Endpoint, address, unreadable
from schemas.errors import Conflict
from schemas.models import Limits
from schemas.retrieval import Embedding


class OpenAIEmbeddings:
    """`dimension` asks the server for vectors of that length (`dimensions`); 0 leaves it to the model.

    Once a length is known, vectors of another one are refused: the model behind the address was changed. What the
    server refuses for lack of capacity is repeated within `limits`, fewer requests at a time.
    """

    def __init__(
        self,
        base_url: str,
        model: str,
        api_key: str | None = None,
        timeout: float = 60.0,
        *,
        headers: Mapping[str, str] | None = None,
        dimension: int = 0,
        query_prefix: str = "",
        document_prefix: str = "",
        limits: Limits = Limits(),  # noqa: B008 - it never changes
    ) -> None:
        self._admission = Admission(model, limits, adapts=True)
        self._endpoint = Endpoint(address(base_url, "embeddings"), api_key, timeout, headers=headers)
        self._body: dict[str, Any] = {"model": model, "encoding_format": "float"}
        if dimension:
            self._body["dimensions"] = dimension
        self.dimension = dimension
        self.learned = False
        self.query_prefix = query_prefix
        self.document_prefix = document_prefix

    async def encode(self, texts: Sequence[str]) -> list[Embedding]:
        """One embedding a text, in one request.

        Raises what `Endpoint.post` raises, and `Conflict` (`encoder_mismatch`) for vectors of another length.
        """
        # OpenAI refuses a text without content.
        body = {**self._body, "input": [text if text.strip() else "-" for text in texts]}
        reply = await self._admission.posted(self._endpoint.post, body, sum(len(text.encode()) for text in texts))
        vectors = _read(reply, len(texts))
        self.dimension = self.dimension or vectors.shape[1]
        if vectors.shape[1] != self.dimension:
            raise Conflict(
                f"the embedding endpoint gave vectors of {vectors.shape[1]} numbers, {self.dimension} were expected:"
                " name the model it serves in WELIP_EMBEDDER_MODEL, and its length in WELIP_EMBEDDER_DIMENSION",
                code="encoder_mismatch",
            )
        return embeddings(vectors)

    async def close(self) -> None:
        """Close the connections."""
        await self._endpoint.close()


def _read(reply: Any, count: int) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    try:
        rows = {int(row["index"]): row["embedding"] for row in reply["data"]}
        vectors = np.array([rows[at] for at in range(count)], dtype=np.float32)
    except (KeyError, TypeError, ValueError) as error:
        raise unreadable("embeddings") from error
    if vectors.ndim != 2 or not vectors.shape[1]:
        raise unreadable("embeddings")
    return vectors
