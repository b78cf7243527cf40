"""Hugging Face: the router's partners, tasks of the Inference API, and endpoints of one's own."""

from __future__ import annotations

from typing import Any

import pytest

from aden_transport.events import MetricEvent, RateLimit

from ..core.kit import CLASSIFIER, EVENT_STREAM, JSON, Bench, every_cut, headers, sse, wire
from .test_shapes import figures

ROUTER, API = "router.huggingface.co", "api-inference.huggingface.co"
OWN = "abc.us-east-1.aws.endpoints.huggingface.cloud"
LLAMA = "meta-llama/Llama-3.1-8B-Instruct"
CHAT = "/v1/chat/completions"


def answered(
    answer: Any, path: str = CHAT, host: str = ROUTER, *, kind: str = JSON, status: int = 200, **more: Any
) -> MetricEvent:
    asked = {"model": LLAMA, **({} if kind == JSON else {"stream": True}), **more.pop("asked", {})}
    bench = Bench(stream_usage=False)
    return bench.answered(wire(asked, path, host=host), answer, status, headers(kind, **more))


def chat(usage: Any = None, **more: Any) -> dict[str, Any]:
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "Hi"}}
    return {"id": "c", "model": "llama3.1-8b", "choices": [choice], "usage": usage, **more}


COUNTS = {"prompt_tokens": 51, "completion_tokens": 2, "total_tokens": 53}


@pytest.mark.parametrize(
    ("host", "path"),
    [
        (ROUTER, CHAT),
        (ROUTER, "/together/v1/chat/completions"),
        (ROUTER, "/novita/v3/openai/chat/completions"),
        (ROUTER, f"/hf-inference/models/{LLAMA}/v1/chat/completions"),
        (OWN, CHAT),
    ],
)
def test_chat_wherever_it_is_routed(host: str, path: str) -> None:
    event = answered(chat(COUNTS), path, host, x_inference_provider="cerebras", inference_id="i1")
    assert figures(event.usage) == {"input_tokens": 51, "output_tokens": 2}
    # The partner's name of the model is another one.
    assert (event.request_model, event.response_model) == (LLAMA, "llama3.1-8b")
    assert (event.provider, event.operation, event.request_id) == ("huggingface", "chat", "i1")
    assert (event.operation_details or {})["inference_provider"] == "cerebras"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("path", "more"),
    [("/together/v1/chat/completions", {}), (CHAT, {"x_inference_provider": "Together"})],
)
def test_the_price_is_the_partners(path: str, more: dict[str, Any], stream: bool) -> None:
    asked = {"model": "deepseek-ai/DeepSeek-R1"}
    answer = sse(chunk("Hi", "stop", usage=COUNTS), done=True) if stream else chat(COUNTS)
    event = answered(answer, path, kind=EVENT_STREAM if stream else JSON, asked=asked, **more)
    assert event.operation_details == {"inference_provider": "together"}
    # $3 and $7 for a million tokens.
    assert event.cost == pytest.approx((51 * 3 + 2 * 7) / 1e6)


def test_whose_price_it_is_may_be_unknown() -> None:
    assert answered(chat(COUNTS)).cost is None


def test_partners_limits_have_windows_and_some_are_none() -> None:
    huge = "9223372036854767616"
    event = answered(
        chat(COUNTS),
        x_ratelimit_remaining_requests_minute="1999",
        x_ratelimit_remaining_requests_day="2879999",
        x_ratelimit_remaining_tokens_minute=huge,
    )
    assert event.rate_limit is not None
    assert (event.rate_limit.remaining_requests, event.rate_limit.remaining_tokens) == (1999, None)


def test_a_wait_is_told_on_success_too() -> None:
    assert answered(chat(COUNTS), retry_after="30").rate_limit == RateLimit(retry_after_s=30.0)


def chunk(content: str, reason: str | None = None, **more: Any) -> dict[str, Any]:
    choice = {"index": 0, "delta": {"content": content}, "finish_reason": reason}
    return {"id": "c", "model": "llama3.1-8b", "choices": [choice], **more}


@pytest.mark.parametrize("done", [False, True])
def test_a_stream_with_or_without_done(done: bool) -> None:
    stream = sse(chunk("He"), chunk("llo", "stop", usage=COUNTS), done=done)
    event = answered(stream, kind=EVENT_STREAM)
    assert figures(event.usage) == {"input_tokens": 51, "output_tokens": 2}
    assert (event.usage_source, event.faults) == ("reported", ())


@pytest.mark.parametrize(
    ("error", "message"),
    [("Model is overloaded", "Model is overloaded"), (["first", "second"], "first"), ({"message": "m"}, "m")],
)
def test_errors_are_texts_lists_and_objects(error: Any, message: str) -> None:
    event = answered({"error": error, "error_type": "overloaded"}, status=503)
    assert (event.error, event.error_type) == (message, "service_unavailable")
    streamed = answered(sse(chunk("He"), {"error": error, "error_type": "overloaded"}), kind=EVENT_STREAM)
    assert (streamed.error, streamed.error_type) == (message, "service_unavailable")


# -- tasks --------------------------------------------------------------------------------------------

DETAILS = {"finish_reason": "length", "generated_tokens": 20, "prefill": [], "tokens": []}


