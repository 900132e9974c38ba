"""Reads a Promptfoo configuration and the files that it names, below its folder: prompts, providers, tests.

The format is that of https://www.promptfoo.dev/docs/configuration/reference (2026-11).
"""

import csv
import itertools
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from producers.client.errors import WelipError
from producers.client.promptfoo.notes import Notes
from producers.client.promptfoo.yaml12 import loaded, referred

READ: Final = frozenset({"description", "prompts", "providers", "targets", "tests", "scenarios", "defaultTest", "tags"})
QUIET: Final = frozenset(
    {"$schema", "outputPath", "sharing", "writeLatestResults", "commandLineOptions", "env", "assertionTemplates"}
)
"""Members that say how Promptfoo runs and stores, not what is measured."""

_PATH: Final = re.compile(r"[^\s{}]+\.(?:txt|md|json|ya?ml|j2|csv|jsonl)")
_CODE: Final = re.compile(r"\.(?:[cm]?[jt]s|py|rb|sh|go)(?::\w+)?$")
_PROGRAM: Final = re.compile(r"[^\s{}]+\.(?:[cm]?[jt]s|py|rb|sh|go)(?::\w+)?")
_EXPECTED: Final = re.compile(r"__expected\d*")
_TYPED: Final = re.compile(r"(?P<type>(?:not-)?[a-z][a-z-]*)(?:\((?P<threshold>[\d.]+)\))?(?::\s*(?P<value>.*))?", re.S)
_CSV_TYPES: Final = {"grade": "llm-rubric", "fn": "javascript", "eval": "javascript"}


class PromptfooError(WelipError):
    """The configuration, or a file that it names, cannot be read; the message names it."""


