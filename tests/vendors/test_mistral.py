"""Mistral: audio and connectors beside the prompt, conversations, pages, jobs, and limits with windows."""

from __future__ import annotations

from typing import Any

import pytest

from aden_transport.core.estimate import tokens_of
from aden_transport.core.steps import Send
from aden_transport.events import MetricEvent, RateLimit

from ..core.kit import CLASSIFIER, EVENT_STREAM, Bench, every_cut, headers, sse, wire
from .test_shapes import figures

HOST, CHAT = "api.mistral.ai", "/v1/chat/completions"
TRANSCRIPTIONS, CONVERSATIONS = "/v1/audio/transcriptions", "/v1/conversations"
SMALL = "mistral-small-latest"


def answered(answer: Any, path: str = CHAT, *, body: Any = None, **more: Any) -> MetricEvent:
    """The event of an answer: a value as JSON, or an event stream given as bytes."""
    stream = isinstance(answer, bytes)
    asked = {"model": SMALL, **({"stream": True} if stream else {}), **(body or {})}
    request = wire(asked, path, host=HOST, method=more.pop("method", "POST"))
    kind = EVENT_STREAM if stream else "application/json"
    return Bench().answered(request, answer, more.pop("status", 200), headers(kind, **more))


def chat(usage: Any, **more: Any) -> dict[str, Any]:
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "Hi"}}
    return {
        "id": "c",
        "object": "chat.completion",
        "model": SMALL,
        "choices": [choice],
        "usage": usage,
        **more,
    }


