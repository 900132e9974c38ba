"""The client: submits work from outside over HTTP, blocking (`Welip`) or asynchronous (`AsyncWelip`)."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from producers.client.async_ import AsyncWelip
    from producers.client.errors import (
        ApiError,
        ConnectionFailed,
        JobFailed,
        UnexpectedAnswer,
        WaitTimeout,
        WelipError,
    )
    from producers.client.sync import Welip

__all__ = [
    "ApiError",
    "AsyncWelip",
    "ConnectionFailed",
    "JobFailed",
    "UnexpectedAnswer",
    "WaitTimeout",
    "Welip",
    "WelipError",
]

_HOMES = {"Welip": "sync", "AsyncWelip": "async_"}


def __getattr__(name: str) -> Any:
    # Lazy (PEP 562): `welip --version` lives below this package and must not pay for httpx and pydantic.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"producers.client.{_HOMES.get(name, 'errors')}"), name)
