"""The body that a receiver gets: small, it says what happened and where the rest is."""

import json
from datetime import UTC, datetime
from typing import Any, Final

import orjson

MAX_BYTES: Final = 20_000
"""The specification advises to stay below this. The parts are small: ids, names, codes and links."""


def body_of(type: str, happened_at: datetime, data: str, *, public_url: str | None) -> bytes:
    """`{"type", "timestamp", "data"}`, the same bytes for every attempt.

    `data` is the delivery's JSON. Events of a job get links to the job: URLs below `public_url`, or paths.
    """
    told: dict[str, Any] = {key: value for key, value in json.loads(data).items() if value is not None}
    if str(told.get("id", "")).startswith("job_"):
        itself = f"{(public_url or '').rstrip('/')}/v1/jobs/{told['id']}"
        told["links"] = {"self": itself, "result": f"{itself}/result"}
    timestamp = happened_at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    body = orjson.dumps({"type": type, "timestamp": timestamp, "data": told})
    assert len(body) < MAX_BYTES, f"{len(body)} bytes for {type}"
    return body
