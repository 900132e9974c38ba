"""Prompts: versioned templates for what a model is told, their variables, and how requests name them.

A template holds `{{variable}}`; any other text, single braces too, is told as it is.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from schemas.errors import InvalidInput
from schemas.text import Message

Language = Literal["ko", "en"]
Purpose = Literal["answer", "condense", "question"]
"""`answer`: from passages. `condense`: a conversation into the question that is searched for. `question`: one that a
passage answers."""

GIVEN: Final[Mapping[Purpose, frozenset[str]]] = {
    "answer": frozenset({"passages", "question", "not_found"}),
    "condense": frozenset({"history", "question"}),
    "question": frozenset({"passage", "title"}),
}
"""Variables that WeLIP fills in; the others come with the request."""
NEEDED: Final[Mapping[Purpose, frozenset[str]]] = {
    "answer": frozenset({"passages", "question"}),
    "condense": frozenset({"history", "question"}),
    "question": frozenset({"passage"}),
}
"""What a model must be told in any case."""

DEFAULTS: Final[Mapping[Purpose, str]] = {"answer": "rag", "condense": "condense", "question": "question"}
"""What the defaults of a purpose are called, before their language."""

MAX_TEMPLATE_CHARS: Final = 50_000
MAX_VALUE_CHARS: Final = 20_000

PROMPT_NAME: Final = r"[a-z0-9][a-z0-9_-]{0,63}"
PROMPT_VERSION: Final = "[1-9][0-9]{0,5}"
_NAMED: Final = re.compile(rf"({PROMPT_NAME})(?:@({PROMPT_VERSION}))?")
_VARIABLE: Final = re.compile(r"\{\{\s*([A-Za-z_][A-Za-z0-9_]*)\s*\}\}")
_HANGUL: Final = re.compile(r"[가-힣ㄱ-ㆎ]")

PromptName = Annotated[str, StringConstraints(pattern=rf"^{PROMPT_NAME}(@{PROMPT_VERSION})?$")]
VariableName = Annotated[str, StringConstraints(pattern=r"^[a-z_][a-z0-9_]{0,63}$")]
VariableValue = Annotated[str, StringConstraints(max_length=MAX_VALUE_CHARS)]
Template = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=MAX_TEMPLATE_CHARS)]


class PromptFile(BaseModel):
    """What a file of a prompt holds. `not_found`: the sentence that means no passage answers, of a prompt that answers.

    `variables`: what a request must fill in.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    purpose: Purpose = "answer"
    language: Language
    system: Template
    user: Template
    not_found: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=500)] | None = None
    variables: tuple[VariableName, ...] = Field((), max_length=50)

    @model_validator(mode="after")
    def _variables_fit(self) -> "PromptFile":
        if (self.not_found is None) is (self.purpose == "answer"):
            raise ValueError("not_found: a prompt that answers, and no other, says what it says when nothing is found")
        given, own = GIVEN[self.purpose], set(self.variables)
        if taken := sorted(own & given):
            raise ValueError(f"variables: {taken[0]!r} is filled in by WeLIP")
        used = variables_in(self.system) | variables_in(self.user)
        if unknown := sorted(used - given - own):
            known = ", ".join(sorted(given | own))
            raise ValueError(
                f"the template has the variable {unknown[0]!r}, which nothing fills in; there are: {known}"
            )
        if unused := sorted(own - used):
            raise ValueError(f"variables: the template does not use {unused[0]!r}")
        if missing := sorted(NEEDED[self.purpose] - variables_in(self.user)):
            raise ValueError(f"user: the template lacks {{{{{missing[0]}}}}}")
        return self


class PromptNotFound(InvalidInput):
    """A request names a prompt that is not there; the message lists those that are."""

    code = "prompt_not_found"


class PromptVariables(InvalidInput):
    """A request gives other variables than its prompt has."""

    code = "prompt_variables"


