"""What events add up to."""

from __future__ import annotations

import json
from typing import Any

import pytest

from aden_transport import Decision, MetricEvent, NormalizedUsage, Report, ShadowDecision, reports, summarize
from aden_transport.reports import OTHERS, Deeds, Sums

AT = 1_790_000_000.0
number = iter(range(10**9))


def event(**given: Any) -> MetricEvent:
    given.setdefault("event_id", f"{next(number):028x}")
    given.setdefault("call_id", given["event_id"])
    given.setdefault("usage", NormalizedUsage(100, 50))
    given.setdefault("cost_nano_usd", 1_000_000)
    return MetricEvent(
        trace_id="t",
        span_id="s",
        provider="openai",
        operation="chat",
        request_model="gpt-4o",
        stream=False,
        timestamp_s=AT,
        **given,
    )


def test_calls_tokens_and_cost_are_added_up_by_model_and_attribution() -> None:
    report = summarize(
        [
            event(metadata={"tenant": "acme", "customer": "c1"}),
            event(metadata={"tenant": "acme"}, agent_name="writer", response_model="gpt-4o-mini"),
            event(attempt=1, cost_nano_usd=None),
            event(status_code=500, error_type="server_error", usage=None, cost_nano_usd=None),
        ]
    )
    assert report.total == Sums(3, 4, 300, 150, 2_000_000, unpriced=1, failed=1)
    assert report.models["openai", "gpt-4o"].attempts == 3
    assert report.models["openai", "gpt-4o-mini"] == Sums(1, 1, 100, 50, 1_000_000)
    assert {key: sums.calls for key, sums in report.attribution.items()} == {
        ("tenant", "acme"): 2,
        ("customer", "c1"): 1,
        ("agent", "writer"): 1,
    }
    assert report.first == report.last == "2026-09-21T14:13:20+00:00"


def test_what_was_done_and_would_have_been_is_told_by_who_demands_it() -> None:
    block = Decision("block", "no", "policy", budget_id="global")
    degrade = Decision("degrade", source="policy", to_model="m", budget_id="b")
    told = Decision("alert", source="policy", shadow=ShadowDecision("block", budget_id="b", saved_nano_usd=5))
    waits = Decision("allow", shadow=ShadowDecision("throttle", delay_s=2.0, saved_nano_usd=0))
    report = summarize(
        [
            event(decision=block, cost_nano_usd=None, usage=None),
            event(decision=degrade, throttle_ms=1500.0, saved_nano_usd=7),
            event(decision=Decision("block", "no", "hook"), cost_nano_usd=None, usage=None),
            event(decision=told),
            event(decision=told, call_id="same"),
            event(decision=told, call_id="same", attempt=1),
            event(decision=waits),
            event(decision=Decision("allow", shadow=ShadowDecision("degrade", budget_id="b"))),
        ]
    )
    assert report.done == {
        ("global", "block"): Deeds(1, 0, 1, 0.0),
        ("b", "degrade"): Deeds(1, 7, 0, 1500.0),
        ("a hook", "block"): Deeds(1, 0, 1, 0.0),
        ("a rule", "alert"): Deeds(2, 0, 0, 0.0),
    }
    assert report.would == {
        ("b", "block"): Deeds(2, 15, 0, 0.0),
        ("a rule", "throttle"): Deeds(1, 0, 0, 2000.0),
        ("b", "degrade"): Deeds(1, 0, 1, 0.0),
    }
    assert report.total.failed == 0


def test_what_ledgers_took_beyond_the_known_cost_is_unconfirmed() -> None:
    unseen: Any = {"usage": None, "cost_nano_usd": None, "billing": "unknown"}
    report = summarize(
        [
            event(charged_nano_usd=1_000_000, metadata={"tenant": "acme"}),
            event(charged_nano_usd=30_000_001, metadata={"tenant": "acme"}, **unseen),
            event(charged_nano_usd=1_250_000, usage_source="estimated", response_model="gpt-4o-mini"),
            event(charged_nano_usd=0, usage=None, cost_nano_usd=None, status_code=500),
            event(**unseen),
            event(),
        ]
    )
    assert (report.total.charged_nano_usd, report.total.unconfirmed_nano_usd) == (32_250_001, 30_250_001)
    assert report.models["openai", "gpt-4o"].unconfirmed_nano_usd == 30_000_001
    assert report.models["openai", "gpt-4o-mini"].unconfirmed_nano_usd == 250_000
    assert report.attribution["tenant", "acme"].unconfirmed_nano_usd == 30_000_001
    total = report.to_dict()["total"]
    assert (total["charged_nano_usd"], total["unconfirmed_nano_usd"]) == (32_250_001, 30_250_001)


def test_events_and_what_was_written_of_them_say_the_same() -> None:
    events = [event(charged_nano_usd=9), event(decision=Decision("block", budget_id="x"), usage=None)]
    written = [json.loads(json.dumps(one.to_dict())) for one in events]
    assert summarize(events) == summarize(written)


def test_an_event_that_comes_again_counts_once() -> None:
    once = event()
    assert summarize([once, once, once.to_dict()]).total.attempts == 1


GOOD = event().to_dict()


@pytest.mark.parametrize(
    "bad",
    [
        None,
        7,
        [],
        {},
        "event",
        *[
            {**GOOD, "event_id": "other", **wrong}
            for wrong in (
                {"provider": 7},
                {"timestamp": None},
                {"usage": [1]},
                {"usage": {"input_tokens": "many"}},
                {"cost_nano_usd": 1.5},
                {"charged_nano_usd": "1"},
                {"attempt": True},
                {"decision": "block"},
                {"decision": {"action": "explode"}},
                {"decision": {"action": "allow", "shadow": {"action": [], "delay_ms": 1}}},
                {"decision": {"action": "alert", "budget_id": 7}},
                {"throttle_ms": "x", "decision": {"action": "throttle"}},
                {"metadata": 7},
                {"metadata": {"tenant": {"a": 1}}},
                {"call_id": [1], "decision": {"action": "alert"}},
                {"event_id": 7},
            )
        ],
    ],
    ids=str,
)
def test_what_is_no_event_is_counted_and_left_out(bad: Any) -> None:
    report = summarize([bad])
    assert (report.unreadable, report.total.attempts) == (1, 0)
    assert [*report.models, *report.done, *report.would] == []


def test_tables_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reports, "MAX_ROWS", 3)
    monkeypatch.setattr(reports, "MAX_KNOWN", 4)
    events = [
        event(
            response_model=f"m{n}",
            metadata={"tenant": f"t{n}"},
            decision=Decision("alert", budget_id=f"b{n}"),
        )
        for n in range(10)
    ]
    report = summarize(events)
    assert report.total.calls == 10
    assert report.models[OTHERS, OTHERS].calls == 7
    assert report.attribution["tenant", OTHERS].calls == 7
    assert report.done[OTHERS, "alert"].calls == 7
    assert len(report.models) == 4


def test_of_many_events_the_last_ones_are_recognised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reports, "MAX_KNOWN", 100)
    known = reports._Known()
    assert not any(known.is_known(n) for n in range(1_000))
    assert len(known._seen) <= 100
    assert known.is_known(999)
    assert not known.is_known(0)


def test_nothing_is_an_empty_report() -> None:
    assert summarize([]) == Report()
    assert json.loads(json.dumps(Report().to_dict()))["total"]["calls"] == 0
