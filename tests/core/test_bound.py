"""Nothing that a call uses exceeds its bound, and nothing that it costs its hold."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aden_transport.core import estimate
from aden_transport.core.bound import Bound, KnownTotals, upper_usage
from aden_transport.core.exchange import read_request
from aden_transport.core.hold import hold_nano
from aden_transport.core.rewrite import MAX_PARSED_REQUEST
from aden_transport.events import NormalizedUsage
from aden_transport.pricing import Price, PriceBook, UnitPrices
from aden_transport.vendors.ceilings import (
    NOTHING,
    Ceiling,
    Ceilings,
    drawn_tokens,
    framing,
    image_tokens,
    undated,
)

from .kit import ANTHROPIC, AZURE, CHAT, CLASSIFIER, GEMINI, GENERATE, NOON, OPENAI, call_of, wire

CEILINGS = Ceilings()
PRICES = PriceBook()
MESSAGES, RESPONSES = "/v1/messages", "/v1/responses"
HELLO = [{"role": "user", "content": "Hello!"}]
PICTURE = "data:image/png;base64," + "A" * 100_000


def bound_of(
    body: Mapping[str, Any],
    path: str = CHAT,
    host: str = OPENAI,
    seen: KnownTotals | None = None,
    ceilings: Ceilings = CEILINGS,
    **more: Any,
) -> Bound:
    request = wire(body, path, host=host, **more)
    call = call_of(request)
    model = call.model or body.get("model")
    return upper_usage(call, body, model, ceilings, raw=request.body, seen=seen)


def used(bound: Bound) -> NormalizedUsage:
    assert bound.usage is not None, bound.basis
    return bound.usage


def chat(**more: Any) -> dict[str, Any]:
    return {"model": "gpt-4o", "messages": HELLO, "max_tokens": 100} | more


def size_of(body: Mapping[str, Any]) -> int:
    return len(json.dumps(body).encode())


# -- text ------------------------------------------------------------------------------------------------


def test_a_byte_is_at_most_a_token_and_a_message_adds_a_constant() -> None:
    body = chat(messages=[{"role": "user", "content": "é" * 50}] * 3)
    bound = bound_of(body)
    added = framing("openai")
    assert used(bound).input_tokens == size_of(body) + added.call + (3 + 1) * added.message
    assert bound.basis == "bytes, max_tokens"


def test_a_tool_adds_a_constant() -> None:
    tool = {"type": "function", "function": {"name": "f"}}
    added = framing("openai")
    none, one, two = (bound_of(chat(tools=[tool] * number)) for number in (0, 1, 2))
    bytes_of_one = size_of(chat(tools=[tool])) - size_of(chat(tools=[]))
    assert used(one).input_tokens == used(none).input_tokens + bytes_of_one + added.tool + added.tools
    assert used(two).input_tokens - used(one).input_tokens == bytes_of_one + len(", ") + added.tool


def test_a_tool_of_the_vendor_that_the_caller_runs_adds_more() -> None:
    plain, own = (
        bound_of(
            {"model": "claude-sonnet-4-5", "max_tokens": 9, "messages": HELLO, "tools": [tool]},
            MESSAGES,
            ANTHROPIC,
        )
        for tool in ({"name": "bash"}, {"name": "bash", "type": "bash_20250124"})
    )
    assert used(own).input_tokens - used(plain).input_tokens > framing("anthropic").own_tool


def test_functions_of_gemini_count_one_by_one() -> None:
    def asked(number: int) -> Bound:
        tools = [{"functionDeclarations": [{"name": "f"}] * number}]
        return bound_of({"contents": [{"parts": [{"text": "Hi"}]}], "tools": tools}, GENERATE, GEMINI)

    assert used(asked(5)).input_tokens - used(asked(1)).input_tokens >= 4 * framing("gemini").tool


def test_no_input_is_longer_than_the_context_window() -> None:
    bound = bound_of(chat(model="gpt-4", messages=[{"role": "user", "content": "a" * 100_000}]))
    assert (used(bound).input_tokens, bound.input_basis) == (8192, "context window")


@given(st.text(), st.integers(1, 100))
def test_the_bound_is_no_less_than_the_estimate(text: str, cap: int) -> None:
    body = chat(messages=[{"role": "user", "content": text}], max_tokens=cap)
    usage = used(bound_of(body))
    assert usage.input_tokens >= estimate.input_tokens(body)
    assert usage.output_tokens == cap


# -- media -----------------------------------------------------------------------------------------------

IMAGES = {
    "chat": ({"type": "image_url", "image_url": {"url": PICTURE}}, CHAT, OPENAI, "gpt-4o"),
    "address": ({"type": "image_url", "image_url": "https://e.org/a.png"}, CHAT, OPENAI, "gpt-4o"),
    "responses": ({"type": "input_image", "image_url": PICTURE}, RESPONSES, OPENAI, "gpt-4o"),
    "file id": ({"type": "input_image", "file_id": "file-1"}, RESPONSES, OPENAI, "gpt-4o"),
    "messages": (
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "A" * 100_000}},
        MESSAGES,
        ANTHROPIC,
        "claude-sonnet-4-5",
    ),
}


@pytest.mark.parametrize("name", IMAGES)
def test_an_image_has_the_vendors_maximum_and_never_the_length_of_its_base64(name: str) -> None:
    part, path, host, model = IMAGES[name]
    member = "input" if path == RESPONSES else "messages"
    body = {"model": model, "max_tokens": 9, member: [{"role": "user", "content": [part]}]}
    bound = bound_of(body, path, host)
    most = image_tokens("openai" if host == OPENAI else "anthropic", model)
    assert most is not None
    assert used(bound).image_input_tokens == most
    assert most < used(bound).input_tokens < most + 1000
    assert bound.input_basis == "bytes+media"


def test_an_image_of_gemini() -> None:
    part = {"inlineData": {"mimeType": "image/png", "data": "A" * 100_000}}
    bound = bound_of({"contents": [{"parts": [{"text": "What?"}, part]}]}, GENERATE, GEMINI)
    assert used(bound).image_input_tokens == image_tokens("gemini", "gemini-2.5-flash")
    assert used(bound).input_tokens < 4000


def test_images_in_what_a_tool_answers_count() -> None:
    image = IMAGES["messages"][0]
    result = {"type": "tool_result", "tool_use_id": "t", "content": [image, image]}
    body = {
        "model": "claude-sonnet-4-5",
        "max_tokens": 9,
        "messages": [{"role": "user", "content": [result]}],
    }
    assert used(bound_of(body, MESSAGES, ANTHROPIC)).image_input_tokens == 2 * 4800


FILES = {
    "file": {"type": "file", "file": {"file_data": "data:application/pdf;base64,AAAA"}},
    "audio": {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
    "what nobody has heard of": {"type": "hologram", "data": "AAAA"},
}


@pytest.mark.parametrize("name", FILES)
def test_what_tells_no_size_may_fill_the_context_window(name: str) -> None:
    body = chat(messages=[{"role": "user", "content": [FILES[name]]}])
    bound = bound_of(body)
    assert (used(bound).input_tokens, bound.input_basis) == (128_000, "context window")
    assert bool(used(bound).audio_input_tokens) is (name == "audio")
    assert bound_of(body, ceilings=Ceilings({"openai/gpt-4o": NOTHING})).usage is None


def test_an_image_on_a_model_of_unknown_maximum_may_fill_the_context_window() -> None:
    body = chat(model="gpt-5.4", messages=[{"role": "user", "content": [IMAGES["chat"][0]]}])
    assert bound_of(body).input_basis == "context window"


@pytest.mark.parametrize(
    "part",
    [
        {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "words"}},
        {"type": "tool_use", "id": "t", "name": "f", "input": {"image": {"type": "image"}}},
        {"type": "thinking", "thinking": "words", "signature": "s"},
    ],
)
def test_parts_that_are_text_are_bounded_by_their_bytes(part: Mapping[str, Any]) -> None:
    body = {"model": "claude-sonnet-4-5", "max_tokens": 9, "messages": [{"role": "user", "content": [part]}]}
    assert bound_of(body, MESSAGES, ANTHROPIC).input_basis == "bytes"


@pytest.mark.parametrize(
    ("part", "basis"),
    [
        ({"inlineData": {"mimeType": "text/csv", "data": "AAAA"}}, "bytes"),
        ({"inlineData": {"mimeType": "audio/wav", "data": "AAAA"}}, "context window"),
        ({"inlineData": {"mimeType": "application/pdf", "data": "AAAA"}}, "context window"),
        ({"inlineData": {"data": "AAAA"}}, "context window"),
        ({"fileData": {"mimeType": "video/mp4", "fileUri": "https://e.org"}}, "context window"),
        ({"functionCall": {"name": "f", "args": {"image": {}}}}, "bytes"),
    ],
)
def test_inline_data_is_what_it_says_it_is(part: Mapping[str, Any], basis: str) -> None:
    assert bound_of({"contents": [{"parts": [part]}]}, GENERATE, GEMINI).input_basis == basis


def test_sound_that_is_billed_by_seconds_has_no_bound() -> None:
    body = chat(model="voxtral-small-latest", messages=[{"role": "user", "content": [FILES["audio"]]}])
    assert bound_of(body, host="api.mistral.ai").usage is None


def test_images_beside_the_text_of_a_message() -> None:
    body = {"model": "llava", "messages": [{"role": "user", "content": "What?", "images": ["AAAA"]}]}
    ceilings = Ceilings({"ollama/llava": Ceiling(4096, 4096)})
    bound = bound_of(body, "/api/chat", "127.0.0.1:11434", ceilings=ceilings)
    assert bound.input_basis == "context window"


# -- what the vendor keeps -------------------------------------------------------------------------------


@pytest.mark.parametrize("member", ["previous_response_id", "conversation"])
def test_what_the_vendor_keeps_counts_with_its_last_known_total_else_with_the_context_window(
    member: str,
) -> None:
    body = {"model": "gpt-4o", "input": "And then?", "max_output_tokens": 9}
    seen = KnownTotals()
    alone = used(bound_of(body, RESPONSES)).input_tokens
    kept = body | {member: "resp_1"}
    unknown = bound_of(kept, RESPONSES, seen=seen)
    assert (used(unknown).input_tokens, unknown.input_basis) == (128_000, "context window")
    seen.note("resp_1", 1000)
    known = bound_of(kept, RESPONSES, seen=seen)
    assert used(known).input_tokens == alone + 1000 + size_of(kept) - size_of(body)
    assert known.input_basis == "known total"


def test_a_cached_prompt_and_a_prompt_that_is_kept() -> None:
    cached = {"contents": [{"parts": [{"text": "Hi"}]}], "cachedContent": "cachedContents/1"}
    assert bound_of(cached, GENERATE, GEMINI).input_basis == "context window"
    prompt = {"model": "gpt-4o", "prompt": {"id": "pmpt_1"}, "max_output_tokens": 9}
    assert bound_of(prompt, RESPONSES).input_basis == "context window"
    object_of_id = {"model": "gpt-4o", "input": "Hi", "conversation": {"id": 5}, "max_output_tokens": 9}
    assert bound_of(object_of_id, RESPONSES).input_basis == "context window"


def test_known_totals_forget_the_least_recently_noted() -> None:
    seen = KnownTotals(2)
    for id in ("a", "b", "a", "c"):
        seen.note(id, 1)
    assert [seen.get(id) for id in "abc"] == [1, None, 1]


SEARCH = {"type": "web_search_20250305", "name": "web_search"}


def test_tools_that_the_vendor_runs_are_bounded_by_the_uses_that_the_request_allows() -> None:
    body = {"model": "claude-sonnet-4-5", "max_tokens": 10, "messages": HELLO}
    bound = bound_of(body | {"tools": [SEARCH | {"max_uses": 3}]}, MESSAGES, ANTHROPIC)
    usage = used(bound)
    assert (usage.input_tokens, usage.output_tokens, usage.server_tool_calls) == (4_000_000, 40, 3)
    assert bound_of(body | {"tools": [SEARCH]}, MESSAGES, ANTHROPIC).basis == (
        "unbounded: server tools without a limit"
    )


def test_max_tool_calls_bounds_fees_and_turns() -> None:
    kinds = ("web_search", "file_search", "code_interpreter")
    body = {
        "model": "gpt-4o",
        "input": "Hi",
        "max_output_tokens": 10,
        "max_tool_calls": 2,
        "tools": [{"type": kind} for kind in kinds],
    }
    bound = bound_of(body, RESPONSES)
    assert used(bound).server_tool_calls == 2
    assert used(bound).input_tokens == 3 * 128_000
    assert bound.units == {"file_searches": 2, "container_sessions": 1}
    assert bound_of(body | {"tools": [{"type": "image_generation"}]}, RESPONSES).usage is None


def test_a_search_of_gemini_is_paid_once_before_gemini_3_and_without_bound_since() -> None:
    body = {"contents": [{"parts": [{"text": "Hi"}]}], "tools": [{"googleSearch": {}}]}
    assert used(bound_of(body, GENERATE, GEMINI)).server_tool_calls == 1
    newer = GENERATE.replace("2.5", "3.8")
    assert bound_of(body, newer, GEMINI).usage is None


@pytest.mark.parametrize(
    "more",
    [
        {"web_search_options": {}, "plugins": [{"id": "web"}]},
        {"model": "o3-deep-research"},
        {"tools": "all"},
        {"tools": [{"type": "mcp", "server_url": "https://e.org"}]},
    ],
)
def test_work_whose_length_the_request_does_not_say_has_no_bound(more: Mapping[str, Any]) -> None:
    assert bound_of(chat(**more)).basis.startswith("unbounded: ")


def test_context_management_that_only_leaves_out_is_bounded() -> None:
    body = {"model": "claude-sonnet-4-5", "max_tokens": 9, "messages": HELLO}
    edits = {"context_management": {"edits": [{"type": "clear_tool_uses_20250919"}]}}
    compacts = {"context_management": {"edits": [{"type": "compact_20260112"}]}}
    assert bound_of(body | edits, MESSAGES, ANTHROPIC).usage is not None
    assert bound_of(body | compacts, MESSAGES, ANTHROPIC).usage is None


# -- output ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("more", "output", "basis"),
    [
        ({}, 100, "max_tokens"),
        ({"n": 3}, 300, "max_tokens"),
        ({"max_completion_tokens": 200}, 200, "max_tokens"),
        ({"max_tokens": None}, 16_384, "model maximum"),
        ({"max_tokens": None, "n": 2}, 32_768, "model maximum"),
        ({"max_tokens": 0}, 16_384, "model maximum"),
        ({"max_tokens": True}, 16_384, "model maximum"),
        ({"max_tokens": "100"}, 16_384, "model maximum"),
        ({"max_tokens": 10**400}, 128_000, "max_tokens"),
        ({"max_tokens": None, "model": "claude-3-haiku"}, 200_000, "context window"),
    ],
)
def test_the_output_is_bounded_by_the_request_else_by_the_model(
    more: Mapping[str, Any], output: int, basis: str
) -> None:
    ceilings = Ceilings({"openai/claude-3-haiku": Ceiling(200_000, None)})
    bound = bound_of({k: v for k, v in chat(**more).items() if v is not None}, ceilings=ceilings)
    assert (used(bound).output_tokens, bound.output_basis) == (output, basis)
    assert bound.capped is (basis == "max_tokens")


def test_a_model_that_nobody_lists_is_unbounded_unless_the_request_says_how_long() -> None:
    assert used(bound_of(chat(model="mine"))).output_tokens == 100
    assert bound_of({"model": "mine", "messages": HELLO}).usage is None


def test_candidates_prompts_and_best_of_multiply() -> None:
    config = {"maxOutputTokens": 50, "candidateCount": 4}
    body: dict[str, Any] = {"contents": [{"parts": [{"text": "Hi"}]}], "generationConfig": config}
    assert used(bound_of(body, GENERATE, GEMINI)).output_tokens == 200
    completions = {"model": "davinci-002", "prompt": ["a", "b"], "max_tokens": 10, "n": 2, "best_of": 5}
    assert used(bound_of(completions, "/v1/completions")).output_tokens == 100
    token_ids = {"model": "davinci-002", "prompt": [1, 2], "max_tokens": 10, "n": float("nan")}
    assert used(bound_of(token_ids, "/v1/completions")).output_tokens == 10


def test_thinking_lies_within_the_cap() -> None:
    thinking = {"type": "enabled", "budget_tokens": 3000}
    body = {"model": "claude-sonnet-4-5", "max_tokens": 4096, "messages": HELLO, "thinking": thinking}
    assert used(bound_of(body, MESSAGES, ANTHROPIC)).output_tokens == 4096


def test_predicted_tokens_that_are_rejected_are_output() -> None:
    prediction = {"type": "content", "content": "a" * 1000}
    assert used(bound_of(chat(prediction=prediction))).output_tokens >= 1100


def test_output_that_may_be_sound_may_be_nothing_else() -> None:
    spoken = chat(modalities=["text", "audio"], audio={"voice": "alloy", "format": "wav"})
    assert used(bound_of(spoken)).audio_output_tokens == 100
    drawn = {"contents": [{"parts": [{"text": "Hi"}]}], "generationConfig": {"responseModalities": ["IMAGE"]}}
    usage = used(bound_of(drawn, GENERATE, GEMINI))
    assert usage.image_output_tokens == usage.output_tokens


# -- other operations ------------------------------------------------------------------------------------


def test_embeddings_are_bounded_by_the_bytes_of_their_inputs() -> None:
    body = {"model": "text-embedding-3-small", "input": ["one", "two"]}
    bound = bound_of(body, "/v1/embeddings")
    assert size_of(body) < used(bound).input_tokens < size_of(body) + 200
    assert (used(bound).output_tokens, bound.basis) == (0, "bytes")
    with_media = body | {"input": [{"type": "image_url", "image_url": PICTURE}]}
    assert bound_of(with_media, "/v1/embeddings").basis == "unbounded: media"


def test_moderation_is_free() -> None:
    bound = bound_of({"input": "hello"}, "/v1/moderations")
    assert (used(bound).total_tokens, bound.basis) == (0, "free")
    assert hold_nano([], bound) == 0


@pytest.mark.parametrize(
    ("more", "tokens"),
    [
        ({"size": "1024x1024", "quality": "low"}, 272),
        ({"size": "1024x1024", "quality": "low", "n": 4}, 4 * 272),
        ({"size": "auto", "quality": "high"}, 6240),
        ({}, 6240),
        ({"quality": "low", "size": "1024x1024", "partial_images": 2}, 472),
    ],
)
def test_a_drawn_picture_has_the_most_tokens_of_its_size_and_quality(
    more: Mapping[str, Any], tokens: int
) -> None:
    usage = used(bound_of({"model": "gpt-image-1", "prompt": "a cat", **more}, "/v1/images/generations"))
    assert (usage.output_tokens, usage.image_output_tokens) == (tokens, tokens)


def test_pictures_billed_by_the_piece() -> None:
    usage = used(bound_of({"model": "dall-e-3", "prompt": "a cat", "n": "2"}, "/v1/images/generations"))
    assert (usage.images, usage.output_tokens) == (2, 0)
    assert bound_of({"model": "gpt-image-9", "prompt": "a cat"}, "/v1/images/generations").usage is None
    imagen = "/v1beta/models/imagen-4.0-generate-001:predict"
    assert used(bound_of({"instances": [{"prompt": "a cat"}], "parameters": {}}, imagen, GEMINI)).images == 4


def test_speech_has_exactly_its_characters() -> None:
    bound = bound_of({"model": "tts-1", "input": "héllo", "voice": "alloy"}, "/v1/audio/speech")
    assert (used(bound).characters, bound.basis) == (5, "characters")
    assert bound_of({"model": "tts-1", "input": 5}, "/v1/audio/speech").usage is None


def test_search_units_follow_from_the_documents() -> None:
    def units(documents: Any, query: str = "q") -> int | None:
        body = {"model": "rerank-v3.5", "query": query, "documents": documents}
        bound = bound_of(body, "/v2/rerank", "api.cohere.com")
        return None if bound.usage is None else bound.usage.search_units

    assert units(["short"]) == 1
    assert units(["short"] * 101) == 2
    assert units(["x" * 5000] * 100) == 11
    assert units([{"title": "t", "text": "x" * 5000}] * 100) == 11
    assert units(["short"], "x" * 5000) == 1
    assert units("none") is None


def test_others_bill_the_query_with_each_document() -> None:
    body = {"model": "rerank-2.5", "query": "q" * 100, "documents": ["d"] * 10}
    assert used(bound_of(body, "/v1/rerank", "api.voyageai.com")).input_tokens >= 1000


def test_seconds_of_video_stand_in_the_request() -> None:
    bound = bound_of({"model": "sora-2", "prompt": "a cat", "seconds": "8", "n": 2}, "/v1/videos")
    assert bound.units == {"video_seconds": 16}
    assert bound_of({"model": "sora-2", "prompt": "a cat"}, "/v1/videos").basis == "unbounded: video"


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("/v1/audio/transcriptions", "transcription"),
        ("/v1/batches", "batch"),
        ("/v1/fine_tuning/jobs", "fine_tuning"),
        ("/v1/threads/t/runs", "run"),
    ],
)
def test_what_cannot_be_bounded_says_so(path: str, why: str) -> None:
    assert bound_of({"model": "gpt-4o"}, path) == Bound(None, f"unbounded: {why}")


def test_a_body_that_is_not_seen_has_no_bound() -> None:
    request = wire(None)
    for body in ({}, chat()):
        assert upper_usage(call_of(request), body, "gpt-4o", CEILINGS).usage is None


def test_a_body_too_large_to_read_may_fill_the_context_window_but_not_bring_tools() -> None:
    request = wire(chat())
    raw = b" " * (MAX_PARSED_REQUEST + 1)
    bound = upper_usage(call_of(request), chat(), "gpt-4o", CEILINGS, raw=raw)
    assert (used(bound).input_tokens, bound.input_basis) == (128_000, "context window")
    for member in (b'"tools"', b'"plugins"'):
        assert upper_usage(call_of(request), chat(), "gpt-4o", CEILINGS, raw=raw + member).usage is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["type", "content", "parts", "text", "source", "image_url", "inlineData", "data", "tools"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)
MEMBERS = st.sampled_from(
    [
        *("messages", "input", "contents", "prompt", "system", "tools", "functions", "toolConfig", "models"),
        *("n", "best_of", "max_tokens", "max_tool_calls", "generationConfig", "modalities", "size", "query"),
        *("documents", "seconds", "conversation", "service_tier", "speed", "images", "parameters"),
    ]
)
PATHS = (
    *((OPENAI, f"/v1/{end}") for end in ("chat/completions", "responses", "completions", "embeddings")),
    *((OPENAI, f"/v1/{end}") for end in ("images/generations", "audio/speech", "videos")),
    (ANTHROPIC, MESSAGES),
    (GEMINI, GENERATE),
    ("api.cohere.com", "/v2/rerank"),
)


@given(st.dictionaries(MEMBERS, JSON, max_size=6), st.sampled_from(PATHS))
def test_no_request_makes_it_raise_or_negative(body: dict[str, Any], where: tuple[str, str]) -> None:
    host, path = where
    call = call_of(wire({}, path, host=host))
    bound = upper_usage(call, body, "gpt-4o", CEILINGS, raw=json.dumps(body).encode())
    if bound.usage is not None:
        assert all(value >= 0 for value in bound.usage.to_dict().values())
        hold = hold_nano(openai("gpt-4o"), bound)
        assert hold is None or hold >= 0


def test_nesting_without_end() -> None:
    deep: Any = "x"
    for _ in range(100_000):
        deep = [deep]
    call = call_of(wire({}, "/v2/rerank", host="api.cohere.com"))
    body = {"query": deep, "documents": ["d"]}
    assert upper_usage(call, body, "rerank-v3.5", CEILINGS, raw=b"{}").usage is None


# -- money -----------------------------------------------------------------------------------------------


def openai(model: str, tier: str | None = None) -> list[UnitPrices | None]:
    return [PRICES.find("openai", model, at=NOON, service_tier=tier)]


def priced(**rates: Any) -> UnitPrices:
    return UnitPrices(Price(rates.pop("input", 1), rates.pop("output", 2), **rates).rates())


def bound_with(cache_writes: int = 0, output_basis: str = "max_tokens", **usage: int) -> Bound:
    return Bound(NormalizedUsage(**usage), "bytes", output_basis, cache_writes=cache_writes)


def test_a_hold_is_the_cost_of_the_bound() -> None:
    bound = bound_with(input_tokens=1000, output_tokens=100)
    assert hold_nano([priced()], bound) == 1000 * 1000 + 100 * 2000


def test_holds_round_up() -> None:
    fine = UnitPrices({"input": 1, "output": 1})
    assert [fine.cost(NormalizedUsage(tokens)) for tokens in (1, 1400)] == [0, 1]
    assert [hold_nano([fine], bound_with(input_tokens=tokens)) for tokens in (1, 1400)] == [1, 2]


@given(st.integers(0, 10**6), st.integers(0, 10**6), st.integers(1, 10**7), st.integers(1, 10**7))
def test_no_part_of_the_bound_costs_more_than_the_hold(
    given_tokens: int, output: int, rate: int, cached: int
) -> None:
    unit = UnitPrices({"input": rate, "cached": min(rate, cached), "cache_write": rate * 2, "output": rate})
    bound = bound_with(1, input_tokens=given_tokens, output_tokens=output)
    hold = hold_nano([unit], bound)
    assert hold is not None
    for part in (0, given_tokens // 2, given_tokens):
        usage = NormalizedUsage(given_tokens, output, cached_tokens=given_tokens - part)
        usage.cache_write_tokens = part
        assert unit.cost(usage) <= hold


def test_cached_tokens_are_held_at_the_input_price_and_writes_at_the_price_of_writing() -> None:
    unit = priced(cached_per_mtok=0.1, cache_write_per_mtok=1.25, cache_write_1h_per_mtok=2)
    held = [hold_nano([unit], bound_with(writes, input_tokens=1000)) for writes in (0, 1, 2)]
    assert held == [1_000_000, 1_250_000, 2_000_000]


@pytest.mark.parametrize(("marker", "writes"), [({}, 0), ({"type": "ephemeral"}, 1), ({"ttl": "1h"}, 2)])
def test_what_may_be_written_to_the_cache_stands_in_the_request(
    marker: Mapping[str, Any], writes: int
) -> None:
    part = {"type": "text", "text": "Hi"} | ({"cache_control": marker} if marker else {})
    body = {"model": "claude-sonnet-4-5", "max_tokens": 9, "messages": [{"role": "user", "content": [part]}]}
    assert bound_of(body, MESSAGES, ANTHROPIC).cache_writes == writes


def test_openai_decides_itself_what_it_writes() -> None:
    assert bound_of(chat()).cache_writes == 1


def test_a_hard_budget_takes_the_dearest_model_and_any_other_the_one_asked() -> None:
    bound = bound_with(input_tokens=1000)
    both = [priced(), priced(input=3)]
    assert (hold_nano(both, bound), hold_nano(both, bound, hard=False)) == (3_000_000, 1_000_000)


def test_without_a_bound_or_a_price_there_is_no_hold() -> None:
    bound = bound_with(input_tokens=1)
    assert hold_nano([priced()], Bound(None, "unbounded: batch")) is None
    assert hold_nano([], bound) is None
    assert hold_nano([priced(), None], bound) is None
    assert hold_nano([priced()], bound_with(characters=5)) is None
    assert hold_nano([priced()], bound_with(images=5)) is None
    assert hold_nano([priced()], bound._replace(units={"video_seconds": 1})) is None


def test_what_is_not_hard_holds_the_learned_quantile_unless_the_request_names_a_cap() -> None:
    free = bound_with(output_basis="model maximum", output_tokens=16_384)
    assert hold_nano([priced()], free, hard=False, output_quantile=100) == 200_000
    assert hold_nano([priced()], free, output_quantile=100) == 32_768_000
    capped = bound_with(output_tokens=16_384)
    assert hold_nano([priced()], capped, hard=False, output_quantile=100) == 32_768_000


def test_parts_take_the_dearer_reading() -> None:
    unit = priced(
        audio_input_per_mtok=10, image_input_per_mtok=0.5, audio_output_per_mtok=20, reasoning_per_mtok=3
    )
    assert hold_nano([unit], bound_with(input_tokens=10, audio_input_tokens=10)) == 100_000
    assert hold_nano([unit], bound_with(input_tokens=10, image_input_tokens=10)) == 10_000
    assert hold_nano([unit], bound_with(output_tokens=10, audio_output_tokens=10)) == 200_000
    assert hold_nano([unit], bound_with(output_tokens=10)) == 30_000


@pytest.mark.parametrize(
    ("more", "tiers"),
    [
        ({}, (None,)),
        ({"service_tier": "default"}, (None,)),
        ({"service_tier": "flex"}, (None, "flex")),
        ({"service_tier": "auto"}, (None, "priority")),
        ({"speed": "fast"}, (None, "fast")),
        ({"service_tier": ["odd"]}, (None,)),
    ],
)
def test_tiers_that_the_call_may_be_billed_at(more: Mapping[str, Any], tiers: tuple[str | None, ...]) -> None:
    assert bound_of(chat(**more)).tiers == tiers


def test_other_models_that_may_answer_widen_the_bound() -> None:
    body = {"model": "gpt-4", "messages": HELLO, "models": ["gpt-4o", 5]}
    bound = bound_of(body)
    assert (bound.models, used(bound).output_tokens) == (("gpt-4o",), 16_384)
    assert bound_of(body | {"models": ["nobody's"]}).usage is None


# -- ceilings --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("provider", "model", "ceiling"),
    [
        ("openai", "gpt-4o", Ceiling(128_000, 16_384)),
        ("openai", "GPT-4o-2024-08-06", Ceiling(128_000, 16_384)),
        ("openai", "ft:gpt-4o-mini-2024-07-18:me::1", Ceiling(128_000, 16_384)),
        ("openai", "gpt-4o-turbo", NOTHING),
        ("openai", None, NOTHING),
        ("nobody", "gpt-4o", NOTHING),
        ("azure", "gpt-4o", Ceiling(128_000, 16_384)),
        ("aws", "us.anthropic.claude-opus-4-5-20251101-v1:0", Ceiling(200_000, 64_000)),
        ("google", "models/gemini-2.5-pro", Ceiling(1_048_576, 65_536)),
    ],
)
def test_a_model_is_found_by_its_name_or_the_one_that_it_dates(
    provider: str, model: str | None, ceiling: Ceiling
) -> None:
    ceilings = Ceilings()
    assert ceilings.find(provider, model) == ceilings.find(provider, model) == ceiling


def test_what_the_user_gives_counts_before_what_is_listed() -> None:
    assert Ceilings({"openai/GPT-4o": Ceiling(1, 2)}).find("openai", "gpt-4o-2024-08-06") == Ceiling(1, 2)


def test_ceilings_hold_a_bounded_number_of_names() -> None:
    ceilings = Ceilings()
    for number in range(2000):
        ceilings.find("openai", f"nobody-{number}-x")
    assert len(ceilings._held) <= 1024


def test_names_without_date_path_and_version() -> None:
    assert undated("us.anthropic.claude-3-haiku-20240307-v1:0") == "anthropic.claude-3-haiku"
    assert undated("publishers/google/models/Gemini-2.5-Pro-preview-05-06") == "gemini-2.5-pro"
    assert undated("gpt-4-0125-preview") == "gpt-4-0125"


def test_pictures_of_vendors() -> None:
    assert image_tokens("xai", "grok-4") == 1792
    assert image_tokens("groq", "llama-4") is None
    assert image_tokens("bedrock", "anthropic.claude-3-haiku-20240307-v1:0") == 4800
    assert drawn_tokens("gpt-image-1", "512x512", "high") is None


# -- recordings ------------------------------------------------------------------------------------------

TRAFFIC = Path(__file__).parents[3] / "shared" / "traffic"
EDITED = {
    "bedrock.invoke.200.plain.a0331722": "the recorded prompt was cut to 'very very long system prompt'",
    "bedrock.invoke.200.plain.f32c9514": "the recorded prompt was cut to 'very very long system prompt'",
}
FIGURES = (
    *("input_tokens", "output_tokens", "characters", "images", "search_units", "server_tool_calls"),
    *("audio_seconds", "pages"),
)


@pytest.mark.skipif(not TRAFFIC.is_dir(), reason="no recorded traffic beside the repository")
def test_no_recorded_answer_reports_more_than_its_bound() -> None:
    from ..vendors import test_recordings as recorded

    bounded, exceeded = 0, {}
    for name, recording in recorded.RECORDINGS.items():
        request = recorded.request_of(recording)
        call = CLASSIFIER.classify(request)
        event = recorded.metered(recording, [recorded.body_of(recording)]) if call is not None else None
        if call is None or event is None or event.usage is None or event.usage_source != "reported":
            continue
        body = read_request(request)
        bound = upper_usage(call, body, call.model or body.get("model"), CEILINGS, raw=request.body)
        if bound.usage is None:
            continue
        bounded += 1
        assert call.operation.name not in ("chat", "responses") or (
            bound.usage.input_tokens >= estimate.input_tokens(body)
        )
        over = [figure for figure in FIGURES if getattr(event.usage, figure) > getattr(bound.usage, figure)]
        if over:
            exceeded[name] = over
    assert exceeded.keys() == EDITED.keys()
    assert bounded > 350


def test_azure_deployments_are_found_by_their_name_only() -> None:
    path = "/openai/deployments/gpt-4o/chat/completions"
    assert used(bound_of({"messages": HELLO}, path, AZURE)).output_tokens == 16_384
    assert bound_of({"messages": HELLO}, path.replace("gpt-4o", "mine"), AZURE).usage is None
