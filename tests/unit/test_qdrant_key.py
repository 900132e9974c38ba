"""A Qdrant key that travels unencrypted is reported once, in the log, and never as a warning of the client."""

import pytest
import structlog

from infra.vectors.server import QdrantIndex


@pytest.mark.parametrize(
    ("url", "key", "told"),
    [
        ("http://qdrant:6333", "secret", 1),
        ("https://qdrant:6333", "secret", 0),
        ("http://127.0.0.1:6333", "secret", 0),
        ("http://qdrant:6333", None, 0),
    ],
)
async def test_who_hears_of_it(url: str, key: str | None, told: int) -> None:
    with structlog.testing.capture_logs() as logs:
        index = QdrantIndex(url, key)
    await index.close()
    assert [line["event"] for line in logs] == ["index.key_in_the_clear"] * told
    assert "secret" not in str(logs)
