"""What goes over a connection between a gateway and a worker: frames, and the proofs that open it.

The worker sends `{"nonce"}`. The gateway answers `{"proof", "nonce"}`, and the worker `{"proof"}`. Each proves that it
knows the token that the worker wrote into Postgres; the token itself never travels. Then the gateway sends
`{"search": number, "tenant", "traceparent"}` with an `InferenceInput` as JSON for payload, or `{"cancel": number}`. The
worker answers in any order:

- `{"answer": number}`, with the body of the HTTP answer for payload;
- `{"answer": number, "error": {...}}`: the search failed;
- `{"answer": number, "elsewhere": true}`: a job has to do it, because a model is in another pool;
- `{"answer": number, "leaving": true}`: it was not begun, because the worker stops;
- `{"leaving": true}`: ask me nothing more, and close when you have your answers.
"""

import asyncio
import hmac
from typing import Any, Final, Literal

from infra.isolation.frames import HEAD, Frame, unpack

PROTOCOL: Final = 1
"""Raised with every change that the other side must understand. Gateways ask only workers of their own protocol."""

GREETING_BYTES: Final = 1024
"""No larger frame is read from a peer that has not proved itself."""

Role = Literal["gateway", "worker"]


async def received(reader: asyncio.StreamReader, at_most: int) -> Frame:
    """The next frame. Raises `ConnectionError` when the peer left, or sent what is no frame or is too large."""
    try:
        size, rest = HEAD.unpack(await reader.readexactly(HEAD.size))
        if size + rest > at_most:
            raise ConnectionAbortedError(f"a frame of {size + rest} bytes, at most {at_most} may be sent")
        body = await reader.readexactly(size)
        return unpack(body, await reader.readexactly(rest))
    except asyncio.IncompleteReadError as error:
        raise ConnectionResetError("the peer left") from error
    except ValueError as error:
        raise ConnectionAbortedError("what came is no frame") from error


def proof(token: str, role: Role, nonce: str) -> str:
    """What shows that `role` knows the token, for a nonce that the other side chose."""
    return hmac.digest(token.encode(), f"{role} {nonce}".encode(), "sha256").hex()


def proves(message: dict[str, Any], token: str, role: Role, nonce: str) -> bool:
    """Whether the message holds that proof."""
    return hmac.compare_digest(str(message.get("proof")).encode(), proof(token, role, nonce).encode())
