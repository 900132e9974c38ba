"""Standard Webhooks signatures: a receiver can tell that we sent an event, and that it is not an old one replayed.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

import base64
import binascii
import hashlib
import hmac
import secrets
from collections.abc import Sequence
from typing import Final

PREFIX: Final = "whsec_"
KEY_BYTES: Final = range(24, 65)
"""The allowed key lengths in bytes, from the specification."""


def new_secret() -> str:
    """A new secret: `whsec_` and the base64 of 32 random bytes."""
    return PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()


def signed(id: str, body: bytes, signing: Sequence[str], *, at: float) -> dict[str, str]:
    """The headers that authenticate a body: `webhook-id`, `webhook-timestamp` and `webhook-signature`.

    `signing` holds the secret and, while it is being replaced, the previous one too; `at` is the Unix time in seconds.
    Raises `ValueError` for an invalid secret.
    """
    timestamp = str(int(at))
    content = b".".join((id.encode(), timestamp.encode(), body))
    made = [base64.b64encode(hmac.digest(_key(secret), content, hashlib.sha256)).decode() for secret in signing]
    return {
        "webhook-id": id,
        "webhook-timestamp": timestamp,
        "webhook-signature": " ".join(f"v1,{signature}" for signature in made),
    }


def _key(secret: str) -> bytes:
    try:
        key = base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except binascii.Error:
        key = b""
    if not secret.startswith(PREFIX) or len(key) not in KEY_BYTES:
        raise ValueError("a signing secret is whsec_ and the base64 of 24 to 64 bytes")
    return key
