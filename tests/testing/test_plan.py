"""What the fake provider decides to say."""

from __future__ import annotations

from typing import Any

import pytest

from aden_transport.testing import Reply, ToolCall
from aden_transport.testing.plan import Asked, Tool, count_tokens, make_plan, prompt_tokens
from aden_transport.testing.schemas import example

ASKED = Asked(prompt_tokens=10)


@pytest.mark.parametrize(("text", "tokens"), [("", 0), ("a", 1), ("abcd", 1), ("abcde", 2), ("é" * 4, 2)])
def test_four_bytes_are_a_token(text: str, tokens: int) -> None:
    assert count_tokens(text) == tokens


def test_pictures_do_not_count_as_text() -> None:
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 100_000}}
    assert prompt_tokens([picture]) < 100
    assert prompt_tokens({"inlineData": {"data": "A" * 100_000}}) < 100


@pytest.mark.parametrize(
    ("events", "pieces"), [(1, ["abcd"]), (2, ["ab", "cd"]), (6, ["", "a", "b", "", "c", "d"])]
)
def test_a_text_is_cut_into_as_many_events_as_asked(events: int, pieces: list[str]) -> None:
    assert make_plan(Reply(text="abcd", events=events), ASKED).pieces == pieces


def test_events_without_text_are_as_many_words() -> None:
    plan = make_plan(Reply(events=10), ASKED)
    assert len(plan.pieces) == 10
    assert plan.text.startswith("alpha bravo")
    assert plan.text == "".join(plan.pieces)


def test_words_keep_their_white_space() -> None:
    text = "  two  words\n"
    assert "".join(make_plan(Reply(text=text), ASKED).pieces) == text


def test_counts_can_be_set() -> None:
    plan = make_plan(Reply(input_tokens=1, output_tokens=2, reasoning_tokens=3), ASKED)
    assert (plan.input_tokens, plan.output_tokens, plan.reasoning_tokens) == (1, 2, 3)


def test_no_tool_is_called_where_the_reply_says_so() -> None:
    asked = Asked(prompt_tokens=1, last_text="use add", tools=(Tool("add", {}),))
    assert [call.name for call in make_plan(Reply(), asked).tool_calls] == ["add"]
    assert make_plan(Reply(tool_calls=()), asked).stop == "stop"
    assert make_plan(Reply(text="no"), asked).text == "no"
    assert make_plan(Reply(text="both", tool_calls=[ToolCall("add")]), asked).text == "both"


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"type": "string", "minLength": 6}, "texttt"),
        ({"enum": ["b", "a"]}, "b"),
        ({"const": 5}, 5),
        ({"type": ["number", "null"]}, 1.5),
        ({"type": "null"}, None),
        ({"type": "array"}, []),
        ({"anyOf": [{"type": "INTEGER"}, {"type": "null"}]}, 1),
        ({"$ref": "#/$defs/a", "$defs": {"a": {"type": "boolean"}}}, True),
        ({"$ref": "#/$defs/none"}, {}),
    ],
)
def test_examples_fit_their_schema(schema: Any, value: object) -> None:
    assert example(schema) == value


def test_a_schema_that_holds_itself_ends() -> None:
    node = {"properties": {"child": {"$ref": "#/$defs/node"}}}
    assert isinstance(example({"$ref": "#/$defs/node", "$defs": {"node": node}}), dict)