@pytest.mark.parametrize(
    ("usage", "wanted"),
    [
        ({"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11}, (9, 2, 0, 0, 0.0)),
        # Where tokens of audio are named, and left out of the prompt.
        (
            {
                "prompt_audio_seconds": 3,
                "prompt_tokens": 9,
                "total_tokens": 632,
                "completion_tokens": 248,
                "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 375},
            },
            (384, 248, 375, 0, 3.0),
        ),
        # Where they are not named, the total tells.
        (
            {
                "prompt_audio_seconds": 316,
                "prompt_tokens": 4,
                "completion_tokens": 1073,
                "total_tokens": 5202,
            },
            (4129, 1073, 4125, 0, 316.0),
        ),
        # Where the prompt includes them, nothing is added.
        (
            {"prompt_audio_seconds": 36, "prompt_tokens": 13, "completion_tokens": 151, "total_tokens": 164},
            (13, 151, 0, 0, 36.0),
        ),
        ({"prompt_tokens": 64, "completion_tokens": 6, "num_cached_tokens": 32}, (64, 6, 0, 32, 0.0)),
        (
            {"prompt_tokens": 64, "completion_tokens": 6, "prompt_tokens_details": {"cached_tokens": 32}},
            (64, 6, 0, 32, 0.0),
        ),
    ],
)
def test_usage(usage: Any, wanted: tuple[float, ...]) -> None:
    found = answered(chat(usage)).usage
    assert found is not None
    assert wanted == (
        found.input_tokens,
        found.output_tokens,
        found.audio_input_tokens,
        found.cached_tokens,
        found.audio_seconds,
    )


def test_the_tier_stands_in_the_usage() -> None:
    assert answered(chat({"prompt_tokens": 1, "service_tier": "priority"})).service_tier == "priority"


def test_a_stream_is_never_asked_for_its_usage() -> None:
    exchange = Bench(stream_usage=True).open(wire({"model": SMALL, "stream": True}, CHAT, host=HOST))
    step = exchange.start()
    assert isinstance(step, Send)
    assert not step.rewrite
    exchange.close()


def test_metadata_is_its_own() -> None:
    body = {"model": SMALL, "metadata": {"tenant": "acme", "run": "7"}}
    exchange = Bench().open(wire(body, CHAT, host=HOST))
    step = exchange.start()
    assert isinstance(step, Send)
    assert not step.rewrite
    assert exchange.metadata == {"tenant": "acme", "run": "7"}
    exchange.close()


def chunk(content: Any, reason: str | None = None, **more: Any) -> dict[str, Any]:
    choice = {"index": 0, "delta": {"content": content}, "finish_reason": reason}
    return {"id": "c", "model": SMALL, "choices": [choice], **more}


def test_the_usage_of_a_stream_rides_on_its_last_chunk_however_it_is_cut() -> None:
    usage = {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11}
    stream = sse(chunk("He"), chunk("llo", "stop", usage=usage, p="abc"), done=True)
    for pieces in every_cut(stream):
        event = answered_pieces(list(pieces))
        assert figures(event.usage) == {"input_tokens": 9, "output_tokens": 2}
        assert (event.usage_source, event.faults) == ("reported", ())


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("cut", [0, 1, 2])
def test_a_stream_without_its_very_end(end: str, cut: int) -> None:
    usage = {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11}
    stream = sse(chunk("He"), chunk("llo", "stop", usage=usage), end=end)
    event = answered(stream[: len(stream) - cut * len(end)])
    assert (event.usage_source, event.input_tokens, event.output_tokens) == ("reported", 9, 2)


def answered_pieces(pieces: list[bytes], path: str = CHAT) -> MetricEvent:
    """The event of a stream whose client stops at the vendor's last event."""
    bench = Bench()
    exchange = bench.receiving(
        wire({"model": SMALL, "stream": True}, path, host=HOST), answer=headers(EVENT_STREAM)
    )
    for piece in pieces:
        exchange.feed(piece)
    return bench.event


def test_thinking_counts_for_the_estimate_of_a_stream_that_was_left() -> None:
    thinking = [{"type": "thinking", "thinking": [{"type": "text", "text": "one two three "}]}]
    bench = Bench()
    request = wire({"model": SMALL, "stream": True}, CHAT, host=HOST)
    exchange = bench.receiving(request, answer=headers(EVENT_STREAM))
    exchange.feed(sse(chunk(thinking), chunk("four five six")))
    exchange.close()
    assert bench.event.usage_source == "estimated"
    assert bench.event.output_tokens == tokens_of("one two three four five six")


# -- conversations ------------------------------------------------------------------------------------

CONNECTED = {
    "prompt_tokens": 196,
    "completion_tokens": 485,
    "total_tokens": 3846,
    "connector_tokens": 3165,
    "connectors": {"web_search": 1, "web_search_premium": 1, "document_library": 1},
}
DONE = {"type": "conversation.response.done", "usage": CONNECTED}


@pytest.mark.parametrize("path", [CONVERSATIONS, CONVERSATIONS + "/c1", CONVERSATIONS + "/c1/restart"])
def test_a_conversation_counts_what_its_connectors_read(path: str) -> None:
    outputs = [
        {"type": "tool.execution", "name": "web_search"},
        {"type": "function.call", "tool_call_id": "t", "name": "f", "arguments": {"a": 1}},
        {"type": "message.output", "model": "mistral-medium-2505", "content": "Hello"},
        "no entry",
    ]
    event = answered({"conversation_id": "conv", "outputs": outputs, "usage": CONNECTED}, path)
    assert (event.operation, event.response_id) == ("conversation", "conv")
    assert event.response_model == "mistral-medium-2505"
    assert figures(event.usage) == {"input_tokens": 3361, "output_tokens": 485, "server_tool_calls": 2}
    assert event.operation_details == {"server_tool_calls": 3}
    assert [(t.id, t.name, t.arguments_bytes) for t in event.tool_calls or ()] == [("t", "f", 7)]


def test_a_streamed_conversation_ends_at_its_last_event() -> None:
    stream = sse(
        {"type": "conversation.response.started", "conversation_id": "conv"},
        {"type": "message.output.delta", "model": "mistral-medium-2505", "content": "He"},
        {"type": "message.output.delta", "content": {"type": "text", "text": "llo"}},
        {"type": "function.call.delta", "tool_call_id": "t", "name": "f", "arguments": '{"a":'},
        {"type": "function.call.delta", "tool_call_id": "t", "name": "f", "arguments": "1}"},
        DONE,
        named=True,
    )
    for pieces in every_cut(stream):
        event = answered_pieces(list(pieces), CONVERSATIONS)
        assert (event.usage_source, event.input_tokens, event.output_tokens) == ("reported", 3361, 485)
        assert (event.response_id, event.response_model) == ("conv", "mistral-medium-2505")
        assert [(t.name, t.arguments_bytes) for t in event.tool_calls or ()] == [("f", 7)]
        assert set(event.faults) <= {"unpriced.server_tool_calls"}


def test_a_streamed_conversation_that_fails() -> None:
    stream = sse({"type": "conversation.response.error", "message": "too slow", "code": 3230}, named=True)
    event = answered(stream, CONVERSATIONS)
    assert (event.error, event.error_code, event.error_type) == ("too slow", "3230", "server_error")


# -- the others ---------------------------------------------------------------------------------------


def test_documents_are_counted_by_their_pages_however_large_the_answer_is() -> None:
    pages = [{"index": 0, "images": [{"image_base64": "A" * 2_000_000}]}]
    usage = {"pages_processed": 6, "doc_size_bytes": 306115}
    event = answered({"pages": pages, "model": "mistral-ocr-2505", "usage_info": usage}, "/v1/ocr")
    assert figures(event.usage) == {"pages": 6}
    assert event.operation_details == {"doc_size_bytes": 306115}
    assert event.cost == pytest.approx(0.006)


def test_a_transcription() -> None:
    usage = {"prompt_audio_seconds": 3, "prompt_tokens": 5, "total_tokens": 400, "completion_tokens": 20}
    body: Any = {
        "model": "voxtral-mini-latest",
        "text": "…",
        "language": None,
        "segments": [{}],
        "usage": usage,
    }
    event = answered(body, TRANSCRIPTIONS)
    assert figures(event.usage) == {
        "input_tokens": 380,
        "output_tokens": 20,
        "audio_input_tokens": 375,
        "audio_seconds": 3.0,
    }
    assert event.operation_details == {"audio_seconds": 3.0, "segments_count": 1}


def test_a_streamed_transcription() -> None:
    usage = {"prompt_audio_seconds": 3, "prompt_tokens": 5, "total_tokens": 25, "completion_tokens": 20}
    stream = sse(
        {"type": "transcription.language", "audio_language": "en"},
        {"type": "transcription.text.delta", "text": "He"},
        {"type": "transcription.done", "model": "voxtral-mini-latest", "text": "He", "usage": usage},
        named=True,
    )
    request = wire(None, TRANSCRIPTIONS, host=HOST, form={"model": "voxtral-mini-latest", "stream": "true"})
    event = Bench().answered(request, stream, answer=headers(EVENT_STREAM))
    assert (event.stream, event.usage_source, event.input_tokens) == (True, "reported", 5)
    assert event.usage is not None
    assert event.usage.audio_seconds == 3.0


def test_speech_is_counted_by_its_characters() -> None:
    event = answered({"audio_data": "UklGRg=="}, "/v1/audio/speech", body={"input": "hello there"})
    assert figures(event.usage) == {"characters": 11}


def test_streamed_speech_says_its_usage() -> None:
    usage = {"prompt_tokens": 4, "completion_tokens": 30, "total_tokens": 34}
    stream = sse(
        {"type": "speech.audio.delta", "audio_data": "UklGRg=="},
        {"type": "speech.audio.done", "usage": usage},
        named=True,
    )
    event = answered(stream, "/v1/audio/speech", body={"input": "hello there"})
    assert figures(event.usage) == {"input_tokens": 4, "output_tokens": 30}
    assert event.operation_details == {"characters": 11}


@pytest.mark.parametrize("path", ["/v1/moderations", "/v1/chat/moderations"])
def test_moderations_are_not_said_to_be_free(path: str) -> None:
    results = [{"categories": {"hate": False}}, {"categories": {"hate": True}}, 1]
    event = answered({"id": "m", "model": "mistral-moderation-latest", "results": results}, path)
    assert (event.operation, event.usage, event.cost) == ("moderation", None, None)
    assert event.operation_details == {"inputs": 3, "flagged": True}


def test_classifications() -> None:
    body = {"id": "c", "model": "my-classifier", "results": [{}], "usage": {"prompt_tokens": 7}}
    event = answered(body, "/v1/chat/classifications")
    assert (event.operation, event.input_tokens) == ("classification", 7)


def test_embeddings_have_an_id() -> None:
    usage = {"prompt_tokens": 10, "total_tokens": 10, "completion_tokens": 0}
    event = answered({"id": "e", "data": [{}], "model": "mistral-embed", "usage": usage}, "/v1/embeddings")
    assert (event.response_id, event.input_tokens, event.operation_details) == ("e", 10, {"embeddings": 1})


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (CHAT, {"usage": "some"}),
        (CONVERSATIONS, {"usage": "some", "outputs": 1}),
        ("/v1/ocr", {"usage_info": "some"}),
        ("/v1/moderations", {"results": {}}),
        (TRANSCRIPTIONS, {"segments": {}}),
    ],
)
def test_answers_without_usage(path: str, body: Any) -> None:
    event = answered(body, path)
    assert event.usage is None
    assert set(event.faults) <= {"usage.malformed"}


