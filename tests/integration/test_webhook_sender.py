"""One attempt against a real receiver: what is sent, how the answer is read, and where it never goes."""

import asyncio
import gzip
import json
import ssl
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import timedelta
from itertools import chain, repeat
from pathlib import Path

import pytest
import trustme

from infra.settings import WebhookSettings
from infra.webhooks.connecting import TRIED
from infra.webhooks.sender import ANSWER_BYTES, NOWHERE, Answer, Sender
from infra.webhooks.signing import new_secret
from tests.receivers import Receiver, drip, drip_head, huge, ok, reset, silent, status

LOOPBACK = WebhookSettings(allow="127.0.0.1", timeout=timedelta(seconds=3))
SECRET = new_secret()
BODY = b'{"type":"job.succeeded"}'


@pytest.fixture
async def sender() -> AsyncIterator[Sender]:
    """A sender that may send to 127.0.0.1."""
    made = Sender(LOOPBACK)
    yield made
    await made.close()


async def send(sender: Sender, url: str) -> Answer:
    return await sender.send("r", url, "evt_1", BODY, [SECRET])


class Names:
    """A resolver that gives one answer after the other, then repeats the last one."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self.asked: list[str] = []
        self._answers = chain(answers, repeat(answers[-1]))

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        self.asked.append(host)
        return next(self._answers)


async def test_a_receiver_gets_a_signed_post_and_its_answer_is_kept(sender: Sender) -> None:
    async with Receiver(ok) as receiver:
        answer = await send(sender, receiver.url)
    [request] = receiver.requests
    assert request.verified(SECRET) == json.loads(BODY)
    assert (request.id, request.path) == ("evt_1", "/in?token=of-the-receiver")
    assert request.headers["content-type"] == "application/json"
    assert request.headers["user-agent"].startswith("welip/")
    assert request.headers["host"] == f"127.0.0.1:{receiver.port}"
    assert not {"cookie", "authorization"} & set(request.headers)
    assert (answer.ok, answer.status, answer.error, answer.text) == (True, 200, None, "thanks")


async def test_a_connection_serves_several_deliveries(sender: Sender) -> None:
    async with Receiver(ok) as receiver:
        for _ in range(5):
            assert (await send(sender, receiver.url)).ok
        assert receiver.connections == 1


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
async def test_a_redirect_is_not_followed(sender: Sender, code: int) -> None:
    async with Receiver(ok) as trap, Receiver(status(code, f"Location: {trap.url}")) as receiver:
        answer = await send(sender, receiver.url)
        assert (answer.ok, answer.status) == (False, code)
        assert trap.connections == 0


async def test_no_cookie_is_kept(sender: Sender) -> None:
    async with Receiver(status(200, "Set-Cookie: a=b")) as receiver:
        await send(sender, receiver.url)
        await send(sender, receiver.url)
    assert "cookie" not in receiver.requests[1].headers


@pytest.mark.parametrize("code", [199, 400, 410, 429, 500, 503])
async def test_other_answers_are_failures_with_their_status(sender: Sender, code: int) -> None:
    async with Receiver(status(code, "Retry-After: 7", body=b"no\0!")) as receiver:
        answer = await send(sender, receiver.url)
    if code == 199:  # an interim answer: the final one never comes
        assert (answer.ok, answer.status) == (False, None)
    else:
        assert answer == Answer(code, None, "no\ufffd!", answer.ms, 7.0)
        assert not answer.ok


async def test_a_receiver_that_never_answers_is_left_after_the_timeout() -> None:
    for behaviour in (silent, drip_head):
        sender = Sender(WebhookSettings(allow="127.0.0.1", timeout=timedelta(seconds=0.3)))
        async with Receiver(behaviour) as receiver:
            began = time.monotonic()
            answer = await send(sender, receiver.url)
            assert time.monotonic() - began >= 0.3
        await sender.close()
        assert answer.status is None
        assert answer.error == "timeout: no answer within 0.3 s"


async def test_an_answer_that_drips_counts_by_its_status_and_is_left_long_before_the_timeout() -> None:
    sender = Sender(LOOPBACK.model_copy(update={"timeout": timedelta(minutes=10)}))
    async with Receiver(drip) as receiver, asyncio.timeout(120):
        answer = await send(sender, receiver.url)
    await sender.close()
    assert answer.ok
    assert answer.text
    assert set(answer.text) == {"x"}


async def test_of_a_huge_answer_the_beginning_is_read(sender: Sender) -> None:
    async with Receiver(huge) as receiver:
        answer = await send(sender, receiver.url)
    assert (answer.status, answer.text) == (200, "x" * ANSWER_BYTES)


async def test_an_answer_is_never_unpacked(sender: Sender) -> None:
    bomb = gzip.compress(b"0" * 10_000_000)
    async with Receiver(status(200, "Content-Encoding: gzip", body=bomb)) as receiver:
        answer = await send(sender, receiver.url)
    assert receiver.requests[0].headers["accept-encoding"] == "identity"
    assert (answer.ok, answer.text) == (True, None)


async def test_a_reset_connection_and_a_closed_port_are_failures(sender: Sender) -> None:
    async with Receiver(reset) as receiver:
        torn = await send(sender, receiver.url)
    closed = await send(sender, receiver.url)
    assert torn.error is not None
    assert torn.error.startswith(("connection_failed", "protocol_error"))
    assert closed.error is not None
    assert closed.error.startswith("connection_failed")


async def test_without_a_secret_nothing_is_sent(sender: Sender) -> None:
    async with Receiver(ok) as receiver:
        answer = await sender.send("r", receiver.url, "evt_1", BODY, [])
        assert receiver.connections == 0
    assert answer.error is not None
    assert answer.error.startswith("no_secret")


@pytest.mark.parametrize("variable", ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"])
async def test_no_proxy_of_the_environment_is_used(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with Receiver(ok) as proxy, Receiver(ok) as receiver:
        monkeypatch.setenv(variable, f"http://127.0.0.1:{proxy.port}")
        sender = Sender(LOOPBACK)
        assert (await send(sender, receiver.url)).ok
        await sender.close()
        assert proxy.connections == 0


async def test_a_url_that_is_not_allowed_any_more_is_not_sent_to() -> None:
    sender = Sender(WebhookSettings())
    async with Receiver(ok) as receiver:
        answer = await send(sender, receiver.url)
        assert receiver.connections == 0
    await sender.close()
    assert answer.error is not None
    assert answer.error.startswith("url_refused")


# ---- names: what they resolve to is checked on connecting ----

NAMED = WebhookSettings(allow="127.0.0.1", insecure_http=True, timeout=timedelta(seconds=3))


async def test_a_name_that_leads_inside_is_refused() -> None:
    async with Receiver(ok, host="127.0.0.2") as inside:
        for addresses in (["127.0.0.2"], ["10.0.0.1", "::1", "fe80::1%lo"], ["169.254.169.254"], ["::ffff:127.0.0.1"]):
            sender = Sender(NAMED, resolve=Names(addresses))
            answer = await send(sender, f"http://r.example:{inside.port}/")
            await sender.close()
            assert answer.error == NOWHERE
            assert answer.detail is not None
            assert answer.detail.startswith("r.example leads to addresses")
        assert inside.connections == 0


async def test_a_name_that_leads_elsewhere_after_the_check_gains_nothing() -> None:
    """Rebinding: the connection goes to the checked address, and the name is not resolved again."""
    async with Receiver(ok) as receiver, Receiver(ok, host="127.0.0.2", port=receiver.port) as inside:
        names = Names(["127.0.0.1"], ["127.0.0.2"])
        sender = Sender(NAMED, resolve=names)
        first = await send(sender, f"http://r.example:{receiver.port}/")
        assert (first.ok, names.asked) == (True, ["r.example"])
        receiver.answer = status(200, "Connection: close")
        assert (await send(sender, f"http://r.example:{receiver.port}/")).ok  # over the same connection
        second = await send(sender, f"http://r.example:{receiver.port}/")
        await sender.close()
        assert second.error == NOWHERE
        assert (names.asked, inside.connections) == (["r.example", "r.example"], 0)


async def test_of_several_addresses_only_permitted_ones_are_tried() -> None:
    async with Receiver(ok) as receiver, Receiver(ok, host="127.0.0.2", port=receiver.port) as inside:
        sender = Sender(NAMED, resolve=Names(["10.0.0.1", "127.0.0.2", "127.0.0.1"]))
        assert (await send(sender, f"http://r.example:{receiver.port}/")).ok
        await sender.close()
        assert (receiver.connections, inside.connections) == (1, 0)
    assert receiver.requests[0].headers["host"] == f"r.example:{receiver.port}"


async def test_the_next_address_is_tried_when_one_does_not_listen() -> None:
    settings = NAMED.model_copy(update={"allow": "127.0.0.0/8"})
    async with Receiver(ok) as receiver:
        sender = Sender(settings, resolve=Names(["127.0.0.9", "127.0.0.8", "127.0.0.1"]))
        assert (await send(sender, f"http://r.example:{receiver.port}/")).ok
        beyond = [f"127.0.1.{n}" for n in range(TRIED)]
        await sender.close()
        sender = Sender(settings, resolve=Names([*beyond, "127.0.0.1"]))
        answer = await send(sender, f"http://r.example:{receiver.port}/")
        await sender.close()
    assert answer.error is not None
    assert answer.error.startswith("connection_failed")


async def test_the_systems_resolver_is_asked_and_its_answer_checked() -> None:
    """Every machine resolves `localhost` to an address that no webhook may reach."""
    async with Receiver(ok) as receiver:
        url = f"http://localhost:{receiver.port}/"
        allowing = Sender(WebhookSettings(allow="localhost"))
        assert (await send(allowing, url)).ok
        await allowing.close()
        unknown = Sender(NAMED)
        nowhere = await send(unknown, "http://nowhere.invalid/")
        await unknown.close()
        assert (nowhere.error, nowhere.detail) == (NOWHERE, "nowhere.invalid leads to no address")


async def test_a_tenant_cannot_tell_a_name_that_leads_inside_from_one_that_does_not_exist() -> None:
    """Neither from the error nor from the time that it took."""

    async def names(host: str, port: int) -> Sequence[str]:
        if host == "db.internal":
            return ["10.1.2.3"]
        await asyncio.sleep(0.02)
        raise OSError("no such name")

    sender = Sender(NAMED, resolve=names)
    inside = await send(sender, "https://db.internal/")
    absent = await send(sender, "https://no.internal/")
    await sender.close()
    assert inside.detail != absent.detail
    assert replace(inside, detail=None) == replace(absent, detail=None)


async def test_a_name_server_that_hangs_holds_up_nobody_else() -> None:
    async def names(host: str, port: int) -> Sequence[str]:
        if host == "slow.example":
            await asyncio.Event().wait()
        return ["127.0.0.1"]

    sender = Sender(NAMED.model_copy(update={"timeout": timedelta(minutes=10)}), resolve=names)
    async with Receiver(ok) as receiver:
        slow = [asyncio.create_task(send(sender, f"http://slow.example:{receiver.port}/")) for _ in range(50)]
        async with asyncio.timeout(120):
            assert (await send(sender, f"http://r.example:{receiver.port}/")).ok
        assert not any(task.done() for task in slow)
        for task in slow:
            task.cancel()
        await asyncio.gather(*slow, return_exceptions=True)
    await sender.close()


# ---- TLS: the name is proved although the connection goes to an address ----


@pytest.fixture
def authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> trustme.CA:
    """A certificate authority that this process trusts, as if an operator had set it up."""
    made = trustme.CA()
    made.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    return made


def serving(authority: trustme.CA, name: str) -> tuple[ssl.SSLContext, list[str | None]]:
    """A server's TLS context with a certificate for `name`, and the names that clients ask it for."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    asked: list[str | None] = []
    context.sni_callback = lambda _, name, __: asked.append(name)
    return context, asked


async def test_tls_asks_for_the_name_and_verifies_it(authority: trustme.CA) -> None:
    context, asked = serving(authority, "r.example")
    sender = Sender(LOOPBACK, resolve=Names(["127.0.0.1"]))
    async with Receiver(ok, tls=context) as receiver:
        answer = await send(sender, f"https://r.example:{receiver.port}/in")
        assert answer.ok, answer
        other = await send(sender, f"https://other.example:{receiver.port}/in")
    await sender.close()
    assert asked == ["r.example", "other.example"]
    assert other.error is not None
    assert "certificate" in other.error.lower()
    assert len(receiver.requests) == 1


async def test_an_untrusted_certificate_is_refused() -> None:
    context, _ = serving(trustme.CA(), "r.example")
    sender = Sender(LOOPBACK, resolve=Names(["127.0.0.1"]))
    async with Receiver(ok, tls=context) as receiver:
        answer = await send(sender, f"https://r.example:{receiver.port}/in")
    await sender.close()
    assert not answer.ok
    assert receiver.requests == []
