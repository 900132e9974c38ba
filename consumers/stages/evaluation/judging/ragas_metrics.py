"""RAGAS' metrics, given a model and embeddings that are ports: retries, cache, limits and ceilings stay ours.

RAGAS is asked for one score at a time. Its own runners gather without bounds, and one bad row ends a batch.
"""

import inspect
import math
import os
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Final

from pydantic import BaseModel

from consumers.stages.evaluation.judging.asking import Asker, Unscored
from schemas.errors import DependencyMissing, JobError
from schemas.kinds.evaluation.metrics import metric
from schemas.text import Message

Embed = Callable[[Sequence[str]], Awaitable[list[Sequence[float]]]]

REMEDY: Final = "the workers that serve the judge need the `eval` group for RAGAS: pip install 'welip[eval]'"


class _Wanted(Exception):
    """Texts are to be embedded, in a call that cannot wait for them."""


@dataclass
class _Score:
    """One score in the making: what the judge and the embedder have said for it.

    Some metrics catch every error and go on without a reply. So the first one is kept here, and raised in the end.
    """

    asker: Asker
    replies: dict[tuple[str, int], BaseModel] = field(default_factory=dict)
    vectors: dict[str, Sequence[float]] = field(default_factory=dict)
    wanted: list[str] = field(default_factory=list)
    failed: Exception | None = None
    counted: Counter[str] = field(default_factory=Counter)

    async def ask(self, prompt: str, form: type[BaseModel]) -> BaseModel:
        """The judge's reply. The same prompt again wants another one, but not when the metric runs anew."""
        if self.failed is not None:
            raise self.failed
        nth = self.counted[prompt]
        self.counted[prompt] += 1
        if (prompt, nth) not in self.replies:
            try:
                self.replies[prompt, nth] = await self.asker.ask([Message("user", prompt)], form, nth=nth)
            except (JobError, Unscored) as error:
                self.failed = error
                raise
        return self.replies[prompt, nth]

    def embedded(self, texts: Sequence[str]) -> list[list[float]]:
        """The vectors of texts. Raises `_Wanted` when some are not there yet."""
        self.wanted += [text for text in dict.fromkeys(texts) if text not in self.vectors]
        if self.wanted:
            raise _Wanted
        return [list(self.vectors[text]) for text in texts]


async def ragas_score(name: str, given: Mapping[str, Any], asker: Asker, embed: Embed | None) -> float:
    """The score of the metric in 0..1, of what RAGAS calls `user_input`, `response`, `reference`, `retrieved_contexts`.

    `embed` gives vectors of texts. Raises `Unscored`, `DependencyMissing`, and what `Asker.ask` raises.
    """
    score = _Score(asker)
    metric_of = _parts().metric(name, score)
    takes = inspect.signature(metric_of.ascore).parameters
    while True:
        score.counted.clear()
        score.wanted.clear()
        found, wrong = None, None
        try:
            found = (await metric_of.ascore(**{part: value for part, value in given.items() if part in takes})).value
        except (
            ValueError,
            ArithmeticError,
            LookupError,
            TypeError,
            AttributeError,
            Unscored,
            JobError,
            _Wanted,
        ) as error:
            wrong = error
        if score.failed is not None:
            raise score.failed
        if score.wanted:
            # Some metrics embed in a call that cannot wait. They run anew, and nothing is asked again.
            if embed is None:
                raise Unscored("embedder_missing", f"{name} compares texts, and this worker has no embedder")
            score.vectors.update(zip(score.wanted, await embed(score.wanted), strict=True))
            continue
        if wrong is not None:
            raise Unscored("metric_failed", f"{name}: {wrong or type(wrong).__name__}") from wrong
        if found is None or math.isnan(value := float(found)):
            raise Unscored("judge_found_nothing", f"{name}: the judge's replies hold nothing to score")
        return min(1.0, max(0.0, value))


def load() -> None:
    """Import RAGAS, which takes seconds. Blocking. Raises `DependencyMissing`, with the remedy."""
    _parts()


class _Parts:
    """RAGAS' metrics over our model and vectors."""

    def __init__(self) -> None:
        os.environ.setdefault("RAGAS_DO_NOT_TRACK", "true")  # its telemetry blocks the event loop
        try:
            from ragas.embeddings.base import BaseRagasEmbedding
            from ragas.llms.base import InstructorBaseRagasLLM
            from ragas.metrics import collections
        except ImportError as error:
            raise DependencyMissing(f"{REMEDY} ({error})") from error

        class Judge(InstructorBaseRagasLLM):  # type: ignore[misc]
            def __init__(self, score: _Score) -> None:
                self._score = score

            def generate(self, prompt: str, response_model: type[BaseModel]) -> BaseModel:
                raise TypeError("ask with `agenerate`")

            async def agenerate(self, prompt: str, response_model: type[BaseModel]) -> BaseModel:
                return await self._score.ask(prompt, response_model)

        class Vectors(BaseRagasEmbedding):  # type: ignore[misc]
            def __init__(self, score: _Score) -> None:
                super().__init__()
                self._score = score

            def embed_text(self, text: str, **_: Any) -> list[float]:
                return self._score.embedded([text])[0]

            async def aembed_text(self, text: str, **_: Any) -> list[float]:
                return self._score.embedded([text])[0]

            def embed_texts(self, texts: list[str], **_: Any) -> list[list[float]]:
                return self._score.embedded(texts)

            async def aembed_texts(self, texts: list[str], **_: Any) -> list[list[float]]:
                return self._score.embedded(texts)

        self._collections = collections
        self._judge = Judge
        self._vectors = Vectors

    def metric(self, name: str, score: _Score) -> Any:
        """The metric of this name, which makes the score."""
        row = metric(name)
        assert row.ragas is not None
        embeddings = {"embeddings": self._vectors(score)} if row.embeds else {}
        return getattr(self._collections, row.ragas)(llm=self._judge(score), **embeddings)


@cache
def _parts() -> _Parts:
    return _Parts()
