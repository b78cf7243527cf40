"""What a message of the WebSocket calls for, and how answers are judged."""

from __future__ import annotations

import logging

import pytest

from aden_transport.control.agent.push import tasks_of
from aden_transport.control.agent.talk import Answer, ServerFault, checked, retry_after


@pytest.mark.parametrize(
    ("message", "tasks"),
    [
        ('{"type": "policy", "policy": {"budgets": []}, "version": 3}', ("policy",)),
        ('{"type": "changed", "version": 3}', ("policy",)),
        ('{"type": "budget_policy", "budgets": []}', ("policy",)),
        ('{"type": "pricing"}', ("pricing",)),
        ('{"type": "leases"}', ("leases",)),
        ('{"type": "command", "command": "capture_content"}', ()),
        ('{"type": "alert", "alert": {"message": "x"}}', ()),
        ('{"type": ["policy"]}', ()),
        ('{"type": null}', ()),
        ("{}", ()),
        ("[]", ()),
        ("", ()),
        ("{", ()),
        ("[" * 100_000, ()),
    ],
)
def test_a_message_is_a_hint_or_nothing(message: str, tasks: tuple[str, ...]) -> None:
    assert tasks_of(message) == tasks


def test_an_alert_is_logged_on_one_line(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        tasks_of('{"type": "alert", "alert": "over\\nFAKE LOG LINE \\u001b[31m"}')
    assert "\n" not in caplog.records[0].getMessage()
    assert "\x1b" not in caplog.records[0].getMessage()


def answer(status: int, **headers: str) -> Answer:
    return Answer(status, {name.replace("_", "-"): value for name, value in headers.items()}, b"{}")


@pytest.mark.parametrize("status", [200, 201, 204, 304])
def test_good_answers_pass(status: int) -> None:
    assert checked(answer(status)).status == status


@pytest.mark.parametrize(
    ("status", "refused", "faulty"),
    [(401, True, False), (403, True, False), (301, False, True), (404, False, True), (500, False, True)],
)
def test_others_say_what_they_are(status: int, refused: bool, faulty: bool) -> None:
    with pytest.raises(ServerFault) as caught:
        checked(answer(status))
    fault = caught.value
    assert (fault.status, fault.refused, fault.faulty) == (status, refused, faulty)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("120", 120.0), ("0", 0.0), ("", 0.0), ("-5", 0.0), ("soon", 0.0), ("1e9", 0.0), ("9" * 40, 0.0)],
)
def test_a_server_may_ask_to_be_left_alone(value: str, seconds: float) -> None:
    assert retry_after({"retry-after": value}) == seconds


def test_a_server_names_itself() -> None:
    assert answer(200, x_aden_server="aden-transport").is_ours
    assert not answer(200, x_aden_server="another").is_ours
    assert not answer(200).is_ours


@pytest.mark.parametrize("body", [b"", b"[1]", b"7", b"{", b"\xff", b"[" * 100_000])
def test_a_body_that_is_no_object_is_a_fault(body: bytes) -> None:
    with pytest.raises(ServerFault, match="JSON"):
        Answer(200, {}, body).json()