@dataclass(frozen=True, slots=True)
class Prompt:
    """A version of a prompt."""

    name: str
    version: int
    file: PromptFile

    def __str__(self) -> str:
        return f"{self.name}@{self.version}"

    @property
    def not_found(self) -> str:
        """The sentence that means no passage answers."""
        return self.file.not_found or ""

    def messages(self, variables: Mapping[str, str]) -> list[Message]:
        """What the model is told. Values are put in as they are: what looks like a variable in them is none."""
        values = {"not_found": self.not_found, **variables}
        return [
            Message("system", filled(self.file.system, values)),
            Message("user", filled(self.file.user, values)),
        ]


@dataclass(frozen=True, slots=True)
class Wording:
    """How one question is asked: by which prompt, with which variables, after which turns of a conversation.

    `prompt`: None means the default of the question's language.
    """

    prompt: str | None = None
    variables: Mapping[str, str] | None = None
    history: Sequence[Message] = ()


class Prompts:
    """The prompts of a deployment, by name and version."""

    def __init__(self, prompts: Sequence[Prompt]) -> None:
        self._prompts = {(one.name, one.version): one for one in prompts}

    def __iter__(self) -> Iterator[Prompt]:
        return iter(self._prompts.values())

    def names(self, purpose: Purpose = "answer") -> list[str]:
        """All versions of the prompts of a purpose."""
        return [str(one) for _, one in sorted(self._prompts.items()) if one.file.purpose == purpose]

    def default(self, purpose: Purpose, question: str, language: Language | None = None) -> Prompt:
        """The newest version of `rag-ko`, or of its like for the purpose and the language; None: the question's."""
        return self.wanted(f"{DEFAULTS[purpose]}-{language or language_of(question)}", purpose, field="prompt")

    def wanted(self, name: str, purpose: Purpose, *, field: str) -> Prompt:
        """A version of a prompt; the newest where the name has none. Raises `PromptNotFound`."""
        found = _NAMED.fullmatch(name)
        if found is not None:
            versions = [
                one
                for (known, version), one in sorted(self._prompts.items())
                if known == found[1] and one.file.purpose == purpose and found[2] in (None, str(version))
            ]
            if versions:
                return versions[-1]
        there = ", ".join(self.names(purpose))
        raise PromptNotFound(f"there is no prompt {name!r} for this; there are: {there}", field=field)

    def checked(self, name: str, variables: Mapping[str, str], *, field: str) -> Prompt:
        """The prompt that a request names. Raises `PromptNotFound`, and `PromptVariables` for variables it lacks."""
        prompt = self.wanted(name, "answer", field=f"{field}.prompt")
        wanted, given = set(prompt.file.variables), set(variables)
        if missing := sorted(wanted - given):
            raise PromptVariables(f"the prompt {prompt} needs the variable {missing[0]!r}", field=f"{field}.variables")
        if more := sorted(given - wanted):
            known = ", ".join(sorted(wanted)) or "none"
            why = f"the prompt {prompt} has no variable {more[0]!r}; it has: {known}"
            raise PromptVariables(why, field=f"{field}.variables")
        return prompt

    def says_not_found(self, text: str) -> bool:
        """Whether an answer says that nothing was found, in any prompt's words: models do not always keep to theirs."""
        return any(sentence in text.lower() for sentence in self._not_found)

    @cached_property
    def _not_found(self) -> frozenset[str]:
        return frozenset(one.not_found.lower() for one in self._prompts.values() if one.file.purpose == "answer")


def variables_in(template: str) -> frozenset[str]:
    """The names of a template's variables."""
    return frozenset(_VARIABLE.findall(template))


def filled(template: str, values: Mapping[str, str]) -> str:
    """The template with its variables replaced, in one pass."""
    return _VARIABLE.sub(lambda found: values[found[1]], template)


def language_of(question: str) -> Language:
    """Korean if it holds a Korean letter."""
    return "ko" if _HANGUL.search(question) else "en"
