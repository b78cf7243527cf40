"""No false blocks: holds of others are waited for, and the last call that fits is sent."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from typing import Any

import httpx2
import pytest

from aden_transport import BudgetExceededError

from .kit import USD, Enforced, enforced
from .offline import URL, Vendor, asked

CALLERS = 64
LIMIT = 1.0


def policy(tmp_path: Path, **more: Any) -> dict[str, Any]:
    """Of an id of its own, since the tests share a server."""
    return {"id": str(tmp_path), "type": "global", "limit": LIMIT, "limitAction": "block", **more}


@pytest.mark.timeout(180)
def test_64_callers_use_nearly_all_of_a_budget_before_one_is_refused(ledger: str, tmp_path: Path) -> None:
    """Each may cost 1 % of the limit at most, and costs 10 to 60 % of that."""
    random_ = random.Random(7)
    refused: list[int] = []

    async def main(run: Enforced) -> None:
        async with httpx2.AsyncClient(transport=Vendor(0.005)) as client:

            async def caller() -> None:
                while not refused:
                    most = random_.randint(300, 940)
                    used = round(most * random_.uniform(0.1, 0.6))
                    try:
                        await client.post(URL, json=asked(most, used))
                    except BudgetExceededError:
                        refused.append(sum(event.charged_nano_usd or 0 for event in run.events))

            await asyncio.gather(*(caller() for _ in range(CALLERS)))

    with enforced(policy(tmp_path, wait_ms=2000), ledger=ledger) as run:
        asyncio.run(main(run))
        assert max(event.hold_nano_usd or 0 for event in run.events) <= 0.01 * LIMIT * USD
        assert refused[0] >= 0.95 * LIMIT * USD
        assert run.spent(f"-|{tmp_path}") == sum(event.charged_nano_usd or 0 for event in run.events)
        assert run.spent(f"-|{tmp_path}") <= LIMIT * USD
        assert run.ledger.open_holds() == 0


def test_the_last_call_that_fits_is_sent(ledger: str, tmp_path: Path) -> None:
    with enforced(policy(tmp_path), ledger=ledger) as run, httpx2.Client(transport=Vendor()) as client:
        key = f"-|{tmp_path}"
        client.post(URL, json=asked(500, 250))
        hold = run.events[0].hold_nano_usd
        assert hold is not None
        # All but what one more call may cost is spent, and a nano-dollar more.
        run.ledger.raise_to(key, round(LIMIT * USD) - hold + 1, mark="nearly")
        with pytest.raises(BudgetExceededError):
            client.post(URL, json=asked(500, 250))
        client.post(URL, json=asked(499, 250))
        assert run.ledger.open_holds() == 0


def test_a_call_that_just_fits_is_sent(ledger: str, tmp_path: Path) -> None:
    with enforced(policy(tmp_path), ledger=ledger) as run, httpx2.Client(transport=Vendor()) as client:
        key = f"-|{tmp_path}"
        client.post(URL, json=asked(500, 500))
        hold = run.events[0].hold_nano_usd
        assert hold is not None
        run.ledger.raise_to(key, round(LIMIT * USD) - hold, mark="all but one")
        client.post(URL, json=asked(500, 500))
        assert run.spent(key) == round(LIMIT * USD) - hold + (run.events[1].charged_nano_usd or 0)
        with pytest.raises(BudgetExceededError):
            client.post(URL, json=asked(500, 500))
