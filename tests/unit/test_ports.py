"""A free port is chosen where a server can listen on it: below those that the system gives to connections."""

import socket

import pytest

from infra.local.child import PORTS, free_port
from schemas.errors import Conflict


def test_a_port_that_is_wanted_and_free_is_taken() -> None:
    port = free_port()
    assert port in PORTS
    assert free_port("127.0.0.1", preferred=port) == port


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_where_the_wanted_port_is_taken_it_is_one_that_no_connection_gets(host: str) -> None:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as taken:
        try:
            taken.bind((host, 0))
        except OSError:
            pytest.skip(f"this machine has no {host}")
        taken.listen()
        port = taken.getsockname()[1]
        chosen = free_port(host, preferred=port)
    assert chosen != port
    assert chosen in PORTS


@pytest.mark.parametrize("host", ["192.0.2.1", "no-such-host.invalid"])
def test_a_host_that_is_not_this_machine_is_named(host: str) -> None:
    with pytest.raises(Conflict, match=f"nothing can listen on {host}: "):
        free_port(host, preferred=8080)
