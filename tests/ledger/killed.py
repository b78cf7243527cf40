"""A server that is killed again and again while clients reserve, settle and lease.

`python -m tests.ledger.killed [--kills 100] [--postgres]` kills it often, and prints what was found.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeVar

import httpx2

from aden_transport.control.messages import Ask, Grant
from aden_transport.control.server.storage import Storage
from aden_transport.errors import LedgerUnavailable
from aden_transport.ledger.http import HttpLedger

from ..server.kit import new_team
from ..server.postgres import new_database
from .kit import hard, line, sums
from .served import Served

__all__ = ["Found", "run"]

HOT, LEASED = "-|hot", "-|leased"
LIMIT = 10**12
T = TypeVar("T")


class Found(NamedTuple):
    """After the last restart."""

    calls: int
    unanswered: int
    """Requests that were sent again, as the server was killed amid them."""
    lost: int
    """Nano-dollars whose settlement was acknowledged and is not in the sums."""
    doubled: int
    left_held: int
    taken_back: int
    """Grants that a later answer knew less of."""


class Clients:
    """What they were told."""

    def __init__(self, served: Served, token: str) -> None:
        self.served, self.token = served, token
        self.ended = threading.Event()
        self.unanswered = self.taken_back = 0
        self.spent: list[int] = []
        self.leased = 0

    def until_answered(self, ask: Callable[[], T]) -> T:
        while True:
            try:
                return ask()
            except (LedgerUnavailable, httpx2.HTTPError):
                self.unanswered += 1
                time.sleep(0.02)

    def call(self, number: int) -> None:
        """Calls on one hot budget, each settled at an amount of its own, or given back."""
        ledger = HttpLedger(self.served.url, self.token, timeout_s=5.0)
        dice = random.Random(number)
        while not self.ended.is_set():
            op_id, amount, now = (
                f"{number} {len(self.spent)} {dice.random()}",
                dice.randrange(1000),
                time.time(),
            )
            lines = [[hard(HOT, 1000, LIMIT), line(f"-|own {number}", 1000)]]
            reserve = partial(ledger.reserve, op_id, lines, now=now, expires_at=now + 3600)
            assert self.until_answered(reserve).kind == "held"
            if dice.random() < 0.2:
                self.until_answered(partial(ledger.release, op_id))
            else:
                # False: the first answer was lost.
                self.until_answered(partial(ledger.settle, op_id, {"usd": amount}))
                self.spent.append(amount)
        ledger.close()

    def lease(self) -> None:
        """One owner, that spends what it was granted and says so."""
        used = granted = seq = 0
        with httpx2.Client(base_url=self.served.url, trust_env=False, timeout=5.0) as client:

            def ask(*, final: bool = False) -> Grant:
                told = Ask(
                    key=LEASED,
                    generation=1,
                    seq=seq,
                    used=used,
                    want=granted + 500,
                    need=granted,
                    final=final,
                )
                answer = client.post(
                    "/v1/ledger/leases",
                    json={"owner": "one", "asks": [told.to_json()]},
                    headers={"Authorization": f"Bearer {self.token}"},
                )
                if answer.status_code != 200:
                    raise LedgerUnavailable(answer.text)
                return Grant.from_json(answer.json()["grants"][0])

            while not self.ended.is_set():
                seq += 1
                grant = self.until_answered(ask)
                self.taken_back += grant.granted < granted
                granted = max(granted, grant.granted)
                used += (granted - used) // 2
            seq += 1
            self.until_answered(partial(ask, final=True))
        self.leased = used


def run(address: str, *, kills: int, every_s: float = 0.4, threads: int = 4) -> Found:
    """`address`: of a database that has its tables."""
    storage = Storage(address)
    team = new_team(storage)
    storage.close()
    served = Served(address)
    clients = Clients(served, team.token)
    workers = [threading.Thread(target=clients.call, args=(number,)) for number in range(threads)]
    workers.append(threading.Thread(target=clients.lease))
    for worker in workers:
        worker.start()
    dice = random.Random(7)
    for _ in range(kills):
        time.sleep(every_s * (0.5 + dice.random()))
        served.kill()
        served.start()
        served.wait()
    clients.ended.set()
    for worker in workers:
        worker.join()
    ledger = HttpLedger(served.url, team.token, timeout_s=30.0)
    hot, leased = sums(ledger, HOT, LEASED)
    own = sums(ledger, *[f"-|own {number}" for number in range(threads)])
    left = hot[1] + leased[1] + ledger.open_holds()
    ledger.close()
    served.close()
    told = sum(clients.spent)
    off = [hot[0] - told, leased[0] - clients.leased, sum(each[0] for each in own) - told]
    return Found(
        len(clients.spent),
        clients.unanswered,
        -min(0, *off),
        max(0, *off),
        left,
        clients.taken_back,
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--postgres", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        address = new_database() if given.postgres else f"sqlite:///{Path(folder)}/server.sqlite3"
        storage = Storage(address)
        storage.prepare()
        storage.close()
        print(f"{given.kills} kills: {run(address, kills=given.kills)}")


if __name__ == "__main__":
    main()
