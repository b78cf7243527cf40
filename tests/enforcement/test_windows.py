"""Budgets whose time ends: a call settles where it began, and what begins anew begins at nothing."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import httpx2
import pytest

from aden_transport import BudgetExceededError, get_budget_status
from aden_transport.ledger.base import Line
from aden_transport.meter import state
from aden_transport.policy import load, raise_floors

from ..ledger.kit import STORES
from .kit import USD, Enforced, address, enforced
from .offline import URL, Vendor, asked

BERLIN = ZoneInfo("Europe/Berlin")


class Clock:
    """The meter's time of day, told by the test."""

    def __init__(self, at: datetime) -> None:
        self.at = at.timestamp()
        meter = state.everything
        assert meter is not None
        assert meter.budgets is not None
        meter.settings.wall = meter.budgets._wall = lambda: self.at

    def go_to(self, at: datetime) -> None:
        self.at = at.timestamp()


class Slow(Vendor):
    """Answers when the clock has gone on."""

    def __init__(self, clock: Clock, until: datetime) -> None:
        super().__init__()
        self.clock = clock
        self.until = until

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        self.clock.go_to(self.until)
        return super().handle_request(request)


def spend(client: httpx2.Client, most: int = 500) -> None:
    client.post(URL, json=asked(most, most))


def spent(run: Enforced, *names: str) -> list[int]:
    return [run.spent(f"{name}|global") for name in names]


def berlin(*date: int) -> datetime:
    return datetime(*date, tzinfo=BERLIN)  # type: ignore[misc,arg-type]


DAILY = {"limit": 0.012, "period": "daily", "timezone": "Europe/Berlin", "limitAction": "block"}


@pytest.mark.parametrize("store", ["memory", "sqlite", "redis"])
def test_a_call_that_crosses_midnight_settles_where_it_began(store: str, tmp_path: Path) -> None:
    with enforced(DAILY, ledger=address(store, tmp_path)) as run:
        # Far ahead, as Redis forgets windows by its server's time.
        clock = Clock(berlin(2040, 3, 24, 23, 59, 59))
        with httpx2.Client(transport=Slow(clock, berlin(2040, 3, 25, 0, 0, 1))) as client:
            spend(client)
        assert spent(run, "2040-03-24", "2040-03-25") == [run.events[0].charged_nano_usd, 0]
        assert run.ledger.open_holds() == 0


# In Berlin, 2025-03-30 has 23 hours and 2025-10-26 has 25.
@pytest.mark.parametrize(("day", "hours"), [((2025, 3, 30), 23), ((2025, 10, 26), 25), ((2025, 12, 31), 24)])
def test_a_day_is_that_of_its_zone_however_long(day: tuple[int, int, int], hours: int) -> None:
    with enforced(DAILY) as run, httpx2.Client(transport=Vendor()) as client:
        begins = berlin(*day)
        clock = Clock(begins)
        spend(client)
        clock.at += hours * 3600 - 1
        spend(client)
        with pytest.raises(BudgetExceededError) as caught:
            spend(client)
        assert caught.value.resets_at == datetime.fromtimestamp(begins.timestamp() + hours * 3600, UTC)
        assert caught.value.resets_at is not None
        assert caught.value.resets_at.astimezone(BERLIN).hour == 0
        (status,) = get_budget_status()
        assert status.resets_at == caught.value.resets_at.isoformat()
        clock.at += 1
        (status,) = get_budget_status()
        assert status.spent == 0
        spend(client)
        assert run.events[-1].charged_nano_usd == get_budget_status()[0].spent


