"""What the reader of a report should mind, kept apart from the language in which it is told."""

from collections.abc import Mapping, Sequence

from pydantic import BaseModel

Sentences = Mapping[str, Mapping[str, str]]
"""Templates of sentences by language, `en` and `ko`, and name."""


class Remark(BaseModel):
    """One sentence: its name, and what stands in it."""

    sentence: str
    values: dict[str, int | str] = {}


def told(remarks: Sequence[Remark], sentences: Sentences, language: str) -> list[str]:
    """The sentences, without full stops."""
    return [sentences[language][one.sentence].format(**one.values) for one in remarks]
