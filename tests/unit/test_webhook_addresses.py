"""Where webhooks may go: which addresses are refused, how URLs are read, what the allow-list opens."""

import ipaddress

import pytest
from pydantic import ValidationError

from infra.settings import WebhookSettings
from infra.webhooks.addresses import MAX_URL, check_url, is_public, may_connect, origin_of
from infra.webhooks.allowed import allowed
from schemas.errors import InvalidInput

PUBLIC = [
    "1.1.1.1", "8.8.8.8", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "126.255.255.255", "128.0.0.1",
    "169.253.255.255", "169.255.0.0", "172.15.255.255", "172.32.0.0", "192.0.1.0", "192.167.255.255", "192.169.0.0",
    "198.17.255.255", "198.20.0.0", "223.255.255.255", "168.63.129.15",
    "2001:200::1", "2001:4860:4860::8888", "2606:4700:4700::1111", "2a00:1450:4001:81b::200e", "2003::1", "3ffe::1",
]  # fmt: skip
REFUSED = [
    # this network, private, shared, loopback, link-local
    "0.0.0.0", "0.1.2.3", "10.0.0.0", "10.255.255.255", "100.64.0.0", "100.127.255.255", "127.0.0.1", "127.255.255.254",
    "169.254.0.1", "172.16.0.1", "172.31.255.255", "192.168.0.0", "192.168.255.255",
    # metadata: AWS and most others, Azure, Oracle, Alibaba, AWS over IPv6, its DNS
    "169.254.169.254", "168.63.129.16", "192.0.0.192", "100.100.100.200", "fd00:ec2::254", "fd00:ec2::253",
    # assignments, documentation, benchmarks, 6to4 relays, multicast, reserved, broadcast
    "192.0.0.1", "192.0.2.1", "198.51.100.255", "203.0.113.0", "198.18.0.0", "198.19.255.255", "192.88.99.1",
    "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255",
    # IPv6: unspecified, loopback, unique local, link-local, site-local, multicast, documentation, discard
    "::", "::1", "fc00::1", "fdff::1", "fe80::1", "febf::1", "fec0::1", "feff::1", "ff02::1", "ff0e::1", "2001:db8::1",
    "3fff::1", "100::1", "5f00::1", "4000::1",
    # IPv6 addresses that represent IPv4 ones, private or not: mapped, translated, compatible, NAT64, 6to4, Teredo
    "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:8.8.8.8", "::ffff:0:127.0.0.1", "::127.0.0.1", "::8.8.8.8",
    "64:ff9b::7f00:1", "64:ff9b::a00:1", "64:ff9b::808:808", "64:ff9b:1::7f00:1", "64:ff9b:1:ffff::a9fe:a9fe",
    "2002:7f00:1::", "2002:a9fe:a9fe::1", "2002:808:808::1", "2001:0:4136:e378:8000:63bf:3fff:fdd2", "2001::1",
    # benchmarks, ORCHID, and an address with a zone
    "2001:2::1", "2001:10::1", "2001:20::1", "fe80::1%eth0", "2606:4700::1%eth0",
]  # fmt: skip
DEFAULT = WebhookSettings()


@pytest.mark.parametrize("address", PUBLIC)
def test_addresses_on_the_internet_are_reached(address: str) -> None:
    assert is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize("address", REFUSED)
def test_no_other_address_is(address: str) -> None:
    assert not is_public(ipaddress.ip_address(address))
    host = f"[{address}]" if ":" in address else address
    with pytest.raises(InvalidInput) as refused:
        check_url(f"https://{host}/in", DEFAULT)
    assert refused.value.field == "url"


def test_whatever_python_calls_private_is_refused() -> None:
    for network in [*ipaddress.IPv4Address._constants._private_networks,  # type: ignore[attr-defined]
                    *ipaddress.IPv6Address._constants._private_networks]:  # type: ignore[attr-defined] # fmt: skip
        assert not is_public(network[0]), network
        assert not is_public(network[-1]), network


NOTATIONS = [
    "127.1", "127.0.1", "2130706433", "0x7f000001", "0x7f.0.0.1", "0177.0.0.1", "017700000001", "127.0.0.0x1", "0",
    "0x", "127.0.0.1.", "10.1", "169.254.43518", "%31%32%37.0.0.1", "１２７.０.０.１", "127。0。0。1",
    "①②⑦.0.0.1", "8.8.2056", "256.1.1.1", "1.2.3.4.5", "[::ffff:7f00:1]", "[0:0:0:0:0:ffff:127.0.0.1]", "[::1]", "[::]",
    "[fe80::1%25eth0]", "[v1.fe80::1]", "[127.0.0.1]", "localhost", "LOCALHOST", "localhost.", "a.localhost",
]  # fmt: skip


