"""Where webhooks may go: not into our own network, unless the operator allows a receiver there.

Tenants name receivers, so a delivery is a request that strangers aim (server-side request forgery). The form of a URL
is checked here when it is stored and again before sending. The address that its name resolves to is checked when the
connection is made, see `infra/webhooks/connecting.py`.
"""

import ipaddress
from typing import Final

import httpx

from infra.settings import WebhookSettings
from infra.webhooks.allowed import Address, Allowed, allowed, host_of, literal
from schemas.errors import InvalidInput

MAX_URL: Final = 2048

REFUSED_V4: Final = tuple(
    ipaddress.IPv4Network(network)
    for network in (
        "0.0.0.0/8",  # this network; 0.0.0.0 is this host
        "10.0.0.0/8",  # private
        "100.64.0.0/10",  # shared by carriers (CGNAT); Alibaba's metadata, 100.100.100.200
        "127.0.0.0/8",  # loopback
        "168.63.129.16/32",  # the host of an Azure machine: metadata and more, on a public address
        "169.254.0.0/16",  # link-local; metadata of most clouds, 169.254.169.254
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # protocol assignments; Oracle's metadata, 192.0.0.192
        "192.0.2.0/24",  # documentation
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",  # private
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved; broadcast
    )
)
"""IPv4 addresses that no receiver on the internet has.

https://www.iana.org/assignments/iana-ipv4-special-registry. We keep our own table because patch versions of Python
differ in what `ipaddress` calls global.
"""

GLOBAL_V6: Final = ipaddress.IPv6Network("2000::/3")
"""The only IPv6 addresses given to hosts on the internet.

Outside it are loopback, unique local (fd00:ec2::254 is a metadata service), link-local, site-local and multicast
addresses, and those that represent an IPv4 address: mapped, compatible, NAT64 (64:ff9b::/96, 64:ff9b:1::/48).
"""

REFUSED_V6: Final = tuple(
    ipaddress.IPv6Network(network)
    for network in (
        "2001::/23",  # protocol assignments: Teredo, benchmarks, ORCHID
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4: represents an IPv4 address
        "3fff::/20",  # documentation
    )
)
"""Those of them that are refused. https://www.iana.org/assignments/iana-ipv6-special-registry."""


def may_connect(address: Address, host: str, allow: Allowed) -> bool:
    """Whether a delivery to `host` may connect to this address, one that `host` resolves to."""
    return is_public(address) or host in allow.names or allow.address(address)


def is_public(address: Address) -> bool:
    """Whether the address can belong to a receiver on the internet."""
    if isinstance(address, ipaddress.IPv4Address):
        return not any(address in network for network in REFUSED_V4)
    return (
        address.scope_id is None
        and address in GLOBAL_V6
        and not any(address in network for network in REFUSED_V6)
    )  # fmt: skip


def check_url(url: str, settings: WebhookSettings) -> str:
    """The URL in normal form, so that what is connected to is the only possible reading of it.

    Raises `InvalidInput` for field `url`. A name that resolves to a private address passes here: names may resolve to
    something else later, so each connection checks that.
    """
    parsed = _parsed(url)
    host = parsed.raw_host.decode()
    allow = allowed(settings.allow)
    if parsed.scheme == "http" and not (settings.insecure_http or allow.host(host)):
        raise _refused("use https://: anything sent over http:// can be read and changed on its way")
    address = literal(host)
    if address is not None and not may_connect(address, host, allow):
        raise _refused(f"{host} is not an address on the internet; {_REMEDY}")
    if (host == "localhost" or host.endswith(".localhost")) and not allow.host(host):
        raise _refused(f"{host} is this machine; {_REMEDY}")
    return str(parsed)


def origin_of(url: str) -> str:
    """Scheme, host and port, `https://r.example` or `https://r.example:8443`: what deliveries to one server share.

    Raises `InvalidInput` when it is not a receiver's URL.
    """
    parsed = _parsed(url)
    return f"{parsed.scheme}://{parsed.netloc.decode()}"


_REMEDY: Final = "the operator can allow it with WELIP_WEBHOOK_ALLOW"


def _refused(message: str) -> InvalidInput:
    return InvalidInput(message, field="url")


def _parsed(url: str) -> httpx.URL:
    if len(url) > MAX_URL:
        raise _refused(f"at most {MAX_URL} characters")
    try:
        parsed = httpx.URL(url)
        parsed = parsed.copy_with(host=host_of(parsed))
    except (httpx.InvalidURL, ValueError) as error:
        raise _refused(f"this is not a URL of a receiver: {error}") from error
    if parsed.scheme not in ("http", "https"):
        raise _refused("a receiver's URL begins with https://")
    if parsed.userinfo:
        raise _refused("leave out the user and password: the signature proves who sends")
    if "#" in url:
        raise _refused("leave out the fragment (#...): it is never sent")
    if parsed.port is not None and not 1 <= parsed.port <= 65535:
        raise _refused("the port must be between 1 and 65535")
    if len(str(parsed)) > MAX_URL:
        raise _refused(f"at most {MAX_URL} characters, with everything else than ASCII as percent signs and digits")
    return parsed
