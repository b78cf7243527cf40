"""Tokens by length."""

from __future__ import annotations

from typing import Any

import pytest

from aden_transport.core.estimate import (
    MAX_DEPTH,
    PER_IMAGE,
    PER_MESSAGE,
    input_tokens,
    output_cap,
    tokens_of,
)


@pytest.mark.parametrize(("size", "tokens"), [(0, 0), (1, 1), (4, 1), (5, 2), (4000, 1000)])
def test_four_bytes_are_a_token(size: int, tokens: int) -> None:
    assert tokens_of(size) == tokens


def nested(depth: int) -> Any:
    return "text" if depth == 0 else [nested(depth - 1)]


@pytest.mark.parametrize(
    ("body", "tokens"),
    [
        ({}, 0),
        ({"model": "gpt-4o", "stream": True, "n": 3, "metadata": {"agent": "a"}, "user": "u"}, 0),
        ({"input": "12345678"}, 2),
        ({"input": ["1234", "5678"]}, 2),
        ({"input": "äöü"}, 2),
        ({"input": "\ud800"}, 1),
        ({"messages": [{"role": "user", "content": "1234"}]}, PER_MESSAGE + 1),
        (
            {"messages": [{"role": "user", "content": "1"}, {"role": "assistant", "content": "2"}]},
            2 * PER_MESSAGE + 1,
        ),
        ({"content": [{"type": "image_url", "image_url": {"url": "data:" + "x" * 10_000}}]}, PER_IMAGE),
        ({"content": [{"image_url": None, "text": "1234"}]}, 1),
        (
            {"parts": [{"inlineData": {"mimeType": "image/png", "data": "x" * 999}}, {"text": "1234"}]},
            PER_IMAGE + 1,
        ),
        ({"input": [1, 2, 3]}, 3),
        ({"input": [[1, 2], [3]]}, 3),
        ({"input": []}, 0),
        ({"input": None}, 0),
        ({"tools": [{"type": "function", "function": {"name": "f", "description": "1234"}}]}, 1),
        ({"deep": nested(MAX_DEPTH)}, 1),
        ({"deep": [nested(MAX_DEPTH - 1), {}]}, 1),
        ({"deep": nested(MAX_DEPTH + 1)}, 0),
    ],
)
def test_a_body_weighs_its_text_its_messages_and_its_media(body: dict[str, Any], tokens: int) -> None:
    assert input_tokens(body) == tokens


@pytest.mark.parametrize(
    ("body", "names", "cap"),
    [
        ({"max_tokens": 5}, ("max_tokens",), 5),
        ({"max_tokens": 0}, ("max_tokens",), 0),
        ({"max_tokens": 5, "max_completion_tokens": 7}, ("max_completion_tokens", "max_tokens"), 7),
        ({"max_tokens": 5, "max_completion_tokens": None}, ("max_completion_tokens", "max_tokens"), 5),
        ({"generationConfig": {"maxOutputTokens": 9}}, ("generationConfig.maxOutputTokens",), 9),
        ({"generationConfig": 9}, ("generationConfig.maxOutputTokens",), None),
        ({"max_tokens": True}, ("max_tokens",), None),
        ({"max_tokens": -1}, ("max_tokens",), None),
        ({"max_tokens": "5"}, ("max_tokens",), None),
        ({}, ("max_tokens",), None),
        ({"max_tokens": 5}, (), None),
    ],
)
def test_the_output_cap_is_what_the_body_says(
    body: dict[str, Any], names: tuple[str, ...], cap: int | None
) -> None:
    assert output_cap(body, names) == cap
