"""The body that a receiver gets: small, it says what happened and where the rest is."""

import json
from datetime import UTC, datetime
from typing import Any, Final

import orjson

MAX_BYTES: Final = 20_000
"""The specification advises to stay below this. The parts are small: ids, names, codes and links."""

RESULTS: Final = {"job": ("/v1/jobs", "result"), "batch": ("/v1/batches", "results")}
"""Where the result of a job is, by what its id begins with: below which path, and under which name."""


def body_of(type: str, happened_at: datetime, data: str, *, public_url: str | None) -> bytes:
    """`{"type", "timestamp", "data"}`, the same bytes for every attempt.

    `data` is the delivery's JSON. Events of a job or a batch get links to it: URLs below `public_url`, or paths.
    """
    told: dict[str, Any] = {key: value for key, value in json.loads(data).items() if value is not None}
    prefix = str(told.get("id", "")).partition("_")[0]
    if prefix in RESULTS:
        path, result = RESULTS[prefix]
        itself = f"{(public_url or '').rstrip('/')}{path}/{told['id']}"
        told["links"] = {"self": itself, "result": f"{itself}/{result}"}
    timestamp = happened_at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    body = orjson.dumps({"type": type, "timestamp": timestamp, "data": told})
    assert len(body) < MAX_BYTES, f"{len(body)} bytes for {type}"
    return body
