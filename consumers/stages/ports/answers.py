"""Answers that evaluations got, by the address of what was asked: who asks the same again need not ask."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol
from uuid import UUID


@dataclass(frozen=True, slots=True)
class KnownAnswer:
    """The result of a job of this kind. A result over 64 KiB is `{"file": "file_..."}`."""

    kind: str
    result: dict[str, Any]


class Answers(Protocol):
    """The answers of all tenants, as long as the jobs that gave them are kept."""

    async def find(self, tenant: str, addresses: Sequence[bytes]) -> dict[bytes, KnownAnswer]:
        """Those of a tenant's addresses that have an answer. An address is the SHA-256 of what was asked, and how."""

    async def remember(self, tenant: str, answers: Mapping[bytes, UUID]) -> None:
        """Let addresses lead to the results of these jobs of the tenant, which have succeeded."""
