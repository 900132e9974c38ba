"""Makes evaluations of a Promptfoo configuration: of providers and prompts variants, of tests items."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from producers.client.promptfoo.asking import Asked, asked
from producers.client.promptfoo.checks import Check, check_of
from producers.client.promptfoo.notes import Notes
from producers.client.promptfoo.reading import Config, Provider, Test

MAX_GRADERS: Final = 20
MAX_VARIANTS: Final = 16
MAX_REFERENCES: Final = 32
MAX_REFERENCE_CHARS: Final = 20_000
MAX_LITERALS: Final = 500
"""Characters of values that stand in an expression itself; longer ones stand in each item."""

_ENDPOINTS: Final = frozenset({"chat", "completion", "completions", "responses", "messages"})
_NO_CHATS: Final = frozenset(
    {"embedding", "embeddings", "assistant", "realtime", "image", "moderation", "transcription"}
)
_PROGRAMS: Final = frozenset(
    {"python", "exec", "file", "http", "https", "webhook", "javascript", "browser", "echo", "package"}
)
_SETTINGS: Final[Mapping[str, str]] = {
    "temperature": "temperature",
    "seed": "seed",
    "max_tokens": "max_tokens",
    "max_completion_tokens": "max_tokens",
    "max_output_tokens": "max_tokens",
    "maxTokens": "max_tokens",
    "maxOutputTokens": "max_tokens",
}


@dataclass(frozen=True, slots=True)
class Imported:
    """Inputs of jobs of the kind `evaluation`. `models`: the names that a deployment must have for them."""

    evaluations: list[dict[str, Any]]
    models: list[str]
    notes: Notes


def converted(config: Config, notes: Notes, names: Mapping[str, str] | None = None) -> Imported:
    """The evaluations, several where tests check different things. `names`: of models here, by providers' ids."""
    names = names or {}
    models = [(one, model) for one in config.providers if (model := _model(one, names, notes)) is not None]
    judge = None if config.judge is None else names.get(config.judge, _model_name(config.judge))
    made: list[dict[str, Any]] = []
    for tests in _alike(config.tests, notes):
        for one in asked(config.prompts, [test.test for test in tests], config.tests, notes):
            variants = _variants(one, models, notes)
            if variants and one.questions:
                kept = [tests[place] for place in one.places]
                made.append(_evaluation(config, one, kept, variants, judge, notes))
    used = {variant["model"] for one in made for variant in one["variants"]}
    used |= {one["judge"]["model"] for one in made if "judge" in one}
    return Imported(made, sorted(used), notes)


@dataclass(frozen=True, slots=True)
class _Checked:
    """A test with its number in the configuration, from 1, and its checks."""

    number: int
    test: Test
    checks: list[Check]


def _alike(tests: Sequence[Test], notes: Notes) -> list[list[_Checked]]:
    """Those together that are checked in the same ways."""
    groups: dict[tuple[str, ...], list[_Checked]] = {}
    for number, test in enumerate(tests, start=1):
        checks = [check for given in test.asserts if (check := check_of(given, test.vars, notes)) is not None]
        checks.sort(key=lambda one: one.form)
        groups.setdefault(tuple(check.form for check in checks), []).append(_Checked(number, test, checks))
    if len(groups) > 1:
        notes.change("tests that check different things", f"{len(groups)} evaluations")
    return list(groups.values())


def _evaluation(
    config: Config,
    asked: Asked,
    tests: Sequence[_Checked],
    variants: list[dict[str, Any]],
    judge: str | None,
    notes: Notes,
) -> dict[str, Any]:
    graders, references, metrics = _graded([one.checks for one in tests], notes)
    items = []
    for one, question, metadata, reference in zip(tests, asked.questions, asked.metadata, references, strict=True):
        item = {"id": str(one.number), "question": question, "reference": reference, "metadata": metadata}
        items.append({name: value for name, value in item.items() if value})
    made: dict[str, Any] = {"items": items, "variants": variants, "metrics": metrics or ["succeeded"], "language": "en"}
    if graders:
        made["graders"] = graders
    if config.description:
        made["title"] = config.description.strip()[:200]
    if any(check.judged for check in tests[0].checks):
        if judge is None:
            notes.change("no provider is named that grades", "the model `default` judges")
        made["judge"] = {"model": judge or "default"}
    return made


