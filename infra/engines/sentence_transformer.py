"""Dense vectors from any sentence-transformers model, for deployments with the gpu group."""

from collections.abc import Sequence

from infra.engines.dense import embeddings
from infra.engines.loading import loaded
from schemas.retrieval import Embedding


class SentenceTransformerModel:
    """A model by hub name or folder, loaded when this is constructed. Texts beyond the model's length are cut by it.

    `device` as in torch (None: the best there is). `dimension` cuts the vectors of models that were trained for it
    (Matryoshka). The prefixes go in front of every text; None leaves them to the model's own prompts.
    Raises `DependencyMissing` without the gpu group and `DependencyUnavailable` when the model cannot be loaded.
    """

    def __init__(
        self,
        model_name_or_path: str,
        device: str | None = None,
        *,
        dimension: int | None = None,
        query_prefix: str | None = None,
        document_prefix: str | None = None,
    ) -> None:
        with loaded(model_name_or_path):
            from sentence_transformers import SentenceTransformer

            self._model = SentenceTransformer(model_name_or_path, device=device, truncate_dim=dimension)
            prompts = self._model.prompts
            self.query_prefix = prompts.get("query") or "" if query_prefix is None else query_prefix
            self.document_prefix = (
                prompts.get("document") or prompts.get("passage") or "" if document_prefix is None else document_prefix
            )
            self.learned = False
            # The first pass is slow: run it here, not in a job.
            self.dimension = len(self.encode(["차원"])[0].dense)

    def encode(self, texts: Sequence[str]) -> list[Embedding]:
        """One embedding a text, in one pass. Blocking."""
        vectors = self._model.encode(list(texts), prompt="", batch_size=max(1, len(texts)), show_progress_bar=False)
        return embeddings(vectors)

    async def close(self) -> None:
        """Nothing is held but the model."""
