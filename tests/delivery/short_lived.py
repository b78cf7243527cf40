"""Programs that live for a short time and lose their disks, beside a server with one hard budget.

Each is killed in the midst of its calls, all that it has written is destroyed, and another takes its place.
When the server has charged what nobody has reported, the rest of the budget is spent, by several at once.
"""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from aden_transport.testing import FakeProvider, Reply
from aden_transport.testing.received import ReceivedRequest

from ..server.kit import wait_for
from ..server.running import Running

__all__ = ["Figures", "run"]

HERE = Path(__file__).parent
LIFE_S = 120.0
SMALL, LARGE = "gpt-4o-mini", "gpt-4"
NANO_PER_TOKEN = {SMALL: (150, 600), LARGE: (30_000, 60_000)}
"""US dollars, of input and output: https://platform.openai.com/docs/pricing, 2026-11-22."""
INPUT_TOKENS = 5
SMALL_TOKENS = 150
HOLD = 125_000
"""Nano-dollars: a little more than a small call holds."""
PART = 100_000
"""A call holds one part in so many of the budget, as in `simulations.short_lived`."""
REFUSED = re.compile(r"this call may cost \$([0-9.]+)")
LIVES = 400
"""For which the budget is so large; fewer have a smaller one."""


@dataclass(frozen=True)
class Figures:
    """In nano-dollars, where they are not counts."""

    lives: int
    calls: int
    limit: int
    billed: int
    """By the provider, to all."""
    overspent: int
    """Billed beyond the limit."""
    lost: int
    """Billed, and not known to the server."""
    stranded: int
    """Charged, and not billed."""
    false_blocks: int
    """Calls that were refused though the money was there."""

    def __str__(self) -> str:
        return (
            f"lives={self.lives} calls={self.calls} limit={self.limit} billed={self.billed} "
            f"overspend={self.overspent} lost={self.lost} "
            f"stranded={self.stranded} ({self.stranded / self.limit:.3%}) false_blocks={self.false_blocks}"
        )


def run(
    folder: Path, *, agents: int, restarts: int, lease_s: float, at_once: int = 6, seed: int = 1
) -> Figures:
    """`lease_s`: how long leases last; a silent program is found out after about twice of it."""
    lives = agents * restarts
    fleet = _Fleet(folder, limit=HOLD * PART * lives // LIVES, lease_s=lease_s, seed=seed)
    with fleet.running(), ThreadPoolExecutor(at_once) as pool:
        for _ in range(restarts):
            list(pool.map(fleet.live, range(agents)))
        wait_for(fleet.is_settled, deadline_s=LIFE_S)
        billed, charged = fleet.billed(), fleet.charged()
        # As much a call that twenty would spend the rest.
        most = (fleet.limit - charged) // NANO_PER_TOKEN[LARGE][1] // 20
        list(pool.map(lambda number: fleet.spend(number, most), range(agents, agents + at_once)))
        wait_for(fleet.is_settled, deadline_s=LIFE_S)
        # Alone, so that nobody holds what it is refused.
        wanted = fleet.spend(agents + at_once, most)
        wrong = fleet.refused + (fleet.limit - fleet.charged() >= wanted)
        return Figures(
            lives,
            len(fleet.provider.requests),
            fleet.limit,
            fleet.billed(),
            max(0, fleet.billed() - fleet.limit),
            max(0, billed - charged, fleet.billed() - fleet.charged()),
            max(0, charged - billed, fleet.charged() - fleet.billed()),
            wrong,
        )


class _Fleet:
    """A server, a provider, and the programs between them."""

    def __init__(self, folder: Path, *, limit: int, lease_s: float, seed: int) -> None:
        self.folder = folder
        self.limit = limit
        self.refused = 0
        """Of programs that should have gone on until they were killed."""
        self.provider = FakeProvider(max_requests=1_000_000)
        self.provider.script(_reply)
        seconds = f"ttl={lease_s},longest={lease_s},dispute=1,look=0.5"
        self.server = Running(folder / "server", environment={"ADEN_LEASE_SECONDS": seconds})
        self._draw = random.Random(seed)
        self._lock = threading.Lock()

    @contextmanager
    def running(self) -> Iterator[None]:
        with self.provider, self.server:
            budget = {"id": "b1", "type": "global", "limit": self.limit / 1e9, "limitAction": "kill"}
            self.server.ask("PUT", "/v1/control/policies/default", {"budgets": [budget]})
            yield

    def billed(self) -> int:
        """By the provider, for all that has reached it."""
        return sum(_cost(request) for request in self.provider.requests if request.complete)

    def charged(self) -> int:
        """By the server."""
        return round(float(self.server.ask("GET", "/v1/control/budget/b1")["spent"]) * 1e9)

    def is_settled(self) -> bool:
        """Whether nothing is held any more, and nothing is in dispute."""
        held = self.server.ask("GET", "/v1/control/budget/b1")["held"]
        return not held and not self.server.ask("GET", "/v1/ledger/disputes")["disputes"]

    def live(self, number: int) -> None:
        """One life, which ends by SIGKILL, at any moment after a few calls."""
        with self._lock:
            calls, rest_s = self._draw.randint(1, 6), self._draw.uniform(0.0, 0.05)
        with self._program(number, SMALL, SMALL_TOKENS) as program:
            assert program.stdout is not None
            for _ in range(calls):
                assert program.stdout.readline(), "it ended"
            try:
                program.wait(rest_s)
            except subprocess.TimeoutExpired:
                program.kill()
            said = program.communicate()[0]
        with self._lock:
            self.refused += "refused" in said
        shutil.rmtree(self._disk(number))

    def spend(self, number: int, most: int) -> int:
        """Call until there is no money left for one more; what that would have held."""
        with self._program(number, LARGE, most) as program:
            said = program.communicate()[0].splitlines()
        assert said[-1].startswith("refused"), said[-1]
        return round(float(REFUSED.findall(said[-1])[0]) * 1e9)

    def _disk(self, number: int) -> Path:
        return self.folder / f"disk{number}"

    @contextmanager
    def _program(self, number: int, model: str, most: int) -> Iterator[subprocess.Popen[str]]:
        """A program that is killed when it takes too long, and at the end."""
        told = [self.server.url, self.server.tokens["agents"], self.provider.openai_base_url]
        command = [sys.executable, "-W", "error", str(HERE / "living.py"), *told, model, str(most)]
        disk = self._disk(number)
        disk.mkdir(mode=0o700, exist_ok=True)
        environment = {**os.environ, "XDG_STATE_HOME": str(disk), "XDG_RUNTIME_DIR": str(disk)}
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as program:
            late = threading.Timer(LIFE_S, program.kill)
            late.start()
            try:
                yield program
            finally:
                late.cancel()
                program.kill()


def _asked(request: ReceivedRequest) -> tuple[str, int]:
    """The model, and how many tokens it shall answer with at most."""
    body = json.loads(request.body)
    return body["model"], body["max_tokens"]


def _answered(most: int) -> int:
    return most * 2 // 3


def _reply(request: ReceivedRequest) -> Reply:
    return Reply(text="Hi", input_tokens=INPUT_TOKENS, output_tokens=_answered(_asked(request)[1]))


def _cost(request: ReceivedRequest) -> int:
    model, most = _asked(request)
    of_input, of_output = NANO_PER_TOKEN[model]
    return INPUT_TOKENS * of_input + _answered(most) * of_output
