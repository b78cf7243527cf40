"""A JSON array in pieces, against the standard library's parser."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aden_transport.framing.json_array import JsonArrayParser

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(alphabet='ab"\\{}[],:é\n', max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text('k"\\{', max_size=3), inner, max_size=3)
    ),
    max_leaves=15,
)


@settings(max_examples=200)
@given(
    elements=st.lists(st.dictionaries(st.text(max_size=4), VALUES, max_size=4), max_size=6),
    indent=st.sampled_from([None, 2]),
    ascii_only=st.booleans(),
    points=st.lists(st.integers(0, 500), max_size=8),
)
def test_same_elements_as_json(
    elements: list[dict[str, Any]], indent: int | None, ascii_only: bool, points: list[int]
) -> None:
    text = json.dumps(elements, indent=indent, ensure_ascii=ascii_only).encode()
    parser = JsonArrayParser()
    ends = [0, *sorted(points), len(text)]
    found = [part for start, end in pairwise(ends) for part in parser.receive_data(text[start:end])]
    assert [json.loads(part) for part in found + parser.receive_eof()] == elements
    assert parser.faults == []


def test_an_element_comes_as_soon_as_it_is_complete() -> None:
    parser = JsonArrayParser()
    assert parser.receive_data(b'[{"a": 1') == []
    assert parser.receive_data(b"}") == [b'{"a": 1}']
    assert parser.receive_data(b',\r\n{"b": 2},{') == [b'{"b": 2}']
    assert parser.receive_data(b"}]") == [b"{}"]
    assert parser.receive_eof() == []
    assert parser.faults == []


CASES: dict[str, tuple[bytes, list[bytes], list[str]]] = {
    "one object instead of an array": (b' {"error": {"code": 400}}\n', [b'{"error": {"code": 400}}'], []),
    "objects one after the other": (b"{}\n{}[{}]", [b"{}", b"{}", b"{}"], []),
    "elements of other kinds": (b'[1, "{", null, {}, [2]]', [b"{}", b"[2]"], []),
    "array that does not end": (b"[{},", [b"{}"], ["json_array.truncated"]),
    "element that does not end": (b'[{"a": [', [], ["json_array.truncated"]),
    "no JSON": (b"  <html>[{}]", [], ["json_array.not_json"]),
    "a scalar": (b'"[{}]"', [], ["json_array.not_json"]),
    "too many closing brackets": (b"{}]}{}", [b"{}", b"{}"], []),
    "nothing": (b" \n", [], []),
}


@pytest.mark.parametrize(("text", "expected", "faults"), CASES.values(), ids=CASES)
def test_cases(text: bytes, expected: list[bytes], faults: list[str]) -> None:
    parser = JsonArrayParser()
    assert parser.receive_data(text) + parser.receive_eof() == expected
    assert parser.faults == faults


def test_an_element_above_the_limit_is_skipped_and_counted() -> None:
    parser = JsonArrayParser(max_element=10)
    fits, too_long = b'{"a": 123}', b'{"a": 1234}'
    assert parser.receive_data(b"[" + too_long + b"," + fits + b"," + too_long[:-1]) == [fits]
    assert parser.receive_data(b"," + b" " * 50 + b'"]"') == []
    assert parser.receive_data(b"}," + fits + b"]") == [fits]
    assert (parser.skipped, parser.faults) == (2, ["json_array.element_too_long"])


def test_an_element_may_be_as_long_as_the_limit_in_pieces() -> None:
    parser = JsonArrayParser(max_element=10)
    assert parser.receive_data(b'[{"a": 12') == []
    assert parser.receive_data(b"3}") == [b'{"a": 123}']
    assert parser.skipped == 0