@dataclass(frozen=True, slots=True)
class Test:
    """A test with the default test and its scenario merged in."""

    __test__ = False

    vars: Mapping[str, str]
    asserts: list[Mapping[str, Any]]
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt as its messages, in which `{{variable}}` is replaced."""

    label: str
    messages: list[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Provider:
    """A model. `id` as Promptfoo writes it, `openai:chat:gpt-4o`."""

    id: str
    label: str | None
    config: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Config:
    """What was read. `judge`: the provider that grades, where one is named."""

    description: str | None
    prompts: list[Prompt]
    providers: list[Provider]
    tests: list[Test]
    judge: str | None


def read(path: Path, notes: Notes) -> Config:
    """The configuration. Raises `PromptfooError`."""
    reader = _Reader(path.parent, notes)
    given = reader.structured(path)
    if not isinstance(given, Mapping):
        raise PromptfooError(f"{path} holds no configuration: it is no mapping")
    for name in sorted(set(map(str, given)) - READ - QUIET):
        notes.lose(f"`{name}`", "it has no counterpart")
    prompts = list(reader.prompts(given.get("prompts")))
    providers = list(reader.providers(given.get("providers", given.get("targets"))))
    default = reader.resolved(given.get("defaultTest"))
    default = default if isinstance(default, Mapping) else {}
    tests = list(reader.tests(given, default))
    judge = _provider_id((default.get("options") or {}).get("provider"))
    description = given.get("description")
    return Config(None if description is None else str(description), prompts, providers, tests, judge)


class _Reader:
    def __init__(self, folder: Path, notes: Notes) -> None:
        self._folder = folder
        self._notes = notes

    def structured(self, path: Path) -> Any:
        """YAML or JSON. Raises `PromptfooError`."""
        if path.suffix.lower() not in (".yaml", ".yml", ".json"):
            raise PromptfooError(f"{path} is a program or of an unknown format: give a configuration in YAML or JSON")
        try:
            found = loaded(self._text(path))
            return referred(found, found)
        except ValueError as error:
            raise PromptfooError(f"{path} is not YAML: {error}") from error

    def resolved(self, value: Any) -> Any:
        """The value, or what the file holds that it names."""
        if isinstance(value, str) and value.startswith("file://"):
            path = self._path(value)
            return None if path is None else self.structured(path)
        return value

    def prompts(self, given: Any) -> Iterator[Prompt]:
        given = self.resolved(given) if isinstance(given, str) and given.endswith((".yaml", ".yml")) else given
        if isinstance(given, Mapping):
            given = [{"id": name, "label": label} for name, label in given.items()]
        for number, one in enumerate([given] if isinstance(given, str) else given or [], start=1):
            told = one if isinstance(one, Mapping) else {"raw": one}
            label = str(told.get("label") or f"prompt-{number}")
            raw = told.get("raw", told.get("id"))
            if not isinstance(raw, str):
                self._notes.lose(f"prompt {label!r}", "it is neither a text nor a file")
                continue
            for part, text in enumerate(self._prompt_texts(raw, label), start=1):
                yield Prompt(label if part == 1 else f"{label}-{part}", self._messages(text))

    def _prompt_texts(self, raw: str, label: str) -> list[str]:
        """The texts that a prompt stands for: itself, or those of its file, where `---` parts them."""
        if not raw.startswith("file://") and not _PATH.fullmatch(raw.strip()):
            if raw.startswith(("exec:", "python:")) or _PROGRAM.fullmatch(raw.strip()):
                self._notes.lose(f"prompt {label!r}", "it is made by a program")
                return []
            return [raw]
        path = self._path(raw)
        if path is None:
            return []
        text = self._text(path)
        return (
            [text]
            if path.suffix.lower() != ".txt"
            else [one for one in re.split(r"^---\s*$", text, flags=re.M) if one.strip()]
        )

    @staticmethod
    def _messages(text: str) -> list[tuple[str, str]]:
        """A prompt may be a conversation, as JSON or YAML; else it is what the user says."""
        if text.lstrip().startswith(("[", "- role")):
            for load in (json.loads, loaded):
                try:
                    turns = load(text)
                except ValueError:
                    continue
                if (
                    isinstance(turns, list)
                    and turns
                    and all(isinstance(one, Mapping) and "role" in one for one in turns)
                ):
                    return [(str(one["role"]), _content(one.get("content"))) for one in turns]
        return [("user", text.strip("\n"))]

    def providers(self, given: Any) -> Iterator[Provider]:
        """The models. One may be written as `{openai:gpt-4o: {config: ...}}`, too."""
        given = self.resolved(given)
        if isinstance(given, Mapping):
            given = [{name: told} for name, told in given.items()]
        for told in self._resolved_each([given] if isinstance(given, str) else given or []):
            more: Mapping[str, Any] = told if isinstance(told, Mapping) else {"id": told}
            if "id" not in more and len(more) == 1:
                [(name, rest)] = more.items()
                more = {"id": name, **(rest or {})}
            named = _provider_id(more)
            if named is None:
                self._notes.lose("a provider", "it has no id")
                continue
            for name in sorted(set(more) - {"id", "label", "config", "provider"}):
                self._notes.lose(f"provider {named!r}: `{name}`", "it has no counterpart")
            yield Provider(str(more.get("provider", named)), more.get("label"), more.get("config") or {})

    def _resolved_each(self, given: list[Any]) -> Iterator[Any]:
        """The members of a list, those of the files that it names in their place."""
        for one in given:
            found = self.resolved(one)
            yield from found if isinstance(found, list) else [found]

    def tests(self, given: Mapping[str, Any], default: Mapping[str, Any]) -> Iterator[Test]:
        for raw in self._listed(given.get("tests")):
            yield from self._test([default, raw])
        for scenario in self._resolved_each(given.get("scenarios") or []):
            for data in self._listed(scenario.get("config")):
                for raw in self._listed(scenario.get("tests")) or [{}]:
                    yield from self._test([default, data, raw])

    def _listed(self, given: Any) -> list[Mapping[str, Any]]:
        """Tests as objects: those that stand there, and those of files."""
        found: list[Mapping[str, Any]] = []
        for one in [given] if isinstance(given, str | Mapping) else given or []:
            if isinstance(one, Mapping):
                found.append(one)
                continue
            path = self._path(str(one))
            if path is None:
                continue
            match path.suffix.lower():
                case ".csv":
                    found += [_of_csv(row) for row in csv.DictReader(self._text(path).splitlines(keepends=True))]
                case ".jsonl":
                    found += [json.loads(line) for line in self._text(path).splitlines() if line.strip()]
                case _:
                    found += self._listed(self.structured(path))
        return found

    def _test(self, parts: list[Mapping[str, Any]]) -> Iterator[Test]:
        """The test, or one for each combination of variables that are lists."""
        given: dict[str, Any] = {}
        asserts: list[Mapping[str, Any]] = []
        metadata: dict[str, Any] = {}
        for part in parts:
            more = self.resolved(part.get("vars"))
            given |= more if isinstance(more, Mapping) else {}
            asserts += self._flat(part.get("assert"))
            metadata |= part.get("metadata") or {}
            if part.get("description"):
                metadata["description"] = part["description"]
            for name in sorted(set(part) - {"vars", "assert", "metadata", "description"}):
                self._told(name, part[name])
        names = list(given)
        choices = [value if isinstance(value, list) and value else [value] for value in given.values()]
        for chosen in itertools.product(*choices):
            variables: dict[str, str] = {}
            for name, value in zip(names, chosen, strict=True):
                variables |= dict(self._variables(name, value))
            yield Test(variables, asserts, metadata)

    def _told(self, name: str, value: Any) -> None:
        """What a test has beside variables and assertions."""
        members = sorted(value) if name == "options" and isinstance(value, Mapping) else [None]
        for member in members:
            if member != "provider":
                self._notes.lose(
                    f"`{name}.{member}` of tests" if member else f"`{name}` of tests", "it has no counterpart"
                )

    def _flat(self, given: Any) -> list[Mapping[str, Any]]:
        found: list[Mapping[str, Any]] = []
        for one in self._resolved_each(given or []):
            if isinstance(one, Mapping) and one.get("type") == "assert-set":
                self._notes.change("`assert-set`", "its assertions count one by one, without the set's threshold")
                found += self._flat(one.get("assert"))
            elif isinstance(one, Mapping):
                found.append(one)
        return found

    def _variables(self, name: str, value: Any) -> Iterator[tuple[str, str]]:
        """The variable as a text; of an object its members, too, as `name.member`."""
        if isinstance(value, str) and value.startswith("file://"):
            path = self._path(value)
            yield name, "" if path is None else self._text(path).strip()
            return
        yield name, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
        if isinstance(value, Mapping):
            for member, inner in value.items():
                yield from self._variables(f"{name}.{member}", inner)

    def _path(self, named: str) -> Path | None:
        """A file below the configuration's folder; None for what is no such file, which is noted."""
        name = named.removeprefix("file://")
        if _CODE.search(name) or "://" in name or "*" in name:
            self._notes.lose(f"`{named}`", "only files beside the configuration are read, and no programs")
            return None
        return self._folder / name

    @staticmethod
    def _text(path: Path) -> str:
        try:
            return path.read_text("utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise PromptfooError(f"{path} cannot be read: {error}") from error


def _provider_id(given: Any) -> str | None:
    if isinstance(given, Mapping):
        given = given.get("id")
    return given if isinstance(given, str) else None


def _content(given: Any) -> str:
    """A message's text, also of content parts."""
    if isinstance(given, list):
        return "".join(str(one.get("text") or "") for one in given if isinstance(one, Mapping))
    return str(given or "")


def _of_csv(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of a table of tests: variables, and expectations such as `contains: Seoul` in `__expected`."""
    asserts = [_expected(str(value)) for name, value in row.items() if _EXPECTED.fullmatch(str(name)) and value]
    given = {name: value for name, value in row.items() if name and not str(name).startswith("__")}
    found: dict[str, Any] = {"vars": given, "assert": asserts}
    if row.get("__description"):
        found["description"] = row["__description"]
    found["metadata"] = {
        name.removeprefix("__metadata:"): value
        for name, value in row.items()
        if name and name.startswith("__metadata:")
    }
    return found


def _expected(text: str) -> dict[str, Any]:
    told = _TYPED.fullmatch(text)
    if told is None or (told["value"] is None and not told["type"].startswith("is-")):
        return {"type": "equals", "value": text}
    made: dict[str, Any] = {"type": _CSV_TYPES.get(told["type"], told["type"])}
    if told["value"] is not None:
        made["value"] = told["value"]
    if told["threshold"] is not None:
        made["threshold"] = float(told["threshold"])
    return made
