"""What the operator lets webhooks reach besides the internet; parses that setting and holds the result."""

import ipaddress
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import httpx

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_LABEL: Final = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")
_NUMBER: Final = re.compile(r"\d+|0x[0-9a-f]*")


@dataclass(frozen=True, slots=True)
class Allowed:
    """What the operator lets webhooks reach besides the internet."""

    networks: tuple[Network, ...]
    names: frozenset[str]

    def host(self, host: str) -> bool:
        """Whether the operator named this host name or literal address."""
        address = literal(host)
        return host in self.names if address is None else self.address(address)

    def address(self, address: Address) -> bool:
        """Whether the address lies in a network that the operator named."""
        return any(address.version == network.version and address in network for network in self.networks)


@lru_cache(maxsize=16)
def allowed(text: str) -> Allowed:
    """Parse `WELIP_WEBHOOK_ALLOW`: comma-separated networks, addresses and host names. Raises `ValueError`."""
    networks: list[Network] = []
    names: set[str] = set()
    for entry in filter(None, (part.strip() for part in text.split(","))):
        try:
            networks.append(ipaddress.ip_network(entry))
        except ValueError:
            if "/" in entry:
                raise
            names.add(_name(entry))
    return Allowed(tuple(networks), frozenset(names))


def _name(entry: str) -> str:
    try:
        url = httpx.URL(f"https://{entry}/")
    except httpx.InvalidURL as error:
        raise ValueError(str(error)) from error
    if ":" in entry or url.userinfo:
        raise ValueError(f"{entry!r}: give only the host name")
    return host_of(url)


def host_of(url: httpx.URL) -> str:
    """The host as it is connected to: lower case, ASCII, addresses in their only form. Raises `ValueError`."""
    host = url.raw_host.decode()
    if ":" in host:
        return ipaddress.IPv6Address(host).compressed
    host = host.removesuffix(".")
    labels = host.split(".")
    if _NUMBER.fullmatch(labels[-1]):
        # Resolvers read 127.1, 2130706433, 0177.0.0.1 and 0x7f.1 as addresses (https://url.spec.whatwg.org/#host-parsing).
        return str(ipaddress.IPv4Address(host))
    if len(host) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise ValueError(f"{host!r} is not a host name")
    return host


def literal(host: str) -> Address | None:
    """The address if `host` is one, None if it is a name."""
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None
