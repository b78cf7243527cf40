"""What the server makes of events: aden-py's, ours, and those that nobody should have sent."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest

from aden_transport import _json
from aden_transport.control.server.incoming import (
    MAX_COST_NANO,
    MAX_EVENT_BYTES,
    Incoming,
    Refused,
    read_event,
)
from aden_transport.control.server.pricing import TeamPrices
from aden_transport.pricing import PriceBook

NOW = 1_763_800_000.0
AT = "2025-11-22T08:00:00+00:00"
PRICES = TeamPrices(PriceBook(), {})


def read(value: Any, *, now: float = NOW, prices: TeamPrices = PRICES) -> Incoming:
    return read_event(value, now=now, prices=prices)


def aden_py(**data: Any) -> dict[str, Any]:
    """As `dataclasses.asdict` of aden-py's event gives it."""
    told = {
        "trace_id": "0af7651916cd43dd8448eb211c80319c",
        "span_id": "b7ad6b7169203331",
        "provider": "openai",
        "model": "gpt-4o-mini",
        "timestamp": AT,
        "latency_ms": 812.5,
        "error": None,
        "input_tokens": 1000,
        "output_tokens": 500,
        "total_tokens": 1500,
        "cached_tokens": 0,
        "reasoning_tokens": 0,
        "total_cost": None,
        "currency": None,
        "agent_name": None,
        "metadata": {"agent": "writer", "tenant_id": "acme", "customer_id": "c1", "tags": ["a", "b"]},
        **data,
    }
    return {
        "data": told,
        "event_type": "metric",
        "timestamp": AT,
        "sdk_instance_id": "11111111-2222-4333-8444-555555555555",
        "agent_name": "writer-1",
    }


def ours(event_id: str = "e1", *, settled: bool = False, **data: Any) -> dict[str, Any]:
    told: dict[str, Any] = {
        "event_type": "metric",
        "event_id": event_id,
        "timestamp": AT,
        "sdk_instance_id": "i1",
        "agent_name": None,
        "data": {
            "event_id": event_id,
            "timestamp": AT,
            "provider": "openai",
            "request_model": "gpt-4o",
            "response_model": "gpt-4o-2024-08-06",
            "usage": {"input_tokens": 10, "output_tokens": 5, "total_tokens": 15},
            "cost_nano_usd": 75_000,
            "cost_usd": 0.000075,
            "decision": {"action": "allow", "source": "none"},
            "metadata": {"customer": "c1"},
            **data,
        },
    }
    return told | ({"settled": True} if settled else {})


def test_an_event_of_aden_py_is_priced_by_us_and_counts() -> None:
    event = read(aden_py())
    assert event.event_id == f"x{event.digest}"
    assert (event.kind, event.provider, event.model) == ("metric", "openai", "gpt-4o-mini")
    assert (event.agent, event.tenant, event.customer, event.tags) == ("writer", "acme", "c1", '["a","b"]')
    # $0.15 and $0.60 per million tokens.
    assert event.cost_nano == 1000 * 150 + 500 * 600
    assert event.amounts == {"calls": 1, "usd": 450_000, "tokens": 1500}
    assert event.notes == ("cost_priced",)
    assert event.at == 1_763_798_400.0


def test_the_same_event_has_the_same_id_whatever_the_order_of_its_members() -> None:
    told = aden_py()
    turned = dict(reversed(told.items())) | {"data": dict(reversed(told["data"].items()))}
    assert read(turned).event_id == read(told).event_id
    assert read(aden_py(span_id="b7ad6b7169203332")).event_id != read(told).event_id


def test_anthropic_counts_of_aden_py_leave_cached_tokens_out_of_the_input() -> None:
    event = read(aden_py(provider="anthropic", model="claude-3-5-sonnet-20241022", cached_tokens=2000))
    assert event.input_tokens == 3000
    assert event.cost_nano == 1000 * 3000 + 2000 * 300 + 500 * 15_000


def test_our_event_counts_what_the_client_charged() -> None:
    event = read(ours(charged_nano_usd=80_000))
    assert (event.event_id, event.cost_nano, event.charged_nano) == ("e1", 75_000, 80_000)
    assert event.amounts == {"calls": 1, "usd": 80_000, "tokens": 15}
    assert read(ours()).amounts["usd"] == 75_000


def test_what_is_settled_or_was_refused_adds_nothing() -> None:
    assert read(ours(settled=True)).amounts == {}
    assert read(ours(settled=True)).settled
    assert read(ours(decision={"action": "block"}, cost_nano_usd=None, usage=None)).amounts == {}


