"""What one call costs, and who says so."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from aden_transport.core.hook_context import context_of
from aden_transport.core.wire import WireRequest
from aden_transport.events import MetricEvent, NormalizedUsage
from aden_transport.pricing import Price, PriceBook, has_rare_units

from .kit import EVENT_STREAM, Bench, headers, sse, wire

HELLO = {"model": "openai/gpt-4o", "messages": [{"role": "user", "content": "x" * 40}]}
USAGE = {"prompt_tokens": 1000, "completion_tokens": 100, "cost": 0.0041}
ANSWER = {"id": "c", "model": "openai/gpt-4o", "choices": [], "usage": USAGE}
IMAGES = "/v1/images/generations"


def routed(body: Any) -> WireRequest:
    return wire(body, "/api/v1/chat/completions", host="openrouter.ai")


def stated(prices: PriceBook | None = None, answer: Any = ANSWER, status: int = 200) -> MetricEvent:
    return Bench(prices).answered(routed(HELLO), answer, status)


def delta(text: str = "", **more: Any) -> dict[str, Any]:
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": None}
    return {"id": "c", "model": "openai/gpt-4o", "choices": [choice], **more}


def streamed(*events: Any, done: bool) -> MetricEvent:
    bench = Bench(stream_usage=False)
    exchange = bench.receiving(routed({**HELLO, "stream": True}), answer=headers(EVENT_STREAM))
    exchange.feed(sse(*events, done=done))
    (exchange.receive_eof if done else exchange.close)()
    return bench.event


# -- a cost that the vendor states ------------------------------------------------------------------------


def test_a_stated_cost_goes_before_the_price_list() -> None:
    event = stated()
    assert (event.cost_usd, event.price_source) == (Decimal("0.0041"), "stated by openrouter")


def test_a_price_of_the_user_goes_before_a_stated_cost() -> None:
    event = stated(PriceBook({"openrouter/openai/gpt-4o": Price(1, 2)}))
    assert (event.cost_usd, event.price_source) == (Decimal("0.0012"), "override")


def test_a_stated_cost_of_a_model_that_nobody_lists_counts() -> None:
    event = stated(answer={**ANSWER, "model": "stealth/unheard-of"})
    assert (event.cost_usd, event.price_source) == (Decimal("0.0041"), "stated by openrouter")


def test_free_is_0_and_not_unknown() -> None:
    event = stated(answer={**ANSWER, "usage": {**USAGE, "cost": 0}})
    assert (event.cost_nano_usd, event.price_source) == (0, "stated by openrouter")


@pytest.mark.parametrize("cost", [-1, float("nan"), 1e300, "0.1", True, [1], {}])
def test_what_is_no_cost_is_a_fault_and_the_price_list_counts(cost: Any) -> None:
    event = stated(answer={**ANSWER, "usage": {**USAGE, "cost": cost}})
    assert event.cost_usd == Decimal("0.0035")
    assert event.price_source == "genai-prices 0.2.3 openrouter/openai/gpt-4o"


def test_a_stated_cost_holds_when_the_whole_answer_was_seen() -> None:
    event = streamed(delta("Hi"), delta(usage=USAGE), done=True)
    assert (event.usage_source, event.cost_usd) == ("reported", Decimal("0.0041"))
    assert event.price_source == "stated by openrouter"


def test_a_cost_stated_in_an_answer_that_was_cut_is_not_the_call_s() -> None:
    event = streamed(delta("Hi", usage={**USAGE, "cost": 0.00001}), done=False)
    assert event.usage_source == "estimated"
    assert (event.cost_usd, event.price_source) == (
        Decimal("0.0035"),
        "genai-prices 0.2.3 openrouter/openai/gpt-4o",
    )


def test_an_error_without_a_cost_costs_what_nobody_knows() -> None:
    event = stated(answer={"error": {"message": "no", "code": 402}}, status=402)
    assert (event.cost_nano_usd, event.price_source) == (None, None)


# -- forms, tiers, units --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "answered", "usd"),
    [
        ({"model": "dall-e-3", "size": "1024x1792", "quality": "hd"}, 1, "0.12"),
        ({"model": "dall-e-3"}, 1, "0.04"),
        ({"model": "dall-e-2", "size": "256x256", "n": 3}, 3, "0.048"),
        ({"model": "dall-e-2", "size": "12x12"}, 1, None),
        ({"size": "256x256"}, 1, None),
    ],
)
def test_an_image_costs_by_the_form_that_was_asked_for(body: Any, answered: int, usd: str | None) -> None:
    event = Bench().answered(wire({"prompt": "x", **body}, IMAGES), {"data": [{}] * answered})
    assert event.cost_usd == (None if usd is None else Decimal(usd))
    assert event.price_source is None or event.price_source.startswith("aden overrides 2025-09-01 https://")


def test_images_by_token_cost_their_tokens() -> None:
    usage = {"input_tokens": 10, "output_tokens": 100}
    answer = {"data": [{}], "size": "1024x1024", "quality": "low", "usage": usage}
    event = Bench().answered(wire({"model": "gpt-image-1", "prompt": "x"}, IMAGES), answer)
    assert (event.cost_nano_usd, event.faults) == (10 * 5_000 + 100 * 40_000, ())
    assert event.price_source == "genai-prices 0.2.3 openai/gpt-image-1"


@pytest.mark.parametrize(
    ("tier", "nano", "source"),
    [
        ("default", 3_500_000, "openai/gpt-4o"),
        ("priority", 5_950_000, "openai/gpt-4o priority"),
        ("scale", 3_500_000, "openai/gpt-4o (standard: no scale price)"),
    ],
)
def test_the_tier_that_answered_has_its_price(tier: str, nano: int, source: str) -> None:
    usage = {"prompt_tokens": 1000, "completion_tokens": 100}
    answer = {"id": "c", "model": "gpt-4o", "choices": [], "usage": usage, "service_tier": tier}
    bench = Bench()
    bench.settings.wall = lambda: datetime(2026, 11, 22, tzinfo=UTC).timestamp()
    event = bench.answered(wire({"model": "gpt-4o", "messages": []}), answer)
    assert (event.cost_nano_usd, event.price_source) == (nano, f"genai-prices 0.2.3 {source}")


def over(path: str, answer: Any) -> MetricEvent:
    """The event of work that a poll finds ended."""
    bench = Bench()
    bench.settings.wall = lambda: datetime(2026, 11, 22, tzinfo=UTC).timestamp()
    exchange = bench.receiving(wire(None, path, method="GET"))
    exchange.feed(json.dumps(answer).encode())
    exchange.receive_eof()
    return bench.event


def test_a_batch_has_the_batch_price() -> None:
    usage = {"input_tokens": 1000, "output_tokens": 100}
    counts = {"total": 1, "completed": 1, "failed": 0}
    batch = {"id": "batch_1", "object": "batch", "status": "completed", "model": "gpt-4o-2024-08-06"}
    event = over("/v1/batches/batch_1", {**batch, "usage": usage, "request_counts": counts})
    assert (event.cost_nano_usd, event.price_source) == (
        1_750_000,
        "genai-prices 0.2.3 openai/gpt-4o batch",
    )


def test_training_costs_the_tokens_trained_on() -> None:
    job = {"id": "ftjob-1", "object": "fine_tuning.job", "model": "gpt-4o-mini-2024-07-18"}
    event = over("/v1/fine_tuning/jobs/ftjob-1", {**job, "status": "succeeded", "trained_tokens": 2_000_000})
    assert event.cost_usd == Decimal(6)
    assert event.price_source == (
        "genai-prices 0.2.3 openai/gpt-4o-mini; "
        "aden overrides 2026-11-22 https://developers.openai.com/api/docs/pricing"
    )


def test_a_unit_without_a_price_is_named_and_the_cost_is_unknown() -> None:
    job = {"id": "ftjob-2", "object": "fine_tuning.job", "model": "o4-mini-2025-04-16"}
    event = over("/v1/fine_tuning/jobs/ftjob-2", {**job, "status": "succeeded", "trained_tokens": 2_000_000})
    assert (event.cost_nano_usd, event.price_source) == (None, None)
    assert event.faults == ("unpriced.trained_tokens",)


def test_a_video_costs_its_seconds_in_its_size() -> None:
    video = {"id": "video_1", "object": "video", "model": "sora-2-pro", "status": "completed"}
    event = over("/v1/videos/video_1", {**video, "seconds": "8", "size": "1792x1024"})
    assert event.cost_usd == Decimal(4)
    assert event.price_source is not None
    assert event.price_source.endswith(" openai/sora-2-pro 1792x1024")


def test_searches_in_files_cost_beside_the_tokens() -> None:
    item = {"type": "file_search_call", "id": "fs_1", "status": "completed", "queries": []}
    usage = {"input_tokens": 1000, "output_tokens": 100}
    answer = {"id": "r", "model": "gpt-4o", "status": "completed", "output": [item, item], "usage": usage}
    event = Bench().answered(wire({"model": "gpt-4o", "input": "x"}, "/v1/responses"), answer)
    assert (event.cost_nano_usd, event.faults) == (3_500_000 + 2 * 2_500_000, ())


def test_who_answers_for_a_router_has_its_own_price() -> None:
    request = wire(
        {"model": "deepseek-ai/DeepSeek-V3", "messages": []},
        "/v1/chat/completions",
        host="router.huggingface.co",
    )
    usage = {"prompt_tokens": 1000, "completion_tokens": 100}
    answer = {"id": "c", "model": "deepseek-ai/DeepSeek-V3", "choices": [], "usage": usage}
    event = Bench().answered(request, answer, answer=headers(x_inference_provider="together"))
    assert event.price_source == "genai-prices 0.2.3 huggingface_together/deepseek-ai/DeepSeek-V3"
    unsaid = Bench().answered(request, answer)
    assert (unsaid.cost_nano_usd, unsaid.price_source) == (None, None)


def test_only_what_is_not_a_token_is_rare() -> None:
    assert not has_rare_units(NormalizedUsage(1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1))
    for name in ("characters", "audio_seconds", "images", "pages", "search_units", "server_tool_calls"):
        assert has_rare_units(NormalizedUsage(**{name: 1}))


# -- beforehand -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("request_", "usd"),
    [
        (wire({"model": "dall-e-3", "prompt": "x" * 400, "quality": "hd", "n": 1}, IMAGES), "0.08"),
        (wire({"model": "dall-e-2", "prompt": "x", "n": 5}, IMAGES), "0.1"),
        (wire({"model": "dall-e-2", "prompt": "x", "size": "9x9"}, IMAGES), None),
        (wire({"model": "tts-1", "input": "x" * 2_000}, "/v1/audio/speech"), "0.03"),
        (wire({"model": "gpt-4o-mini-tts", "input": "x" * 2_000}, "/v1/audio/speech"), None),
        (wire(None, "/v1/audio/transcriptions", form={"model": "whisper-1"}), None),
        (wire({"model": "sora-2", "prompt": "x"}), None),
    ],
)
def test_what_a_call_may_cost_is_told_in_the_unit_that_it_is_billed_by(
    request_: WireRequest, usd: str | None
) -> None:
    expected = None if usd is None else Decimal(usd)
    assert context_of(Bench().open(request_)).estimated_cost_usd == expected


def test_what_an_embedding_may_cost_is_its_input() -> None:
    request = wire({"model": "text-embedding-3-small", "input": "x y " * 500}, "/v1/embeddings")
    cost = context_of(Bench().open(request)).estimated_cost_usd
    assert cost is not None
    assert Decimal(0) < cost < Decimal("0.001")
