"""What the ledgers take: `python -m benchmarks.ledger`.

Microseconds of a reserve and its settlement on four lines, the memory of a million customers' keys, and how
long a reserve waits where four processes write one SQLite file without a pause.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from itertools import count
from pathlib import Path

from aden_transport.ledger.base import Ledger, Line
from aden_transport.ledger.memory import MemoryLedger
from aden_transport.ledger.sqlite import SqliteLedger

NOON = 1_790_000_000.0
LINES = tuple(
    Line(f"budget {number}", 100, 50, limit_held=10**15, degrade_at=10**14, throttle_at=10**14)
    for number in range(4)
)


def main() -> None:
    print(f"memory, 4 lines        {best(MemoryLedger(), 20_000):8.1f} µs")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "ledger.sqlite3")
        print(f"sqlite, 4 lines        {best(SqliteLedger(path, timeout_s=5), 1_000):8.1f} µs")
        writers = [
            subprocess.Popen([sys.executable, "-m", "benchmarks.ledger", "write", str(path)])
            for _ in range(4)
        ]
        for writer in writers:
            writer.wait()
    print(f"a million keys         {customers():8.1f} MiB")


def best(ledger: Ledger, calls: int) -> float:
    """Of five runs, in µs a call."""
    return min(timed(ledger, calls, run) for run in range(5)) * 1e6


def timed(ledger: Ledger, calls: int, run: int) -> float:
    begin = time.perf_counter()
    for number in range(calls):
        call(ledger, f"{run} {number}", LINES)
    return (time.perf_counter() - begin) / calls


def call(ledger: Ledger, op_id: str, lines: Sequence[Line]) -> None:
    ledger.reserve(op_id, [lines], now=NOON, expires_at=NOON + 600)
    ledger.settle(op_id, {"usd": 40})


def customers() -> float:
    """The process's growth at its peak."""
    ledger = MemoryLedger()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for number in range(1_000_000):
        line = Line(f"customer:{number}@2026-09-21", 100, 50, limit_held=1000, expires_at=NOON + 86_400)
        call(ledger, str(number), [line])
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024


def write(path: str) -> None:
    """One of several writers; prints how long its reserves took."""
    ledger = SqliteLedger(path, timeout_s=5)
    name = f"writer {time.perf_counter_ns()}"
    waits = []
    for number in range(1_000):
        begin = time.perf_counter()
        ledger.reserve(f"{name} {number}", [LINES], now=NOON, expires_at=NOON + 600)
        waits.append((time.perf_counter() - begin) * 1e6)
        ledger.settle(f"{name} {number}", {"usd": 40})
    waits.sort()
    print(
        f"sqlite, one of 4       p50 {waits[500]:8.1f} µs  p99 {waits[990]:8.1f} µs  max {waits[-1]:8.1f} µs"
    )


def hammer(path: str) -> None:
    """As `write`, for ever and saying nothing."""
    ledger = SqliteLedger(path, timeout_s=5)
    name = f"hammer {time.perf_counter_ns()}"
    for number in count():
        call(ledger, f"{name} {number}", LINES)


if __name__ == "__main__":
    if sys.argv[1:2] == ["write"]:
        write(sys.argv[2])
    elif sys.argv[1:2] == ["hammer"]:
        hammer(sys.argv[2])
    else:
        main()