def test_generated_text_with_details() -> None:
    answer = [{"generated_text": "…", "details": {**DETAILS, "input_length": 5}}]
    event = answered(answer, f"/models/{LLAMA}", API, x_compute_time="0.051", x_request_id="r")
    assert (event.operation, event.request_model, event.request_id) == ("inference", LLAMA, "r")
    assert figures(event.usage) == {"input_tokens": 5, "output_tokens": 20}
    assert (event.finish_reasons, event.operation_details) == (("length",), {"compute_time_ms": 51.0})


@pytest.mark.parametrize(("prefill", "wanted"), [([], {"output_tokens": 20}), ([{}, {}], None)])
def test_how_long_the_prompt_was_may_be_unknown(prefill: Any, wanted: Any) -> None:
    event = answered({"details": {**DETAILS, "prefill": prefill}}, "/generate", OWN)
    assert figures(event.usage) == wanted or {"input_tokens": 2, "output_tokens": 20}
    assert event.faults == (("usage.incomplete",) if wanted else ())


def test_counts_in_headers() -> None:
    answer = {"generated_text": "…"}
    event = answered(answer, "/generate", OWN, x_prompt_tokens="5", x_generated_tokens="20")
    assert (event.operation, event.usage_source) == ("text_completion", "reported")
    assert figures(event.usage) == {"input_tokens": 5, "output_tokens": 20}


def test_what_is_no_count_in_a_header_is_none() -> None:
    event = answered([[0.5]], "/embed", OWN, x_compute_tokens="many", x_compute_time="1.2.3")
    assert (event.usage, event.operation_details) == (None, None)


@pytest.mark.parametrize(
    ("host", "path", "name", "model"),
    [
        (
            API,
            "/models/mixedbread-ai/mxbai-embed-large-v1",
            "inference",
            "mixedbread-ai/mxbai-embed-large-v1",
        ),
        (ROUTER, "/hf-inference/models/gpt2", "inference", "gpt2"),
        (ROUTER, "/hf-inference/models/a/b/pipeline/feature-extraction", "embeddings", "a/b"),
        (OWN, "/", "inference", None),
        (OWN, "/embed", "embeddings", None),
        (OWN, "/rerank", "rerank", None),
        (OWN, "/generate_stream", "text_completion", None),
        (OWN, "/v1/embeddings", "embeddings", None),
    ],
)
def test_routes(host: str, path: str, name: str, model: str | None) -> None:
    call = CLASSIFIER.classify(wire({}, path, host=host))
    assert call is not None
    assert (call.vendor.id, call.operation.name, call.model) == ("huggingface", name, model)


@pytest.mark.parametrize("details", [None, 1, {}, {"finish_reason": 1, "prefill": "…"}])
def test_details_without_counts(details: Any) -> None:
    event = answered({"generated_text": "…", "details": details}, "/generate", OWN)
    assert (event.usage, event.finish_reasons, event.faults) == (None, (), ())


def test_counts_of_the_body_stay_beside_those_of_headers() -> None:
    more = {"details": {"generated_tokens": 20, "input_length": 5}}
    event = answered(more, "/generate", OWN, x_prompt_tokens="7", x_generated_tokens="21")
    assert figures(event.usage) == {"input_tokens": 5, "output_tokens": 20}


def test_bare_vectors_have_no_counts() -> None:
    event = answered([0.1, 0.2], "/models/a/b", API)
    assert (event.usage, event.error, event.faults) == (None, None, ())


def token(text: str, **more: Any) -> dict[str, Any]:
    inner = {"id": 1, "text": text, "logprob": -1.0, "special": False}
    return {"index": 1, "token": inner, "generated_text": None, "details": None, **more}


def test_a_stream_of_tokens_ends_with_the_whole_text_however_it_is_cut() -> None:
    details = {"finish_reason": "eos_token", "generated_tokens": 3, "input_length": 4, "seed": None}
    last = token('"generated_text":"', generated_text="a b", details=details)
    stream = sse(token(" a"), token(" b"), last)
    for pieces in every_cut(stream):
        bench = Bench()
        exchange = bench.receiving(wire({}, "/generate_stream", host=OWN), answer=headers(EVENT_STREAM))
        for piece in pieces:
            exchange.feed(piece)
        event = bench.event  # without the body's end
        assert figures(event.usage) == {"input_tokens": 4, "output_tokens": 3}
        assert (event.stream, event.usage_source, event.finish_reasons) == (True, "reported", ("eos_token",))


def test_a_stream_of_tokens_that_fails() -> None:
    stream = sse(token(" a"), {"error": "Request failed during generation", "error_type": "generation"})
    event = answered(stream, "/generate", OWN, kind=EVENT_STREAM)
    assert (event.error, event.error_type) == ("Request failed during generation", "server_error")


@pytest.mark.parametrize("agent", ["unknown/None; hf_hub/2.4.0; python/3.11", "smolagents/1.0; hf_hub/2.4.0"])
def test_the_sdk_tells_elsewhere(agent: str) -> None:
    call = CLASSIFIER.classify(wire({}, CHAT, host="127.0.0.1:8080", names={"user-agent": agent}))
    assert call is not None
    assert call.vendor.id == "huggingface"


def test_lists_are_no_calls() -> None:
    assert CLASSIFIER.classify(wire({}, "/v1/models", host=ROUTER, method="GET")) is None
