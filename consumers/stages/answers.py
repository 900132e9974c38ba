"""What a child answered, read from its result."""

from dataclasses import dataclass, field
from typing import Any

import orjson

from consumers.scoring.given import Given
from consumers.stages.ports import ChildSummary, Ports
from schemas.kinds.generation import GenerationResult
from schemas.kinds.inference import InferenceResult
from schemas.lifecycle import JobState


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer with its passages, its costs, or the error that took its place. `tokens`: those of the prompt, too."""

    given: Given
    error: dict[str, Any] | None = None
    contexts: list[str] = field(default_factory=list)
    model: str | None = None
    latency_ms: float | None = None
    tokens: int = 0
    prompt_tokens: int = 0


async def answer_of(ports: Ports, child: ChildSummary) -> Answer:
    """The answer of a child that has ended, however it ended."""
    told = await result_of(ports, child)
    if told is None:
        error = child.error or {"code": "cancelled", "message": "the question was cancelled"}
        return Answer(Given(succeeded=False), {"code": error["code"], "message": error["message"]})
    if child.kind == "generation":
        return _of_model(GenerationResult.model_validate(told))
    return _of_retrieval(InferenceResult.model_validate(told))


async def result_of(ports: Ports, child: ChildSummary) -> dict[str, Any] | None:
    """The result of a child, also a large one, which is a file; None of one that did not succeed."""
    if child.result is None or child.state is not JobState.SUCCEEDED:
        return None
    if set(child.result) != {"file"}:
        return child.result
    found: dict[str, Any] = orjson.loads(await ports.blobs.get((await ports.files.find(child.result["file"])).blob))
    return found


def _of_model(result: GenerationResult) -> Answer:
    tokens = result.usage.prompt_tokens + result.usage.completion_tokens
    return Answer(
        Given(succeeded=True, text=result.message.content or ""),
        model=result.model,
        tokens=tokens,
        prompt_tokens=result.usage.prompt_tokens,
    )


def _of_retrieval(result: InferenceResult) -> Answer:
    # Without an answer, the citations are all that was retrieved.
    passages = result.citations if result.retrieved is None else result.retrieved
    timings = result.timings_ms
    return Answer(
        Given(
            succeeded=True,
            text=result.answer,
            found=result.found,
            documents=[passage.document_id for passage in passages],
        ),
        contexts=[passage.text for passage in passages],
        model=result.model,
        latency_ms=round(sum(ms for stage, ms in timings.items() if stage not in ("queue", "total")), 3),
        tokens=result.usage.prompt_tokens + result.usage.completion_tokens,
        prompt_tokens=result.usage.prompt_tokens,
    )
