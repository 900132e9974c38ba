"""Reads the examples with the model's tokenizer, before its weights are loaded: how long they are, what is cut."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import datasets

from infra.training.telling import Cannot
from schemas.kinds.training.plan import Counted, TrainingPlan

MOST_AUTO: Final = 4_096
"""Tokens of an example that `auto` goes up to."""
STEP: Final = 16
ANSWERS: Final = ("completion", "chosen", "rejected")


@dataclass(frozen=True, slots=True)
class Examples:
    """What is trained on and held out, and how many tokens an example may have.

    `tokenised_by`: None until TRL's trainer has tokenised them; then how many a device took at a time.
    """

    train: Any
    validation: Any | None
    max_length: int
    counted: Counted
    tokenised_by: int | None = None


def counted(plan: TrainingPlan, tokenizer: Any, context: int) -> Examples:
    """The examples that have something to learn within `max_length`. `context`: the most tokens that the model takes.

    Raises `Cannot`: `chat_template_missing`, `max_length_too_large`, `dataset_too_long`.
    """
    if tokenizer.chat_template is None:
        why = "the base model's tokenizer has no chat template, so conversations cannot be written for it"
        raise Cannot("chat_template_missing", f"{why}: choose an instruction-tuned model")
    if plan.max_length != "auto" and plan.max_length > context:
        why = f"max_length is {plan.max_length:,} tokens, and the base model takes {context:,}"
        raise Cannot("max_length_too_large", why)
    train, validation = (_read(plan, path, tokenizer) for path in (plan.train, plan.validation))
    assert train is not None
    longest = max(train["length"])
    fitting = min(context, MOST_AUTO, -(-longest // STEP) * STEP)
    max_length = fitting if plan.max_length == "auto" else plan.max_length
    lengths, prompts = train["length"], train["prompt_length"]
    kept = [at for at, prompt in enumerate(prompts) if prompt < max_length]
    if not kept:
        why = f"no question leaves room for an answer within {max_length:,} tokens (max_length)"
        raise Cannot("dataset_too_long", why)
    told = Counted(
        rows=len(kept),
        validation_rows=0 if validation is None else len(validation),
        tokens=sum(min(lengths[at], max_length) for at in kept),
        longest=longest,
        too_long=sum(length > max_length for length in lengths),
        masked_away=len(prompts) - len(kept),
    )
    if validation is not None:
        validation = validation.filter(lambda row: row["prompt_length"] < max_length)
    columns = ["length", "prompt_length"]
    return Examples(
        train.select(kept).remove_columns(columns),
        validation.remove_columns(columns) if validation is not None and len(validation) else None,
        max_length,
        told,
    )


def _read(plan: TrainingPlan, path: str | None, tokenizer: Any) -> Any | None:
    """A file of examples with the lengths of each: of all of it, and of its prompt."""
    if path is None:
        return None
    found = datasets.load_dataset("json", data_files=path, split="train", cache_dir=str(Path(plan.output) / "cache"))

    def lengths(row: dict[str, Any]) -> dict[str, int]:
        prompt = len(_ids(tokenizer, row["prompt"], add_generation_prompt=True))
        answers = [row[name] for name in ANSWERS if row.get(name) is not None]
        return {
            "length": max(len(_ids(tokenizer, row["prompt"] + answer)) for answer in answers),
            "prompt_length": prompt,
        }

    return found.map(lengths, desc="counting")


def _ids(tokenizer: Any, turns: list[dict[str, str]], **options: bool) -> list[int]:
    found: list[int] = tokenizer.apply_chat_template(turns, tokenize=True, return_dict=False, **options)
    return found
