"""How a stage declares the ports it uses, and the error when it touches another one."""

from collections.abc import Mapping
from typing import Any, Generic, Self, TypeVar, overload

from schemas.errors import PortNotOpen

P = TypeVar("P")


class Port(Generic[P]):
    """One port of a `PortSet`, typed by its protocol. Reading it gives the adapter, or raises `PortNotOpen`."""

    name: str

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    @overload
    def __get__(self, ports: None, owner: type) -> Self: ...

    @overload
    def __get__(self, ports: "PortSet", owner: type) -> P: ...

    def __get__(self, ports: "PortSet | None", owner: type) -> Any:
        return self if ports is None else ports.adapter(self)

    def __set__(self, ports: "PortSet", adapter: P) -> None:
        ports.open(self, adapter)


Needs = frozenset[Port[Any]]
"""The ports that a stage uses."""


def needs(*ports: Port[Any]) -> Needs:
    """`NEEDS: Final = needs(Ports.blobs, Ports.index)` in a stage's module. A stage without `NEEDS` uses no port."""
    return frozenset(ports)


class PortSet:
    """Adapters by port. `adapter` gives the opened ones, and a stage only those it needs."""

    def __init__(self) -> None:
        self._adapters: dict[Port[Any], Any] = {}
        self._needs: Needs | None = None
        self._user: object = "this process"

    def open(self, port: Port[Any], adapter: Any) -> None:
        """Let a port lead to its adapter."""
        self._adapters[port] = adapter

    def adapter(self, port: Port[Any]) -> Any:
        """What the port leads to. Raises `PortNotOpen`, naming the port, who asked for it, and the remedy."""
        if self._needs is not None and port not in self._needs:
            raise PortNotOpen(
                f"{self._user} uses the port `{port.name}` without declaring it: add `Ports.{port.name}` to the NEEDS"
                " of the stage's module"
            )
        try:
            return self._adapters[port]
        except KeyError:
            raise PortNotOpen(
                f"{self._user} uses the port `{port.name}`, which this process did not open: run the stage in a worker"
                " of its pool, and let `consumers/bootstrap.py` open the port"
            ) from None

    def view(self, user: object, needs: Needs, own: Mapping[Port[Any], Any]) -> Self:
        """The same adapters, and its `own`, for one `user`, which meets `PortNotOpen` beyond its needs.

        As text, `user` says who it is.
        """
        made = object.__new__(type(self))
        adapters = {**self._adapters, **own} if own else self._adapters
        made.__dict__ = {**self.__dict__, "_adapters": adapters, "_needs": needs, "_user": user}
        return made
