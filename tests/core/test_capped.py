"""A call that names no cap on its output is given that of its budgets, by the vendor's own name."""

from __future__ import annotations

import json
from typing import Any

import pytest

from aden_transport.core.capped import Cap, cap_of, with_cap, written_with_cap
from aden_transport.core.rewrite import MAX_PARSED_REQUEST

from .kit import AZURE, GEMINI, Bench, wire

GENERATE = "/v1beta/models/gemini-2.5-pro:generateContent"
DEPLOYED = "/openai/deployments/d/chat/completions"
SIGNED = {"Authorization": "AWS4-HMAC-SHA256 Credential=x"}
HELLO: Any = {"model": "gpt-4o", "messages": []}


@pytest.mark.parametrize(
    ("request_", "cap"),
    [
        (wire(HELLO), ("max_completion_tokens", 9)),
        (wire(HELLO, host="llm.example.com"), ("max_tokens", 9)),
        (wire({**HELLO, "model": "openai/o3"}, host="llm.example.com"), ("max_completion_tokens", 9)),
        (wire({"messages": []}, host="llm.example.com"), ("max_tokens", 9)),
        (wire(HELLO, "/openai/v1/chat/completions", host="api.groq.com"), ("max_completion_tokens", 9)),
        (wire(HELLO, DEPLOYED + "?api-version=2024-10-21", host=AZURE), ("max_completion_tokens", 9)),
        (wire(HELLO, DEPLOYED + "?api-version=2024-06-01", host=AZURE), ("max_tokens", 9)),
        (wire(HELLO, "/openai/v1/chat/completions", host=AZURE), ("max_completion_tokens", 9)),
        (wire({"model": "gpt-4o", "input": "a"}, "/v1/responses"), ("max_output_tokens", 16)),
        (wire({"contents": []}, GENERATE, host=GEMINI), ("generationConfig.maxOutputTokens", 9)),
        (
            wire({"contents": [], "generation_config": {}}, GENERATE, host=GEMINI),
            ("generation_config.max_output_tokens", 9),
        ),
        (wire({**HELLO, "max_tokens": None}), ("max_completion_tokens", 9)),
        # It names one, or none can be set.
        (wire({**HELLO, "max_tokens": 5}), None),
        (wire({**HELLO, "max_completion_tokens": 5}), None),
        (wire({"contents": [], "generationConfig": {"maxOutputTokens": 5}}, GENERATE, host=GEMINI), None),
        (wire({"contents": [], "generationConfig": 7}, GENERATE, host=GEMINI), None),
        (wire({"model": "claude-haiku-4-5"}, "/v1/messages", host="api.anthropic.com"), None),
        (wire({"model": "text-embedding-3-small"}, "/v1/embeddings"), None),
        (wire(HELLO, names=SIGNED), None),
        (wire(None), None),
        (wire(b"no json"), None),
        (wire(b'{"model":"m","messages":"' + b"x" * MAX_PARSED_REQUEST + b'"}'), None),
    ],
)
def test_the_member_that_is_set(request_: Any, cap: tuple[str, int] | None) -> None:
    exchange = Bench().open(request_)
    assert cap_of(exchange, 9) == cap
    assert cap_of(exchange, None) is None


@pytest.mark.parametrize(
    ("raw", "cap", "written"),
    [
        (b'{"model": "m"} \n', Cap("max_tokens", 9), b'{"model": "m","max_tokens":9}'),
        (b"{ }", Cap("max_tokens", 9), b'{"max_tokens":9}'),
        (b'{"a":1}', Cap("options.num_predict", 9), b'{"a":1,"options":{"num_predict":9}}'),
        (
            b'{"options": {"seed": 1}}',
            Cap("options.num_predict", 9),
            b'{"options":{"seed":1,"num_predict":9}}',
        ),
        (b'{"options": null}', Cap("options.num_predict", 9), b'{"options":{"num_predict":9}}'),
        (b'{"max_tokens": null}', Cap("max_tokens", 9), b'{"max_tokens":9}'),
    ],
)
def test_the_bytes_that_are_sent(raw: bytes, cap: Cap, written: bytes) -> None:
    body = json.loads(raw)
    assert written_with_cap(raw, body, cap) == written
    assert json.loads(written) == with_cap(body, cap)


def test_a_body_that_cannot_be_written_is_a_fault() -> None:
    with pytest.raises(ValueError, match="cannot be capped"):
        written_with_cap(b"[]", {"max_tokens": None}, Cap("max_tokens", 9))


def test_what_is_no_chat_of_openais_keeps_its_name() -> None:
    exchange = Bench().open(wire({"model": "davinci-002", "prompt": "a"}, "/v1/completions"))
    assert cap_of(exchange, 9) == ("max_tokens", 9)
