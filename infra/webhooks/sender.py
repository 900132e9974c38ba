"""Sends one delivery once: a signed POST to a receiver that may be slow, broken or hostile."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Final

import httpcore

from infra.settings import WebhookSettings
from infra.webhooks.addresses import check_url
from infra.webhooks.allowed import allowed
from infra.webhooks.connecting import AddressRefused, CheckedConnections, NameUnknown, Resolve, Resolver
from infra.webhooks.pools import Pools
from infra.webhooks.signing import signed
from schemas.errors import InvalidInput
from schemas.version import version

ANSWER_BYTES: Final = 1024
"""How many bytes of the answer the delivery log keeps; at most this and one buffer is read."""
ANSWER_S: Final = 2.0
"""How many seconds to wait for the answer's body once its status is known."""
NOWHERE: Final = "host_unreachable: the host leads to no address on the internet, nor to one that the operator allows"
"""For a name that does not exist and for one inside our network: a tenant must not learn which names exist there."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A receiver's answer: `status` and the beginning of the body, or in `error` why there is no status.

    `ms` is how long it took, 0 when there was nowhere to send to. `retry_after_s` is for how many seconds the receiver
    asked not to be called. `detail` is for the operator and must not reach the tenant.
    """

    status: int | None = None
    error: str | None = None
    text: str | None = None
    ms: int = 0
    retry_after_s: float | None = None
    detail: str | None = None

    @property
    def ok(self) -> bool:
        """Whether the receiver accepted the event."""
        return self.status is not None and 200 <= self.status < 300


class Sender:
    """Connections to receivers, without proxies, redirects, cookies or compression."""

    def __init__(self, settings: WebhookSettings, *, resolve: Resolve | None = None) -> None:
        self._settings = settings
        self._timeout_s = settings.timeout.total_seconds()
        self._resolver = Resolver(settings.concurrency)
        self._pools = Pools(CheckedConnections(resolve or self._resolver, allowed(settings.allow)))
        self._agent = f"welip/{version()}"

    async def send(self, destination: str, url: str, id: str, body: bytes, signing: Sequence[str]) -> Answer:
        """Make one attempt, which ends within `timeout`. Every failure is returned as an answer.

        `destination` says whose connections to use, `id` is the `webhook-id`, and `signing` holds the secrets; without
        any, nothing is sent.
        """
        began = time.monotonic()
        found = _Found()
        try:
            async with asyncio.timeout(self._timeout_s):
                checked = check_url(url, self._settings)
                async with self._pools.of(destination) as connections:
                    await self._post(connections, checked, id, body, signing, found)
        except TimeoutError:
            found.error = f"timeout: no answer within {self._timeout_s:g} s"
        except InvalidInput as refused:
            found.error = f"url_refused: {refused.message}"
        except AddressRefused as refused:
            return _nowhere(f"{refused} leads to addresses that WELIP_WEBHOOK_ALLOW does not name")
        except NameUnknown as unknown:
            return _nowhere(f"{unknown} leads to no address")
        except (httpcore.NetworkError, httpcore.TimeoutException) as failure:
            found.error = f"connection_failed: {failure or type(failure).__name__}"
        except (httpcore.ProtocolError, ValueError) as failure:
            found.error = f"protocol_error: {failure or type(failure).__name__}"
        ms = int((time.monotonic() - began) * 1000)
        if found.status is not None:  # the receiver has answered, however the body ended
            return Answer(found.status, None, found.text, ms, found.retry_after_s)
        return Answer(error=(found.error or "")[:500].replace("\0", ""), ms=ms)

    async def close_idle(self) -> None:
        """Close connections that have not been used for a while."""
        await self._pools.close_idle()

    async def close(self) -> None:
        """Close the connections."""
        await self._pools.close()
        self._resolver.close()

    async def _post(
        self,
        connections: httpcore.AsyncConnectionPool,
        url: str,
        id: str,
        body: bytes,
        signing: Sequence[str],
        found: "_Found",
    ) -> None:
        if not signing:
            found.error = "no_secret: the tenant has no signing secret"
            return
        headers: list[tuple[bytes | str, bytes | str]] = [
            ("content-type", "application/json"),
            ("user-agent", self._agent),
            ("accept-encoding", "identity"),
            *signed(id, body, signing, at=time.time()).items(),
        ]
        async with connections.stream("POST", url, headers=headers, content=body) as response:
            found.status = response.status
            given = {name.lower(): value.decode("latin-1") for name, value in response.headers}
            found.retry_after_s = retry_after(given.get(b"retry-after"), now=time.time())
            if given.get(b"content-encoding", "identity").lower() == "identity":
                found.text = await _beginning(response)


def _nowhere(detail: str) -> Answer:
    # Without the time that it took: a name server inside our network answers sooner than one on the internet.
    return Answer(error=NOWHERE, detail=detail)


@dataclass(slots=True)
class _Found:
    """As much of an answer as has arrived."""

    status: int | None = None
    error: str | None = None
    text: str | None = None
    retry_after_s: float | None = None


def retry_after(value: str | None, *, now: float) -> float | None:
    """The seconds from `now` (Unix time) to a `Retry-After` header (RFC 9110, 10.2.3); None if it cannot be read."""
    if value is None:
        return None
    value = value.strip()
    if value.isascii() and value.isdecimal():
        return float(value[:10])
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - now)
    except (ValueError, OverflowError):
        return None


async def _beginning(response: httpcore.Response) -> str:
    read = b""
    try:
        async with asyncio.timeout(ANSWER_S):
            async for part in response.aiter_stream():
                read += part
                if len(read) >= ANSWER_BYTES:
                    break
    except (TimeoutError, httpcore.NetworkError, httpcore.ProtocolError):
        pass  # the status counts, and what has arrived is kept
    return read[:ANSWER_BYTES].decode("utf-8", "replace").replace("\0", "\ufffd")
