"""What is asked: Promptfoo's prompts with several variables, as prompts with the one place for a question."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from producers.client.promptfoo.notes import Notes
from producers.client.promptfoo.reading import Prompt, Test
from producers.client.promptfoo.variables import filled, names_in, without

PLACE: Final = "{question}"
MAX_QUESTION_CHARS: Final = 8_000
MAX_VALUE_CHARS: Final = 2_000


@dataclass(frozen=True, slots=True)
class AskedPrompt:
    """A prompt of a variant: `text` holds `{question}`."""

    label: str
    system: str | None
    text: str


@dataclass(frozen=True, slots=True)
class Asked:
    """What one evaluation asks. `places`: the tests that its questions are of, by their numbers from 0."""

    prompts: list[AskedPrompt]
    questions: list[str]
    metadata: list[dict[str, Any]]
    places: list[int]


@dataclass(frozen=True, slots=True)
class _Parts:
    label: str
    system: str
    user: str


def asked(prompts: Sequence[Prompt], tests: Sequence[Test], among: Sequence[Test], notes: Notes) -> Iterator[Asked]:
    """One evaluation for all prompts where they share their question, else one for each prompt.

    `among`: all tests of the configuration, of which these are some: what differs among them is the question.
    """
    parts = [one for prompt in prompts if (one := _parts(prompt, notes)) is not None]
    if not parts or not tests:
        return
    names = sorted({name for one in parts for name in names_in(one.system + one.user)})
    varying = [name for name in names if len({test.vars.get(name, "") for test in among}) > 1]
    if (question := _question(parts, varying)) is not None:
        constant = {name: tests[0].vars.get(name, "") for name in names if name != question}
        place = {**constant, question: PLACE}
        made = [AskedPrompt(one.label, filled(one.system, constant) or None, filled(one.user, place)) for one in parts]
        yield _kept(made, [test.vars.get(question, "") for test in tests], tests, [], notes)
        return
    if len(parts) > 1:
        notes.change("prompts that share no question", f"an evaluation for each of the {len(parts)} prompts")
    for one in parts:
        system, texts = one.system, [filled(one.user, test.vars) for test in tests]
        if set(names_in(system)) & set(varying):
            notes.change(
                f"prompt {one.label!r}", "its system message differs between tests, so it is asked with the question"
            )
            texts = [f"{filled(system, test.vars)}\n\n{text}" for test, text in zip(tests, texts, strict=True)]
            system = ""
        system = filled(system, tests[0].vars)
        yield _kept([AskedPrompt(one.label, system or None, PLACE)], texts, tests, varying, notes)


def _question(parts: Sequence[_Parts], varying: Sequence[str]) -> str | None:
    """The variable that is the question of all prompts; None where there is none."""
    if len(varying) > 1 or any(PLACE in without(one.user) for one in parts):
        return None
    shared = set.intersection(*(set(names_in(one.user)) for one in parts))
    shared -= {name for one in parts for name in names_in(one.system)}
    if varying:
        return varying[0] if varying[0] in shared else None
    return min(shared, default=None)


def _kept(
    prompts: list[AskedPrompt], questions: Sequence[str], tests: Sequence[Test], shown: Sequence[str], notes: Notes
) -> Asked:
    """Without the tests whose question is empty or too long. `shown`: variables that become metadata."""
    made = Asked(prompts, [], [], [])
    for place, (question, test) in enumerate(zip(questions, tests, strict=True)):
        if not 0 < len(question.strip()) <= MAX_QUESTION_CHARS:
            notes.lose(f"test {place + 1}", f"its question is empty or over {MAX_QUESTION_CHARS:,} characters")
            continue
        metadata: dict[str, Any] = {name: test.vars.get(name, "")[:MAX_VALUE_CHARS] for name in shown}
        for name, value in test.metadata.items():
            if isinstance(value, str | int | float | bool):
                metadata[str(name)] = value[:MAX_VALUE_CHARS] if isinstance(value, str) else value
            else:
                notes.lose(f"`metadata.{name}` of tests", "it is no text, number or boolean")
        made.questions.append(question.strip())
        made.metadata.append(metadata)
        made.places.append(place)
    return made


def _parts(prompt: Prompt, notes: Notes) -> _Parts | None:
    """The system message and the user's of a prompt; None for one that has more turns, or is a program."""
    what = f"prompt {prompt.label!r}"
    roles = [role for role, _ in prompt.messages]
    system = [text for role, text in prompt.messages if role in ("system", "developer")]
    if roles[-1:] != ["user"] or len(system) != len(roles) - 1:
        notes.lose(what, "it is a conversation of several turns")
        return None
    user = prompt.messages[-1][1]
    left = without("\n".join([*system, user]))
    if "{{" in left or "{%" in left:
        notes.lose(what, "its template does more than put variables in")
        return None
    return _Parts(prompt.label, "\n\n".join(system), user)
