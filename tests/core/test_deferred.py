"""Deferred work: begun by one call, asked for by any number of polls, counted once."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aden_transport.core.conclude import MAX_COUNTED_IDS
from aden_transport.events import MetricEvent
from aden_transport.pricing import Price, PriceBook
from aden_transport.vendors.base import Reading, epoch_seconds

from .kit import AZURE, EVENT_STREAM, NOON, OPENAI, Bench, headers, sse, wire

PRICES = PriceBook({"openai/gpt-4o": Price(1, 2)})
CREATED = 1_780_000_000
RESPONSE = {
    "id": "resp_1",
    "object": "response",
    "created_at": CREATED,
    "model": "gpt-4o",
    "background": True,
    "output": [],
    "status": "completed",
    "usage": {"input_tokens": 1000, "output_tokens": 100},
}
RUN = {
    "id": "run_1",
    "object": "thread.run",
    "created_at": CREATED,
    "model": "gpt-4o",
    "status": "completed",
    "usage": {"prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1100},
}
BATCH = {
    "id": "batch_1",
    "object": "batch",
    "created_at": CREATED,
    "model": "gpt-4o",
    "status": "completed",
    "request_counts": {"total": 3, "completed": 2, "failed": 1},
    "usage": {"input_tokens": 1000, "output_tokens": 100, "total_tokens": 1100},
}
JOB = {
    "id": "ftjob-1",
    "object": "fine_tuning.job",
    "created_at": CREATED,
    "model": "gpt-4o",
    "status": "succeeded",
    "trained_tokens": 5768,
}
VIDEO = {
    "id": "video_1",
    "object": "video",
    "created_at": CREATED,
    "model": "sora-2",
    "status": "completed",
    "seconds": "8",
    "size": "720x1280",
}
Kind = tuple[Mapping[str, Any], str, str, str]
KINDS: Mapping[str, Kind] = {
    # the object when it is over, where it is begun, where it is asked for, its status before
    "response": (RESPONSE, "/v1/responses", "/v1/responses/resp_1", "queued"),
    "run": (RUN, "/v1/threads/t/runs", "/v1/threads/t/runs/run_1", "in_progress"),
    "batch": (BATCH, "/v1/batches", "/v1/batches/batch_1", "validating"),
    "job": (JOB, "/v1/fine_tuning/jobs", "/v1/fine_tuning/jobs/ftjob-1", "running"),
    "video": (VIDEO, "/v1/videos", "/v1/videos/video_1", "queued"),
}
every_kind = pytest.mark.parametrize("kind", KINDS)
ZEROS = {"input_tokens": 0, "output_tokens": 0, "total_tokens": 0}


def asked(
    bench: Bench, path: str, answer: Any, *, method: str = "GET", host: str = OPENAI
) -> list[MetricEvent]:
    """The events that one request makes."""
    before = len(bench.events)
    exchange = bench.receiving(wire({} if method == "POST" else None, path, method=method, host=host))
    exchange.feed(json.dumps(answer).encode())
    exchange.receive_eof()
    return bench.events[before:]


@every_kind
def test_work_makes_one_event_when_it_begins_and_one_when_it_is_over(kind: str) -> None:
    over, begin, poll, before = KINDS[kind]
    bench = Bench(PRICES)
    (begun,) = asked(bench, begin, {**over, "status": before, "usage": None}, method="POST")
    assert (begun.usage, begun.usage_source, begun.cost_nano_usd, begun.error) == (None, None, None, None)
    assert begun.finish_reasons == ()
    assert asked(bench, poll, {**over, "status": before, "usage": None}) == []
    (ended,) = asked(bench, poll, over)
    assert (ended.response_id, ended.operation) == (over["id"], begun.operation)
    assert ended.finish_reasons == (over["status"],)
    if kind in ("response", "run", "batch"):
        assert ended.usage_source == "reported"
        assert (ended.input_tokens, ended.output_tokens) == (1000, 100)
    for _ in range(3):
        assert asked(bench, poll, over) == []


@every_kind
def test_work_that_is_over_at_once_is_counted_by_the_call_and_not_by_a_later_poll(kind: str) -> None:
    over, begin, poll, _ = KINDS[kind]
    bench = Bench(PRICES)
    (event,) = asked(bench, begin, over, method="POST")
    assert event.finish_reasons == (over["status"],)
    assert asked(bench, poll, over) == []


@every_kind
def test_work_of_another_process_is_counted_once(kind: str) -> None:
    over, _, poll, _ = KINDS[kind]
    bench = Bench(PRICES)
    assert len(asked(bench, poll, over)) == 1
    assert asked(bench, poll, over) == []


@every_kind
def test_a_call_that_repeats_the_figures_of_counted_work_has_none(kind: str) -> None:
    over, begin, poll, _ = KINDS[kind]
    bench = Bench(PRICES)
    asked(bench, poll, over)
    (again,) = asked(bench, begin, over, method="POST")
    assert (again.usage, again.usage_source, again.cost_nano_usd) == (None, None, None)


@every_kind
def test_every_process_gives_the_count_the_same_id(kind: str) -> None:
    over, begin, poll, before = KINDS[kind]
    here, there, third = Bench(PRICES), Bench(PRICES), Bench(PRICES)
    here.made = 77  # other random bits
    (begun,) = asked(here, begin, {**over, "status": before, "usage": None}, method="POST")
    (counted,) = asked(here, poll, over)
    (also,) = asked(there, poll, over)
    (at_once,) = asked(third, begin, over, method="POST")
    assert counted.event_id == also.event_id == at_once.event_id != begun.event_id
    assert counted.span_id != also.span_id
    assert len(counted.event_id) == len(begun.event_id) == 28
    assert int(counted.event_id[:12], 16) == CREATED * 1000
    assert counted.timestamp_s == NOON
    (other,) = asked(there, poll, {**over, "id": "another"})
    assert other.event_id != counted.event_id
    (elsewhere,) = asked(there, f"/openai{poll}", over, host=AZURE)
    assert elsewhere.event_id != counted.event_id


@pytest.mark.parametrize("created", [None, "yesterday", -1, 1e300, [], True])
def test_an_unreadable_time_of_creation_leaves_the_id_alone(created: Any) -> None:
    ids = {
        event.event_id
        for bench in (Bench(), Bench())
        for event in asked(bench, "/v1/responses/resp_1", {**RESPONSE, "created_at": created})
    }
    assert len(ids) == 1
    assert ids.pop().startswith("0" * 12)


@every_kind
def test_zeros_of_unfinished_work_are_no_usage(kind: str) -> None:
    over, begin, poll, before = KINDS[kind]
    unfinished = {**over, "status": before, "usage": ZEROS, "trained_tokens": 0}
    bench = Bench(PRICES)
    (begun,) = asked(bench, begin, unfinished, method="POST")
    assert begun.usage is None
    assert asked(bench, poll, unfinished) == []


@pytest.mark.parametrize(
    ("kind", "status", "usage"),
    [
        ("response", "cancelled", RESPONSE["usage"]),
        ("response", "failed", None),
        ("response", "incomplete", RESPONSE["usage"]),
        ("run", "cancelled", RUN["usage"]),
        ("run", "failed", None),
        ("run", "expired", RUN["usage"]),
        ("run", "incomplete", RUN["usage"]),
        ("batch", "expired", BATCH["usage"]),
        ("batch", "cancelled", BATCH["usage"]),
        ("batch", "failed", None),
        ("job", "cancelled", None),
        ("job", "failed", None),
        ("video", "failed", None),
    ],
)
def test_work_that_came_to_nothing_has_the_usage_that_is_reported(kind: str, status: str, usage: Any) -> None:
    over, _, poll, _ = KINDS[kind]
    bench = Bench(PRICES)
    (event,) = asked(bench, poll, {**over, "status": status, "usage": usage, "trained_tokens": None})
    assert event.finish_reasons == (status,)
    assert (event.usage is None) == (usage is None)
    assert asked(bench, poll, {**over, "status": status}) == []


def test_cancelling_tells_the_end_once() -> None:
    bench = Bench(PRICES)
    cancelled = {**RESPONSE, "status": "cancelled"}
    (event,) = asked(bench, "/v1/responses/resp_1/cancel", cancelled, method="POST")
    assert (event.finish_reasons, event.input_tokens) == (("cancelled",), 1000)
    assert asked(bench, "/v1/responses/resp_1", cancelled) == []
    assert (
        asked(bench, "/v1/threads/t/runs/run_1/cancel", {**RUN, "status": "cancelling"}, method="POST") == []
    )


@every_kind
def test_a_poll_that_fails_is_no_event(kind: str) -> None:
    _, _, poll, _ = KINDS[kind]
    bench = Bench()
    for status in (401, 404, 429, 500):
        exchange = bench.receiving(wire(None, poll, method="GET"), status)
        exchange.feed(b'{"error": {"message": "no"}}')
        exchange.receive_eof()
    bench.sent(wire(None, poll, method="GET")).fail(ConnectionResetError())
    broken = bench.receiving(wire(None, poll, method="GET"))
    broken.feed(b'{"id": "x", "stat')
    broken.fail(ConnectionResetError())
    assert bench.events == []


@pytest.mark.parametrize("ending", ["eof", "close", "fail"])
@every_kind
def test_a_poll_that_is_broken_off_leaves_the_count_to_the_next(kind: str, ending: str) -> None:
    over, _, poll, _ = KINDS[kind]
    whole = json.dumps({**over, "status": over["status"], "usage": over.get("usage")}).encode()
    bench = Bench(PRICES)
    for end in range(1, len(whole) - 1, 7):
        exchange = bench.receiving(wire(None, poll, method="GET"))
        exchange.feed(whole[:end])
        if ending == "fail":
            exchange.fail(ConnectionResetError())
        else:
            {"eof": exchange.receive_eof, "close": exchange.close}[ending]()
    assert bench.events == []
    assert len(asked(bench, poll, over)) == 1


def test_a_poll_is_never_asked_about() -> None:
    bench = Bench(has_hook=True)
    bench.sent(wire(None, "/v1/responses/resp_1", method="GET"))


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"id": None, "status": "completed", "background": True},
        {"id": 7, "status": "completed", "background": True},
        {"id": "", "status": "completed", "background": True},
        {"id": "r", "status": None, "background": True},
        {"id": "r", "status": 7, "background": True},
        {"object": "list", "data": [RESPONSE]},
    ],
)
@every_kind
def test_an_answer_that_tells_of_no_work_is_no_event(kind: str, answer: Any) -> None:
    assert asked(Bench(), KINDS[kind][2], answer) == []


# -- streams -------------------------------------------------------------------------------------------

RUN_BEGINS = sse({"object": "thread", "id": "t"}, {**RUN, "status": "queued", "usage": None})
RUN_STREAM = RUN_BEGINS + sse(
    {"object": "thread.run.step", "status": "in_progress", "usage": None},
    {"object": "thread.message.delta", "delta": {"content": [{"text": {"value": "Hi"}}]}},
    {
        "object": "thread.run.step",
        "status": "completed",
        "usage": {"prompt_tokens": 900, "completion_tokens": 9},
    },
    RUN,
    done=True,
)


def streamed(bench: Bench, path: str, body: Any, data: bytes, *, ending: str = "eof") -> list[MetricEvent]:
    before = len(bench.events)
    request = wire(body, path, method="GET" if body is None else "POST")
    exchange = bench.receiving(request, answer=headers(EVENT_STREAM))
    exchange.feed(data)
    exchange.close() if ending == "close" else exchange.receive_eof()
    return bench.events[before:]


@pytest.mark.parametrize("path", ["/v1/threads/runs", "/v1/threads/t/runs"])
def test_a_streamed_run_is_counted_once_although_its_steps_repeat_its_usage(path: str) -> None:
    bench = Bench(PRICES)
    (event,) = streamed(bench, path, {"stream": True}, RUN_STREAM)
    assert (event.stream, event.usage_source, event.faults) == (True, "reported", ())
    assert (event.input_tokens, event.output_tokens, event.cost_nano_usd) == (1000, 100, 1_200_000)
    assert event.operation_details == {"run_status": "completed", "run_steps": 1}
    assert asked(bench, "/v1/threads/t/runs/run_1", RUN) == []


def test_a_run_that_waits_for_tools_is_counted_when_their_answers_were_handed_in() -> None:
    waiting = {
        **RUN,
        "status": "requires_action",
        "usage": None,
        "required_action": {
            "submit_tool_outputs": {
                "tool_calls": [{"id": "c", "function": {"name": "look", "arguments": "{}"}}]
            }
        },
    }
    bench = Bench(PRICES)
    (first,) = streamed(bench, "/v1/threads/t/runs", {"stream": True}, sse(waiting, done=True))
    assert (first.usage, first.finish_reasons) == (None, ("requires_action",))
    assert [tool.name for tool in first.tool_calls or ()] == ["look"]
    assert asked(bench, "/v1/threads/t/runs/run_1", waiting) == []
    path = "/v1/threads/t/runs/run_1/submit_tool_outputs"
    (second,) = streamed(bench, path, {"stream": True}, RUN_STREAM)
    assert second.input_tokens == 1000
    assert asked(bench, "/v1/threads/t/runs/run_1", RUN) == []


@pytest.mark.parametrize(
    ("path", "body", "beginning", "poll", "over"),
    [
        (
            "/v1/responses",
            {"model": "gpt-4o", "background": True, "stream": True},
            sse(
                {
                    "type": "response.created",
                    "response": {**RESPONSE, "status": "in_progress", "usage": None},
                },
                {"type": "response.output_text.delta", "delta": "x" * 400},
            ),
            "/v1/responses/resp_1",
            RESPONSE,
        ),
        ("/v1/threads/t/runs", {"stream": True}, RUN_BEGINS, "/v1/threads/t/runs/run_1", RUN),
    ],
)
def test_an_abandoned_stream_of_work_is_not_estimated_but_counted_by_the_poll(
    path: str, body: Any, beginning: bytes, poll: str, over: Any
) -> None:
    bench = Bench(PRICES)
    (event,) = streamed(bench, path, body, beginning, ending="close")
    assert (event.usage, event.usage_source, event.faults) == (None, None, ("stream.abandoned",))
    (counted,) = asked(bench, poll, over)
    assert counted.cost_nano_usd == 1_200_000


def test_a_stream_that_is_resumed_is_counted_once_however_often() -> None:
    done = sse({"type": "response.completed", "response": RESPONSE})
    delta = sse({"type": "response.output_text.delta", "delta": "x" * 400})
    queued = sse({"type": "response.queued", "response": {**RESPONSE, "status": "queued", "usage": None}})
    bench = Bench(PRICES)
    path = "/v1/responses/resp_1?stream=true&starting_after=3"
    assert streamed(bench, path, None, queued + delta, ending="close") == []
    assert streamed(bench, path, None, delta, ending="close") == []
    assert len(streamed(bench, path, None, delta + done)) == 1
    assert streamed(bench, path, None, delta + done) == []
    body = {"model": "gpt-4o", "background": True, "stream": True}
    (again,) = streamed(bench, "/v1/responses", body, queued + done)
    assert again.usage is None


def test_a_stream_that_ends_with_an_error_tells_it() -> None:
    begun = {**RUN, "status": "in_progress", "usage": None}
    data = sse(begun) + b'event: error\ndata: {"message": "overloaded", "code": "server_error"}\n\n'
    (event,) = streamed(Bench(), "/v1/threads/t/runs", {"stream": True}, data)
    assert (event.error, event.usage) == ("overloaded", None)


def test_an_answer_too_large_to_keep_is_counted_too() -> None:
    large = {
        **RESPONSE,
        "output": [{"type": "message", "content": "x" * (2 << 20)}],
        "usage": RESPONSE["usage"],
    }
    bench = Bench(PRICES)
    (event,) = asked(bench, "/v1/responses/resp_1", large)
    assert (event.input_tokens, event.faults) == (1000, ("body.large",))
    (small,) = asked(Bench(PRICES), "/v1/responses/resp_1", RESPONSE)
    assert small.event_id == event.event_id
    assert asked(bench, "/v1/responses/resp_1", RESPONSE) == []


# -- once ----------------------------------------------------------------------------------------------


def test_meters_that_share_what_was_counted_count_once() -> None:
    counted: dict[tuple[str, str], object] = {}
    first, second = Bench(PRICES, counted_ids=counted), Bench(PRICES, counted_ids=counted)
    assert len(asked(first, "/v1/responses/resp_1", RESPONSE)) == 1
    assert asked(second, "/v1/responses/resp_1", RESPONSE) == []
    assert list(counted) == [("openai", "resp_1")]


def test_threads_that_poll_at_once_count_once() -> None:
    bench = Bench(PRICES)
    start = threading.Barrier(8)

    def poll() -> None:
        exchange = bench.receiving(wire(None, "/v1/responses/resp_1", method="GET"))
        exchange.feed(json.dumps(RESPONSE).encode())
        start.wait(10)
        exchange.receive_eof()

    threads = [threading.Thread(target=poll) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(bench.events) == 1


def test_what_was_counted_is_remembered_in_bounds() -> None:
    bench = Bench()
    seen = bench.settings.counted_ids
    seen.update(((("openai", f"r{n}")), None) for n in range(MAX_COUNTED_IDS))
    assert len(asked(bench, "/v1/responses/resp_1", RESPONSE)) == 1
    assert len(seen) == MAX_COUNTED_IDS // 2 + 1
    assert asked(bench, "/v1/responses/resp_1", RESPONSE) == []


@given(
    order=st.lists(
        st.tuples(st.sampled_from(sorted(KINDS)), st.booleans(), st.booleans()), min_size=1, max_size=24
    )
)
def test_whatever_the_order_of_calls_and_polls_each_work_is_counted_once(
    order: list[tuple[str, bool, bool]],
) -> None:
    bench = Bench(PRICES)
    for kind, is_poll, is_over in order:
        over, begin, poll, before = KINDS[kind]
        answer = over if is_over else {**over, "status": before, "usage": None}
        asked(bench, poll if is_poll else begin, answer, method="GET" if is_poll else "POST")
    finished = {kind for kind, _, is_over in order if is_over}
    ended = [
        event.response_id for event in bench.events if event.event_id.startswith(f"{CREATED * 1000:012x}")
    ]
    assert sorted(filter(None, ended)) == sorted(KINDS[kind][0]["id"] for kind in finished)
    used = [event.response_id for event in bench.events if event.usage is not None]
    assert len(used) == len(set(used)) == len(finished & {"response", "run", "batch"})


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        (1_780_000_000, 1_780_000_000.0),
        (1.5, 1.5),
        ("2024-11-02T11:24:53Z", 1_730_546_693.0),
        ("2024-11-02T12:24:53.123456789+01:00", 1_730_546_693.123456),
        ("2024-11-02T11:24:53", 1_730_546_693.0),
        ("", 0.0),
        ("soon", 0.0),
        ("9" * 100, 0.0),
        (None, 0.0),
        (True, 0.0),
        (-5, 0.0),
        (float("nan"), 0.0),
        (float("inf"), 0.0),
        (10**30, 0.0),
    ],
)
def test_times_of_vendors_are_seconds_since_the_epoch(said: Any, seconds: float) -> None:
    assert epoch_seconds(said) == seconds


def test_ids_of_work_are_cut() -> None:
    reading = Reading()
    reading.tell_of_work("x" * 10_000, None, over=True)
    assert reading.work is not None
    assert len(reading.work.id) == 256
