"""Answers as JSON, written once: no second validation of what this process just built."""

from typing import Any

import orjson
from fastapi import Response


def json(body: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """A JSON response; times are RFC 3339 in UTC."""
    data = orjson.dumps(body, option=orjson.OPT_UTC_Z)
    return Response(data, status, headers, "application/json")


def page(rows: list[dict[str, Any]], limit: int) -> dict[str, Any]:
    """A page of a list, from a query for one row more than `limit`."""
    return {"data": rows[:limit], "has_more": len(rows) > limit}