@pytest.mark.parametrize(
    ("period", "zone", "now", "resets"),
    [
        ("hourly", "Asia/Kolkata", "2025-11-22T06:40", "2025-11-22T07:00"),
        ("daily", "Asia/Kolkata", "2025-11-22T18:29", "2025-11-22T18:30"),
        ("daily", "Asia/Kathmandu", "2025-11-22T18:16", "2025-11-23T18:15"),
        ("daily", "Australia/Lord_Howe", "2025-10-05T12:00", "2025-10-05T13:00"),
        ("weekly", "Europe/Berlin", "2025-03-29T12:00", "2025-03-30T22:00"),
        ("weekly", "UTC", "2026-12-31T12:00", "2027-01-04T00:00"),
        ("monthly", "Europe/Berlin", "2025-10-15T12:00", "2025-10-31T23:00"),
        ("monthly", "America/New_York", "2026-01-01T04:59", "2026-01-01T05:00"),
    ],
)
def test_a_refusal_says_when_the_budget_begins_anew(period: str, zone: str, now: str, resets: str) -> None:
    policy = {**DAILY, "limit": 0.006, "period": period, "timezone": zone}
    with enforced(policy), httpx2.Client(transport=Vendor()) as client:
        clock = Clock(datetime.fromisoformat(f"{now}+00:00"))
        spend(client)
        with pytest.raises(BudgetExceededError) as caught:
            spend(client)
        assert caught.value.resets_at == datetime.fromisoformat(f"{resets}+00:00")
        assert f"{resets}:00Z" in str(caught.value)
        assert caught.value.resets_at is not None
        clock.go_to(caught.value.resets_at)
        spend(client)


def test_no_span_of_a_rolling_window_sees_more_than_its_limit() -> None:
    policy = {**DAILY, "period": {"rolling": "1h"}}
    with enforced(policy) as run, httpx2.Client(transport=Vendor()) as client:
        clock = Clock(datetime(2025, 11, 22, 12, 0, 30, tzinfo=UTC))
        began, calls = clock.at, list[tuple[float, int]]()
        while clock.at < began + 3 * 3600:
            try:
                spend(client)
                calls.append((clock.at, run.events[-1].charged_nano_usd or 0))
            except BudgetExceededError:
                pass
            clock.at += 100
        for at, _ in calls:
            assert sum(nano for when, nano in calls if at <= when < at + 3600) <= 0.012 * USD
        # Two calls an hour fit, of which one sub-bucket may be lost.
        assert len(calls) >= 5


def test_a_reset_opens_a_new_window_and_late_calls_settle_in_the_old() -> None:
    def policy(generation: int) -> dict[str, Any]:
        return {"limit": 0.006, "limitAction": "block", "generation": generation}

    from aden_transport import update_options

    with enforced(policy(0)) as run:

        class Resetting(Vendor):
            def handle_request(self, request: httpx2.Request) -> httpx2.Response:
                update_options(policy=policy(1))
                return super().handle_request(request)

        with httpx2.Client(transport=Resetting()) as client:
            spend(client)
        assert run.spent("-|global") == run.events[0].charged_nano_usd
        assert run.spent("-#1|global") == 0
        with httpx2.Client(transport=Vendor()) as client:
            spend(client)
            with pytest.raises(BudgetExceededError):
                spend(client)


def test_another_limit_or_ladder_keeps_what_is_spent() -> None:
    from aden_transport import update_options

    steps = [{"percent": 10, "action": "alert"}]
    with enforced(DAILY) as run, httpx2.Client(transport=Vendor()) as client:
        spend(client)
        first = get_budget_status()[0].spent
        update_options(policy={**DAILY, "limit": 50, "thresholds": steps})
        assert get_budget_status()[0].spent == first == run.events[0].charged_nano_usd
        spend(client)
        update_options(policy={**DAILY, "limit": 0.001})
        with pytest.raises(BudgetExceededError):
            spend(client)


@pytest.mark.parametrize("store", sorted(STORES))
def test_a_floor_is_of_the_window_in_which_it_was_told(store: str, tmp_path: Path) -> None:
    """The same file, read again by other processes, on the same day and next month."""
    day = 86_400.0
    at = datetime(2040, 11, 22, 12, tzinfo=UTC).timestamp()
    for period, key, later in (
        ("daily", "2040-11-22|b", "2040-11-23|b"),
        ("none", "-|c", None),
        ("monthly", "2040-11|d", "2040-12|d"),
    ):
        budgets = load({"id": key[-1], "limit": 9, "spent": 2, "period": period}).budgets
        with STORES[store](tmp_path) as ledger:
            for moment in (at, at + 60, at + day, at + 40 * day):
                raise_floors(ledger, budgets, moment)
            assert ledger.totals([Line(key, 0, 0)])[0].spent == 2 * USD
            assert later is None or ledger.totals([Line(later, 0, 0)])[0].spent == 0
            (changed,) = load({"id": key[-1], "limit": 9, "spent": 3, "period": period}).budgets
            raise_floors(ledger, [changed], at)
            assert ledger.totals([Line(key, 0, 0)])[0].spent == 3 * USD
