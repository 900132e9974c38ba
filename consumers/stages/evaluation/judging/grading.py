"""Graders that ask the judge: a number between two ends, or one of some labels."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any, Literal, assert_never

from pydantic import BaseModel, Field, create_model

from consumers.scoring.places import filled
from consumers.stages.evaluation.judging.asking import Asker
from schemas.kinds.evaluation.graders import LabelModel, ScoreModel
from schemas.text import Message, TextOptions


class Scored(BaseModel):
    """What a score model replies."""

    steps: str = Field("", description="Why, in a sentence or two.")
    result: float = Field(allow_inf_nan=False)


async def grade(grader: ScoreModel | LabelModel, places: Mapping[str, str], asker: Asker) -> float:
    """The grade in 0..1. `places`: what takes the places in the grader's messages. Raises as `Asker.ask` does."""
    turns = [
        Message("system" if turn.role == "developer" else turn.role, filled(turn.content, places))
        for turn in grader.input
    ]
    options = _options(grader, asker.options)
    match grader:
        case ScoreModel():
            low, high = grader.range
            asked = (
                f'Reply with a JSON object: {{"steps": why, in short, "result": a number from {low:g} to {high:g}}}.'
            )
            value = (await asker.ask(_with(turns, asked), Scored, options=options)).result
            if grader.pass_threshold is not None:
                return float(value >= grader.pass_threshold)
            return min(1.0, max(0.0, (value - low) / (high - low)))
        case LabelModel():
            labels = ", ".join(f'"{label}"' for label in grader.labels)
            asked = f'Reply with a JSON object: {{"steps": why, in short, "label": one of {labels}}}.'
            found = await asker.ask(_with(turns, asked), _labelled(tuple(grader.labels)), options=options)
            return float(found.model_dump()["label"] in grader.passing_labels)
        case _:
            assert_never(grader)


def _with(turns: Sequence[Message], asked: str) -> list[Message]:
    """The messages with the form of the reply at their end: some engines refuse two turns of a user in a row."""
    *before, last = turns
    if last.role != "user":
        return [*turns, Message("user", asked)]
    return [*before, replace(last, content=f"{last.content}\n\n{asked}")]


@lru_cache(maxsize=64)
def _labelled(labels: tuple[str, ...]) -> type[BaseModel]:
    fields: dict[str, Any] = {"steps": (str, ""), "label": (Literal[labels], ...)}
    return create_model("Labelled", **fields)


def _options(grader: ScoreModel | LabelModel, of_the_judge: TextOptions) -> TextOptions:
    own = grader.sampling_params
    return replace(
        of_the_judge,
        temperature=of_the_judge.temperature if own.temperature is None else own.temperature,
        top_p=own.top_p,
        seed=own.seed,
        max_tokens=own.max_completions_tokens or of_the_judge.max_tokens,
    )
