"""Google: interactions, batches, videos, pictures, searches, and partners' models on Vertex AI."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aden_transport.events import MetricEvent, NormalizedUsage
from aden_transport.vendors import Reading
from aden_transport.vendors import gemini_objects as objects
from aden_transport.vendors.gemini_usage import searches_billed

from ..core.kit import CLASSIFIER, EVENT_STREAM, GEMINI, GENERATE, VERTEX, Bench, headers, sse, wire

PROJECT = "/v1/projects/p/locations/us-central1"
PUBLISHERS = PROJECT + "/publishers"


def answered(
    answer: Any,
    path: str,
    host: str = GEMINI,
    body: Any = None,
    *,
    method: str = "POST",
    bench: Bench | None = None,
) -> MetricEvent:
    """The event of an answer: JSON, or an event stream given as bytes."""
    stream = isinstance(answer, bytes)
    request = wire({} if body is None and method == "POST" else body, path, host=host, method=method)
    kind = headers(EVENT_STREAM if stream else "application/json")
    return (bench or Bench(stream_usage=False)).answered(request, answer, answer=kind)


def figures(usage: NormalizedUsage | None) -> dict[str, Any] | None:
    """What is not 0."""
    if usage is None:
        return None
    return {name: getattr(usage, name) for name in usage.__slots__ if getattr(usage, name)}


def tools(event: MetricEvent) -> list[tuple[str | None, str | None, int]]:
    return [(tool.id, tool.name, tool.arguments_bytes) for tool in event.tool_calls or ()]


# -- which call it is --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "host", "path", "wanted"),
    [
        ("POST", GEMINI, "/v1beta/interactions", "gemini interactions"),
        ("GET", GEMINI, "/v1beta/interactions/v1_abc", "gemini interactions"),
        ("POST", GEMINI, "/v1beta/interactions/v1_abc/cancel", "gemini interactions"),
        ("DELETE", GEMINI, "/v1beta/interactions/v1_abc", None),
        ("POST", GEMINI, "/v1beta/models/g:batchGenerateContent", "gemini batch g"),
        ("POST", GEMINI, "/v1beta/models/e:asyncBatchEmbedContent", "gemini batch e"),
        ("GET", GEMINI, "/v1beta/batches/b1", "gemini batch"),
        ("GET", GEMINI, "/v1beta/batches", None),
        ("POST", GEMINI, "/v1beta/batches/b1:cancel", None),
        ("POST", GEMINI, "/v1beta/models/veo-3.0:predictLongRunning", "gemini video veo-3.0"),
        ("GET", GEMINI, "/v1beta/models/veo-3.0/operations/o1", "gemini video"),
        ("GET", GEMINI, "/v1beta/fileSearchStores/s/operations/o1", None),
        ("POST", GEMINI, "/v1beta/models/imagen-4.0:predict", "gemini image_generation imagen-4.0"),
        ("POST", GEMINI, "/v1beta/cachedContents", None),
        ("POST", VERTEX, PUBLISHERS + "/google/models/imagegeneration@006:predict",
         "vertex image_generation imagegeneration@006"),
        ("POST", VERTEX, PUBLISHERS + "/google/models/text-embedding-005:predict",
         "vertex embeddings text-embedding-005"),
        ("POST", VERTEX, PROJECT + "/endpoints/12:predict", "vertex predict 12"),
        ("POST", VERTEX, PUBLISHERS + "/google/models/veo:predictLongRunning", "vertex video veo"),
        ("POST", VERTEX, PUBLISHERS + "/google/models/veo:fetchPredictOperation", "vertex video veo"),
        ("POST", VERTEX, PROJECT + "/batchPredictionJobs", "vertex batch"),
        ("GET", VERTEX, PROJECT + "/batchPredictionJobs/7", "vertex batch"),
        ("POST", VERTEX, PROJECT + "/batchPredictionJobs/7:cancel", None),
        ("POST", VERTEX, PUBLISHERS + "/mistralai/models/mistral-small-2503:rawPredict",
         "vertex chat mistral-small-2503"),
        ("POST", VERTEX, PUBLISHERS + "/ai21/models/jamba:streamRawPredict", "vertex chat jamba"),
        ("POST", VERTEX, PUBLISHERS + "/openai/v1/chat/completions", "vertex chat"),
        ("POST", VERTEX, PUBLISHERS + "/openai/v1/responses", "vertex responses"),
        ("GET", VERTEX, PUBLISHERS + "/openai/v1/responses/resp_1", "vertex responses"),
        ("POST", VERTEX, PROJECT + "/endpoints/openapi/chat/completions", "vertex chat"),
    ],
)  # fmt: skip
def test_paths_say_what_is_asked(method: str, host: str, path: str, wanted: str | None) -> None:
    call = CLASSIFIER.classify(wire(None, path, host=host, method=method))
    found = call and " ".join(filter(None, (call.vendor.id, call.operation.name, call.model)))
    assert found == wanted


@pytest.mark.parametrize(
    ("host", "region"),
    [
        ("us-central1-aiplatform.googleapis.com", "us-central1"),
        ("eu-aiplatform.mtls.googleapis.com", "eu"),
        ("aiplatform.us.rep.googleapis.com", "us"),
        ("aiplatform.googleapis.com", None),
    ],
)
def test_hosts_of_vertex_name_their_region(host: str, region: str | None) -> None:
    answer = {"usageMetadata": {"promptTokenCount": 1}}
    event = answered(answer, PUBLISHERS + "/google/models/g:generateContent", host)
    assert (event.provider, event.region) == ("vertex", region)


# -- interactions ------------------------------------------------------------------------------------

USAGE = {
    "total_tokens": 1383,
    "total_input_tokens": 22,
    "input_tokens_by_modality": [{"modality": "text", "tokens": 20}, {"modality": "image", "tokens": 2}],
    "output_tokens_by_modality": [{"modality": "audio", "tokens": 9}, 7],
    "total_cached_tokens": 5,
    "total_output_tokens": 983,
    "total_tool_use_tokens": 129,
    "total_thought_tokens": 249,
    "grounding_tool_count": [{"type": "google_search", "count": 3}, {"type": "retrieval", "count": 9}],
}
DONE = {
    "id": "v1_a",
    "status": "completed",
    "created": "2026-05-15T18:52:36Z",
    "service_tier": "standard",
    "model": "gemini-3-flash-preview",
    "usage": USAGE,
}
COUNTED = {
    "input_tokens": 151,
    "output_tokens": 1232,
    "reasoning_tokens": 249,
    "cached_tokens": 5,
    "image_input_tokens": 2,
    "audio_output_tokens": 9,
    "server_tool_calls": 3,
}
INTERACTIONS = "/v1beta/interactions"


def test_thoughts_and_tool_prompts_belong_to_an_interactions_counts() -> None:
    call = {"type": "function_call", "id": "c", "name": "look", "arguments": {"q": 1}}
    event = answered(
        {**DONE, "status": "requires_action", "steps": [call, {"type": "thought"}, 7]}, INTERACTIONS
    )
    assert figures(event.usage) == COUNTED
    assert event.total_tokens == USAGE["total_tokens"]
    assert (event.response_id, event.response_model) == ("v1_a", "gemini-3-flash-preview")
    assert (event.finish_reasons, event.usage_source) == (("requires_action",), "reported")
    assert event.operation_details == {"web_search_calls": 3}
    assert tools(event) == [("c", "look", 7)]


def interaction_stream(*last: Any) -> bytes:
    created = {**DONE, "status": "in_progress"}
    del created["usage"]
    return sse(
        {"interaction": created, "event_type": "interaction.created"},
        {"interaction_id": "v1_a", "status": "in_progress", "event_type": "interaction.status_update"},
        {
            "index": 0,
            "step": {"type": "function_call", "id": "c", "name": "look"},
            "event_type": "step.start",
        },
        {
            "index": 0,
            "delta": {"type": "arguments_delta", "arguments": '{"q":1}'},
            "event_type": "step.delta",
        },
        {"index": 1, "delta": {"type": "text", "text": "x" * 80}, "event_type": "step.delta"},
        {
            "index": 2,
            "delta": {"type": "thought_summary", "content": {"text": "hm"}},
            "event_type": "step.delta",
        },
        *last,
    )


def test_a_streamed_interaction_ends_with_its_last_event() -> None:
    stream = interaction_stream({"interaction": DONE, "event_type": "interaction.completed"})
    bench = Bench()
    exchange = bench.receiving(
        wire({"model": "g", "stream": True, "tools": [{}]}, INTERACTIONS, host=GEMINI),
        answer=headers(EVENT_STREAM),
    )
    for at in range(0, len(stream), 7):
        exchange.feed(stream[at : at + 7])
    event = bench.event  # without the body's end
    assert (figures(event.usage), event.usage_source) == (COUNTED, "reported")
    assert (event.finish_reasons, tools(event)) == (("completed",), [("c", "look", 7)])


def test_a_streamed_interaction_that_is_broken_off_is_estimated() -> None:
    event = answered(interaction_stream(), INTERACTIONS, body={"model": "g", "stream": True})
    assert (event.usage_source, event.faults) == ("estimated", ("stream.truncated",))
    assert event.output_tokens


def test_an_error_ends_a_streamed_interaction() -> None:
    error = {"error": {"code": "rate_limit_exceeded", "message": "slow"}, "event_type": "error"}
    event = answered(interaction_stream(error), INTERACTIONS, body={"stream": True})
    assert (event.error, event.error_code) == ("slow", "rate_limit_exceeded")


def test_an_interaction_in_the_background_counts_once_whoever_polls() -> None:
    bench = Bench()
    started = answered(
        {"id": "v1_a", "status": "in_progress", "created": "2026-05-15T18:52:36Z"}, INTERACTIONS, bench=bench
    )
    assert (started.usage, started.cost_nano_usd) == (None, None)
    for answer in ({**DONE, "status": "in_progress", "usage": {}}, DONE, DONE):
        answered(answer, INTERACTIONS + "/v1_a", body=None, method="GET", bench=bench)
    assert len(bench.events) == 2
    assert figures(bench.event.usage) == COUNTED


def test_a_poll_of_an_interaction_that_was_answered_at_once_is_no_event() -> None:
    bench = Bench()
    answered(DONE, INTERACTIONS, bench=bench)
    answered(DONE, INTERACTIONS + "/v1_a", method="GET", bench=bench)
    assert len(bench.events) == 1


def test_an_agents_interaction_is_named_by_the_agent_and_a_failed_one_by_its_error() -> None:
    failed = {
        "id": "v1_a",
        "status": "failed",
        "agent": "deep-research",
        "errors": [{"code": 7, "message": "no"}],
    }
    event = answered(failed, INTERACTIONS)
    assert (event.response_model, event.error, event.error_code) == ("deep-research", "no", "7")


@pytest.mark.parametrize("usage", [[], "9", 7])
def test_usage_of_an_interaction_that_is_no_object_is_a_fault(usage: Any) -> None:
    event = answered({**DONE, "usage": usage}, INTERACTIONS)
    assert (event.usage, event.faults) == (None, ("usage.malformed",))


# -- searches ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "queries", "billed"),
    [
        ("gemini-3-flash-preview", ["a", "", "b", "a", 7], 2),
        ("gemini-2.5-flash", ["a", "", "b"], 1),
        ("gemini-2.5-flash", [""], 0),
        (None, ["a", "b"], 2),
    ],
)
def test_googles_searches_are_billed_by_the_query_or_by_the_answer(
    model: str | None, queries: list[Any], billed: int
) -> None:
    grounded = {"finishReason": "STOP", "groundingMetadata": {"webSearchQueries": queries}}
    answer = {"modelVersion": model, "candidates": [grounded], "usageMetadata": {"promptTokenCount": 1}}
    event = answered(answer, GENERATE)
    assert event.usage is not None
    assert event.usage.server_tool_calls == billed


@pytest.mark.parametrize("grounding", [None, 7, {}, {"webSearchQueries": 7}, {"webSearchQueries": []}])
def test_an_answer_without_searches(grounding: Any) -> None:
    answer = {"candidates": [{"groundingMetadata": grounding}], "usageMetadata": {"promptTokenCount": 1}}
    event = answered(answer, GENERATE)
    assert (figures(event.usage), event.operation_details) == ({"input_tokens": 1}, None)
    assert searches_billed(0, "gemini-2.5-pro") == 0


# -- batches -----------------------------------------------------------------------------------------

BATCH: dict[str, Any] = {
    "name": "batches/b1",
    "metadata": {
        "state": "BATCH_STATE_SUCCEEDED",
        "model": "models/gemini-2.5-flash",
        "createTime": "2026-08-19T14:34:12.267870162Z",
        "batchStats": {"requestCount": "3", "successfulRequestCount": "2", "failedRequestCount": "1"},
    },
    "done": True,
}


def inlined(*answers: Any) -> dict[str, Any]:
    return {"inlinedResponses": {"inlinedResponses": [{"response": answer} for answer in answers]}}


ONE = {"usageMetadata": {"promptTokenCount": 10, "candidatesTokenCount": 5, "thoughtsTokenCount": 2}}
TWO = {"usageMetadata": {"promptTokenCount": 100, "candidatesTokenCount": 50, "cachedContentTokenCount": 30}}
SUM = {"input_tokens": 110, "output_tokens": 57, "reasoning_tokens": 2, "cached_tokens": 30}


@pytest.mark.parametrize("place", ["response", "output"])
def test_a_batch_counts_once_and_its_usage_is_that_of_its_answers(place: str) -> None:
    answers = inlined(ONE, TWO, 7, {"error": {}})
    over: dict[str, Any] = (
        {**BATCH, "response": answers}
        if place == "response"
        else {**BATCH, "metadata": {**BATCH["metadata"], "output": answers}}
    )
    bench = Bench()
    pending = {"name": "batches/b1", "metadata": {"state": "BATCH_STATE_PENDING"}}
    started = answered(pending, "/v1beta/models/gemini-2.5-flash:batchGenerateContent", bench=bench)
    assert (started.usage, started.operation_details) == (None, {"batch_status": "BATCH_STATE_PENDING"})
    for answer in (pending, over, over):
        answered(answer, "/v1beta/batches/b1", method="GET", bench=bench)
    assert len(bench.events) == 2
    event = bench.event
    assert (figures(event.usage), event.response_model) == (SUM, "gemini-2.5-flash")
    assert event.operation_details == {
        "batch_status": "BATCH_STATE_SUCCEEDED",
        "request_counts_total": 3,
        "request_counts_completed": 2,
        "request_counts_failed": 1,
    }
    assert event.cost
    assert "batch" in (event.price_source or "")  # a price of its own, or the word that there is none


def test_a_batch_of_embeddings_counts_its_tokens() -> None:
    answers = {"inlinedResponses": [{"response": {"tokenCount": n}} for n in (3, "4")]}
    over = {**BATCH, "response": {"inlinedEmbedContentResponses": answers}}
    event = answered(over, "/v1beta/batches/b1", method="GET")
    assert figures(event.usage) == {"input_tokens": 7}


def test_a_batch_whose_answers_are_in_a_file_or_that_failed_has_no_usage() -> None:
    event = answered({**BATCH, "response": {"responsesFile": "files/f"}}, "/v1beta/batches/b1", method="GET")
    assert (event.usage, event.cost_nano_usd, event.error) == (None, None, None)
    failed = {"name": "batches/b2", "done": True, "error": {"code": 13, "message": "lost"}}
    event = answered(failed, "/v1beta/batches/b2", method="GET")
    assert (event.error, event.error_code) == ("lost", "13")


def test_a_batch_on_vertex_is_told_of_without_usage() -> None:
    job = {
        "name": "projects/p/locations/l/batchPredictionJobs/7",
        "model": "publishers/google/models/gemini-2.5-flash",
        "state": "JOB_STATE_SUCCEEDED",
        "completionStats": {"successfulCount": "2"},
    }
    event = answered(job, PROJECT + "/batchPredictionJobs/7", VERTEX, method="GET")
    assert (event.response_model, event.usage, event.finish_reasons) == (
        "gemini-2.5-flash",
        None,
        ("JOB_STATE_SUCCEEDED",),
    )
    assert event.operation_details == {"batch_status": "JOB_STATE_SUCCEEDED", "request_counts_completed": 2}
    bench = Bench()
    answered({**job, "state": "JOB_STATE_RUNNING"}, PROJECT + "/batchPredictionJobs", VERTEX, bench=bench)
    assert bench.event.usage is None


# -- videos and pictures -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("poll", "method", "host", "name"),
    [
        ("/v1beta/models/veo-3.0/operations/o", "GET", GEMINI, "models/veo-3.0/operations/o"),
        (PUBLISHERS + "/google/models/veo-3.0:fetchPredictOperation", "POST", VERTEX,
         "projects/p/locations/l/publishers/google/models/veo-3.0/operations/o"),
    ],
)  # fmt: skip
def test_a_video_is_told_of_when_it_is_asked_for_and_when_it_is_done(
    poll: str, method: str, host: str, name: str
) -> None:
    bench = Bench()
    path = PUBLISHERS + "/google/models/veo-3.0:predictLongRunning"
    asked = {"instances": [{}], "parameters": {"sampleCount": 2, "durationSeconds": 8, "seed": 1}}
    started = answered({"name": name}, path, host, asked, bench=bench)
    assert started.operation_details == {"n": 2, "video_seconds": 8, "video_status": "in_progress"}
    for answer in (
        {"name": name},
        {"name": name, "done": True, "response": {}},
        {"name": name, "done": True},
    ):
        answered(answer, poll, host, method=method, bench=bench)
    assert len(bench.events) == 2
    done = bench.event
    assert (done.response_model, done.finish_reasons, done.usage) == ("veo-3.0", ("completed",), None)


def test_a_video_that_failed_says_why() -> None:
    failed = {"name": "models/v/operations/o", "done": True, "error": {"code": 3, "message": "no"}}
    event = answered(failed, "/v1beta/models/v/operations/o", method="GET")
    assert (event.error, event.finish_reasons) == ("no", ("failed",))
    assert event.operation_details == {"video_status": "failed"}


@pytest.mark.parametrize(
    ("asked", "answer", "images"),
    [
        (
            {},
            {"predictions": [{"bytesBase64Encoded": "x"}, {"mimeType": "image/png", "gcsUri": "gs://b/a"}]},
            2,
        ),
        ({}, {"predictions": [{"raiFilteredReason": "held back"}]}, 0),
        ({"sampleCount": 3}, {"predictions": [{"raiFilteredReason": "held back"}]}, 0),
        ({"sampleCount": 3}, b'{"predictions":[{"bytesBase64Encoded":"' + b"x" * 2_000_000 + b'"}]}', 3),
        ({"sampleCount": "3"}, {}, None),
        (7, {}, None),
    ],
)
def test_pictures_are_counted(asked: Any, answer: Any, images: int | None) -> None:
    path = PUBLISHERS + "/google/models/imagen-4.0-generate-001:predict"
    event = Bench().answered(wire({"parameters": asked}, path, host=VERTEX), answer)
    assert (None if event.usage is None else event.usage.images) == images
    if images:
        assert event.cost == pytest.approx(images * 0.04)


# -- partners' models on Vertex AI --------------------------------------------------------------------

CHAT = {
    "id": "c",
    "model": "mistral-small-2503",
    "choices": [{"finish_reason": "stop", "message": {}}],
    "usage": {"prompt_tokens": 9, "completion_tokens": 2},
}


def test_partners_answer_in_their_own_format() -> None:
    path = PUBLISHERS + "/mistralai/models/mistral-small-2503:rawPredict"
    event = answered(CHAT, path, VERTEX)
    assert (figures(event.usage), event.finish_reasons) == (
        {"input_tokens": 9, "output_tokens": 2},
        ("stop",),
    )
    event = answered({"pages": [], "usage_info": {"pages_processed": 3}}, path, VERTEX)
    assert figures(event.usage) == {"pages": 3}


def test_partners_stream_in_their_own_format() -> None:
    path = PUBLISHERS + "/ai21/models/jamba:streamRawPredict"
    stream = sse(
        {"choices": [{"index": 0, "delta": {"content": "x"}}]},
        {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}], "usage": CHAT["usage"]},
        done=True,
    )
    bench = Bench()
    exchange = bench.receiving(wire({}, path, host=VERTEX), answer=headers(EVENT_STREAM))
    exchange.feed(stream)
    assert (figures(bench.event.usage), bench.event.faults) == ({"input_tokens": 9, "output_tokens": 2}, ())
    message = {"id": "m", "model": "claude", "usage": {"input_tokens": 9}}
    claude = sse(
        {"type": "message_start", "message": message},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 2}},
        {"type": "message_stop"},
    )
    event = answered(claude, PUBLISHERS + "/anthropic/models/claude:streamRawPredict", VERTEX)
    assert (figures(event.usage), event.finish_reasons) == (
        {"input_tokens": 9, "output_tokens": 2},
        ("end_turn",),
    )


# -- whatever comes ----------------------------------------------------------------------------------

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers(-5, 1 << 60) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)
MEMBERS = (
    *("id", "name", "model", "status", "state", "created", "usage", "steps", "errors", "error", "event_type"),
    *(
        "index",
        "step",
        "delta",
        "interaction",
        "type",
        "arguments",
        "content",
        "metadata",
        "batchStats",
        "done",
    ),
    *(
        "output",
        "response",
        "inlinedResponses",
        "usageMetadata",
        "tokenCount",
        "completionStats",
        "parameters",
    ),
    *("grounding_tool_count", "input_tokens_by_modality", "createTime", "sampleCount", "durationSeconds"),
)
ODD = st.dictionaries(
    st.sampled_from(MEMBERS),
    ANYTHING | st.dictionaries(st.sampled_from(MEMBERS), ANYTHING, max_size=4),
    max_size=6,
)
KINDS = ("", "step.delta", "step.start", "interaction.completed", "error")


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(ODD, st.sampled_from(KINDS))
def test_no_answer_is_too_odd_to_be_read(body: dict[str, Any], kind: str) -> None:
    for read in (objects.read_interaction, objects.read_batch, objects.read_job, objects.read_operation):
        read(body, Reading())
    objects.read_interaction_event(kind, body, Reading())
    json.dumps(objects.read_video_request(body))
