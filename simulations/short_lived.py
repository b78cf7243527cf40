"""Agents that live for a short time and lose their disks: `python -m simulations.short_lived`.

Each is killed again and again, with all that it has written, and another takes its place. What it was granted
and had not reported is charged, as nobody can say that it was not spent: that is what is stranded.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from aden_transport.ledger.base import Line
from aden_transport.ledger.grants import Bounds

from .fleet import RuleServer, Server
from .hosts import EPOCH, Call, Host, Truth
from .leases import processes_that_end
from .sql_server import SqlServer
from .world import Network, World

__all__ = ["Figures", "run"]

KEY = "-|global"
LIMIT = 200 * 10**9
HOLD = 2_000_000
"""Nano-dollars: most of a call to a small model. It costs a third to all of that."""
LIFE_S = 60.0
CALLS = 30
"""Of one life. At that pace, forty agents spend several times the limit in a day."""
BOUNDS = Bounds(ttl_s=60.0, clock_skew=0.1, longest_s=30.0, dispute_ttl_s=300.0)


@dataclass
class Figures:
    lives: int
    sent: int
    overspent: int
    """Nano-dollars billed beyond the limit."""
    stranded: int
    """Nano-dollars charged that were never billed."""
    blocked: int
    """Calls that were not sent, though the money was there."""
    uncounted: int
    """Nano-dollars billed that the server does not know of."""

    def __str__(self) -> str:
        return (
            f"lives={self.lives} calls={self.sent} overspend={self.overspent} lost={self.uncounted} "
            f"stranded={self.stranded / LIMIT:.2%} false_blocks={self.blocked}"
        )


def run(
    *, agents: int = 40, restarts: int = 10, seed: int = 1, server: str = "rule", store: str = "memory"
) -> Figures:
    world, truth = World(seed), Truth()
    clock = partial(_wall, world)
    with processes_that_end(), tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        serving: Server = (
            RuleServer(lambda _: LIMIT, clock=clock, bounds=BOUNDS)
            if server == "rule"
            else SqlServer(
                lambda: [{"type": "global", "limit": LIMIT / 10**9}],
                folder=folder,
                clock=clock,
                bounds=BOUNDS,
            )
        )
        network = Network(world, loss=0.0, twice=0.02, delay_s=0.005)
        for number in range(agents):
            host = Host(
                f"agent{number}",
                world,
                network,
                truth,
                serving.answer,
                store="sqlite" if store == "sqlite" else "memory",
                folder=folder,
            )
            _live(world, host, restarts, f"{number}")
        end = restarts * LIFE_S * 1.5
        world.run(end)
        while world.now < end + BOUNDS.silent_s + BOUNDS.dispute_ttl_s + 60.0:
            world.run(world.now + 20.0)
            serving.tick()
        spent, _ = serving.sums(KEY)
        serving.close()
    billed = truth.billed[KEY]
    return Figures(
        agents * restarts,
        truth.sent,
        max(0, billed - LIMIT),
        max(0, spent - billed),
        truth.refused + truth.unanswered,
        max(0, billed - spent),
    )


def _wall(world: World) -> float:
    return EPOCH + world.now


def _live(world: World, host: Host, restarts: int, name: str) -> None:
    """Calls at random times, and a kill at the end of each life."""
    at = 0.0
    for life in range(restarts):
        until = at + world.random.uniform(0.5, 1.4) * LIFE_S
        for number in range(CALLS):
            call = f"{name} {life} {number}"
            world.at(world.random.uniform(at, until), partial(_call, world, host, call))
        world.at(until, partial(host.crash, keeps_disk=False))
        at = until + 0.5
        if life < restarts - 1:
            world.at(at, host.start)


def _call(world: World, host: Host, name: str) -> None:
    hold = int(HOLD * world.random.uniform(0.5, 1.0))
    cost = int(hold * world.random.uniform(0.33, 1.0))
    line = Line(KEY, hold, hold // 2, limit_held=LIMIT)
    host.call(Call([[line]], [cost], world.random.expovariate(1.0)), name)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--agents", type=int, default=40)
    parser.add_argument("--restarts", type=int, default=10)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--server", choices=["rule", "sql"], default="rule")
    parser.add_argument("--store", choices=["memory", "sqlite"], default="memory")
    given = parser.parse_args()
    figures = run(**vars(given))
    print(figures)
    return 0 if not (figures.overspent or figures.blocked or figures.uncounted) else 1


if __name__ == "__main__":
    sys.exit(main())
