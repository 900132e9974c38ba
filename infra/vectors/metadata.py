"""Metadata in the forms that filters match: keywords for equality, numbers and moments for order."""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from schemas.filters import order_of

FACETS: Final = "facets"
ORDERS: Final = {"number": "numbers", "date": "dates"}
"""Where a point holds the values of each sort that have an order."""

_READABLE_FACET: Final = 128
_SAFE_KEY: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,62}", re.ASCII)


def filterable(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """What a point holds in addition to its metadata for filters: `facets`, `numbers` and `dates`."""
    ordered: dict[str, dict[str, list[float]]] = {}
    for field, value in _values(metadata):
        if order := order_of(value):
            ordered.setdefault(ORDERS[order[0]], {}).setdefault(order_key(field), []).append(order[1])
    return {FACETS: [facet(field, value) for field, value in _values(metadata)], **ordered}


def facet(field: str, value: object) -> str:
    """One keyword for "this field holds this value".

    The engines compare booleans, fractions, mixed lists and field names with spaces each in its own way or not at all;
    keywords they all compare alike. 1 equals 1.0 and differs from true and "1", as in JSON.
    """
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    text = json.dumps([field, value], ensure_ascii=False)
    if len(text) <= _READABLE_FACET:
        return text
    return _digest(text)


def order_key(field: str) -> str:
    """The key of a field under `numbers` and `dates`: its name where that is a plain path in every engine."""
    return field if _SAFE_KEY.fullmatch(field) else f"x-{_digest(field)}"


def _values(metadata: Mapping[str, Any]) -> Iterator[tuple[str, object]]:
    for field, held in metadata.items():
        for value in held if isinstance(held, list) else [held]:
            if not isinstance(value, dict | list):
                yield field, value


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
