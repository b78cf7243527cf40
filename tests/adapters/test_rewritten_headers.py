"""Headers that a rewrite changes keep their places; those of the application are not touched."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import httpx
import httpx2
import pytest

from aden_transport.adapters._family import with_headers

SENT = [
    ("Accept", "*/*"),
    ("X-Aden-Agent", "a"),
    ("Content-Length", "5"),
    ("accept", "text/plain"),
    ("x", "é"),
]


class Elsewhere:
    """Headers of a version that keeps them in another way."""

    def __init__(self, headers: Any) -> None:
        self.raw = list(headers.raw)

    def copy(self) -> Any:
        return httpx.Headers(self.raw)


@pytest.mark.parametrize("module", [httpx, httpx2], ids=lambda module: module.__name__)
@pytest.mark.parametrize(
    ("drop", "put", "left"),
    [
        (set(), {}, SENT),
        ({b"x-aden-agent", b"not-there"}, {}, [SENT[0], *SENT[2:]]),
        (set(), {b"content-length": b"7"}, [*SENT[:2], ("content-length", "7"), *SENT[3:]]),
        (set(), {b"new": b"1"}, [*SENT, ("new", "1")]),
        (set(), {b"accept": b"1"}, [("accept", "1"), *SENT[1:3], SENT[4]]),
        (
            {b"accept", b"x"},
            {b"accept": b"1", b"x-aden-agent": b"2"},
            [("accept", "1"), ("x-aden-agent", "2"), SENT[2]],
        ),
    ],
)
def test_headers_are_changed_on_a_copy(
    module: ModuleType, drop: set[bytes], put: dict[bytes, bytes], left: list[tuple[str, str]]
) -> None:
    headers = module.Headers(SENT, encoding="utf-8")
    before, encoding = list(headers.raw), headers._encoding
    made = with_headers(headers, drop, put)
    assert [(name.decode(), value.decode()) for name, value in made.raw] == left
    assert headers.raw == before
    assert headers._encoding == encoding
    assert made is not headers


def test_headers_that_are_kept_in_another_way_are_changed_by_their_methods() -> None:
    made = with_headers(Elsewhere(httpx.Headers(SENT[:3])), {b"x-aden-agent"}, {b"new": b"1"})
    assert made.multi_items() == [("accept", "*/*"), ("content-length", "5"), ("new", "1")]
