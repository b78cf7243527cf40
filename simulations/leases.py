"""Leases across machines, whatever befalls them: `python -m simulations.leases --schedules 2000`.

Each schedule is made from its seed: hosts with clocks that run apart, a network that loses, repeats and
reorders, partitions, crashes with and without their disks, servers that stop, limits that are cut or raised,
budgets with windows, rolling ones, templates, degrades. What runs is the product: `LeasedLedger` over memory
and SQLite, the owner's book, and the server's rule.

over_bound: budgets of which more was billed than the limit, or than what was spent and granted when the limit
was cut. lost, double: owners of whose charges the server has, in the end, fewer or more. use: the part of the
limits that was billed, where more was asked for.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

from aden_transport.control.messages import Ask, Grant
from aden_transport.ledger import sqlite
from aden_transport.ledger.base import NEVER, Line
from aden_transport.ledger.grants import Bounds
from aden_transport.policy.index import ledger_key
from aden_transport.policy.window import NO_PERIOD, Period, window_at

from .fleet import RuleServer, Server
from .hosts import EPOCH, GONE, Call, Host, Truth
from .sql_server import SqlServer
from .world import Network, World

__all__ = ["Result", "run", "totalled"]

USD = 1_000_000_000
BOUNDS = Bounds(ttl_s=15.0, clock_skew=0.25, longest_s=15.0, dispute_ttl_s=30.0)
"""Two clocks, each of which may run 10 % apart from the truth."""
LONGEST_S = 12.0
LENGTH_S = 90.0
SWEEP_S = 3.0
HEALED_S = 45.0
"""Of the end of a schedule: nothing befalls anybody any more, and calls go on."""
HOSTS, CALLS = 4, 50
PERIODS = {"windows": Period("hourly"), "rolling": Period("rolling", 300)}


@dataclass
class Result:
    seed: int
    over_bound: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    double: list[str] = field(default_factory=list)
    billed: int = 0
    could: int = 0
    """Of the limits, where more was asked for."""
    disputed: int = 0
    truth: Truth = field(default_factory=Truth)

    @property
    def is_right(self) -> bool:
        return not (self.over_bound or self.lost or self.double)


class Schedule:
    def __init__(self, seed: int, folder: Path, *, store: str | None = None, server: str = "rule") -> None:
        self.world = World(seed)
        self.random = self.world.random
        self.truth = Truth()
        draw = self.random
        self.network = Network(
            self.world,
            loss=draw.uniform(0, 0.2),
            twice=draw.uniform(0, 0.1),
            delay_s=draw.choice([0.005, 0.05, 0.3]),
        )
        self.kind = draw.choice(["plain", "windows", "rolling", "templates", "degrade"])
        self.limits: dict[str, int] = {}
        """Of a budget, without its window."""
        self.bounds: dict[str, int] = {}
        """By key: what may come to be billed on it at most."""
        self.hold = draw.choice([10_000, 1_000_000, 20_000_000])
        self.limits["global"] = self.hold * CALLS * HOSTS // draw.choice([2, 3, 4])
        self.limits["customer"] = self.limits["global"] // 3
        self.server: Server = (
            RuleServer(self.limit_of, clock=self.wall, bounds=BOUNDS)
            if server == "rule"
            else SqlServer(self.budgets, folder=folder, clock=self.wall, bounds=BOUNDS)
        )
        self.server_is_up = True
        if store is None:
            store = "sqlite" if seed % 40 == 0 else "memory"
        self.hosts: list[Host] = []
        for number in range(HOSTS):
            host = Host(
                f"host{number}",
                self.world,
                self.network,
                self.truth,
                self.on_server,
                store="sqlite" if store == "sqlite" else "memory",
                folder=folder,
                rate=draw.uniform(0.9, 1.1),
                beside=self.hosts[0] if number == 1 and store == "sqlite" else None,
            )
            self.hosts.append(host)
        self.calls = 0

    # -- the server ---------------------------------------------------------------------------------

    def limit_of(self, key: str) -> int:
        limit = self.limits[budget_of(key)]
        self.bounds.setdefault(key, limit)
        return limit

    def budgets(self) -> list[dict[str, Any]]:
        """The policy."""
        period = {"windows": "hourly", "rolling": {"rolling": "5m"}}.get(self.kind, "none")
        limit, own = [self.limits[name] / USD for name in ("global", "customer")]
        found: list[dict[str, Any]] = [{"type": "global", "limit": limit, "period": period}]
        if self.kind == "templates":
            found.append({"type": "customer", "name": "*", "limit": own})
        return found

    def wall(self) -> float:
        """Seconds since the epoch."""
        return EPOCH + self.world.now

    def on_server(self, owner: str, asks: list[Ask]) -> list[Grant] | None:
        if not self.server_is_up:
            return None
        for ask in asks:
            self.limit_of(ask.key)
        return self.server.answer(owner, asks)

    def tick(self) -> None:
        self.server.tick()
        self.world.after(SWEEP_S, self.tick)

    def change_limit(self) -> None:
        name = self.random.choice(list(self.limits))
        limit = self.limits[name] = int(self.limits[name] * self.random.choice([0.8, 0.9, 1.1]))
        for key in [key for key in self.bounds if budget_of(key) == name]:
            if self.kind == "rolling" or limit > self.bounds[key]:
                self.bounds[key] = max(self.bounds[key], limit)
            else:
                # What is spent and granted may be billed all the same.
                self.bounds[key] = max(limit, sum(self.server.sums(key)))
        self.server.set_limits()

    def stop_server(self) -> None:
        self.server_is_up = False
        self.world.after(self.random.uniform(0.1, 8.0), self.start_server)

    def start_server(self) -> None:
        if not self.server_is_up:
            self.server.restart()
        self.server_is_up = True

    # -- the hosts ----------------------------------------------------------------------------------

    def begin_calls(self, host: Host) -> None:
        """At random times to the end, or in bursts."""
        draw, at = self.random, 0.0
        pause_s = LENGTH_S / CALLS
        burst = draw.choice([1, 1, 20])
        for number in range(CALLS):
            if number % burst == 0:
                at += draw.expovariate(1 / (pause_s * burst))
            self.world.at(min(at + draw.uniform(0, 3.0), LENGTH_S), lambda: self.call(host))

    def call(self, host: Host) -> None:
        if not host.is_up:
            return
        self.calls += 1
        draw = self.random
        hold = int(self.hold * draw.uniform(0.2, 2.0))
        cost = int(hold * draw.choice([0.1, draw.random(), 1.0]))
        candidates = [self.lines(hold)]
        costs = [cost]
        if self.kind == "degrade":
            candidates = [self.lines(hold, degrades=True), self.lines(hold // 4)]
            costs.append(cost // 4)
        call = Call(
            candidates,
            costs,
            min(draw.expovariate(1 / draw.choice([0.3, 3.0, 3.0, 10.0])), LONGEST_S),
            draw.random() < 0.95,
        )
        host.call(call, f"call {self.calls}")

    def lines(self, hold: int, *, degrades: bool = False) -> list[Line]:
        limit = self.limits["global"]
        at = limit * 8 // 10 if degrades else NEVER
        window = window_at(PERIODS.get(self.kind, NO_PERIOD), "UTC", self.wall())
        line = Line(
            ledger_key("global", window),
            hold,
            hold // 2,
            limit_held=limit,
            degrade_at=at,
            also=tuple([ledger_key("global", replace(window, name=name)) for name in window.older]),
            expires_at=window.expires_at,
        )
        if self.kind != "templates":
            return [line]
        customer = f"-|customer:{self.random.randrange(4)}"
        return [line, Line(customer, hold, hold // 2, limit_held=self.limits["customer"])]

    def befall(self) -> None:
        """Something happens to somebody."""
        if self.world.now > LENGTH_S - HEALED_S:
            return
        host = self.random.choice(self.hosts)
        match self.random.choice(["crash", "partition", "partition", "server", "limit", "leave"]):
            case "crash":
                if host.is_up:
                    host.crash(keeps_disk=self.random.random() < 0.8, loses_power=self.random.random() < 0.3)
                    self.world.after(self.random.uniform(0.1, 10.0), host.start)
            case "partition":
                self.network.cut(host.name, self.random.uniform(1.0, 40.0))
            case "leave":
                host.ask(end=True)
            case "server":
                self.stop_server()
            case _:
                if self.random.random() < 0.5:
                    self.change_limit()
        self.world.after(self.random.expovariate(1 / 6.0), self.befall)

    def heal(self) -> None:
        self.network.heal()

    # -- the end ------------------------------------------------------------------------------------

    def run(self) -> None:
        self.tick()
        for host in self.hosts:
            self.begin_calls(host)
        self.world.after(self.random.expovariate(1 / 6.0), self.befall)
        self.world.at(LENGTH_S - HEALED_S + 10.0, self.heal)
        self.world.run(LENGTH_S + LONGEST_S + 3.0)
        for host in self.hosts:
            host.give_back()
        self.world.run(self.world.now + BOUNDS.silent_s + BOUNDS.dispute_ttl_s + 20.0)
        for host in self.hosts:
            host.ledger.close()

    def close(self) -> None:
        self.server.close()

    def result(self, seed: int) -> Result:
        result = Result(seed, truth=self.truth)
        booked = self.server.booked()
        charged = {
            (owner, key): amount for owner, of in self.truth.charged.items() for key, amount in of.items()
        }
        for name in booked.keys() | charged.keys():
            is_there, was = booked.get(name, 0), charged.get(name, 0)
            if is_there < was:
                result.lost.append(f"{name}: {is_there} < {was}")
            elif is_there > was and name[0] not in self.truth.lost:
                result.double.append(f"{name}: {is_there} > {was}")
            result.disputed += max(0, is_there - was)
        for key, bound in self.bounds.items():
            spent, held = self.server.sums(key)
            if held or spent != sum(amount for (_, of), amount in booked.items() if of == key):
                result.double.append(f"{key}: {spent} spent, {held} held")
            keys = [key]
            if self.kind == "rolling":
                stamp, _, part = key.partition("|")[0].partition(".")
                keys += [f"{stamp}.{number}|global" for number in range(int(part) - 60, int(part))]
            billed = sum(self.truth.billed[each] for each in keys)
            if billed > bound:
                result.over_bound.append(f"{key}: {billed} > {bound}")
            limit = self.limits[budget_of(key)]
            if self.kind in ("plain", "degrade") and self.truth.wanted[key] > limit * 1.3:
                result.billed += min(billed, limit)
                result.could += limit
        return result


def budget_of(key: str) -> str:
    return key.partition("|")[2].partition(":")[0]


@contextmanager
def processes_that_end() -> Iterator[None]:
    """Whether a process is gone is what the simulation says."""
    GONE.clear()
    with patch.object(sqlite, "is_gone", GONE.__contains__):
        yield


def run(seed: int, *, store: str | None = None, server: str = "rule") -> Result:
    """What becomes of one schedule. `store`: of the hosts, else as the seed says."""
    with processes_that_end(), tempfile.TemporaryDirectory(dir=_fast_folder()) as folder:
        schedule = Schedule(seed, Path(folder), store=store, server=server)
        try:
            schedule.run()
            return schedule.result(seed)
        finally:
            schedule.close()


def _fast_folder() -> str | None:
    memory = Path("/dev/shm")
    return str(memory) if memory.is_dir() else None


def totalled(results: list[Result]) -> str:
    could = sum(each.could for each in results)
    use = sum(each.billed for each in results) / could if could else 1.0
    return (
        f"over_bound={sum(len(each.over_bound) for each in results)} "
        f"lost={sum(len(each.lost) for each in results)} "
        f"double={sum(len(each.double) for each in results)} use={use:.3f}"
    )


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--schedules", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0, help="the first one")
    parser.add_argument("--store", choices=["memory", "sqlite"])
    parser.add_argument("--server", choices=["rule", "sql"], default="rule")
    given = parser.parse_args()
    began, results = time.perf_counter(), list[Result]()
    for seed in range(given.seed, given.seed + given.schedules):
        results.append(run(seed, store=given.store, server=given.server))
        each = results[-1]
        if not each.is_right:
            print(f"seed {seed}:", *each.over_bound, *each.lost, *each.double, sep="\n  ")
    truth = [each.truth for each in results]
    print(totalled(results))
    print(
        f"{len(results)} schedules in {time.perf_counter() - began:.1f} s: "
        f"{sum(each.sent for each in truth)} calls sent, {sum(each.refused for each in truth)} refused, "
        f"{sum(each.waited for each in truth)} waited, {sum(each.unanswered for each in truth)} in vain, "
        f"{sum(each.degraded for each in truth)} degraded, {sum(len(each.lost) for each in truth)} disks lost"
    )
    return 0 if all(each.is_right for each in results) else 1


if __name__ == "__main__":
    sys.exit(main())
