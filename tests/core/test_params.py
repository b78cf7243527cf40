"""What `modify_params` is given and what becomes of what it returns, as values."""

from __future__ import annotations

import json
from typing import Any

import pytest

from aden_transport import RequestCancelledError
from aden_transport._guard import fault_counts, reset_faults
from aden_transport.core import attempts, params
from aden_transport.core.steps import Ask, Modify, Refuse, Send

from .kit import GEMINI, GENERATE, Bench, wire

HELLO: dict[str, Any] = {
    "model": "gpt-4o",
    "messages": [{"role": "user", "content": "hello"}],
    "max_tokens": 9,
}
RAW = json.dumps(HELLO).encode()


@pytest.fixture(autouse=True)
def no_failure_before() -> None:
    """Whatever failed on this thread in other tests."""
    attempts.forget()


@pytest.mark.parametrize(
    ("raw", "found"),
    [
        (RAW, HELLO),
        (b"\xef\xbb\xbf{}", {}),
        (b"[1]", {}),
        (b"{", {}),
        (b"[" * 100_000, {}),
        (b'{"seed": 12345678901234567890123}', {"seed": 12345678901234567890123}),
    ],
)
def test_the_members_are_read(raw: bytes, found: Any) -> None:
    assert params.read(raw) == found


@pytest.mark.parametrize("result", [None, HELLO, dict(HELLO)])
def test_what_asks_for_no_change_changes_no_byte(result: Any) -> None:
    assert params.changed(RAW, result) is None


def test_a_change_is_written_as_json() -> None:
    changed = params.changed(RAW, {**HELLO, "user": "\ud800", "name": "Zürich"})
    assert changed is not None
    assert json.loads(changed) == {**HELLO, "user": "\ud800", "name": "Zürich"}
    assert params.changed(RAW, {"ä": 1}) == '{"ä":1}'.encode()


circular: dict[str, Any] = {}
circular["self"] = circular


@pytest.mark.parametrize(
    ("result", "error"),
    [
        (["model"], TypeError),
        (True, TypeError),
        ({**HELLO, "temperature": float("nan")}, ValueError),
        ({**HELLO, "tools": {1, 2}}, TypeError),
        ({**HELLO, "stream": True}, ValueError),
        (circular, ValueError),
    ],
)
def test_what_cannot_be_sent_is_refused(result: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        params.changed(RAW, result)


def bench(**settings: Any) -> Bench:
    return Bench(modify=lambda *_: None, **settings)


def test_the_hook_is_given_what_is_its_own() -> None:
    exchange = bench().open(wire(HELLO))
    step = exchange.start()
    assert isinstance(step, Modify)
    assert step.params == HELLO
    assert (step.context.model, step.context.provider) == ("gpt-4o", "openai")
    step.params["messages"].clear()
    assert exchange.body["messages"]
    assert isinstance(exchange.modify(None), Send)


def test_what_it_returns_is_sent_and_told_of() -> None:
    made = bench()
    exchange = made.open(wire(HELLO))
    exchange.start()
    step = exchange.modify({**HELLO, "model": "gpt-4o-mini", "max_tokens": 5})
    assert isinstance(step, Send)
    assert step.rewrite is not None
    assert step.rewrite.body is not None
    assert json.loads(step.rewrite.body)["max_tokens"] == 5
    exchange.fail(OSError())
    assert (made.event.request_model, made.event.degraded_from) == ("gpt-4o-mini", None)


def test_before_request_sees_what_was_modified() -> None:
    exchange = bench(has_hook=True).open(wire(HELLO))
    exchange.start()
    step = exchange.modify({**HELLO, "user": "me"})
    assert isinstance(step, Ask)
    assert step.params["user"] == "me"


def test_a_retry_is_changed_in_the_same_way_without_asking() -> None:
    made = bench()
    exchange = made.open(wire(HELLO))
    exchange.start()
    exchange.modify({**HELLO, "user": "me"})
    exchange.fail(OSError())
    again = made.open(wire(HELLO))
    assert again.logical is exchange.logical
    step = again.start()
    assert isinstance(step, Send)
    assert step.rewrite is not None
    assert b'"user":"me"' in (step.rewrite.body or b"")
    again.fail(OSError())


def test_a_retry_of_what_was_left_as_it_is_is_so_too() -> None:
    made = bench()
    exchange = made.open(wire(HELLO))
    exchange.start()
    exchange.modify(None)
    exchange.fail(OSError())
    again = made.open(wire(HELLO))
    step = again.start()
    assert isinstance(step, Send)
    assert step.rewrite is None
    again.fail(OSError())


def test_metadata_that_it_changes_counts() -> None:
    exchange = bench().open(wire(HELLO))
    exchange.start()
    exchange.modify({**HELLO, "metadata": {"tenant_id": "acme"}})
    assert exchange.metadata == {"tenant": "acme"}


def test_a_model_in_the_path_stays_there() -> None:
    exchange = bench().open(wire({"contents": []}, GENERATE, host=GEMINI))
    exchange.start()
    step = exchange.modify({"contents": [], "model": "other"})
    assert exchange.model == "gemini-2.5-flash"
    assert isinstance(step, Send)


@pytest.mark.parametrize(
    "request_",
    [
        wire(None),
        wire(b""),
        wire(b"{}"),
        wire(b'{"a":' + b"1" * 5_000_000 + b"}"),
        wire(None, "/v1/audio/transcriptions", form={"model": "whisper-1"}),
    ],
    ids=["stream", "empty", "no members", "large", "form"],
)
def test_what_has_no_parameters_is_left(request_: Any) -> None:
    assert isinstance(bench().open(request_).start(), Send)


def test_a_signed_request_is_left_and_said_to_be() -> None:
    reset_faults()
    exchange = bench().open(wire(HELLO, names={"X-Amz-Date": "x"}))
    exchange.start()
    step = exchange.modify({**HELLO, "user": "me"})
    assert isinstance(step, Send)
    assert step.rewrite is None
    assert fault_counts() == {"modify_params:RuntimeWarning": 1}


@pytest.mark.parametrize("fail_open", [True, False])
def test_a_failure_leaves_it_to_fail_open(fail_open: bool) -> None:
    made = bench(fail_open=fail_open)
    exchange = made.open(wire(HELLO))
    exchange.start()
    step = exchange.modify(["no params"])
    if fail_open:
        assert isinstance(step, Send)
        exchange.fail(OSError())
    else:
        assert isinstance(step, Refuse)
        assert isinstance(step.refused(), RequestCancelledError)
        assert step.error.reason == "modify_params failed: TypeError"
        assert made.event.decision.action == "block"


def test_calls_of_hooks_and_polls_are_not_asked_about() -> None:
    assert isinstance(bench().open(wire(HELLO)).start(judged=False), Send)
