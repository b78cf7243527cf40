"""A host: the product's ledger under leases, on a disk that outlives its process, or does not, and what
carries its asks to the server."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from aden_transport.control.agent.errands import IDLE_S, WAITED_FOR_S
from aden_transport.control.agent.session import Session
from aden_transport.control.messages import Ask, Grant
from aden_transport.control.options import ControlOptions
from aden_transport.ledger.base import Line, Outcome
from aden_transport.ledger.lease_file import FileLeases
from aden_transport.ledger.lease_memory import MemoryLeases
from aden_transport.ledger.leased import LeasedLedger, Leases
from aden_transport.ledger.memory import MemoryLedger
from aden_transport.ledger.sqlite import SqliteLedger

from .world import Network, World

__all__ = ["EPOCH", "GONE", "Call", "Host", "Truth"]

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
    wanted: Counter[str] = field(default_factory=Counter)
    """By key: what the calls cost that were sent, or refused for a limit."""
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
        self._starts = self._boots = 0
        self._booted_at = 0.0
        self.is_up = False
        self._open: dict[str, tuple[Call, int]] = {}
        """Calls at their provider, and the candidates that were sent."""
        self._woken = False
        self.start()

    def clock(self) -> float:
        """Runs too fast or too slow, since the machine was started."""
        return 10.0 + (self._world.now - self._booted_at) * self._rate

    # -- its process --------------------------------------------------------------------------------

    def start(self) -> None:
        self._starts += 1
        self.is_up, self._woken = True, False
        self._process = f"{self.name}.{self._starts}"
        leases: Leases
        if self._store == "memory":
            local = MemoryLedger()
            leases = MemoryLeases(local)
            self.ledger = LeasedLedger(local, leases, clock=self.clock)
        else:
            if self._path is None:
                assert self._folder is not None
                self._path = self._folder / f"{self.name}.{next(self._disks)}.sqlite3"
            file = SqliteLedger(self._path, timeout_s=30.0)
            process = self._process
            file._owner = lambda: process  # type: ignore[method-assign]
            leases = FileLeases(file, clock=self.clock, boot=f"boot {self._boots}")
            self.ledger = LeasedLedger(file, leases, clock=self.clock)
            file.sweep(EPOCH + self._world.now)
        self.ledger.wake = self._wake
        self.owner = self.ledger.owner
        self._begin_asking()

    def crash(self, *, keeps_disk: bool, loses_power: bool = False) -> None:
        """Nothing of the process is left, and, unless it `keeps_disk`, nothing at all."""
        keeps_disk = (keeps_disk or self.has_company) and self._store == "sqlite"
        if loses_power and not self.has_company:
            self._boots, self._booted_at = self._boots + 1, self._world.now
            # What was leased is charged in full: its disk may have lost something.
            self._truth.lost.add(self.owner)
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
        else:
            for line in call.candidates[0]:
                self._truth.wanted[line.key] += call.costs[0]
            if outcome.kind == "held":
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

    def _begin_asking(self) -> None:
        """By the agent's own session, whose other tasks have nothing to do here."""
        self.session = Session(ControlOptions(), draw=self._world.random.random)
        self.session.begin(self._seconds())
        self.session.met(ours=True, now=self._seconds())
        self._requests = itertools.count()
        self._under_way = -1
        self._look_at = 0.0
        self._look(self._starts)

    def _seconds(self) -> float:
        return self._world.now * self._rate

    def _wake(self) -> None:
        if self._under_way < 0 or not self._woken:
            self._woken = True
            self.session.wake("leases", self._seconds())
            self._look_in(0.0)

    def _look_in(self, seconds: float) -> None:
        start = self._starts
        self._world.after(seconds, lambda: self._look(start))

    def _look(self, start: int) -> None:
        if start != self._starts or not self.is_up:
            return
        for task in self.session.due(self._seconds()):
            if task == "leases":
                self._woken = False
                self.ask(in_session=True)
            else:
                self.session.done(task, self._seconds(), next_s=math.inf)
        pause = max(0.001, self.session.next_at - self._seconds()) / self._rate
        if pause < math.inf:
            self._look_at = self._world.now + pause
            self._world.after(pause, lambda: self._look_once(start))

    def _look_once(self, start: int) -> None:
        # Others may have looked meanwhile, and found when to look next.
        if self._world.now >= self._look_at:
            self._look(start)

    def ask(self, *, end: bool = False, in_session: bool = False) -> None:
        """Send what is due. `end`: give back what can be."""
        asked_at, owner, start = self.clock(), self.owner, self._starts
        asks = self.ledger.due(asked_at, end=end) if self.is_up else []
        if not asks:
            if in_session:
                pause = WAITED_FOR_S if self.ledger.is_waited_for else IDLE_S
                self.session.done("leases", self._seconds(), next_s=pause)
            return
        number = next(self._requests)

        def over(*, answered: bool) -> None:
            if self._under_way == number and start == self._starts and self.is_up:
                self._under_way = -1
                if answered:
                    self.session.done("leases", self._seconds(), next_s=0.0)
                else:
                    self.session.failed("leases", self._seconds())
                self._look(start)

        def arrived(told: list[dict[str, Any]]) -> None:
            grants = self._on_server(owner, [Ask.from_json(each) for each in told])
            if grants is not None:
                self._network.send(self.name, [each.to_json() for each in grants], answered)

        def answered(told: list[dict[str, Any]]) -> None:
            # Those that come twice, or too late, too.
            if start == self._starts and self.is_up:
                self.ledger.take([Grant.from_json(each) for each in told], asked_at)
                over(answered=True)

        if in_session:
            self._under_way = number
            self._world.after(PATIENCE_S / self._rate, lambda: over(answered=False))
        self._network.send(self.name, [each.to_json() for each in asks], arrived)

    def give_back(self) -> None:
        """What a process does at its end; once more every now and then, until all is done."""
        if self.is_up and not self.ledger.is_given_back:
            self.ask(end=True)
            self._world.after(1.0, self.give_back)
