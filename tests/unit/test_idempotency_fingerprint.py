"""An idempotency key stands for what was sent, whatever a version's defaults and however it was spelled."""

import hashlib

import pytest

from gateway.jobs.fingerprint import agree, fingerprint

SENT = b'{"kind": "noop", "input": {"steps": 2}}'


def test_an_upgrade_does_not_change_it() -> None:
    assert fingerprint(SENT) == b"\x01" + hashlib.sha256(b'{"input":{"steps":2},"kind":"noop"}').digest()


@pytest.mark.parametrize(
    ("other", "same"),
    [
        (b' { "input" : {"steps":2},\n"kind":"\\u006eoop"}', True),
        (b'{"kind": "noop", "input": {"steps": 3}}', False),
        (b'{"kind": "noop", "input": {"steps": 2, "sleep_s": 0}}', False),
        (b'{"kind": "noop", "input": {"steps": 2}, "lane": "interactive"}', False),
    ],
    ids=["spelled otherwise", "another value", "a default that was said", "another default that was said"],
)
def test_what_is_the_same_body(other: bytes, same: bool) -> None:
    assert agree(fingerprint(SENT), fingerprint(other)) is same


@pytest.mark.parametrize("first", [b"\x00", b"\x01"])
def test_one_of_an_earlier_scheme_gives_the_first_job(first: bytes) -> None:
    assert agree(first + bytes(31), fingerprint(SENT))
