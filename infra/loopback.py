"""Which addresses only this machine can reach: what needs no key may listen there and nowhere else."""

import ipaddress


def is_loopback(host: str) -> bool:
    """Whether a host name or address is this machine's own. Names other than `localhost` are not looked up."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
