"""What cannot be known, a store that does not answer among it: as `on_unknown` says, and no money is lost."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx2
import pytest

from aden_transport import RequestCancelledError
from aden_transport.ledger.base import Line
from aden_transport.ledger.opened import open_ledger
from aden_transport.meter import state

from .kit import address, enforced
from .offline import URL, Vendor, asked

POLICY: dict[str, Any] = {"type": "global", "limit": 1, "limitAction": "block"}


class Locking(Vendor):
    """Locks the ledger's file before it answers, as another process might."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        self.other.execute("BEGIN IMMEDIATE")
        return super().handle_request(request)


def test_a_settlement_that_finds_the_store_busy_is_tried_again(tmp_path: Path) -> None:
    path = tmp_path / "budgets.sqlite3"
    with enforced(POLICY, ledger=f"sqlite:///{path}", patient=False) as run:
        vendor = Locking(path)
        with closing(vendor.other), httpx2.Client(transport=vendor) as client:
            client.post(URL, json=asked(100, 50))
            (event,) = run.events
            assert event.charged_nano_usd
            meter = state.everything
            assert meter is not None
            meter.flush(0.6)  # longer than the ledger waits for its file
            vendor.other.execute("COMMIT")
            assert run.ledger.open_holds() == 0
            assert run.spent() == event.charged_nano_usd


@pytest.mark.parametrize("said", ["block", "allow", None])
def test_a_store_that_does_not_answer_a_call_is_as_on_unknown_says(said: str | None, tmp_path: Path) -> None:
    path = tmp_path / "budgets.sqlite3"
    unknown = {} if said is None else {"on_unknown": {"store": said}}
    with enforced(POLICY, ledger=f"sqlite:///{path}", patient=False, **unknown) as run:
        run.ledger.totals([])
        vendor = Vendor()
        with (
            closing(sqlite3.connect(path, isolation_level=None)) as other,
            httpx2.Client(transport=vendor) as client,
        ):
            other.execute("BEGIN IMMEDIATE")
            if said == "block":
                with pytest.raises(RequestCancelledError):
                    client.post(URL, json=asked(100, 50))
            else:
                client.post(URL, json=asked(100, 50))
            other.execute("COMMIT")
        assert vendor.calls == (said != "block")
        assert run.ledger.open_holds() == 0


def test_fail_open_false_blocks_what_a_store_cannot_say(tmp_path: Path) -> None:
    path = tmp_path / "budgets.sqlite3"
    with enforced(POLICY, ledger=f"sqlite:///{path}", patient=False, fail_open=False) as run:
        run.ledger.totals([])
        with (
            closing(sqlite3.connect(path, isolation_level=None)) as other,
            httpx2.Client(transport=Vendor()) as client,
        ):
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(RequestCancelledError):
                client.post(URL, json=asked(100, 50))
            other.execute("COMMIT")


UNPRICED = {"model": "gpt-99-of-nobody", "messages": [], "max_tokens": 10}


@pytest.mark.parametrize(
    ("options", "hold"),
    [
        ({}, 0),
        ({"on_unknown": {"price": "allow"}}, 0),
        ({"on_unknown": {"price": 0.25}}, 250_000_000),
        ({"on_unknown": {"price": "block"}}, None),
        ({"on_unknown": {"price": 2}}, None),
        ({"fail_open": False}, None),
        ({"fail_open": False, "on_unknown": {"price": "allow"}}, 0),
    ],
)
def test_a_price_that_is_not_known_is_as_on_unknown_says(options: Any, hold: int | None) -> None:
    with enforced(POLICY, **options) as run, httpx2.Client(transport=Vendor()) as client:
        body = {**UNPRICED, "user": "5"}
        if hold is None:
            with pytest.raises(RequestCancelledError):
                client.post(URL, json=body)
            return
        client.post(URL, json=body)
        (event,) = run.events
        assert event.hold_nano_usd == hold
        # What was taken is the sum that was assumed.
        assert event.cost_usd is None
        assert run.spent() == event.charged_nano_usd == hold
        assert run.ledger.open_holds() == 0


ENDS = """
import sys
import httpx2
from aden_transport import MeterOptions, instrument
from tests.enforcement.offline import URL, Vendor, asked
instrument(MeterOptions(policy={"limit": 1, "limitAction": "block"}, ledger=sys.argv[1]))
client = httpx2.Client(transport=Vendor())
for _ in range(20):
    client.post(URL, json=asked(100, 50))
"""


def test_a_program_that_ends_without_a_word_has_settled_its_calls(tmp_path: Path) -> None:
    ledger = address("sqlite", tmp_path)
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", ENDS, ledger], cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    kept = open_ledger(ledger, lasting=True)
    assert kept.open_holds() == 0
    assert kept.totals([Line("-|global", 0, 0)])[0].spent == 20 * (8 * 2_500 + 50 * 10_000)
    assert kept.disputed() == {}
    kept.close()


def test_a_threshold_alerts_once_whichever_process_sees_it_first(tmp_path: Path) -> None:
    policy = {"limit": 1, "spent": 0.6, "thresholds": [{"percent": 50, "action": "alert"}]}
    told: list[str] = []
    for _ in range(2):  # a ledger that outlasts the meters stands for that of several processes
        with enforced(policy, ledger=address("sqlite", tmp_path)) as run:
            with httpx2.Client(transport=Vendor()) as client:
                for _ in range(3):
                    client.post(URL, json=asked(100, 50))
            told += [alert.budget_id or "" for alert in run.alerts]
            assert [event.decision.action for event in run.events] == ["alert"] * 3
    assert told == ["global"]
