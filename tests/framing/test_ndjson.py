"""Lines of JSON."""

from __future__ import annotations

from aden_transport.framing.ndjson import NdjsonParser


def test_lines_come_as_they_are_completed() -> None:
    parser = NdjsonParser()
    assert parser.receive_data(b'{"response": "a"}\n{"resp') == [b'{"response": "a"}']
    assert parser.receive_data(b'onse": "b"}\r\n\r\n') == [b'{"response": "b"}']
    assert parser.receive_data(b'{"done": true}') == []
    assert parser.receive_eof() == [b'{"done": true}']
    assert parser.receive_eof() == []
    assert parser.faults == []


def test_a_line_above_the_limit_is_skipped_and_counted() -> None:
    parser = NdjsonParser(max_line=10)
    assert parser.receive_data(b"x" * 11 + b"\n" + b"y" * 10 + b"\n") == [b"y" * 10]
    for _ in range(50):
        assert parser.receive_data(b"zzz") == []
    assert parser.receive_data(b"\nnext\n" + b"w" * 11) == [b"next"]
    assert parser.receive_eof() == []
    assert (parser.skipped, parser.faults) == (3, ["ndjson.line_too_long"])
