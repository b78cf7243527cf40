"""The tests of `test_fleet.py` at full length, with figures: `scripts/delivery`."""

from __future__ import annotations

import signal
import sys
import tempfile
import time
from pathlib import Path

from . import short_lived
from .fleet import Line, Server, caller, eventually, figures

BUDGET = {"id": "b1", "name": "All", "type": "global", "limit": 1_000_000.0, "limitAction": "kill"}


def said(what: str, server: Server, folder: Path, seconds: float) -> bool:
    found = figures(server, folder / "acks")
    wrong = server.spent() - found.charged_nano
    print(
        f"{what}: events={found.acknowledged} stored={found.stored} lost={found.lost} double={found.double} "
        f"spent_minus_charged={wrong} seconds={seconds:.0f}",
        flush=True,
    )
    return not (found.lost or found.double or wrong or found.stored < found.acknowledged)


def finish(folder: Path, server: Server, url: str) -> None:
    """One more program, which brings what others have left. What waits is by the server's address."""
    with caller(folder, url, server.key, 1) as program:
        assert program.communicate(timeout=300)[0].split() == ["called", "True"]


def outage(folder: Path, count: int, outage_s: float) -> bool:
    """`count` calls while the server is away, and a line that breaks when it is back."""
    begun = time.monotonic()
    with Server(folder) as server:
        server.put(budgets=[BUDGET])
        line = Line(server.port, seed=3, after=(1_000, 600_000))
        url = f"http://127.0.0.1:{line.port}"
        with caller(folder, url, server.key, 1) as program:
            program.communicate(timeout=100)
        server.kill()
        down = time.monotonic()
        with caller(folder, url, server.key, count, "wait") as program:
            assert program.stdout is not None
            assert program.stdout.readline() == "called\n"
            time.sleep(max(0.0, outage_s - (time.monotonic() - down)))
            server.start()
            up = time.monotonic()
            program.communicate(timeout=600)
        line.is_whole = True
        finish(folder, server, url)
        print(f"caught up in {time.monotonic() - up:.0f} s, connections broken: {line.broken}", flush=True)
        line.close()
        return said("outage", server, folder, time.monotonic() - begun)


def kills(folder: Path, count: int) -> bool:
    begun = time.monotonic()
    with Server(folder) as server:
        server.put(budgets=[BUDGET])
        acks = folder / "acks"
        for number in range(count):
            with caller(folder, server.url, server.key, 100_000, "wait") as program:
                before = len(acks.read_text()) if acks.exists() else 0
                eventually(lambda: acks.exists() and len(acks.read_text()) > before)  # noqa: B023
                time.sleep(number % 10 / 10)
                if number % 5 == 4:
                    server.kill()
                    server.start()
                program.send_signal(signal.SIGKILL)
        finish(folder, server, server.url)
        return said("kills", server, folder, time.monotonic() - begun)


def forks(folder: Path, count: int) -> bool:
    begun = time.monotonic()
    with Server(folder) as server:
        server.put(budgets=[BUDGET])
        with caller(folder, server.url, server.key, count, "fork") as program:
            assert program.communicate(timeout=count * 5.0)[0].split() == ["called", "True"]
        finish(folder, server, server.url)
        return said("forks", server, folder, time.monotonic() - begun)


def short_lives(folder: Path, size: str) -> bool:
    """`size`: programs at a time, and how often each is killed: "40x10"."""
    begun = time.monotonic()
    agents, _, restarts = size.partition("x")
    found = short_lived.run(folder, agents=int(agents), restarts=int(restarts), lease_s=10.0)
    print(f"short_lived: {found} seconds={time.monotonic() - begun:.0f}", flush=True)
    return not (found.overspent or found.lost or found.false_blocks or found.stranded > 0.005 * found.limit)


def main(names: list[str]) -> int:
    """`names`: of runs, each perhaps with a size in the place of the usual, as `forks=50`."""
    runs = {
        "outage": lambda folder, size: outage(folder, int(size or 100_000), 60.0),
        "kills": lambda folder, size: kills(folder, int(size or 60)),
        "forks": lambda folder, size: forks(folder, int(size or 1000)),
        "short_lived": lambda folder, size: short_lives(folder, size or "40x10"),
    }
    good = True
    for told in names or list(runs):
        name, _, size = told.partition("=")
        with tempfile.TemporaryDirectory() as folder:
            good = runs[name](Path(folder), size) and good
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
