"""When events are sent, in what batches, and what becomes of them."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable

import pytest

from aden_transport.control.agent.delivery import (
    FIRST_PAUSE_S,
    LONGEST_PAUSE_S,
    TRIES,
    Delivery,
    Event,
    Post,
    Reply,
    encodings_of,
    retry_after_s,
)
from aden_transport.control.agent.shapes import encoders, wire_event
from aden_transport.ledger.base import Sending
from aden_transport.ledger.outbox import Row

OK = Reply(200)


def delivery(most: int = 1000, most_bytes: int = 1 << 20, random: float = 0.5) -> Delivery:
    return Delivery(random=lambda: random, encoders={}, most=most, most_bytes=most_bytes)


def loaded(count: int, size: int = 10, **options: int) -> Delivery:
    each = delivery(**options)
    each.loading()
    each.load(events(count, size), 0.0, more=False)
    return each


def events(count: int, size: int = 10) -> list[Event]:
    return [Event(number, b'"' + str(number).encode().ljust(size, b"x") + b'"') for number in range(count)]


def sent(post: Post | None) -> list[int]:
    return [] if post is None else [event.number for event in post.events]


def run(each: Delivery, server: Callable[[list[int]], Reply], now: float = 0.0) -> list[list[int]]:
    """What the server is sent until nothing is left, waiting as long as is asked."""
    said: list[list[int]] = []
    for _ in range(1000):
        if not each.is_loaded:
            return said
        now = max(now, each.wake_at())
        post = each.due(now)
        assert post is not None
        said.append(sent(post))
        each.take(server(said[-1]), now)
    raise AssertionError("it goes on for ever")


# -- when -------------------------------------------------------------------------------------------


def test_events_wait_for_a_second_or_for_ten() -> None:
    each = loaded(0)
    assert not each.wants(0.5)
    assert each.added(1, 0.5)
    assert each.wake_at() == 1.5
    assert not each.added(8, 0.6)
    assert not each.wants(1.4)
    assert each.added(1, 0.7)
    assert each.wants(0.7)


def test_at_first_and_from_time_to_time_it_is_looked_for_what_others_left() -> None:
    each = delivery()
    assert each.wants(0.0)
    each.loading()
    each.load([], 0.0, more=False)
    assert each.wake_at() == 10.0
    assert each.is_done


def test_what_is_added_while_rows_are_read_is_looked_for() -> None:
    each = delivery()
    each.loading()
    assert not each.is_done
    each.added(1, 5.0)
    each.load([], 5.0, more=False)
    assert not each.is_done
    assert each.wake_at() == 6.0


def test_at_the_end_nothing_waits() -> None:
    each = loaded(3)
    each.due(0.0)
    each.take(Reply(503), 0.0)
    assert each.due(0.0) is None
    each.end()
    assert sent(each.due(0.0)) == [0, 1, 2]
    each.take(OK, 0.0)
    assert each.wants(0.0)


def test_one_request_at_a_time() -> None:
    each = loaded(3, most=1)
    assert sent(each.due(0.0)) == [0]
    assert each.due(0.0) is None
    each.take(OK, 0.0)
    assert sent(each.due(0.0)) == [1]


def test_an_answer_that_nobody_waits_for_changes_nothing() -> None:
    each = loaded(1)
    each.take(OK, 0.0)
    assert each.taken_out().sent == []


# -- batches ----------------------------------------------------------------------------------------


def test_batches_are_bounded_by_events_and_by_bytes() -> None:
    assert run(loaded(5, most=2), lambda _: OK) == [[0, 1], [2, 3], [4]]
    assert run(loaded(5, size=100, most_bytes=300), lambda _: OK) == [[0, 1], [2, 3], [4]]
    assert run(loaded(2, size=1000, most_bytes=300), lambda _: OK) == [[0], [1]]


def test_a_body_is_the_events_of_aden_s_protocol() -> None:
    post = loaded(2).due(0.0)
    assert post is not None
    assert post.path == "/v1/control/events"
    assert json.loads(post.body) == {"events": ["0xxxxxxxxx", "1xxxxxxxxx"]}
    assert post.headers == {"content-type": "application/json"}


def test_a_large_body_is_compressed_as_the_server_accepts() -> None:
    each = Delivery(random=lambda: 0.5, encoders={"zstd": bytes.upper, "gzip": gzip.compress})
    each.load(events(3, 1000), 0.0, more=False)
    post = each.due(0.0)
    assert post is not None
    assert "content-encoding" not in post.headers
    each.take(Reply(503, encodings=frozenset({"gzip"})), 0.0)
    post = each.due(60.0)
    assert post is not None
    assert post.headers["content-encoding"] == "gzip"
    assert len(json.loads(gzip.decompress(post.body))["events"]) == 3
    each.take(Reply(503, encodings=frozenset({"zstd", "gzip"})), 60.0)
    post = each.due(120.0)
    assert post is not None
    assert post.headers["content-encoding"] == "zstd"
    each.take(Reply(415), 120.0)
    post = each.due(120.0)
    assert post is not None
    assert post.headers["content-encoding"] == "gzip"
    each.take(Reply(415), 120.0)
    post = each.due(120.0)
    assert post is not None
    assert "content-encoding" not in post.headers
    each.take(OK, 120.0)
    assert each.taken_out().sent == [0, 1, 2]


def test_what_this_interpreter_can_compress_with_can_be_read_again() -> None:
    assert gzip.decompress(encoders()["gzip"](b"events")) == b"events"


# -- what becomes of them ---------------------------------------------------------------------------


def test_what_the_server_has_is_forgotten() -> None:
    each = loaded(3)
    each.due(0.0)
    each.take(Reply(204), 0.0)
    assert each.taken_out().sent == [0, 1, 2]
    assert each.taken_out().sent == []
    assert each.is_done


@pytest.mark.parametrize("status", [0, 301, 401, 403, 404, 408, 429, 502, 503, 504, 507])
def test_an_answer_that_says_nothing_about_the_events_lets_them_wait(status: int) -> None:
    tries = 0

    def server(_: list[int]) -> Reply:
        nonlocal tries
        tries += 1
        return Reply(status) if tries < 50 else OK

    each = loaded(3)
    posts = run(each, server)
    assert status == 0 or posts == [[0, 1, 2]] * 50
    taken = each.taken_out()
    assert (taken.sent, taken.refused) == ([0, 1, 2], [])


def test_what_does_not_get_through_whole_is_sent_in_parts() -> None:
    each = loaded(100)
    run(each, lambda numbers: OK if len(numbers) < 10 else Reply(0))
    taken = each.taken_out()
    assert (sorted(taken.sent), taken.refused) == (list(range(100)), [])


def test_pauses_grow_with_full_jitter_up_to_a_bound() -> None:
    for random in (0.0, 0.25, 1.0):
        each = delivery(random=random)
        each.load(events(1), 0.0, more=False)
        pauses, now = [], 0.0
        for _ in range(20):
            assert each.due(now) is not None
            each.take(Reply(503), now)
            pauses.append(each.wake_at() - now)
            now = each.wake_at()
        assert pauses[:3] == pytest.approx([random * FIRST_PAUSE_S * 2**n for n in range(3)])
        assert pauses[-1] == pytest.approx(random * LONGEST_PAUSE_S)


def test_the_server_may_ask_for_a_longer_pause() -> None:
    each = loaded(1)
    each.due(0.0)
    each.take(Reply(429, retry_after_s("20")), 0.0)
    assert 20.0 < each.wake_at() <= 20.5
    each = loaded(1)
    each.due(0.0)
    each.take(Reply(429, retry_after_s("99999999999")), 0.0)
    assert each.wake_at() < 301.0
    assert retry_after_s("Wed, 21 Oct 2026 07:28:00 GMT") is None


def test_after_a_success_there_are_no_pauses() -> None:
    each = loaded(2, most=1)
    each.due(0.0)
    each.take(Reply(503), 0.0)
    assert each.due(30.0) is not None
    each.take(OK, 30.0)
    assert sent(each.due(30.0)) == [1]


@pytest.mark.parametrize("status", [400, 409, 413, 415, 422])
@pytest.mark.parametrize("bad", [0, 41, 99])
def test_a_bad_event_is_found_and_given_up_alone(status: int, bad: int) -> None:
    each = loaded(100)
    posts = run(each, lambda numbers: Reply(status) if bad in numbers else OK)
    taken = each.taken_out()
    assert taken.refused == [bad]
    assert sorted(taken.sent) == [number for number in range(100) if number != bad]
    assert len(posts) <= 2 * 8


def test_several_bad_events_are_found() -> None:
    each = loaded(64)
    run(each, lambda numbers: Reply(400) if {3, 4, 60} & set(numbers) else OK)
    assert sorted(each.taken_out().refused) == [3, 4, 60]


def test_an_event_that_makes_a_server_fail_is_given_up_where_others_are_taken() -> None:
    each = loaded(8)
    run(each, lambda numbers: Reply(500) if 5 in numbers else OK)
    taken = each.taken_out()
    assert taken.refused == [5]
    assert sorted(taken.sent) == [0, 1, 2, 3, 4, 6, 7]


@pytest.mark.parametrize("count", [1, 8])
def test_a_server_that_fails_on_everything_has_no_event_given_up(count: int) -> None:
    tries = 0

    def server(_: list[int]) -> Reply:
        nonlocal tries
        tries += 1
        return Reply(500) if tries < 30 * TRIES else OK

    each = loaded(count)
    run(each, server)
    taken = each.taken_out()
    assert taken.refused == []
    assert sorted(taken.sent) == list(range(count))


def test_what_is_dropped_is_loaded_anew() -> None:
    each = loaded(2)
    each.due(0.0)
    each.drop()
    assert not each.is_loaded
    assert each.wants(0.0)


def test_what_a_server_accepts_is_read_from_its_answer() -> None:
    assert encodings_of(None) is None
    assert encodings_of("zstd, GZIP;q=0.5, br;q=0") == frozenset({"zstd", "gzip"})


# -- shapes -----------------------------------------------------------------------------------------

TOLD = {
    "event_id": "e1",
    "trace_id": "t",
    "span_id": "s",
    "provider": "openai",
    "operation": "chat",
    "request_model": "gpt-4o",
    "stream": False,
    "timestamp_s": 1.5,
    "usage": {"input_tokens": 12, "output_tokens": 5, "total_tokens": 17, "cached_tokens": 3},
    "cost_nano_usd": 70,
    "agent_name": "writer",
}


def test_an_event_is_aden_s_with_its_id() -> None:
    told = wire_event(Row(1, "e1", Sending("", "i", True), TOLD))
    data = told.pop("data")
    assert told == {
        "event_type": "metric",
        "event_id": "e1",
        "timestamp": data["timestamp"],
        "sdk_instance_id": "i",
        "agent_name": "writer",
        "settled": True,
    }
    flat = ("input_tokens", "output_tokens", "total_tokens", "cached_tokens", "reasoning_tokens")
    assert [data[name] for name in flat] == [12, 5, 17, 3, 0]
    assert (data["model"], data["provider"], data["cost_nano_usd"]) == ("gpt-4o", "openai", 70)


def test_the_event_of_a_call_whose_process_died_says_so() -> None:
    event = {name: TOLD[name] for name in TOLD if name not in ("usage", "cost_nano_usd", "request_model")}
    told = wire_event(
        Row(1, "e1", Sending("", "i"), {"event": event, "models": ["a", "b"], "hold": 7, "candidate": 1})
    )
    assert "settled" not in told
    assert told["data"]["charged_nano_usd"] == 7
    assert told["data"]["billing"] == "unknown"


def test_what_is_an_event_of_the_protocol_goes_as_it_is() -> None:
    told = {"event_type": "error", "event_id": "e1"}
    assert wire_event(Row(1, "e1", Sending("", "i"), told)) == told