def _graded(tests: Sequence[list[Check]], notes: Notes) -> tuple[list[dict[str, Any]], list[list[str]], list[str]]:
    """The graders of tests that check alike, what each item's references are, and the metrics."""
    references: list[list[str]] = [[] for _ in tests]
    graders: list[dict[str, Any]] = []
    metrics: list[str] = []
    # What needs the first reference comes before what can take any.
    for at in sorted(range(len(tests[0])), key=lambda at: tests[0][at].where == "expression"):
        column = [checks[at] for checks in tests]
        first = column[0]
        what = f"assertion `{first.form.split()[0]}`"
        if (places := _places(column, references)) is None:
            notes.lose(what, "an item has one text to compare with or to judge by, and so many references at most")
            continue
        if len(graders) == MAX_GRADERS:
            notes.lose(what, f"an evaluation has {MAX_GRADERS} graders at most")
            continue
        if places.own:
            for reference, one in zip(references, column, strict=True):
                reference.extend(one.values)
        if first.metric is not None:
            metrics.append(first.metric)
        elif first.grader is not None:
            graders.append(first.grader(_free_name(first.form, graders), places.names))
    return graders, references, metrics


@dataclass(frozen=True, slots=True)
class _Places:
    """What stands for the values of a check; `own`: each item has its own, among its references."""

    names: list[str]
    own: bool


def _places(column: Sequence[Check], references: Sequence[list[str]]) -> _Places | None:
    """Where the values of a check stand, of all tests; None where there is no room among an item's references."""
    first, begin = column[0], len(references[0])
    constant = all(one.values == first.values for one in column)
    literals = [repr(value) for value in first.values]
    if constant and first.where == "template":
        return _Places(list(first.values), own=False)
    if constant and first.where == "expression" and sum(map(len, literals)) <= MAX_LITERALS:
        return _Places(literals, own=False)
    if any(not value.strip() or len(value) > MAX_REFERENCE_CHARS for one in column for value in one.values):
        return None
    if begin + len(first.values) > MAX_REFERENCES:
        return None
    if first.where == "expression":
        return _Places([f"references[{begin + n}]" for n in range(len(first.values))], own=True)
    if not first.values:
        return _Places([], own=False)
    if not begin:
        return _Places(["{{item.reference}}"], own=True)
    same = all(reference[0] == one.values[0] for reference, one in zip(references, column, strict=True))
    return _Places(["{{item.reference}}"], own=False) if same else None


def _free_name(form: str, graders: Sequence[Mapping[str, Any]]) -> str:
    """`check_contains`, or `check_contains_2` for the second."""
    base = "check_" + re.sub(r"[^a-z0-9]+", "_", form.split()[0].lower()).strip("_")[:30]
    count = sum(one["name"] == base or str(one["name"]).startswith(f"{base}_") for one in graders)
    return base if not count else f"{base}_{count + 1}"


def _variants(asked: Asked, models: Sequence[tuple[Provider, str]], notes: Notes) -> list[dict[str, Any]]:
    made: list[dict[str, Any]] = []
    for provider, model in models:
        for prompt in asked.prompts:
            label = provider.label or model
            name = _variant_name(f"{label}-{prompt.label}" if len(asked.prompts) > 1 else label)
            count = sum(one["name"] == name or one["name"].startswith(f"{name}+") for one in made)
            variant = {"name": name if not count else f"{name}+{count + 1}", "kind": "generation", "model": model}
            variant |= {"prompt": prompt.text} | ({"system": prompt.system} if prompt.system else {})
            made.append(variant | _settings(provider, notes))
    for variant in made[MAX_VARIANTS:]:
        notes.lose(f"variant {variant['name']!r}", f"an evaluation has {MAX_VARIANTS} variants at most")
    return made[:MAX_VARIANTS]


def _variant_name(text: str) -> str:
    return re.sub(r"[^\w.+=-]+", "-", text).strip("-.+=")[:58] or "variant"


def _settings(provider: Provider, notes: Notes) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in provider.config.items():
        if name in _SETTINGS and isinstance(value, int | float):
            found[_SETTINGS[name]] = value
        else:  # its name alone: the value may be a secret
            notes.lose(f"provider {provider.id!r}: `config.{name}`", "it has no counterpart")
    return found


def _model(provider: Provider, names: Mapping[str, str], notes: Notes) -> str | None:
    if provider.id in names:
        return names[provider.id]
    family, *rest = re.split(r"[:/]", provider.id)
    if family in _PROGRAMS or provider.id.startswith((".", "/")):
        notes.lose(f"provider {provider.id!r}", "it is a program or an address: put its model into the models file")
        return None
    if _NO_CHATS & set(rest[:1]):
        notes.lose(f"provider {provider.id!r}", "it is no chat model")
        return None
    return _model_name(provider.id)


def _model_name(id: str) -> str:
    """`openai:chat:gpt-4o` is `gpt-4o`."""
    _, *rest = id.split(":")
    rest = rest[1:] if len(rest) > 1 and rest[0] in _ENDPOINTS else rest
    return ":".join(rest) or id
