"""A JSON body: whole while small, its members found at its ends when large."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aden_transport.framing.json_body import JsonBody

FILLER = "x" * 300


def body_of(value: Any, *, limit: int = 100, edge: int = 50) -> JsonBody:
    body = JsonBody(limit=limit, edge=edge)
    body.receive_data(value if isinstance(value, bytes) else json.dumps(value).encode())
    body.receive_eof()
    return body


# ── whole ───────────────────────────────────────────────────────────────────────────────────────────


def test_a_small_body_is_parsed_whole() -> None:
    body = body_of({"a": {"b": 1}, "c": None})
    assert body.whole
    assert body.value() == {"a": {"b": 1}, "c": None}
    assert body.value() is body.value()
    assert (body.member("a"), body.member("c"), body.member("d")) == ({"b": 1}, None, None)
    assert (body.member("b"), body.member("b", 2), body.member("b", 3)) == (None, 1, None)
    assert body.faults == []


def test_a_body_that_goes_on_is_parsed_anew() -> None:
    body = JsonBody()
    body.receive_data(b'{"a": ')
    assert body.value() is None
    body.receive_data(b"1}")
    body.receive_data(b"\n")
    assert body.value() == {"a": 1}
    assert body.size == 9


def test_at_depth_2_the_last_one_that_is_not_null_wins() -> None:
    assert body_of({"x": {"u": 1}, "y": {"u": 2}, "z": {"u": None}, "u": 3}).member("u", 2) == 2


@pytest.mark.parametrize("text", [b"\n\n \r\n{}", b"\xef\xbb\xbf{}", b" {} "])
def test_white_space_around(text: bytes) -> None:
    assert body_of(text).value() == {}


@pytest.mark.parametrize("text", [b"", b"<html>", b"{", b'{"a": \xff}', b"[" * 90])
def test_a_body_that_is_no_json_is_a_fault(text: bytes) -> None:
    body = body_of(text)
    assert body.value() is None
    assert body.faults == ["json.unreadable"]


@pytest.mark.parametrize("value", [[{"a": 1}], "a", 1])
def test_a_body_that_is_no_object_has_no_members(value: Any) -> None:
    assert body_of(value).member("a") is None


def test_a_body_that_was_cut_off_still_has_the_members_of_its_head() -> None:
    body = body_of(b'{"model": "m", "n": 12.5, "list": [1, {"deep": 1}], "text": "abc')
    assert (body.member("model"), body.member("n"), body.member("list")) == ("m", 12.5, [1, {"deep": 1}])
    assert (body.member("deep"), body.member("deep", 2), body.member("text")) == (None, None, None)
    assert body.faults == ["json.unreadable"]


# ── large ───────────────────────────────────────────────────────────────────────────────────────────


def test_a_large_body_is_kept_by_its_ends() -> None:
    body = JsonBody(limit=100, edge=20)
    text = bytes(range(65, 91)) * 40
    for start in range(0, len(text), 7):
        body.receive_data(text[start : start + 7])
    assert (body.whole, body.size) == (False, len(text))
    assert (body.head, body.tail) == (text[:20], text[-20:])
    assert body.value() is None
    body.receive_eof()
    assert body.faults == ["json.too_large"]


def test_the_ends_of_a_small_body() -> None:
    body = body_of(b"0123456789", limit=10, edge=4)
    assert (body.head, body.tail) == (b"0123", b"6789")


def test_edges_of_no_bytes() -> None:
    body = JsonBody(limit=0, edge=10)
    for _ in range(3):
        body.receive_data(b'{"a": 1}')
    assert (body.head, body.tail, body.member("a")) == (b"", b"", None)


LARGE: dict[str, tuple[Any, str, int, Any]] = {
    "at the end": ({"text": FILLER, "usage": {"n": 1}}, "usage", 1, {"n": 1}),
    "near the end": ({"text": FILLER, "usage": {"n": 1}, "z": [1]}, "usage", 1, {"n": 1}),
    "at the beginning": ({"model": "m", "text": FILLER}, "model", 1, "m"),
    "at the end, one deeper": ({"response": {"t": FILLER, "usage": {"n": 1}}, "z": 1}, "usage", 2, {"n": 1}),
    "at the beginning, one deeper": ({"response": {"model": "m", "t": FILLER}}, "model", 2, "m"),
    "the end before the beginning": ({"response": {"u": 1, "t": FILLER}, "z": {"u": 2}}, "u", 2, 2),
    "too deep at the end": ({"text": FILLER, "a": {"usage": 1}}, "usage", 1, None),
    "not deep enough at the end": ({"text": FILLER, "usage": 1}, "usage", 2, None),
    "too deep at the beginning": ({"a": {"model": "m"}, "text": FILLER}, "model", 1, None),
    "not deep enough at the beginning": ({"model": "m", "text": FILLER}, "model", 2, None),
    "in an array at the end": ({"text": FILLER, "a": [{"usage": 1}]}, "usage", 2, None),
    "in an array at the beginning": ({"a": [{"model": "m"}], "text": FILLER}, "model", 2, None),
    "in a top-level array": ([{"model": "m", "text": FILLER, "usage": 1}], "usage", 1, None),
    "an array's, one deeper": ([{"model": "m", "text": FILLER, "usage": 1}], "model", 2, None),
    "a decoy after it": ({"text": FILLER, "usage": 1, "tools": {"usage": 2}}, "usage", 1, 1),
    "a decoy before it": ({"b": {"model": "no"}, "model": "m", "text": FILLER}, "model", 1, "m"),
    "its name as a value": (
        {"model": "m", "usage": 1, "t": FILLER, "a": "usage", "b": "model"},
        "usage",
        1,
        1,
    ),
    "its name in a string": ({"text": FILLER, "a": '"usage": 2}'}, "usage", 1, None),
    "null at the end": ({"usage": 1, "text": FILLER, "a": {"usage": None}}, "usage", 2, None),
    "in between": ({"a": FILLER, "usage": 1, "b": FILLER}, "usage", 1, None),
    "larger than an edge": ({"usage": FILLER}, "usage", 1, None),
    "nowhere": ({"text": FILLER}, "usage", 1, None),
}


@pytest.mark.parametrize(("value", "name", "depth", "expected"), LARGE.values(), ids=LARGE)
@pytest.mark.parametrize("spaces", [(",", ":"), (", ", " : ")])
def test_members_of_a_large_body(value: Any, name: str, depth: int, expected: Any, spaces: Any) -> None:
    body = body_of(json.dumps(value, separators=spaces).encode() + b"\n")
    assert body.member(name, depth) == expected
    assert body.faults == ["json.too_large"]


HEADS: dict[bytes, Any] = {
    b'{"n": 12': None,  # perhaps 123
    b'{"n": 12.': None,
    b'{"n": 12 ': 12,
    b'{"n": 12,': 12,
    b'{"n": 12}': 12,
    b'{"n": "12"': "12",
    b'{"n": "12': None,
    b'{"n": {"a": [1]}': {"a": [1]},
    b'{"n": {"a": [1]': None,
    b'{"n" ': None,
    b'{"n": null, "n": 2, "n": 3,': 2,
    b'{"n": null, "m": 1': None,
    b'{"n": ' + b"[" * 20_000: None,
    b'{"a": 1}} {"n": 3 }': 3,
    b'{"a": "\xc3\xa9", "n": "\xc3\xa9", "b': "é",
    b'{"n": x, ' * 20 + b'"n": 1,': None,  # tried too often
}


@pytest.mark.parametrize(("head", "expected"), HEADS.items(), ids=[str(head[:30]) for head in HEADS])
def test_members_of_a_head_that_is_cut_off(head: bytes, expected: Any) -> None:
    body = JsonBody(limit=len(head), edge=len(head))
    body.receive_data(head)
    body.receive_data(b"?" * len(head))
    assert body.member("n") == expected


def test_a_tail_full_of_decoys_is_searched_a_bounded_number_of_times() -> None:
    body = body_of({"t": FILLER, "n": 1, "a": [{"n": 2}] * 20}, limit=250, edge=250)
    assert body.member("n") is None
    body = body_of({"t": FILLER, "n": 1, "a": [{"n": 2}] * 10}, limit=250, edge=250)
    assert body.member("n") == 1


def all_members(value: Any, name: str, depth: int) -> list[Any]:
    if not isinstance(value, dict):
        return []
    if depth == 1:
        return [value[name]] if name in value else []
    return [found for child in value.values() for found in all_members(child, name, depth - 1)]


NAMES = st.sampled_from(["usage", "model", "a", "b"])
TEXTS = st.sampled_from(["usage", '"usage": 1', "}", "]", "{", '\\"model\\":', "é", "long " * 9])
VALUES = st.recursive(
    st.none() | st.integers(-5, 5000) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=20,
)


@settings(max_examples=400)
@given(value=st.dictionaries(NAMES, VALUES), edge=st.integers(0, 120), name=NAMES, depth=st.integers(1, 3))
def test_a_member_that_is_found_is_one_of_the_body(value: Any, edge: int, name: str, depth: int) -> None:
    found = body_of(value, limit=edge, edge=edge).member(name, depth)
    assert found is None or found in all_members(value, name, depth)