@pytest.mark.parametrize("path", [CONVERSATIONS, TRANSCRIPTIONS, "/v1/audio/speech"])
def test_an_error_in_place_of_an_event(path: str) -> None:
    stream = sse({"object": "other"}, {"error": {"message": "no luck"}})
    assert answered(stream, path).error == "no luck"


def test_a_batch_is_told_of_when_it_begins_and_once_when_it_is_over() -> None:
    job = {"id": "job", "created_at": 1_760_000_000, "total_requests": 3, "status": "QUEUED"}
    over = {**job, "status": "SUCCESS", "succeeded_requests": 2, "failed_requests": 1, "output_file": "f"}
    bench = Bench()
    begin = wire({"model": SMALL}, "/v1/batch/jobs", host=HOST)
    poll = wire(None, "/v1/batch/jobs/job", host=HOST, method="GET")
    for request, body in ((begin, job), (poll, {**job, "status": "RUNNING"}), (poll, over), (poll, over)):
        bench.answered(request, body)
    assert [event.operation_details for event in bench.events] == [
        {"batch_status": "QUEUED", "request_counts_total": 3},
        {
            "batch_status": "SUCCESS",
            "request_counts_total": 3,
            "request_counts_completed": 2,
            "request_counts_failed": 1,
            "output_file_id": "f",
        },
    ]
    assert [event.usage for event in bench.events] == [None, None]


