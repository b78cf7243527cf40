"""A host: the product's ledger under leases, on a disk that outlives its process, or does not, and what
carries its asks to the server."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from aden_transport.control.messages import Ask, Grant
from aden_transport.ledger.base import Line, Outcome
from aden_transport.ledger.lease_file import FileLeases
from aden_transport.ledger.lease_memory import MemoryLeases
from aden_transport.ledger.leased import LeasedLedger, Leases
from aden_transport.ledger.memory import MemoryLedger
from aden_transport.ledger.sqlite import SqliteLedger

from .world import Network, World

__all__ = ["EPOCH", "GONE", "Call", "Host", "Truth"]

TICK_S = 1.0
PATIENCE_S = 2.0
FIRST_S, LONGEST_S = 0.01, 0.2
"""Pauses between two looks at a lease, longer than the product's: there is less to simulate."""
EPOCH = 1_789_999_200.0 - 50.0
"""When a schedule begins: soon an hour does."""
HOLD_S = 600.0
GONE: set[str] = set()
"""Processes that have ended, as `ledger.sqlite.is_gone` is to say."""


@dataclass
class Call:
    """What somebody asks a provider for."""

    candidates: Sequence[Sequence[Line]]
    costs: Sequence[int]
    """Of each candidate, as the provider bills it."""
    lasts_s: float
    is_billed: bool = True


@dataclass
class Truth:
    """What happened, whatever anybody has written down."""

    billed: Counter[str] = field(default_factory=Counter)
    """By key, as providers count."""
    charged: dict[str, Counter[str]] = field(default_factory=dict)
    """By owner and key: what its ledger has charged, or, where that is lost, what was billed."""
    lost: set[str] = field(default_factory=set)
    """Owners whose disk is gone."""
    sent: int = 0
    refused: int = 0
    unanswered: int = 0
    waited: int = 0
    degraded: int = 0

    def charge(self, owner: str, key: str, amount: int) -> None:
        self.charged.setdefault(owner, Counter())[key] += amount


