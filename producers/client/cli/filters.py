"""Filters as people write them on the command line: `year>=2020`, `lang=ko`, or the JSON of the API."""

import json
import re
from collections.abc import Sequence
from typing import Annotated, Any, Final

import typer

from producers.client.cli.failures import WrongUse

FilterOption = Annotated[
    list[str] | None,
    typer.Option(
        "--filter",
        metavar="CONDITION",
        help="Only documents whose metadata are so: 'year>=2020', lang=ko, 'topic!=law', or JSON; repeat it for more. "
        "A name given twice with = may have either value.",
    ),
]

ORDERINGS: Final = {">": "gt", ">=": "gte", "<": "lt", "<=": "lte"}
_CONDITION: Final = re.compile(r"([^=!<>]+)(>=|<=|!=|=|>|<)(.+)", re.DOTALL)

Conditions = dict[str, Any]


def parse_filter(given: Sequence[str] | None) -> Conditions | None:
    """All conditions together; None without any. Raises `WrongUse`."""
    every: list[Conditions] = []
    equal: dict[str, list[Any]] = {}
    for text in given or ():
        if text.lstrip().startswith("{"):
            every.append(_object(text))
            continue
        found = _CONDITION.fullmatch(text)
        if found is None:
            raise WrongUse(f"--filter {text!r} is not a condition", "write name=value, 'year>=2020', or a JSON object")
        name, operator, value = found[1].strip(), found[2], found[3].strip()
        if operator == "=":
            equal.setdefault(name, []).extend(_either(value))
        elif operator == "!=":
            every.append({name: {"nin": _either(value)}})
        else:
            every.append({name: {ORDERINGS[operator]: _ordered(text, value)}})
    every += [{name: values[0] if len(values) == 1 else values} for name, values in equal.items()]
    return {"and": every} if len(every) > 1 else every[0] if every else None


def _either(value: str) -> list[Any]:
    """The text, and the number or truth it may stand for: a CSV column holds texts, JSON and Parquet have types."""
    meant = _literal(value)
    if isinstance(meant, str):
        return [meant]  # it was written with quotation marks: exactly this text
    return [value] if meant is None else [meant, value]


def _ordered(condition: str, value: str) -> str | float:
    from schemas.filters import order_of

    meant = _literal(value)
    asked = value if meant is None else meant
    if order_of(asked) is None:
        why = "numbers and dates are larger or smaller: write 2020, or 2020-01-31"
        raise WrongUse(f"--filter {condition!r}: {value!r} is not a number or date", why)
    return asked


def _literal(text: str) -> str | float | bool | None:
    """The string, number or boolean that is written in JSON; None for anything else."""
    try:
        found = json.loads(text, parse_constant=lambda _: None)  # NaN and Infinity are not JSON
    except ValueError:
        return None
    return found if isinstance(found, str | int | float) else None


def _object(text: str) -> Conditions:
    try:
        found: Conditions = json.loads(text)
    except ValueError as error:
        raise WrongUse(f"--filter {text!r} is not JSON: {error}") from error
    return found