@pytest.mark.parametrize("host", NOTATIONS)
def test_an_address_is_recognised_however_it_is_written(host: str) -> None:
    with pytest.raises(InvalidInput):
        check_url(f"https://{host}/in", DEFAULT)


@pytest.mark.parametrize(
    "url",
    ["", "r.example/in", "//r.example/in", "http://r.example/", "ftp://r.example/", "file:///etc/passwd",
     "javascript:alert(1)", "https:r.example", "https:///in", "https://", "https://@/", "https://:443/",
     "https://user@r.example/", "https://user:password@r.example/", "https://127.0.0.1@r.example/",
     "https://r.example@127.0.0.1/", "https://r.example\\@127.0.0.1/", "https://r.example#@127.0.0.1/",
     "https://r.example/#part", "https://r.example/#", "https://r.example:0/", "https://r.example:65536/",
     "https://r.example:-1/", "https://r.example:x/", "https://r example/", "https://r.example\t/",
     "https://r.example/\n", "https://r.example/\0", "https://-r.example/", "https://r..example/", "https://.example/",
     "https://*.example/", "https://r.exa,mple/", f"https://{'r' * 64}.example/", f"https://{'r.' * 130}example/",
     "https://" + "r" * MAX_URL, f"https://r.example/{'가' * 700}", "https://r.example/\ud800"],
)  # fmt: skip
def test_what_is_no_receivers_url_is_refused(url: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        check_url(url, DEFAULT)
    assert refused.value.field == "url"


@pytest.mark.parametrize(
    ("url", "normal", "origin"),
    [
        ("https://R.Example", "https://r.example", "https://r.example"),
        ("https://r.example:443/in?a=b", "https://r.example/in?a=b", "https://r.example"),
        ("https://r.example:8443/", "https://r.example:8443/", "https://r.example:8443"),
        ("https://r.example./in", "https://r.example/in", "https://r.example"),
        ("https://한국.kr/받기", "https://xn--3e0b707e.kr/%EB%B0%9B%EA%B8%B0", "https://xn--3e0b707e.kr"),
        ("https://8.8.8.8/", "https://8.8.8.8/", "https://8.8.8.8"),
        ("https://[2606:4700:0::1111]/", "https://[2606:4700::1111]/", "https://[2606:4700::1111]"),
        ("https://receiver/", "https://receiver/", "https://receiver"),  # checked when its address is known
        ("https://a_b.example/", "https://a_b.example/", "https://a_b.example"),
    ],
)
def test_a_receivers_url_has_one_form_and_an_origin(url: str, normal: str, origin: str) -> None:
    assert check_url(url, DEFAULT) == normal
    assert check_url(normal, DEFAULT) == normal
    assert origin_of(url) == origin


def test_networks_and_names_can_be_allowed() -> None:
    settings = WebhookSettings(allow="10.1.0.0/16, receiver.internal,127.0.0.1 , fd12::/16,")
    for url in ("https://10.1.2.3/", "http://10.1.2.3:8080/in", "http://receiver.internal/", "https://[fd12::1]/",
                "http://127.0.0.1:1/", "http://RECEIVER.internal./in"):  # fmt: skip
        assert check_url(url, settings)
    for url in ("https://10.2.0.1/", "http://10.2.0.1/", "https://127.0.0.2/", "https://[::ffff:10.1.2.3]/",
                "http://other.internal/", "http://a.receiver.internal/", "https://[fd13::1]/"):  # fmt: skip
        with pytest.raises(InvalidInput):
            check_url(url, settings)


def test_a_name_that_is_allowed_may_lead_anywhere_and_others_only_into_allowed_networks() -> None:
    allow = allowed("10.1.0.0/16,receiver.internal")
    inside, elsewhere, public = (ipaddress.ip_address(a) for a in ("10.1.0.9", "10.2.0.9", "8.8.8.8"))
    assert may_connect(elsewhere, "receiver.internal", allow)
    assert may_connect(inside, "r.example", allow)
    assert may_connect(public, "r.example", allow)
    assert not may_connect(elsewhere, "r.example", allow)


def test_http_can_be_let_in_without_opening_private_addresses() -> None:
    settings = WebhookSettings(insecure_http=True)
    assert check_url("http://r.example/", settings) == "http://r.example/"
    with pytest.raises(InvalidInput):
        check_url("http://10.0.0.1/", settings)


@pytest.mark.parametrize(
    "allow", ["10.0.0.0/33", "10.0.0.1/8", "a b", "http://r.example", "r.example:443", "127.1", "é é"]
)
def test_an_allow_list_that_cannot_be_read_ends_the_process(allow: str) -> None:
    with pytest.raises(ValidationError):
        WebhookSettings(allow=allow)
