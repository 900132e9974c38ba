"""A collection's settings as the command line takes them: a JSON file, and flags for the usual ones on top."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from producers.client.cli.failures import WrongUse

SettingsFile = Annotated[
    Path | None, typer.Option("--settings", metavar="FILE", help="Settings as JSON; what it leaves out stays.")
]

Partial = dict[str, Any]

LIMITS: Final = frozenset({"max_tokens", "per_document"})
"""Settings of which 0, on the command line, means none."""


def chosen_settings(file: Path | None, flags: Mapping[str, Mapping[str, Any]]) -> Partial | None:
    """The settings in the file, and the flags that were given on top; None: none at all. Raises `WrongUse`."""
    settings: Partial = read_settings(file) if file else {}
    for section, values in flags.items():
        if chosen := given(**values):
            within = settings.setdefault(section, {})
            if not isinstance(within, dict):
                raise WrongUse(f"`{section}` in {file} is not an object")
            within.update(chosen)
    return settings or None


def given(**flags: Any) -> Partial:
    """The flags that were used; for a limit 0 means none."""
    return {
        name: None if name in LIMITS and value == 0 else value for name, value in flags.items() if value is not None
    }


def read_settings(file: Path) -> Partial:
    """A JSON object. Raises `WrongUse`."""
    try:
        found = json.loads(file.read_text("utf-8-sig"))
    except ValueError as error:  # also bytes that are no UTF-8
        raise WrongUse(f"{file} is not JSON: {error}") from error
    except OSError as error:
        raise WrongUse(f"{file} cannot be read: {error.strerror}") from error
    if not isinstance(found, dict):
        raise WrongUse(f"{file} holds no JSON object", 'write {"sparse": {"k1": 0.9}} and the like')
    return found


def read_words(file: Path) -> list[str]:
    """A word a line; empty lines and lines that begin with # do not count. Raises `WrongUse`."""
    return list(_lines(file))


def read_synonyms(file: Path) -> list[list[str]]:
    """A group of words a line, with commas between them. Raises `WrongUse`."""
    return [[word.strip() for word in line.split(",") if word.strip()] for line in _lines(file)]


def parse_weights(text: str) -> dict[str, float]:
    """`sparse=.5,dense=.5`. Raises `WrongUse`."""
    weights = {}
    for pair in text.split(","):
        arm, _, weight = (part.strip() for part in pair.partition("="))
        try:
            weights[arm] = float(weight)
        except ValueError:
            raise WrongUse(f"--weights {text!r}: {pair!r} is not arm=weight", "write sparse=0.5,dense=0.5") from None
    return weights


def _lines(file: Path) -> Iterable[str]:
    try:
        text = file.read_text("utf-8-sig")
    except UnicodeError:
        raise WrongUse(f"{file} is not UTF-8 text") from None
    except OSError as error:
        raise WrongUse(f"{file} cannot be read: {error.strerror}") from error
    return [line.strip() for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
