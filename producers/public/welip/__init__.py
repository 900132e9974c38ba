"""The Python client of WeLIP: `from welip import Client` blocks, `AsyncClient` is for asyncio.

    with Client("http://127.0.0.1:8080") as client:
        print(client.ask("ko", "한라산의 높이는?").answer)

What a call can raise is below `WelipError`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from producers.client.public import *


def __getattr__(name: str) -> Any:
    # Lazy (PEP 562): `import welip` costs nothing; httpx and pydantic load with the first name that is used.
    public = import_module("producers.client.public")
    if name == "__all__":
        return public.__all__
    if name not in public.__all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(public, name)
