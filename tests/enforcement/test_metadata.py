"""Whose call it is, told in every way that real SDKs can: budgets match, and nothing of ours leaves."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import anthropic
import openai
import pytest

from aden_transport import BudgetExceededError, context, get_budget_status

from .kit import HELLO, Enforced, enforced

POLICY: dict[str, Any] = {
    "budgets": [
        {"type": kind, "name": "*", "limit": 1, "limitAction": "block"}
        for kind in ("agent", "tenant", "customer", "feature", "tag")
    ]
}
BLOCKED = {"budgets": [{"type": "customer", "name": "poor", "limit": 0, "limitAction": "block"}]}
ASKED: Any = {"model": "gpt-4o", "messages": HELLO, "max_tokens": 10}
EVERY = ("agent", "tenant", "customer", "feature", "tags")


def budgets_of(event: Any) -> list[str]:
    """The keys of the budgets that a call was charged to."""
    return [status.budget_id for status in get_budget_status(**event.metadata) if status.spent]


@contextmanager
def sent(run: Enforced, charged: list[str]) -> Iterator[Any]:
    """Made one call, charged to those budgets; yields what the vendor received, for more to look at."""
    received: list[Any] = []
    yield received
    request = run.provider.requests[-1]
    received.append(request)
    assert sorted(budgets_of(run.events[-1])) == sorted(charged)
    assert not [name for name in request.headers if name.startswith("x-aden-")]


@pytest.mark.parametrize(
    ("given", "charged"),
    [
        ({"customer": "c", "tenant": "t"}, ["customer:c", "tenant:t"]),
        ({"customer_id": "c", "tenant_id": "t"}, ["customer:c", "tenant:t"]),
        ({"agent": "a", "feature": "f", "tags": "x,y"}, ["agent:a", "feature:f", "tag:x", "tag:y"]),
        ({"tag": "x"}, ["tag:x"]),
    ],
    ids=["short", "ids", "tags", "tag"],
)
@pytest.mark.parametrize("channel", ["headers", "body", "options", "context"])
def test_both_spellings_are_one_key_in_every_channel(
    channel: str, given: dict[str, str], charged: list[str]
) -> None:
    own: dict[str, Any] = dict(given)
    if "tags" in own:
        own["tags"] = own["tags"].split(",")
    options: Any = {"request_metadata": own} if channel == "options" else {}
    with enforced(POLICY, **options) as run, run.client() as client, sent(run, charged) as received:
        create: Callable[..., Any] = client.chat.completions.create
        if channel == "headers":
            names = {f"x-aden-{name.replace('_', '-')}": value for name, value in given.items()}
            create(**ASKED, extra_headers=names)
        elif channel == "body":
            create(**ASKED, extra_body={"metadata": own})
        elif channel == "context":
            with context(**own):
                create(**ASKED)
        else:
            create(**ASKED)
    assert json.loads(received[0].body) == ASKED


def test_channels_are_trusted_in_their_order() -> None:
    options = {"agent": "options", "tenant": "options", "customer": "options"}
    names = {"x-aden-agent": "headers", "x-aden-tenant": "headers"}
    body = dict.fromkeys(("agent", "tenant", "customer", "feature"), "body")
    charged = ["agent:context", "tenant:headers", "customer:options", "feature:body"]
    with (
        enforced(POLICY, request_metadata=options) as run,
        run.client() as client,
        sent(run, charged),
        context(agent="context"),
    ):
        client.chat.completions.create(**ASKED, extra_headers=names, extra_body={"metadata": body})


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("channel", ["headers", "body"])
def test_a_customer_told_by_the_request_is_held_to_his_budget(channel: str, stream: bool) -> None:
    told: Any = (
        {"extra_headers": {"x-aden-customer": "poor"}}
        if channel == "headers"
        else {"extra_body": {"metadata": {"customer_id": "poor"}}}
    )
    with enforced(BLOCKED) as run, run.client() as client:
        with pytest.raises(BudgetExceededError):
            client.chat.completions.create(**ASKED, stream=stream, **told)
        assert run.provider.bytes_received == 0
        client.chat.completions.create(**ASKED)


@pytest.mark.parametrize("forward", ["native", "always", "never"])
def test_metadata_that_the_vendor_knows_leaves_as_the_option_says(forward: Any) -> None:
    """Responses of OpenAI take metadata; routing keys are ours."""
    with enforced(POLICY, forward_metadata=forward) as run, run.client() as client:
        with sent(run, ["customer:c"]) as received:
            client.responses.create(
                model="gpt-4o", input="hi", max_output_tokens=20, metadata={"customer": "c", "order": "7"}
            )
        left = json.loads(received[0].body).get("metadata")
        assert left == (None if forward == "never" else {"customer": "c", "order": "7"})


def test_anthropic_is_sent_its_user_id_and_nothing_of_ours() -> None:
    with (
        enforced(POLICY) as run,
        anthropic.Anthropic(base_url=run.provider.anthropic_base_url, api_key="any") as client,
    ):
        with sent(run, ["customer:c"]) as received:
            metadata: Any = {"user_id": "u", "customer": "c"}
            client.messages.create(model="claude-haiku-4-5", max_tokens=10, messages=HELLO, metadata=metadata)
        assert json.loads(received[0].body)["metadata"] == {"user_id": "u"}
        with sent(run, ["customer:c"]) as received:
            metadata = {"customer": "c"}
            client.messages.create(model="claude-haiku-4-5", max_tokens=10, messages=HELLO, metadata=metadata)
        assert "metadata" not in json.loads(received[0].body)


@pytest.mark.parametrize("channel", ["headers", "body", "context"])
def test_a_form_tells_whose_call_it_is(channel: str) -> None:
    said: Any = {
        "headers": {"extra_headers": {"x-aden-customer": "c"}},
        "body": {"extra_body": {"metadata": {"customer": "c"}}},
        "context": {},
    }[channel]
    policy = {**POLICY, "on_unknown": {"size": 0.01}}
    with (
        enforced(policy) as run,
        openai.OpenAI(base_url=run.provider.openai_base_url, api_key="any") as client,
    ):
        audio = ("speech.wav", io.BytesIO(b"RIFF" + bytes(64)))
        with context(**({"customer": "c"} if channel == "context" else {})):
            client.audio.transcriptions.create(model="whisper-1", file=audio, **said)
        (event,) = run.events
        assert (event.metadata or {}).get("customer") == "c"
        assert event.hold_nano_usd
        (request,) = run.provider.requests
        assert b"metadata" not in request.body
        assert not [name for name in request.headers if name.startswith("x-aden-")]
        assert b"RIFF" in request.body


def test_hostile_metadata_is_for_the_vendor_to_refuse_and_breaks_nothing() -> None:
    odd: Any = {
        "customer": ["a", {"b": 1}],
        "tenant": {"deep": [[[[]]]]},
        "agent": 1e300,
        "tags": {"not": "a list"},
        "feature": None,
        "x" * 1000: "y" * 100_000,
        **{f"key {n}": n for n in range(500)},
    }
    with enforced(POLICY) as run, run.client() as client:
        for other in (odd, 7, [1]):
            with pytest.raises(openai.BadRequestError):
                client.chat.completions.create(**ASKED, extra_body={"metadata": other})
        first = run.events[0]
        assert first.metadata is not None
        assert len(first.metadata) <= 64 + len(EVERY)
        assert len(run.provider.requests) == 3
        assert run.ledger.open_holds() == 0