class Host:
    """One process at a time. `on_server`: answers an owner's asks."""

    def __init__(
        self,
        name: str,
        world: World,
        network: Network,
        truth: Truth,
        on_server: Callable[[str, list[Ask]], list[Grant] | None],
        *,
        store: Literal["memory", "sqlite"] = "memory",
        folder: Path | None = None,
        rate: float = 1.0,
        beside: Host | None = None,
    ) -> None:
        """`beside`: another process of the same machine, whose file it shares."""
        self.name = name
        self._world = world
        self._network = network
        self._truth = truth
        self._on_server = on_server
        self._store = store
        self._folder = folder
        self._rate = rate
        self._disks = itertools.count()
        self._path: Path | None = None
        self._beside = beside
        self.has_company = beside is not None
        if beside is not None:
            self._path, self._rate, beside.has_company = beside._path, beside._rate, True
        self._starts = 0
        self.is_up = False
        self._open: dict[str, tuple[Call, int]] = {}
        """Calls at their provider, and the candidates that were sent."""
        self._woken = False
        self.start()

    def clock(self) -> float:
        """Runs too fast or too slow."""
        return 1000.0 + self._world.now * self._rate

    # -- its process --------------------------------------------------------------------------------

    def start(self) -> None:
        self._starts += 1
        self.is_up, self._woken = True, False
        self._process = f"{self.name}.{self._starts}"
        leases: Leases
        if self._store == "memory":
            local = MemoryLedger()
            leases = MemoryLeases(local, clock=self.clock)
            self.ledger = LeasedLedger(local, leases, clock=self.clock)
        else:
            if self._path is None:
                assert self._folder is not None
                self._path = self._folder / f"{self.name}.{next(self._disks)}.sqlite3"
            file = SqliteLedger(self._path, timeout_s=30.0)
            process = self._process
            file._owner = lambda: process  # type: ignore[method-assign]
            leases = FileLeases(file, clock=self.clock, boot="boot")
            self.ledger = LeasedLedger(file, leases, clock=self.clock)
            file.sweep(EPOCH + self._world.now)
        self.ledger.wake = self._wake
        self.owner = self.ledger.owner
        self._tick(self._starts)

    def crash(self, *, keeps_disk: bool) -> None:
        """Nothing of the process is left, and, unless it `keeps_disk`, nothing at all."""
        keeps_disk = (keeps_disk or self.has_company) and self._store == "sqlite"
        self.is_up = False
        GONE.add(self._process)
        if not keeps_disk:
            self._truth.lost.add(self.owner)
        for call, candidate in self._open.values():
            for line in call.candidates[candidate]:
                amount = call.costs[candidate]
                self._truth.billed[line.key] += amount
                # A ledger that is there charges what it holds: nobody knows what was billed.
                self._truth.charge(self.owner, line.key, line.hold if keeps_disk else amount)
        self._open.clear()
        self.ledger.close()
        if not keeps_disk and self._path is not None:
            for end in ("", "-wal", "-shm"):
                with suppress(OSError):
                    Path(f"{self._path}{end}").unlink()
            self._path = None

    # -- its calls ----------------------------------------------------------------------------------

    def call(self, call: Call, op_id: str) -> None:
        if self.is_up:
            self._try(call, op_id, self._starts, since=self._world.now, pause=FIRST_S)

    def _try(self, call: Call, op_id: str, start: int, *, since: float, pause: float) -> None:
        if start != self._starts or not self.is_up:
            return
        now = self._world.now
        outcome = self.ledger.reserve(
            op_id, call.candidates, now=EPOCH + now, expires_at=EPOCH + now + HOLD_S
        )
        if outcome.asks and now - since < PATIENCE_S:
            self._truth.waited += now == since
            self._world.after(
                pause, lambda: self._try(call, op_id, start, since=since, pause=min(2 * pause, LONGEST_S))
            )
        elif outcome.asks:
            self._truth.unanswered += 1
        elif outcome.kind == "held":
            self._send(call, op_id, start, outcome)
        else:
            self._truth.refused += 1

    def _send(self, call: Call, op_id: str, start: int, outcome: Outcome) -> None:
        self._truth.sent += 1
        self._truth.degraded += outcome.candidate > 0
        self._open[op_id] = (call, outcome.candidate)
        self._world.after(call.lasts_s, lambda: self._end(op_id, start))

    def _end(self, op_id: str, start: int) -> None:
        if start != self._starts or op_id not in self._open:
            return
        call, candidate = self._open.pop(op_id)
        if not call.is_billed:
            assert self.ledger.release(op_id)
            return
        amount = call.costs[candidate]
        assert self.ledger.settle(op_id, {"usd": amount})
        for line in call.candidates[candidate]:
            self._truth.billed[line.key] += amount
            self._truth.charge(self.owner, line.key, amount)

    # -- its agent ----------------------------------------------------------------------------------

    def _wake(self) -> None:
        if not self._woken:
            self._woken = True
            start = self._starts
            self._world.after(0.0, lambda: self._ask(start))

    def _tick(self, start: int) -> None:
        if start == self._starts and self.is_up:
            self._ask(start)
            pause = TICK_S / 2 if self.ledger.is_waited_for else TICK_S
            self._world.after(pause / self._rate, lambda: self._tick(start))

    def ask(self, *, end: bool = False) -> None:
        """Send what is due. `end`: give back what can be."""
        self._ask(self._starts, end=end)

    def _ask(self, start: int, *, end: bool = False) -> None:
        if start != self._starts or not self.is_up:
            return
        self._woken = False
        asked_at, owner = self.clock(), self.owner
        asks = self.ledger.due(asked_at, end=end)
        if not asks:
            return

        def arrived(told: list[dict[str, Any]]) -> None:
            grants = self._on_server(owner, [Ask.from_json(each) for each in told])
            if grants is not None:
                self._network.send(self.name, [each.to_json() for each in grants], answered)

        def answered(told: list[dict[str, Any]]) -> None:
            if start == self._starts and self.is_up:
                self.ledger.take([Grant.from_json(each) for each in told], asked_at)
                self._ask(start)

        self._network.send(self.name, [each.to_json() for each in asks], arrived)

    def give_back(self) -> None:
        """What a process does at its end; once more every now and then, until all is done."""
        if self.is_up and not self.ledger.is_given_back:
            self.ask(end=True)
            self._world.after(TICK_S, self.give_back)
