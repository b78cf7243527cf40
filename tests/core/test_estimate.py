"""Tokens by the characters of a text."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aden_transport.core import estimate
from aden_transport.core.estimate import (
    CHARACTER_TABLE,
    MAX_DEPTH,
    PAIR_TABLE,
    PER_IMAGE,
    PER_MESSAGE,
    SCRIPT_TABLE,
    SUMMED,
    input_tokens,
    output_cap,
    tokens_of,
)
from aden_transport.core.token_weights import AFTER, BEFORE


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("", 0),
        ("a", 1),
        ("Hello", 1),
        ("Hello, world! How are you today?", 8),
        ("Привет, как дела?", 8),
        ("你好，世界", 5),
        ("1234567890", 3),
        ("👍", 2),
        ("\ud800", 1),
    ],
)
def test_a_text_has_about_so_many_tokens(text: str, tokens: int) -> None:
    assert tokens_of(text) == tokens


@given(st.text(max_size=300))
def test_any_text_has_at_least_one_token_and_at_most_its_bytes(text: str) -> None:
    size = len(text.encode("utf-8", "replace"))
    assert bool(text) <= tokens_of(text) <= size


@given(st.lists(st.integers(0, 0xD7FF).map(chr), min_size=1, max_size=5).map("".join))
def test_a_text_that_repeats_grows_evenly(text: str) -> None:
    short, long = tokens_of(text * 400), tokens_of(text * 40_000)
    assert 70 * short <= long + 100
    assert long <= 130 * short + 100


@pytest.mark.parametrize(
    "text", ["a", "\0", " ", "\n", "ы", "的", "あ", "\ud800", "😀", "\u0bbf", "ÿ", "\uffff"]
)
def test_a_text_of_one_character_is_estimated_at_any_length(text: str) -> None:
    for length in (1, 511, 512, 513, 4095, 4096, 4097, 3_000_000):
        assert 1 <= tokens_of(text * length) <= len((text * length).encode("utf-8", "replace"))


def test_an_indentation_is_no_dearer_where_it_is_deeper() -> None:
    line = "return value\n"
    assert tokens_of((" " * 16 + line) * 20) <= tokens_of((" " * 4 + line) * 20) * 1.5


def test_no_weight_overflows_the_sum() -> None:
    """Adler-32 counts modulo 65521; every second byte of a character weighs nothing."""
    assert max(PAIR_TABLE) * SUMMED < 65521
    assert max(*SCRIPT_TABLE, *CHARACTER_TABLE) * SUMMED // 2 < 65521
    assert sorted(b"".join(BEFORE)) == sorted(b"".join(AFTER)) == list(range(256))
    assert len(PAIR_TABLE) == len(CHARACTER_TABLE) == 256


def test_scripts_of_one_alphabet_are_told_apart() -> None:
    russian, ukrainian = "мы были дома вечером ", "ми були вдома ввечері "
    assert tokens_of(russian * 50) / len(russian) < tokens_of(ukrainian * 50) / len(ukrainian)
    assert tokens_of("這個問題" * 50) > tokens_of("这个问题" * 50)


def test_without_the_chinese_codecs_han_is_estimated_as_common(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(estimate, "GB2312", "no-such-codec")
    assert tokens_of("这个问题" * 50) > 100


def nested(depth: int) -> Any:
    return "text" if depth == 0 else [nested(depth - 1)]


@pytest.mark.parametrize(
    ("body", "tokens"),
    [
        ({}, 0),
        ({"model": "gpt-4o", "stream": True, "n": 3, "metadata": {"agent": "a"}, "user": "u"}, 0),
        ({"input": "12345678"}, 3),
        ({"input": ["1234", "5678"]}, 4),
        ({"input": "äöü"}, 2),
        ({"input": "\ud800"}, 1),
        ({"messages": [{"role": "user", "content": "1234"}]}, PER_MESSAGE + 1),
        (
            {"messages": [{"role": "user", "content": "1"}, {"role": "assistant", "content": "2"}]},
            2 * PER_MESSAGE + 2,
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
        ({"tools": [{"type": "function", "function": {"name": "f", "description": "1234"}}]}, 17),
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