def test_the_digest_is_of_the_event_and_not_of_who_delivers_it() -> None:
    told = ours()
    other = {**told, "sdk_instance_id": "i2", "settled": True}
    assert read(told).digest == read(other).digest
    assert read(ours(cost_nano_usd=1)).digest != read(told).digest


def test_a_flat_event_is_a_metric() -> None:
    event = read({"event_id": "e2", "provider": "openai", "model": "gpt-4o", "cost_usd": 0.5})
    assert (event.kind, event.cost_nano, event.at) == ("metric", 500_000_000, NOW)


@pytest.mark.parametrize(
    ("claim", "cost", "note"),
    [
        ({"total_cost": 0.000123}, 123_000, ()),
        ({"total_cost": 0.1}, 100_000_000, ()),
        ({"total_cost": 1e-12}, 0, ()),
        ({"total_cost": 5, "currency": "usd"}, 5 * 10**9, ()),
        ({"total_cost": 5, "currency": "RMB"}, 450_000, ("cost_priced",)),
        ({"total_cost": 1e300}, MAX_COST_NANO, ("cost_clamped",)),
        ({"total_cost": 10**400}, MAX_COST_NANO, ("cost_clamped",)),
        ({"total_cost": -1.0}, 450_000, ("cost_refused", "cost_priced")),
        ({"total_cost": float("nan")}, 450_000, ("cost_refused", "cost_priced")),
        ({"total_cost": float("inf")}, 450_000, ("cost_refused", "cost_priced")),
        ({"total_cost": "0.5"}, 450_000, ("cost_refused", "cost_priced")),
        ({"total_cost": True}, 450_000, ("cost_refused", "cost_priced")),
        ({"cost_nano_usd": 7}, 7, ()),
        ({"cost_nano_usd": 2**70}, MAX_COST_NANO, ("cost_clamped",)),
        ({"cost_nano_usd": -7}, 450_000, ("cost_refused", "cost_priced")),
        ({"cost_nano_usd": 0.5}, 450_000, ("cost_refused", "cost_priced")),
        ({"model": "nobody-knows-it"}, None, ("cost_unknown",)),
        ({"model": None}, None, ()),
        ({"provider": 7}, None, ()),
        ({"input_tokens": None, "output_tokens": None, "total_tokens": None}, None, ()),
    ],
)
def test_a_claimed_cost_is_taken_where_it_can_be_one(
    claim: dict[str, Any], cost: int | None, note: tuple[str, ...]
) -> None:
    event = read(aden_py(**claim))
    assert event.cost_nano == cost
    assert event.notes == note
    assert all(isinstance(amount, int) and amount >= 0 for amount in event.amounts.values())


@pytest.mark.parametrize(
    "usage",
    [
        {"input_tokens": -5, "output_tokens": 1e308, "audio_seconds": float("nan")},
        {"input_tokens": "9", "output_tokens": True, "audio_seconds": "x"},
        {"input_tokens": 10**400, "output_tokens": 10**400, "audio_seconds": 10**400},
        {"input_tokens": [], "output_tokens": {}, "audio_seconds": float("inf"), "unheard_of": 1},
        {},
    ],
)
def test_usage_that_cannot_be_is_bounded(usage: dict[str, Any]) -> None:
    event = read(ours(usage=usage, cost_nano_usd=None, cost_usd=None))
    assert event.input_tokens is not None
    assert 0 <= event.input_tokens <= 10**12
    assert event.cost_nano is None or 0 <= event.cost_nano <= MAX_COST_NANO


@pytest.mark.parametrize(
    ("timestamp", "at"),
    [
        (AT, 1_763_798_400.0),
        ("2025-11-22T08:00:00", 1_763_798_400.0),
        ("2025-11-22T08:00:00Z", 1_763_798_400.0),
        ("2025-11-22T09:00:00+01:00", 1_763_798_400.0),
        ("2025-10-22T08:00:00Z", NOW),
        ("2027-11-22T08:00:00Z", NOW),
        ("0001-01-01T00:00:00+14:00", NOW),
        ("yesterday", NOW),
        (7, NOW),
        (None, NOW),
    ],
)
def test_a_call_counts_when_it_was_made_if_that_can_be(timestamp: Any, at: float) -> None:
    told = ours(timestamp=timestamp)
    told["timestamp"] = None
    assert read(told).at == at


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (None, "shape"),
        ([], "shape"),
        ("event", "shape"),
        ({"event_type": "policy"}, "kind"),
        ({"event_type": ["metric"]}, "kind"),
        ({"event_id": ""}, "id"),
        ({"event_id": 7}, "id"),
        ({"event_id": "a" * 201}, "id"),
        ({"event_id": "a\nb"}, "id"),
        ({"event_id": "ä"}, "id"),
        ({"text": "x" * MAX_EVENT_BYTES}, "size"),
    ],
)
def test_what_is_no_event_is_refused(value: Any, why: str) -> None:
    with pytest.raises(Refused, match=why):
        read(value)


