"""Reranking by any cross-encoder that sentence-transformers loads, for deployments with the gpu group."""

from collections.abc import Mapping, Sequence
from typing import Any

from infra.engines.loading import loaded
from infra.engines.reranker import Pair
from schemas.errors import JobError


class CrossEncoderModel:
    """A model by hub name or folder, loaded when this is constructed. Pairs beyond the model's length are cut by it.

    `options` go to sentence-transformers, such as `device` (as in torch; None: the best there is). Raises
    `DependencyMissing` without the gpu group and `DependencyUnavailable` when the model cannot be loaded or is none
    that gives one score a pair.
    """

    def __init__(
        self, model_name_or_path: str, *, revision: str | None = None, options: Mapping[str, Any] | None = None
    ) -> None:
        with loaded(model_name_or_path):
            from sentence_transformers import CrossEncoder
            from torch import nn

            given = {"activation_fn": nn.Sigmoid(), **(options or {})}
            self._model = CrossEncoder(model_name_or_path, revision=revision, **given)
            if self._model.num_labels != 1:
                raise ValueError(f"it sorts into {self._model.num_labels} classes; a reranker gives one score")
            # The first pass is slow: run it here, not in a job.
            self.score([("질문", "글")])

    def score(self, pairs: Sequence[Pair]) -> list[float]:
        """A relevance in 0..1 for each pair of question and text, in one pass. Blocking."""
        scores = self._model.predict(list(pairs), batch_size=max(1, len(pairs)), show_progress_bar=False).tolist()
        if any(score != score for score in scores):
            raise JobError("the reranker gave scores that are not numbers", code="reranking_invalid")
        return [float(score) for score in scores]
