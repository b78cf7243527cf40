"""Webhooks reach public hosts, and what the operator allows; nothing else, however it is written."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from aden_transport.control.server.safe_url import (
    Allowed,
    Target,
    UnsafeUrl,
    addresses_of,
    is_public,
    target_of,
)

NOBODY = Allowed()

BAD = [
    # loopback, in every notation
    "https://127.0.0.1/",
    "https://127.1/",
    "https://127.0.1/",
    "https://2130706433/",
    "https://0x7f000001/",
    "https://0x7f.1/",
    "https://0x7f.0x0.0x0.0x1/",
    "https://0177.0.0.1/",
    "https://017700000001/",
    "https://127.0.0.1./",
    "https://127.127.127.127/",
    "https://0/",
    "https://0.0.0.0/",
    "https://0.0.0.0:8080/",
    "https://[::1]/",
    "https://[::]/",
    "https://[0:0:0:0:0:0:0:1]/",
    "https://[::ffff:127.0.0.1]/",
    "https://[::ffff:7f00:1]/",
    "https://[::127.0.0.1]/",
    # cloud metadata
    "https://169.254.169.254/latest/meta-data/",
    "http://169.254.169.254/latest/meta-data/",
    "https://2852039166/",
    "https://0xa9fea9fe/",
    "https://0251.0376.0251.0376/",
    "https://[::ffff:169.254.169.254]/",
    "https://[64:ff9b::a9fe:a9fe]/",
    "https://[2002:a9fe:a9fe::1]/",
    "https://[fd00:ec2::254]/",
    "https://metadata.google.internal/computeMetadata/v1/",
    "https://metadata/",
    "https://100.100.100.200/",
    "https://168.63.129.16.internal/",
    # private and link-local
    "https://10.0.0.1/",
    "https://10.255.255.255/",
    "https://172.16.0.1/",
    "https://172.31.255.254/",
    "https://192.168.1.1/",
    "https://192.168.1.1.:443/",
    "https://100.64.0.1/",
    "https://198.18.0.1/",
    "https://[fe80::1]/",
    "https://[fe80::1%25eth0]/",
    "https://[fc00::1]/",
    "https://[fec0::1]/",
    "https://[64:ff9b:1::a00:1]/",
    "https://[2001:0:a00:1::]/",
    # special use
    "https://224.0.0.1/",
    "https://255.255.255.255/",
    "https://240.0.0.1/",
    "https://192.0.2.1/",
    "https://[ff02::1]/",
    "https://[2001:db8::1]/",
    # names of the inside
    "https://localhost/",
    "https://LOCALHOST:8443/",
    "https://localhost./",
    "https://a.localhost/",
    "https://printer.local/",
    "https://db/",
    # another host than it seems
    "https://user@example.com/",
    "https://user:pass@example.com/",
    "https://example.com@127.0.0.1/",
    "https://example.com\\@127.0.0.1/",
    "https://127.0.0.1\t.example.com/",
    "https://example.com /",
    "https://example.com\r\nX-A: b/",
    "https://ex\u0430mple.com/",
    "https://\u2460\u2461\u2466.0.0.1/",
    "https://exam%70le.com/",
    "https://[::1/",
    "https://example.com:99999/",
    "https://example.com:0/",
    "https:///path",
    "https:example.com",
    "//example.com/",
    # other schemes
    "http://example.com/",
    "file:///etc/passwd",
    "ftp://example.com/",
    "gopher://127.0.0.1:6379/_FLUSHALL",
    "unix:///run/docker.sock",
    "javascript:alert(1)",
    "",
    "https://" + "a" * 64 + ".com/",
    "https://example.com/" + "a" * 2048,
]


def test_the_list_is_long() -> None:
    assert len(BAD) >= 60
    assert len(set(BAD)) == len(BAD)


@pytest.mark.parametrize("url", BAD)
def test_a_bad_url_is_refused_by_its_text(url: str) -> None:
    with pytest.raises(UnsafeUrl):
        target_of(url, NOBODY)


@pytest.mark.parametrize("value", [None, 7, b"https://example.com/", ["https://example.com/"]])
def test_what_is_no_text_is_refused(value: object) -> None:
    with pytest.raises(UnsafeUrl):
        target_of(value, NOBODY)


@pytest.mark.parametrize(
    ("url", "target", "authority"),
    [
        ("https://example.com", Target("https", "example.com", 443, "/"), "example.com"),
        ("https://EXAMPLE.com./a?b=c", Target("https", "example.com", 443, "/a?b=c"), "example.com"),
        ("https://example.com:8443/h", Target("https", "example.com", 8443, "/h"), "example.com:8443"),
        ("https://1.1.1.1/", Target("https", "1.1.1.1", 443, "/"), "1.1.1.1"),
        (
            "https://[2606:4700::1111]:444/",
            Target("https", "2606:4700::1111", 444, "/"),
            "[2606:4700::1111]:444",
        ),
        ("https://xn--bcher-kva.example/", Target("https", "xn--bcher-kva.example", 443, "/"), None),
    ],
)
def test_a_public_url_is_read(url: str, target: Target, authority: str | None) -> None:
    assert target_of(url, NOBODY) == target
    assert target.authority == (authority or target.host)


BAD_ADDRESSES = ["127.0.0.1", "10.1.2.3", "169.254.169.254", "::1", "fe80::1%eth0", "::ffff:10.0.0.1"]


@pytest.mark.parametrize("address", BAD_ADDRESSES)
def test_a_name_that_leads_inside_is_refused(address: str) -> None:
    target = target_of("https://rebind.example.com/", NOBODY)
    with pytest.raises(UnsafeUrl):
        addresses_of(target, NOBODY, lookup=lambda *_: ["93.184.216.34", address])


def test_a_name_that_is_not_known_is_refused() -> None:
    target = target_of("https://nowhere.example.com/", NOBODY)

    def unknown(host: str, port: int) -> list[str]:
        raise OSError("no such name")

    with pytest.raises(UnsafeUrl):
        addresses_of(target, NOBODY, lookup=unknown)
    with pytest.raises(UnsafeUrl):
        addresses_of(target, NOBODY, lookup=lambda *_: [])


def test_the_addresses_that_were_judged_are_those_to_connect_to() -> None:
    target = target_of("https://example.com/", NOBODY)
    found = addresses_of(target, NOBODY, lookup=lambda *_: ["93.184.216.34", "93.184.216.34", "1.1.1.1"])
    assert found == ["93.184.216.34", "1.1.1.1"]


def test_what_the_operator_allows_is_reached_also_without_tls() -> None:
    allowed = Allowed(["hooks.corp", "127.0.0.1", "10.1.0.0/16"])
    assert target_of("http://127.0.0.1:9/", allowed) == Target("http", "127.0.0.1", 9, "/")
    assert target_of("http://10.1.2.3/", allowed).host == "10.1.2.3"
    named = target_of("http://hooks.corp/", allowed)
    assert addresses_of(named, allowed, lookup=lambda *_: ["192.168.7.7"]) == ["192.168.7.7"]
    other = target_of("https://example.com/", allowed)
    assert addresses_of(other, allowed, lookup=lambda *_: ["10.1.0.9"]) == ["10.1.0.9"]
    for url in ("http://127.0.0.2/", "https://10.2.0.1/", "https://other.corp/"):
        with pytest.raises(UnsafeUrl):
            target_of(url, allowed)


@pytest.mark.parametrize("entry", ["", "a b", "300.1.1.1", "10.0.0.1/8", "http://x"])
def test_what_allows_nothing_is_said(entry: str) -> None:
    with pytest.raises(ValueError):
        Allowed([entry])


@pytest.mark.parametrize("address", ["1.1.1.1", "8.8.8.8", "2606:4700::1111", "64:ff9b::808:808"])
def test_public_addresses(address: str) -> None:
    assert is_public(ip_address(address))


def test_names_are_looked_up_by_the_system() -> None:
    assert addresses_of(Target("https", "1.1.1.1", 443, "/"), NOBODY) == ["1.1.1.1"]
