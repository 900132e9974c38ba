"""What an idempotency key stands for: the body as it was sent, not as this version completes it.

So a default that a later version adds or changes does not change the body.
"""

import hashlib
from typing import Final

import orjson

SCHEME: Final = b"\x01"


def fingerprint(sent: bytes) -> bytes:
    """Equal for JSON texts that say the same, whatever their spelling and the order of their names."""
    return SCHEME + hashlib.sha256(orjson.dumps(orjson.loads(sent), option=orjson.OPT_SORT_KEYS)).digest()


def agree(kept: bytes, given: bytes) -> bool:
    """Whether two requests under one key are the same, as far as can be known.

    A fingerprint of an earlier scheme cannot be compared: there the key alone decides, and gives its first job.
    """
    comparable = len(kept) == len(given) and kept.startswith(SCHEME)
    return kept == given if comparable else True
