"""The rows of a dataset in the one shape in which they are checked, whether they are questions or examples."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from consumers.scoring.texts import text_key
from schemas.kinds.evaluation.items import Item
from schemas.kinds.training.examples import Example, Turns


@dataclass(frozen=True, slots=True)
class Row:
    """`texts` by column. `asked`: the question, or the last turn before the answer. `answers`: what is right.

    `whole`: all that makes two rows the same. `relevant`: ids of documents.
    """

    number: int
    id: str | None
    texts: Mapping[str, str]
    asked: str
    answers: tuple[str, ...]
    whole: str
    relevant: tuple[str, ...] = ()
    answerable: bool = True
    question: bool = field(default=True)


def row_of(read: Item | Example) -> Row:
    """The row as it is checked."""
    return _question(read) if isinstance(read, Item) else _example(read)


def _question(item: Item) -> Row:
    texts = {"question": item.question}
    if item.references:
        texts["reference"] = "\n".join(item.references)
    return Row(
        item.row,
        item.id,
        texts,
        item.question,
        tuple(item.references),
        text_key(item.question),
        tuple(item.relevant),
        item.answerable,
    )


def _example(example: Example) -> Row:
    answers = {
        name: _told(turns)
        for name, turns in (
            ("completion", example.completion),
            ("chosen", example.chosen),
            ("rejected", example.rejected),
        )
        if turns is not None
    }
    prompt = _told(example.prompt)
    whole = "\n".join(map(text_key, (prompt, *answers.values())))
    asked = example.prompt[-1].content
    return Row(example.row, None, {"prompt": prompt, **answers}, asked, tuple(answers.values()), whole, question=False)


def _told(turns: Turns) -> str:
    return "\n".join(turn.content for turn in turns)
