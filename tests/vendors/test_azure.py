"""Azure: OpenAI's models in deployments, other vendors' in Foundry, and endpoints of one model."""

from __future__ import annotations

from typing import Any

import pytest

from aden_transport.core.steps import Send

from ..core.kit import AZURE, CLASSIFIER, EVENT_STREAM, Bench, headers, sse, wire

FOUNDRY = "res.services.ai.azure.com"
CHAT = "/chat/completions"
SERVERLESS = "mistral-large-abc.eastus2.models.ai.azure.com"


@pytest.mark.parametrize(
    ("host", "region"),
    [
        (AZURE, None),
        (FOUNDRY, None),
        ("res.cognitiveservices.azure.com", None),
        ("res.openai.azure.us", None),
        ("res.openai.azure.cn", None),
        ("eastus.api.cognitive.microsoft.com", "eastus"),
        (SERVERLESS, "eastus2"),
        ("jamba-abc.eastus.inference.ai.azure.com", "eastus"),
        ("llama-abc.westus3.inference.ml.azure.com", "westus3"),
    ],
)
def test_hosts_of_azure_and_the_regions_that_they_name(host: str, region: str | None) -> None:
    call = CLASSIFIER.classify(wire(None, CHAT, host=host))
    assert call is not None
    assert (call.vendor.id, call.known_host, call.region) == ("azure", True, region)
    event = Bench().answered(wire({"model": "m"}, CHAT, host=host), {"usage": {"prompt_tokens": 1}})
    assert event.region == region


@pytest.mark.parametrize(
    "host", ["models.inference.ai.azure.com", "eastus.azure.com", "inference.ml.azure.com"]
)
def test_other_hosts_are_none_of_azures(host: str) -> None:
    call = CLASSIFIER.classify(wire(None, CHAT, host=host))
    assert call is None or not (call.known_host and call.vendor.id == "azure")


def test_the_header_says_more_than_the_host() -> None:
    answer = headers(x_ms_region="Sweden Central")
    event = Bench().answered(wire({}, CHAT, host=SERVERLESS), {"usage": {}}, answer=answer)
    assert event.region == "Sweden Central"


@pytest.mark.parametrize(
    ("host", "path", "wanted"),
    [
        (FOUNDRY, "/models/chat/completions", "chat"),
        (FOUNDRY, "/models/embeddings", "embeddings"),
        (FOUNDRY, "/models/images/embeddings", "embeddings"),
        (FOUNDRY, "/openai/v1/responses", "responses"),
        (FOUNDRY, "/openai/deployments/d/chat/completions", "chat d"),
        (FOUNDRY, "/anthropic/v1/messages", "chat"),
        (FOUNDRY, "/anthropic/v1/messages/count_tokens", None),
        (FOUNDRY, "/models/info", None),
        (SERVERLESS, "/v1/chat/completions", "chat"),
        (SERVERLESS, "/info", None),
        ("e.eastus.inference.ml.azure.com", "/score", None),
    ],
)
def test_paths_say_what_is_asked(host: str, path: str, wanted: str | None) -> None:
    call = CLASSIFIER.classify(wire(None, path + "?api-version=2024-05-01-preview", host=host))
    found = call and " ".join(filter(None, (call.operation.name, call.model)))
    assert found == wanted


@pytest.mark.parametrize(
    ("path", "asked"),
    [
        ("/openai/v1/chat/completions", True),
        ("/openai/deployments/d/chat/completions?api-version=2024-10-21", True),
        ("/openai/deployments/d/chat/completions?api-version=2024-06-01", False),
        ("/openai/v1/responses", False),
        # The Model Inference API refuses members that it does not know.
        ("/models/chat/completions?api-version=2025-04-01", False),
        (CHAT, False),
    ],
)
def test_streams_are_asked_for_their_usage_where_that_is_known_to_be_accepted(path: str, asked: bool) -> None:
    exchange = Bench().open(wire({"model": "m", "stream": True}, path, host=FOUNDRY))
    step = exchange.start()
    assert isinstance(step, Send)
    body = b"" if step.rewrite is None or step.rewrite.body is None else step.rewrite.body
    assert (b"include_usage" in body) == asked


def test_claude_on_foundry_is_read_in_anthropics_format() -> None:
    message = {
        "id": "msg",
        "model": "claude-sonnet-4-5",
        "usage": {"input_tokens": 9, "cache_read_input_tokens": 5},
    }
    stream = sse(
        {"type": "message_start", "message": message},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 2}},
        {"type": "message_stop"},
    )
    request = wire({"model": "my-claude", "stream": True}, "/anthropic/v1/messages", host=FOUNDRY)
    event = Bench().answered(request, stream, answer=headers(EVENT_STREAM, request_id="req_1"))
    assert (event.provider, event.input_tokens, event.cached_tokens, event.output_tokens) == (
        "azure",
        14,
        5,
        2,
    )
    assert (event.request_model, event.response_model) == ("my-claude", "claude-sonnet-4-5")
    assert event.request_id == "req_1"
    assert event.cost == pytest.approx((9 * 3 + 5 * 0.3 + 2 * 15) / 1e6)


def test_a_part_is_never_more_than_its_whole() -> None:
    """Grok on Azure has reported more cached tokens than prompt."""
    usage: dict[str, Any] = {"prompt_tokens": 7, "completion_tokens": 1, "total_tokens": 8}
    usage["prompt_tokens_details"] = {"cached_tokens": 161}
    answer = {"model": "grok-3", "choices": [], "usage": usage}
    event = Bench().answered(wire({}, "/models/chat/completions", host=FOUNDRY), answer)
    assert (event.input_tokens, event.cached_tokens, event.output_tokens) == (7, 7, 1)
    assert event.cost is not None
    assert event.cost >= 0