def test_training() -> None:
    job = {"id": "job", "created_at": 1_760_000_000, "status": "SUCCESS", "trained_tokens": 1000}
    request = wire(None, "/v1/fine_tuning/jobs/job", host=HOST, method="GET")
    event = Bench().answered(request, job)
    assert event.operation_details == {"training_status": "SUCCESS", "trained_tokens": 1000}


def test_an_error_is_in_detail() -> None:
    event = answered({"detail": "Unauthorized"}, status=401)
    assert (event.error, event.error_type) == ("Unauthorized", "authentication_error")


def test_headers() -> None:
    event = answered(
        chat({"prompt_tokens": 1}),
        mistral_correlation_id="corr",
        x_envoy_upstream_service_time="484",
        x_ratelimit_limit_req_minute="360",
        x_ratelimit_remaining_req_minute="359",
        x_ratelimit_limit_tokens_minute="200000",
        x_ratelimit_remaining_tokens_minute="199743",
    )
    assert (event.request_id, event.server_latency_ms) == ("corr", 484.0)
    assert event.rate_limit == RateLimit(
        360, 359, None, 200000, 199743, None, window_requests_s=60.0, window_tokens_s=60.0
    )


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/models"),
        ("POST", "/v1/files"),
        ("GET", "/v1/conversations/c/history"),
        ("POST", "/v1/libraries"),
        ("POST", "/v1/batch/jobs/job/cancel"),
        ("POST", "/v1/agents"),
        ("POST", "/v1/responses/input_tokens"),
    ],
)
def test_what_is_no_use_of_a_model(method: str, path: str) -> None:
    assert CLASSIFIER.classify(wire({}, path, host=HOST, method=method)) is None


@pytest.mark.parametrize("host", ["api.eu.mistral.ai", "api.us.mistral.ai", "codestral.mistral.ai"])
def test_hosts(host: str) -> None:
    call = CLASSIFIER.classify(wire({}, "/v1/fim/completions", host=host))
    assert call is not None
    assert (call.vendor.id, call.operation.name) == ("mistral", "text_completion")
