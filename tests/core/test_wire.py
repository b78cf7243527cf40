"""What a request is told by its bytes."""

from __future__ import annotations

import pytest

from aden_transport.core import wire as wires
from aden_transport.core.wire import MAX_KNOWN, Rewrite, WireRequest

from .kit import pairs, wire


def test_headers_are_found_in_any_case() -> None:
    request = wire(names={"User-Agent": "OpenAI/Python", "X-Client-Request-ID": "mine", "X-Aden-Agent": "a"})
    assert (request.user_agent, request.client_request_id) == (b"OpenAI/Python", b"mine")
    assert request.known.ours
    assert request.headers[b"x-aden-agent"] == b"a"


def test_what_is_not_there_is_none() -> None:
    request = wire()
    assert (request.user_agent, request.client_request_id, request.retry_count) == (None, None, None)
    assert not request.known.ours


@pytest.mark.parametrize(
    ("value", "count"),
    [("0", 0), ("1", 1), ("999", 999), ("1000", None), ("-1", None), ("", None), ("²", None)],
)
def test_the_retry_count_is_a_small_number(value: str, count: int | None) -> None:
    assert wire(names={"X-Stainless-Retry-Count": value}).retry_count == count


@pytest.mark.parametrize(
    ("target", "path"),
    [("/a/b?c=/d", "/a/b"), ("/a", "/a"), ("", ""), ("/ä", "/\ufffd\ufffd"), ("/a?b?c", "/a")],
)
def test_the_path_ends_at_the_query(target: str, path: str) -> None:
    assert wire(path=target).path == path


@pytest.mark.parametrize(
    ("names", "signed"),
    [
        ({}, False),
        ({"Authorization": "Bearer sk-1"}, False),
        ({"Authorization": "AWS4-HMAC-SHA256 Credential=x"}, True),
        ({"Authorization": "Signature keyId=x"}, True),
        ({"Authorization": "OCI1 x"}, True),
        ({"X-Amz-Content-SHA256": "x"}, True),
        ({"X-Amz-Date": "x"}, True),
        ({"Signature": "x"}, True),
    ],
)
def test_a_signature_is_seen(names: dict[str, str], signed: bool) -> None:
    assert wire(names=names).signed is signed


def test_what_is_known_of_names_is_shared_and_bounded() -> None:
    assert wire(names={"Accept": "a"}).known is wire(names={"ACCEPT": "b"}).known
    for number in range(MAX_KNOWN + 10):
        WireRequest("GET", "h", b"/", pairs({f"x-{number}": "1"}))
        assert len(wires._known) <= MAX_KNOWN


def test_names_with_a_line_feed_are_told_apart() -> None:
    one = wire(names={"A": "1", "User-Agent": "mine", "B": "2"})
    for names in ({"A\nUser-Agent": "1", "B": "2"}, {"A": "1", "User-Agent\nB": "2"}):
        assert wire(names=names).user_agent is None
        assert wire(names=names).known is not wire(names=names).known
    assert one.user_agent == b"mine"


def test_a_rewrite_is_true_where_something_changes() -> None:
    assert not Rewrite()
    for name, value in (
        ("body", b""),
        ("target", b"/"),
        ("form", {"a": None}),
        ("set_headers", {b"a": b"b"}),
        ("drop_headers", frozenset((b"a",))),
    ):
        change = Rewrite()
        setattr(change, name, value)
        assert change