def test_deep_events_are_refused_or_kept_but_nothing_fails() -> None:
    refused: list[str] = []
    for depth in (10, 100, 250, 300, 900, 5000):
        value: Any = {"event_id": "deep", "metadata": {}}
        for _ in range(depth):
            value = {"event_id": "deep", "metadata": value, "error": "\0sk-abcdefgh12345678"}
        try:
            assert "sk-abcdefgh12345678" not in read(value).body
        except Refused as exc:
            refused.append(str(exc))
    assert set(refused) == {"depth"}


SECRETS = [
    "sk-proj-CANARY0123456789abcdef",
    "Bearer CANARY0123456789abcdef",
    "AIzaSyCANARY0123456789abcdef",
    "https://api.example.com/v1?key=CANARY0123456789abcdef",
    "aden_0123456789ab_CANARYabcdefghijklmnopqrstuv",
]


@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize("field", ["error", "trace_id", "model", "agent_name", "request_id", "made_up"])
def test_no_credential_is_kept(secret: str, field: str) -> None:
    data: dict[str, Any] = {field: f"no access with {secret} today"}
    for told in (aden_py(**data), ours(**data)):
        assert "CANARY" not in _kept(read(told))


@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize("kind", ["control", "heartbeat", "error"])
def test_no_credential_is_kept_of_other_kinds(secret: str, kind: str) -> None:
    event = {
        "event_type": kind,
        "event_id": "e",
        "message": secret,
        "stack": secret,
        secret: [{"a": [secret]}],
    }
    assert "CANARY" not in _kept(read(event))


@pytest.mark.parametrize("secret", SECRETS)
def test_no_credential_is_kept_of_what_is_nested(secret: str) -> None:
    event = ours(metadata={"customer": secret, "x": secret, secret: 1}, usage={"input_tokens": secret})
    assert "CANARY" not in _kept(read(event))
    event = ours(usage={secret: 1}, rate_limit={"limit_tokens": 1, "x": [secret]})
    assert "CANARY" not in _kept(read(event))


def _kept(event: Incoming) -> str:
    names = [name for name in Incoming.__slots__ if name != "digest"]
    return json.dumps([repr(getattr(event, name)) for name in names])


def test_what_a_store_cannot_hold_is_escaped() -> None:
    event = read(aden_py(model="gpt\0\ud800", metadata={"customer": "a\0b", "tags": ["\ud800"]}))
    assert event.model == "gpt\\x00\\ud800"
    assert event.customer == "a\\x00b"
    event.body.encode()
    assert "\0" not in event.body
    json.loads(event.body)


def test_control_events_say_what_was_decided() -> None:
    event = read(
        {
            "event_type": "control",
            "timestamp": AT,
            "sdk_instance_id": "i1",
            "trace_id": "t",
            "provider": "openai",
            "original_model": "gpt-4o",
            "action": "block",
            "context_id": "c",
            "estimated_cost": 0.5,
        }
    )
    assert (event.kind, event.model, event.action, event.context_id) == ("control", "gpt-4o", "block", "c")
    assert (event.instance_id, event.trace_id, event.amounts) == ("i1", "t", {})


def test_the_body_is_the_event() -> None:
    told = ours()
    assert orjson.loads(read(told).body) == told


def test_a_team_s_own_price_comes_first() -> None:
    own = TeamPrices(PriceBook(), {"gpt-4o-mini": {"input": 1, "output": 2, "aliases": ["mini"]}})
    assert read(aden_py(), prices=own).cost_nano == 1000 * 1000 + 500 * 2000
    assert read(aden_py(model="gpt-4o-mini-2024-07-18"), prices=own).cost_nano == 2_000_000
    assert read(aden_py(model="MINI"), prices=own).cost_nano == 2_000_000
    assert read(aden_py(model="gpt-4o"), prices=own).cost_nano == 1000 * 2500 + 500 * 10_000


@pytest.mark.parametrize(("given", "kept"), [("1e999", None), ("NaN", None), ("1" + "0" * 400, None)])
def test_numbers_that_readers_refuse_are_kept_as_unknown(given: str, kept: None) -> None:
    told = _json.loads(
        f'{{"event_id": "e", "metadata": {{"a": {given}, "large": {2**70}, "odd": "\\ud800"}}}}'
    )
    body = orjson.loads(read(told).body)
    assert body["metadata"] == {"a": kept, "large": float(2**70), "odd": "\\ud800"}
