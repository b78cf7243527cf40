"""Vendors that speak OpenAI's format on hosts of their own, and what each of them does otherwise."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aden_transport.core.header_figures import AnswerHeaders
from aden_transport.events import MetricEvent, NormalizedUsage
from aden_transport.pricing.snapshot import bundled
from aden_transport.vendors import VENDORS, Reading, Vendor
from aden_transport.vendors.compatible import COMPATIBLE
from aden_transport.vendors.groq import GROQ
from aden_transport.vendors.openai_shapes import chat_usage
from aden_transport.vendors.openrouter import OPENROUTER
from aden_transport.vendors.perplexity import PERPLEXITY
from aden_transport.vendors.together import TOGETHER
from aden_transport.vendors.writer import WRITER
from aden_transport.vendors.xai import XAI

from ..core.kit import CHAT, CLASSIFIER, EVENT_STREAM, Bench, headers, pairs, sse, wire

TABLES = (*COMPATIBLE, GROQ, OPENROUTER, PERPLEXITY, TOGETHER, WRITER, XAI)
PATHS = {
    "writer": "/v1/chat",
    "cloudflare": "/client/v4/accounts/a/ai/v1/chat/completions",
    "databricks": "/serving-endpoints/chat/completions",
    "snowflake": "/api/v2/cortex/v1/chat/completions",
    "volcengine": "/api/v3/chat/completions",
}
"""Of those that serve much else on the same host."""


def host_of(vendor: Vendor) -> str:
    return vendor.hosts[0] if vendor.hosts else "x" + vendor.host_suffixes[0]


def answered(
    host: str,
    answer: Any,
    path: str = CHAT,
    body: Any = None,
    *,
    status: int = 200,
    method: str = "POST",
    bench: Bench | None = None,
    names: Mapping[str, str] | None = None,
) -> MetricEvent:
    """The event of an answer: JSON, or an event stream given as bytes."""
    stream = isinstance(answer, bytes)
    asked = {"model": "m", **({"stream": True} if stream else {}), **(body or {})}
    request = wire(None if method == "GET" else asked, path, host=host, method=method)
    kept = AnswerHeaders(pairs({"content-type": "application/json", **names})) if names else None
    answer_headers = kept or headers(EVENT_STREAM if stream else "application/json")
    return (bench or Bench(stream_usage=False)).answered(request, answer, status, answer_headers)


def figures(usage: NormalizedUsage | None) -> dict[str, Any] | None:
    """What is not 0."""
    if usage is None:
        return None
    return {name: getattr(usage, name) for name in usage.__slots__ if getattr(usage, name)}


def chat(usage: Any, **more: Any) -> dict[str, Any]:
    return {
        "id": "c",
        "model": "m",
        "choices": [{"finish_reason": "stop", "message": {}}],
        "usage": usage,
        **more,
    }


def counts(prompt: int, completion: int, **more: Any) -> dict[str, Any]:
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        **more,
    }


# -- the tables ----------------------------------------------------------------------------------------


def test_ids_and_hosts_are_each_one_vendors() -> None:
    ids = [vendor.id for vendor in VENDORS]
    assert len(ids) == len(set(ids))
    hosts = [host for vendor in VENDORS for host in (*vendor.hosts, *vendor.host_suffixes)]
    assert len(hosts) == len(set(hosts))


@pytest.mark.parametrize("vendor", TABLES, ids=lambda vendor: vendor.id)
def test_every_table_has_its_source_and_known_prices(vendor: Vendor) -> None:
    assert vendor in VENDORS
    assert vendor.source.startswith("https://")
    assert vendor.checked == "2026-11-22"
    assert vendor.price_provider is None or vendor.price_provider in set(bundled().providers())


@pytest.mark.parametrize("vendor", TABLES, ids=lambda vendor: vendor.id)
def test_chat_on_its_host_is_a_call_of_the_vendor(vendor: Vendor) -> None:
    for host in (*vendor.hosts, *(f"eu{suffix}" for suffix in vendor.host_suffixes)):
        call = CLASSIFIER.classify(wire({}, PATHS.get(vendor.id, CHAT), host=host))
        assert call is not None
        assert (call.vendor, call.operation.name, call.known_host) == (vendor, "chat", True)


@pytest.mark.parametrize("vendor", TABLES, ids=lambda vendor: vendor.id)
def test_lists_files_and_the_rest_of_its_host_are_no_calls(vendor: Vendor) -> None:
    host = host_of(vendor)
    for method, path in (
        ("GET", "/v1/models"),
        ("POST", "/v1/files"),
        ("GET", "/v1/tcp_warming"),  # Cerebras' client, when it is made
        ("GET", "/"),
        ("POST", "/api/2.0/jobs/create"),
    ):
        assert CLASSIFIER.classify(wire({}, path, host=host, method=method)) is None


@pytest.mark.parametrize(
    ("agent", "vendor"),
    [
        ("Groq/Python 1.7.0", "groq"),
        ("AsyncGroq/Python 0.10.0", "groq"),
        ("Together/Python 3.1.1", "together"),
        ("AsyncTogether/Python 3.1.1", "together"),
        ("Cerebras/Python 1.91.0", "cerebras"),
        ("Perplexity/Python 0.46.1", "perplexity"),
        ("Writer/Python 3.0.0", "writer"),
    ],
)
def test_an_sdk_on_a_host_that_nobody_has_heard_of_says_whose_format_it_speaks(
    agent: str, vendor: str
) -> None:
    request = wire({}, "/openai/v1/chat/completions", host="127.0.0.1:8000", names={"user-agent": agent})
    call = CLASSIFIER.classify(request)
    assert call is not None
    assert (call.vendor.id, call.known_host) == (vendor, False)


@pytest.mark.parametrize(
    ("host", "path", "operation", "model"),
    [
        ("api.groq.com", "/openai/v1/chat/completions", "chat", None),
        ("api.groq.com", "/openai/v1/responses", "responses", None),
        ("api.groq.com", "/openai/v1/audio/speech", "speech", None),
        ("api.together.xyz", "/v1/rerank", "rerank", None),
        ("api.together.xyz", "/v1/completions", "text_completion", None),
        ("api.together.xyz", "/v1/images/generations", "image_generation", None),
        ("openrouter.ai", "/api/v1/messages", "chat", None),
        ("api.deepseek.com", "/beta/completions", "text_completion", None),
        ("api.deepseek.com", "/anthropic/v1/messages", "chat", None),
        ("api.perplexity.ai", "/v1/agent", "responses", None),
        ("api.perplexity.ai", "/v1/contextualizedembeddings", "embeddings", None),
        ("x.cloud.databricks.com", "/serving-endpoints/my-model/invocations", "chat", "my-model"),
        ("x.cloud.databricks.com", "/ai-gateway/mlflow/v1/embeddings", "embeddings", None),
        ("x.snowflakecomputing.com", "/api/v2/cortex/inference:complete", "chat", None),
        ("api.portkey.ai", "/v1/prompts/pp-1/completions", "chat", None),
        ("api.writer.com:443", "/v1/chat", "chat", None),
    ],
)
def test_each_path_is_its_operation(host: str, path: str, operation: str, model: str | None) -> None:
    call = CLASSIFIER.classify(wire({}, path, host=host))
    assert call is not None
    assert (call.operation.name, call.model, call.operation.free) == (operation, model, False)


def test_what_costs_nothing_at_openai_is_not_said_to_at_others() -> None:
    event = answered("api.deepinfra.com", {"results": []}, "/v1/moderations")
    assert (event.operation, event.cost_usd) == ("moderation", None)


# -- usage in places of their own ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("usage", "wanted"),
    [
        (counts(9, 2, prompt_cache_hit_tokens=8, prompt_cache_miss_tokens=1), {"cached_tokens": 8}),
        (
            counts(9, 2, prompt_tokens_details={"cached_tokens": 7}, prompt_cache_hit_tokens=8),
            {"cached_tokens": 7},
        ),
        (counts(9, 2, cached_tokens=8), {"cached_tokens": 8}),
        (counts(9, 2, num_cached_tokens=8), {"cached_tokens": 8}),
        (
            counts(9, 2, cache_read_input_tokens=4, cache_creation_input_tokens=3),
            {"cached_tokens": 4, "cache_write_tokens": 3},
        ),
        # Anthropic's names with Anthropic's sense: beside the prompt
        (
            counts(9, 2, cache_read_input_tokens=40, cache_creation_input_tokens=3),
            {"input_tokens": 52, "cached_tokens": 40, "cache_write_tokens": 3},
        ),
        (
            counts(
                9,
                2,
                prompt_token_details={"cached_tokens": 8},
                completion_token_details={"reasoning_tokens": 1},
            ),
            {"cached_tokens": 8, "reasoning_tokens": 1},
        ),
        (counts(9, 2, prompt_token_details=None), {}),
        (counts(9, 2, cached_tokens=None), {}),
        # seconds and breakdowns beside the counts
        (counts(9, 2, queue_time=0.5, usage_breakdown={"models": [{"usage": counts(90, 20)}]}), {}),
    ],
)
def test_usage_that_stands_elsewhere_is_found(usage: Any, wanted: dict[str, int]) -> None:
    for host in ("api.deepseek.com", "llm.example.com"):
        event = answered(host, chat(usage))
        assert figures(event.usage) == {"input_tokens": 9, "output_tokens": 2, **wanted}
        assert event.faults == ()


@pytest.mark.parametrize(
    ("usage", "wanted", "faults"),
    [
        # xAI: reasoning beside the completion, as the total says
        (
            {**counts(12, 1), "total_tokens": 241, "completion_tokens_details": {"reasoning_tokens": 228}},
            {"input_tokens": 12, "output_tokens": 229, "reasoning_tokens": 228},
            (),
        ),
        (
            counts(12, 300, completion_tokens_details={"reasoning_tokens": 228}),
            {"input_tokens": 12, "output_tokens": 300, "reasoning_tokens": 228},
            (),
        ),
        # OpenRouter: one more than the whole
        (
            counts(43, 10, completion_tokens_details={"reasoning_tokens": 11}),
            {"input_tokens": 43, "output_tokens": 10, "reasoning_tokens": 10},
            ("usage.parts",),
        ),
        # Grok on Azure
        (
            counts(7, 8, prompt_tokens_details={"cached_tokens": 161}),
            {"input_tokens": 7, "output_tokens": 8, "cached_tokens": 7},
            ("usage.parts",),
        ),
        (
            counts(7, 8, prompt_tokens_details={"cached_tokens": 161, "cache_write_tokens": 2}),
            {"input_tokens": 7, "output_tokens": 8, "cached_tokens": 5, "cache_write_tokens": 2},
            ("usage.parts",),
        ),
        (
            {**counts(7, 8), "total_tokens": 176, "prompt_tokens_details": {"cached_tokens": 161}},
            {"input_tokens": 168, "output_tokens": 8, "cached_tokens": 161},
            (),
        ),
    ],
)
def test_a_part_that_does_not_fit_stands_beside_its_whole_or_is_cut(
    usage: Any, wanted: dict[str, int], faults: tuple[str, ...]
) -> None:
    event = answered("llm.example.com", chat(usage))
    assert (figures(event.usage), event.faults) == (wanted, faults)


COUNTS = st.one_of(st.none(), st.integers(-5, 400), st.floats(), st.text(max_size=3), st.booleans())


@given(
    st.dictionaries(
        st.sampled_from(
            [
                "prompt_tokens",
                "completion_tokens",
                "total_tokens",
                "cached_tokens",
                "prompt_cache_hit_tokens",
                "cache_read_input_tokens",
                "cache_creation_input_tokens",
            ]
        ),
        COUNTS,
    ),
    st.dictionaries(st.sampled_from(["cached_tokens", "cache_write_tokens"]), COUNTS),
    st.dictionaries(st.just("reasoning_tokens"), COUNTS),
)
def test_no_part_is_more_than_its_whole(
    usage: dict[str, Any], prompt: dict[str, Any], completion: dict[str, Any]
) -> None:
    usage |= {"prompt_tokens_details": prompt, "completion_tokens_details": completion}
    found = chat_usage(usage, Reading())
    if found is None:
        counts = ("prompt_tokens", "completion_tokens", "total_tokens")
        assert all(usage.get(name) is None for name in counts)
        return
    assert found.cached_tokens + found.cache_write_tokens <= found.input_tokens
    assert found.reasoning_tokens <= found.output_tokens
    assert min(found.cached_tokens, found.cache_write_tokens, found.reasoning_tokens) >= 0


MEMBERS = (
    *("usage", "choices", "x_groq", "error", "cost", "cost_details", "total_cost", "is_byok", "response"),
    *("status", "id", "cost_in_usd_ticks", "upstream_inference_cost", "tool_calls_details"),
    "input_tokens_details",
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(MEMBERS), inner, max_size=5),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from(["usage", "choices", "x_groq", "response", "status", "id"]), JSON))
def test_any_json_is_read_without_a_fault_of_ours(answer: dict[str, Any]) -> None:
    for vendor in TABLES:
        for operation in {id(each.operation): each.operation for each in vendor.routes}.values():
            if operation.read_body is not None:
                operation.read_body(answer, Reading())
            if operation.stream is not None:
                operation.stream.read_event("", answer, Reading())


# -- Groq ----------------------------------------------------------------------------------------------


GROQ_HOST, GROQ_CHAT = "api.groq.com", "/openai/v1/chat/completions"


def groq_stream(last: Mapping[str, Any]) -> bytes:
    first = {
        "id": "c",
        "model": "m",
        "choices": [{"index": 0, "delta": {"content": "Hi"}}],
        "x_groq": {"id": "req"},
    }
    end = {"id": "c", "model": "m", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}], **last}
    return sse(first, end, done=True)


def test_groqs_usage_stands_under_x_groq() -> None:
    usage = counts(12, 24, queue_time=0.09, prompt_time=0.005)
    event = answered(GROQ_HOST, groq_stream({"x_groq": {"id": "req", "usage": usage}}), GROQ_CHAT)
    assert (figures(event.usage), event.usage_source) == (
        {"input_tokens": 12, "output_tokens": 24},
        "reported",
    )
    both = groq_stream({"x_groq": {"usage": counts(1, 1)}, "usage": usage})
    assert figures(answered(GROQ_HOST, both, GROQ_CHAT).usage) == {"input_tokens": 12, "output_tokens": 24}


@pytest.mark.parametrize(
    "stream",
    [
        sse({"id": "c", "choices": [{"index": 0, "delta": {"content": "Hi"}}]})
        + b'event: error\ndata: {"error":{"message":"over capacity","type":"server_error","code":"503"}}\n\n',
        sse({"id": "c", "choices": [], "x_groq": {"error": "over capacity"}}),
    ],
)
def test_groqs_error_in_a_stream_is_the_calls(stream: bytes) -> None:
    event = answered(GROQ_HOST, stream, GROQ_CHAT)
    assert (event.error, event.status_code) == ("over capacity", 200)
    assert event.error_type in ("service_unavailable", "server_error")
    assert "stream.truncated" not in event.faults


@pytest.mark.parametrize(
    ("answer", "wanted"),
    [
        ({"text": "x", "duration": 3.84}, {"audio_seconds": 3.84}),
        (
            {"text": "x", "duration": 3.84, "usage": counts(0, 12)},
            {"output_tokens": 12, "audio_seconds": 3.84},
        ),
        ({"text": "x", "usage": counts(5, 8)}, {"input_tokens": 5, "output_tokens": 8}),
        ({"text": "x", "x_groq": {"id": "req"}}, None),
    ],
)
def test_what_groq_hears_is_seconds_of_audio(answer: dict[str, Any], wanted: dict[str, float] | None) -> None:
    request = wire(
        None, "/openai/v1/audio/transcriptions", host=GROQ_HOST, form={"model": "whisper-large-v3"}
    )
    event = Bench().answered(request, answer)
    assert figures(event.usage) == wanted
    if wanted and "audio_seconds" in wanted:
        assert (event.cost_nano_usd or 0) > 0


# -- xAI -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ticks", "nano", "faults"),
    [
        (37_756_000, 3_775_600, ()),
        (1_399_000, 139_900, ()),
        (0, 0, ()),
        (5, 0, ()),
        (15, 2, ()),
        (None, None, ()),
        (-1, None, ("cost.malformed",)),
        (True, None, ("cost.malformed",)),
        ("1", None, ("cost.malformed",)),
        (10**30, None, ("cost.malformed",)),
    ],
)
def test_xai_states_its_cost_in_ticks(ticks: Any, nano: int | None, faults: tuple[str, ...]) -> None:
    event = answered("api.x.ai", chat({**counts(1, 1), "cost_in_usd_ticks": ticks}))
    assert (event.cost_nano_usd, event.faults) == (nano, faults)
    assert event.price_source == (None if nano is None else "stated by xai")


def test_xais_images_have_a_cost_and_no_tokens() -> None:
    answer = {"data": [{"url": "u"}], "usage": {"cost_in_usd_ticks": 700_000_000}}
    event = answered("api.x.ai", answer, "/v1/images/generations")
    assert (figures(event.usage), event.cost_nano_usd) == ({"images": 1}, 70_000_000)


def test_xais_server_side_tools_are_counted() -> None:
    usage = {
        "input_tokens": 9,
        "output_tokens": 2,
        "num_server_side_tools_used": 2,
        "cost_in_usd_ticks": 10_000,
    }
    response = {"id": "r", "status": "completed", "model": "m", "usage": usage}
    wanted = {"input_tokens": 9, "output_tokens": 2, "server_tool_calls": 2}
    stream = sse({"type": "response.completed", "response": response}, named=True)
    for answer in (response, stream):
        event = answered("api.x.ai", answer, "/v1/responses")
        assert (figures(event.usage), event.cost_nano_usd) == (wanted, 1000)


# -- OpenRouter ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cost", "nano"),
    [
        ({}, None),
        (
            {"cost": 0.00341475, "is_byok": False, "cost_details": {"upstream_inference_cost": 0.00341475}},
            3_414_750,
        ),
        ({"cost": 0.0014925, "is_byok": False, "cost_details": {"upstream_inference_cost": None}}, 1_492_500),
        # web search is in `cost` alone
        ({"cost": 0.0076509169, "cost_details": {"upstream_inference_cost": 0.0006509169}}, 7_650_917),
        # with a key of the caller's own: OpenRouter's fee and the vendor's bill
        ({"cost": 0, "is_byok": True, "cost_details": {"upstream_inference_cost": 0.00417}}, 4_170_000),
        ({"cost": 0.0002, "is_byok": True, "cost_details": {"upstream_inference_cost": 0.004}}, 4_200_000),
        ({"cost": 0.95, "cost_details": {"upstream_inference_cost": 19}}, 19_950_000_000),
        # the vendor's bill is not told: the cost is not either
        ({"cost": 0, "is_byok": True, "cost_details": {"upstream_inference_cost": None}}, None),
        ({"cost": 0, "is_byok": True}, None),
    ],
)
def test_openrouters_cost_is_what_the_caller_pays(cost: dict[str, Any], nano: int | None) -> None:
    event = answered("openrouter.ai", chat({**counts(1, 1), **cost}), "/api/v1/chat/completions")
    assert event.cost_nano_usd == nano
    assert event.faults == ()


def test_openrouter_says_that_it_waits() -> None:
    chunk = {
        "id": "gen",
        "model": "m",
        "choices": [{"index": 0, "delta": {"content": "Hi"}, "finish_reason": "stop"}],
    }
    waiting = b": OPENROUTER PROCESSING\n\n" * 22
    stream = waiting + sse(chunk, {**chunk, "choices": [], "usage": {**counts(5, 1), "cost": 0.5}}, done=True)
    event = answered("openrouter.ai", stream, "/api/v1/chat/completions")
    assert (figures(event.usage), event.cost_nano_usd) == (
        {"input_tokens": 5, "output_tokens": 1},
        500_000_000,
    )
    blank = (
        b"\n         \n\n         \n"
        + b'{"id":"gen","model":"m","usage":{"prompt_tokens":5,"completion_tokens":1}}'
    )
    request = wire({"model": "m"}, "/api/v1/chat/completions", host="openrouter.ai")
    event = Bench().answered(request, blank)
    assert (figures(event.usage), event.faults) == ({"input_tokens": 5, "output_tokens": 1}, ())


@pytest.mark.parametrize(
    ("chunk", "kind"),
    [
        ({"error": {"code": 400, "message": "Token limit reached"}}, "invalid_request_error"),
        ({"error": {"code": 502, "message": "Provider returned error"}}, "server_error"),
        ({"error": {"code": 429, "message": "slow down"}}, "rate_limit_error"),
    ],
)
def test_openrouters_error_in_a_stream_does_not_hide_its_usage(chunk: dict[str, Any], kind: str) -> None:
    last = {
        "id": "gen",
        "model": "m",
        "choices": [{"index": 0, "delta": {}}],
        "usage": counts(43, 10),
        **chunk,
    }
    event = answered("openrouter.ai", sse(last, done=True), "/api/v1/chat/completions")
    assert (event.error, event.error_type) == (chunk["error"]["message"], kind)
    assert figures(event.usage) == {"input_tokens": 43, "output_tokens": 10}


def test_an_error_of_a_choice_or_beside_it_in_a_200_is_the_calls() -> None:
    failed = {"error": {"code": 502, "message": "Provider returned error"}}
    in_choice = {"id": "g", "choices": [{"finish_reason": "error", "message": {}, **failed}]}
    for answer in (in_choice, {"id": "g", "choices": [], **failed}):
        event = answered("openrouter.ai", answer, "/api/v1/chat/completions")
        assert (event.error, event.error_type) == ("Provider returned error", "server_error")


# -- Perplexity ----------------------------------------------------------------------------------------


def test_perplexitys_usage_so_far_is_not_added_up() -> None:
    def chunk(out: int, cost: Mapping[str, float], reason: str | None = None) -> dict[str, Any]:
        choice = {
            "index": 0,
            "delta": {"content": "x"},
            "message": {"content": "x" * out},
            "finish_reason": reason,
        }
        return {"id": "p", "model": "sonar", "choices": [choice], "usage": {**counts(10, out), "cost": cost}}

    skeleton = {"input_tokens_cost": 0, "output_tokens_cost": 0, "total_cost": 0}
    whole = {"input_tokens_cost": 0.00001, "request_cost": 0.005, "total_cost": 0.00502}
    stream = sse(*(chunk(n, skeleton) for n in range(1, 8)), chunk(8, whole, "stop"))
    event = answered("api.perplexity.ai", stream, "/chat/completions")
    assert (figures(event.usage), event.cost_nano_usd) == (
        {"input_tokens": 10, "output_tokens": 8},
        5_020_000,
    )
    assert event.faults == ()


def test_a_stream_of_perplexity_left_early_does_not_cost_nothing() -> None:
    first = {
        "id": "p",
        "model": "sonar",
        "choices": [{"index": 0, "delta": {"content": "x"}}],
        "usage": {**counts(10, 1), "cost": {"total_cost": 0}},
    }
    event = answered("api.perplexity.ai", sse(first), "/chat/completions")
    assert event.cost_nano_usd != 0


def test_perplexitys_research_searches_and_reasons() -> None:
    usage = {**counts(33, 71), "citation_tokens": 200, "num_search_queries": 18, "reasoning_tokens": 739}
    event = answered("api.perplexity.ai", chat({**usage, "cost": {"total_cost": 0.5}}), "/chat/completions")
    assert figures(event.usage) == {
        "input_tokens": 33,
        "output_tokens": 810,
        "reasoning_tokens": 739,
        "server_tool_calls": 18,
    }
    assert event.cost_nano_usd == 500_000_000


def test_perplexitys_agent_counts_its_tools_and_states_its_cost() -> None:
    usage = {
        "input_tokens": 100,
        "output_tokens": 20,
        "total_tokens": 120,
        "input_tokens_details": {"cache_read_input_tokens": 60, "cache_creation_input_tokens": 30},
        "tool_calls_details": {"web_search": {"invocation": 2}, "fetch_url": {"invocation": 1}},
        "cost": {"currency": "USD", "total_cost": 0.0125},
    }
    event = answered("api.perplexity.ai", {"id": "r", "status": "completed", "usage": usage}, "/v1/responses")
    assert figures(event.usage) == {
        "input_tokens": 100,
        "output_tokens": 20,
        "cached_tokens": 60,
        "cache_write_tokens": 30,
        "server_tool_calls": 3,
    }
    assert event.cost_nano_usd == 12_500_000


def test_perplexitys_asynchronous_chat_is_counted_once_when_it_is_over() -> None:
    bench, host, path = Bench(), "api.perplexity.ai", "/async/chat/completions"
    job = {"id": "job", "model": "sonar-deep-research", "created_at": 1_790_000_000, "status": "CREATED"}
    made = answered(host, {**job, "response": None}, path, bench=bench)
    assert made.usage is None
    done = {**job, "status": "COMPLETED", "response": chat({**counts(10, 20), "cost": {"total_cost": 0.25}})}
    polled = [answered(host, done, f"{path}/job", method="GET", bench=bench) for _ in range(2)]
    assert len(bench.events) == 2
    assert (figures(polled[0].usage), polled[0].cost_nano_usd) == (
        {"input_tokens": 10, "output_tokens": 20},
        250_000_000,
    )


# -- Moonshot, Writer, Together, gateways --------------------------------------------------------------


def test_moonshots_stream_tells_its_usage_in_the_choice_that_ends() -> None:
    chunk = {"id": "c", "model": "kimi", "choices": [{"index": 0, "delta": {"content": "Hi"}}]}
    choice = {"index": 0, "delta": {}, "finish_reason": "stop", "usage": counts(19, 21, cached_tokens=8)}
    event = answered("api.moonshot.ai", sse(chunk, {**chunk, "choices": [choice]}, done=True))
    wanted = {"input_tokens": 19, "output_tokens": 21, "cached_tokens": 8}
    assert (figures(event.usage), event.usage_source) == (wanted, "reported")


def test_writers_text_has_no_usage_and_no_end() -> None:
    stream = sse(*({"value": word} for word in ("Sure", ", here", " is a joke")))
    event = answered("api.writer.com", stream, "/v1/completions", {"prompt": "Tell me a joke"})
    assert (event.usage_source, event.faults) == ("estimated", ())
    assert event.usage is not None
    assert event.usage.output_tokens > 0
    plain = answered("api.writer.com", {"choices": [{"text": "Sure"}], "model": "palmyra"}, "/v1/completions")
    assert (plain.usage, plain.response_model) == (None, "palmyra")


@pytest.mark.parametrize(
    ("usage", "wanted"),
    [
        (counts(2966, 0), {"input_tokens": 2966}),
        ({"total_tokens": 8}, {"input_tokens": 8}),
        ({"total_tokens": 8, "search_units": 1}, {"input_tokens": 8, "search_units": 1}),
        (None, None),
    ],
)
def test_a_rerank_uses_tokens_or_search_units(usage: Any, wanted: dict[str, int] | None) -> None:
    answer = {"id": "r", "model": "rank", "results": [{"index": 0}], "usage": usage}
    event = answered("api.together.xyz", answer, "/v1/rerank")
    assert (event.operation, figures(event.usage), event.response_model) == ("rerank", wanted, "rank")


def test_tool_calls_without_an_index_are_told_apart() -> None:
    calls = [{"index": None, "id": str(n), "function": {"name": "look", "arguments": "{}"}} for n in range(3)]
    answer = chat(counts(1, 1), choices=[{"finish_reason": "tool_calls", "message": {"tool_calls": calls}}])
    event = answered("api.writer.com", answer, "/v1/chat")
    assert [tool.id for tool in event.tool_calls or ()] == ["0", "1", "2"]


def test_empty_members_of_an_answer_say_nothing() -> None:
    message = {"function_call": {"arguments": "", "name": ""}, "tool_calls": None}
    answer = chat(counts(1, 1), choices=[{"finish_reason": "", "message": message}], service_tier="")
    event = answered("x.snowflakecomputing.com", answer, PATHS["snowflake"])
    assert (event.tool_calls, event.finish_reasons, event.service_tier) == (None, (), None)


@pytest.mark.parametrize(
    ("host", "names", "wanted"),
    [
        (
            "api.groq.com",
            {"x-request-id": "req_1", "x-groq-region": "us-west-1"},
            {"request_id": "req_1", "region": "us-west-1"},
        ),
        ("api.x.ai", {"x-metrics-e2e-ms": "1116.2"}, {"server_latency_ms": 1116.2}),
        ("api.together.xyz", {"x-total-time": "384"}, {"server_latency_ms": 384.0}),
        ("api.perplexity.ai", {"x-ppl-region": "us-east-1"}, {"region": "us-east-1"}),
        ("openrouter.ai", {"x-generation-id": "gen-1"}, {"request_id": "gen-1"}),
        ("api.deepseek.com", {"x-ds-trace-id": "abc"}, {"request_id": "abc"}),
    ],
)
def test_each_vendors_headers_are_read(host: str, names: dict[str, str], wanted: dict[str, Any]) -> None:
    event = answered(host, chat(counts(1, 1)), names=names)
    assert {name: getattr(event, name) for name in wanted} == wanted
    assert names.keys() <= (event.headers or {}).keys()
