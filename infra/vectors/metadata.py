"""Metadata in the forms that filters match: keywords for equality, numbers and dates for order."""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from schemas.filters import order_of

FACETS: Final = "facets"
ORDERS: Final = {"number": "numbers", "date": "dates"}
"""Where a point stores the values of each type that has an order."""

_READABLE_FACET: Final = 128
_SAFE_KEY: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,62}", re.ASCII)


def filterable(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """The payload fields that a point has for filters, beside its metadata: `facets`, `numbers` and `dates`."""
    ordered: dict[str, dict[str, list[float]]] = {}
    for field, value in _values(metadata):
        if order := order_of(value):
            ordered.setdefault(ORDERS[order[0]], {}).setdefault(order_key(field), []).append(order[1])
    return {FACETS: [facet(field, value) for field, value in _values(metadata)], **ordered}


def facet(field: str, value: object) -> str:
    """One keyword that means "this field holds this value".

    Engines differ in how they compare booleans, fractions, mixed lists and field names with spaces, or cannot compare
    them at all; all compare keywords alike. As in JSON, 1 equals 1.0 but differs from true and from "1".
    """
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    text = json.dumps([field, value], ensure_ascii=False)
    if len(text) <= _READABLE_FACET:
        return text
    return _digest(text)


def order_key(field: str) -> str:
    """A field's key under `numbers` and `dates`: its name if every engine reads that as a plain path, else a hash."""
    return field if _SAFE_KEY.fullmatch(field) else f"x-{_digest(field)}"


def _values(metadata: Mapping[str, Any]) -> Iterator[tuple[str, object]]:
    for field, held in metadata.items():
        for value in held if isinstance(held, list) else [held]:
            if not isinstance(value, dict | list):
                yield field, value


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
