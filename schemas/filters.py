"""Which chunks may answer: conditions on their documents' metadata, as JSON and in the index's form.

In JSON all fields of an object must hold. A plain value means `eq`, a list `in`, an object its operators; `and` and
`or` take lists of such objects, and are not field names here:
`{"year": {"gte": 2020, "lt": 2024}, "topic": ["law", "tax"], "or": [{"lang": "ko"}, {"lang": {"ne": "en"}}]}`.
"""

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal, get_args

from pydantic import AfterValidator, WithJsonSchema

from schemas.errors import InvalidInput
from schemas.normalisation import nfc

MAX_DEPTH: Final = 5
MAX_COMPARISONS: Final = 64
MAX_VALUES: Final = 100
MAX_FIELD_CHARS: Final = 200

MAX_NAMES: Final = MAX_COMPARISONS * (MAX_DEPTH + 2)
"""Fields, operators, `and` and `or` of a filter: a comparison has at most one of each, on each level."""

Scalar = str | int | float | bool
Operator = Literal["eq", "ne", "gt", "gte", "lt", "lte", "in", "nin"]
Order = tuple[Literal["number", "date"], float]

_OPERATORS: Final = frozenset(get_args(Operator))
_LISTS: Final = frozenset({"in", "nin"})
_EQUALITIES: Final = frozenset({"eq", "ne"})
_NUMBER: Final = re.compile(r"[-+]?\d{1,300}(\.\d{1,300})?", re.ASCII)
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_DATE: Final = re.compile(r"\d{4}-\d\d-\d\d([T ].+)?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Comparison:
    """One field against one value, or for `in` and `nin` against several. A field that is absent equals nothing.

    Of a field that holds a list, one element must be so; for `ne` and `nin`, none may be equal.
    """

    field: str
    operator: Operator
    value: Scalar | tuple[Scalar, ...]


@dataclass(frozen=True, slots=True)
class Every:
    """All of the conditions hold."""

    conditions: "tuple[Condition, ...]"


@dataclass(frozen=True, slots=True)
class Some:
    """At least one of the conditions holds."""

    conditions: "tuple[Condition, ...]"


Condition = Comparison | Every | Some


def parse_filter(value: object) -> Condition | None:
    """What a filter's JSON means; None for one that is absent or empty.

    Raises `InvalidInput` (`filter_invalid`) that names the place (`filter.and[1].year`): at most 64 comparisons, `and`
    and `or` nested 5 deep, 100 values in a list.
    """
    try:
        return _parsed(value)
    except _Malformed as error:
        raise InvalidInput(str(error), code="filter_invalid", field=error.path) from error


def fields_of(condition: Condition | None) -> frozenset[str]:
    """The metadata fields that a filter asks for."""
    if condition is None:
        return frozenset()
    return frozenset(comparison.field for comparison in _comparisons(condition))


def order_of(value: object) -> Order | None:
    """The place of a value among others of its sort, for `gt`, `gte`, `lt` and `lte`; None where it has no place.

    Numbers, and texts that are written as one (a CSV table holds texts only), as 64-bit floats. ISO 8601 dates and
    times of day in seconds since 1970; a date is its first moment, and without an offset it is UTC.
    """
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    if isinstance(value, str) and _DATE.fullmatch(value):
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            return None
        aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return "date", (aware - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds()
    if isinstance(value, str) and not _NUMBER.fullmatch(value):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return ("number", number) if math.isfinite(number) else None


class _Malformed(ValueError):
    def __init__(self, path: str, why: str) -> None:
        super().__init__(f"{path} {why}")
        self.path = path


def _parsed(value: object) -> Condition | None:
    if value is None or value == {}:
        return None
    too_many = f"holds more than {MAX_COMPARISONS} comparisons; use lists of values, or ask twice"
    if _has_more_names(value, MAX_NAMES):  # before each of a hundred thousand is looked at closely
        raise _Malformed("filter", too_many)
    condition = _every(value, "filter", 0)
    if sum(1 for _ in _comparisons(condition)) > MAX_COMPARISONS:
        raise _Malformed("filter", too_many)
    return condition


def _has_more_names(value: object, most: int) -> bool:
    inside, names = [value], 0
    while inside:
        one = inside.pop()
        if isinstance(one, Mapping):
            names += len(one)
            if names > most:
                return True
            inside.extend(one.values())
        elif isinstance(one, list | tuple):
            inside.extend(one)
    return False


def _comparisons(condition: Condition) -> Iterator[Comparison]:
    if isinstance(condition, Comparison):
        yield condition
        return
    for part in condition.conditions:
        yield from _comparisons(part)


def _every(value: object, path: str, depth: int) -> Condition:
    if not isinstance(value, Mapping) or not value:
        raise _Malformed(path, 'must be an object with at least one field, as {"lang": "ko"}')
    parts = [part for name, asked in value.items() for part in _field(name, asked, path, depth)]
    return parts[0] if len(parts) == 1 else Every(tuple(parts))


def _field(name: object, asked: object, path: str, depth: int) -> list[Condition]:
    if not isinstance(name, str) or not 0 < len(name) <= MAX_FIELD_CHARS or not _readable(name):
        raise _Malformed(path, f"has a field whose name is not text of 1 to {MAX_FIELD_CHARS} characters")
    name = nfc(name)
    here = f"{path}.{name}"
    if name in ("and", "or"):
        return [_nested(name, asked, here, depth + 1)]
    if isinstance(asked, list | tuple):
        return [Comparison(name, "in", _values(asked, here))]
    if not isinstance(asked, Mapping):
        return [Comparison(name, "eq", _scalar(asked, here))]
    if not asked or not _OPERATORS.issuperset(asked):
        raise _Malformed(here, f"must be a value, a list of values, or an object of {', '.join(get_args(Operator))}")
    return [_comparison(name, operator, operand, here) for operator, operand in asked.items()]


def _nested(name: str, asked: object, path: str, depth: int) -> Condition:
    if depth > MAX_DEPTH:
        raise _Malformed(path, f"is nested deeper than {MAX_DEPTH}")
    if not isinstance(asked, list | tuple) or not 1 <= len(asked) <= MAX_VALUES:
        raise _Malformed(path, f'must be a list of 1 to {MAX_VALUES} objects, as [{{"lang": "ko"}}]')
    parts = tuple(_every(part, f"{path}[{n}]", depth) for n, part in enumerate(asked))
    return Every(parts) if name == "and" else Some(parts)


def _comparison(field: str, operator: Operator, operand: object, path: str) -> Comparison:
    here = f"{path}.{operator}"
    if operator in _LISTS:
        return Comparison(field, operator, _values(operand, here))
    value = _scalar(operand, here)
    if operator not in _EQUALITIES and order_of(value) is None:
        raise _Malformed(here, 'must be a number or a date, as 2020 or "2020-01-31"')
    return Comparison(field, operator, value)


def _values(asked: object, path: str) -> tuple[Scalar, ...]:
    if not isinstance(asked, list | tuple) or len(asked) > MAX_VALUES:
        raise _Malformed(path, f"must be a list of at most {MAX_VALUES} values")
    return tuple(_scalar(value, f"{path}[{n}]") for n, value in enumerate(asked))


def _scalar(value: object, path: str) -> Scalar:
    if isinstance(value, float) and not math.isfinite(value):
        raise _Malformed(path, "must be a finite number")
    if not isinstance(value, str | int | float):
        raise _Malformed(path, "must be a text, a number, or true or false")
    if isinstance(value, str) and not _readable(value):
        raise _Malformed(path, "holds half of a character (a lone surrogate)")
    return nfc(value) if isinstance(value, str) else value


def _readable(text: str) -> bool:
    return _SURROGATE.search(text) is None


def _checked(value: dict[str, Any]) -> dict[str, Any]:
    _parsed(value)
    return value


def _schema() -> dict[str, Any]:
    scalar = {"anyOf": [{"type": kind} for kind in ("string", "number", "boolean")]}
    scalars = {"type": "array", "items": scalar, "maxItems": MAX_VALUES}
    ordered = {"anyOf": [{"type": "number"}, {"type": "string", "format": "date"}]}
    operators = {
        **dict.fromkeys(sorted(_EQUALITIES), scalar),
        **dict.fromkeys(("gt", "gte", "lt", "lte"), ordered),
        **dict.fromkeys(sorted(_LISTS), scalars),
    }
    compared = {"type": "object", "properties": operators, "additionalProperties": False, "minProperties": 1}
    named = {"propertyNames": {"minLength": 1, "maxLength": MAX_FIELD_CHARS}}
    held = {"additionalProperties": {"anyOf": [scalar, scalars, compared]}, **named}
    # Nested once: a schema that refers to itself would need a name in every document that contains it.
    inner = {"type": "object", "minProperties": 1, **held}
    nested = {"type": "array", "items": inner, "minItems": 1, "maxItems": MAX_VALUES}
    return {
        "title": "Filter",
        "description": "Conditions on metadata, all of which hold: a value, a list of values of which it is one, or "
        f"operators. `and` and `or` may be nested {MAX_DEPTH} deep; {MAX_COMPARISONS} comparisons at most.",
        "type": "object",
        "properties": {"and": nested, "or": nested},
        **held,
        "examples": [{"lang": "ko", "year": {"gte": 2020, "lt": 2024}}, {"or": [{"topic": ["law", "tax"]}, {"n": 1}]}],
    }


Filter = Annotated[dict[str, Any], AfterValidator(_checked), WithJsonSchema(_schema())]
"""A filter as it was sent, known to be well formed; `parse_filter` interprets it."""
