"""What metering adds to a call and to a streamed event, against the bare client.

    python benchmarks/overhead.py                 the whole table; some minutes with valgrind
    python benchmarks/overhead.py --only json     some cases, by name (repeatable; see cases.py)
    python benchmarks/overhead.py --quick         few rounds of some cases, no valgrind: does it run?
    python benchmarks/overhead.py --gate          exit 1 where an instruction count is over its bar
    python benchmarks/overhead.py --markdown      write the table into docs/benchmarks.md

Instruction counts repeat to within 2 000 a call; wall time does not on a shared machine, which is why
every row has its noise floor: a second bare process against the first.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import report
from benchmarks.cases import CASES, GATE_BATCH, LONG, SHORT, Case
from benchmarks.report import Row

WORKER = str(Path(__file__).with_name("worker.py"))
ENVIRONMENT = {**os.environ, "PYTHONHASHSEED": "0"}
VARIANTS = ("bare", "bare2", "ours")
PER_EVENT = LONG - SHORT
MORE = 5
"""How many times the rounds may be repeated where the bare processes differ by more than 2 %."""

Counts = dict[tuple[str, int, int], int]
"""Instructions by case, calls and events."""


# -- wall time --------------------------------------------------------------------------------------


class Worker:
    """One process that measures when it is told to."""

    def __init__(self, case: Case, variant: str) -> None:
        metered = "ours" if variant == "ours" else "bare"
        self._process = subprocess.Popen(
            [sys.executable, WORKER, "time", metered, case.name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=ENVIRONMENT,
        )

    def _answer(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit("a worker ended early; its message stands above")
        return line

    def ready(self) -> None:
        self._answer()

    def round(self, calls: int, events: int) -> int:
        """Nanoseconds of the fastest of `calls` calls."""
        assert self._process.stdin is not None
        print(calls, events, file=self._process.stdin, flush=True)
        return int(self._answer())

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def time_case(case: Case, *, rounds: int, calls: int) -> dict[tuple[str, int], int]:
    """The fastest call in nanoseconds, by variant and length; the variants take turns."""
    workers = {variant: Worker(case, variant) for variant in VARIANTS}
    lengths = (SHORT, LONG) if case.stream else (SHORT,)
    best: dict[tuple[str, int], int] = {}
    try:
        for worker in workers.values():
            worker.ready()
        for n in range(MORE * rounds):
            if n >= rounds and all(settled(best, length) for length in lengths):
                break
            for variant in (*VARIANTS[n % 3 :], *VARIANTS[: n % 3]):
                for length in lengths:
                    took = workers[variant].round(calls, length)
                    key = (variant, length)
                    best[key] = min(best.get(key, took), took)
    finally:
        for worker in workers.values():
            worker.close()
    return best


def settled(best: Mapping[tuple[str, int], int], length: int) -> bool:
    """Whether the two bare processes agree; if not, one of them has not met a quiet moment yet."""
    bare = best["bare", length]
    return abs(best["bare2", length] - bare) <= max(20, bare * 0.02)


def micros(case: Case, best: Mapping[tuple[str, int], int], variant: str) -> tuple[float, float]:
    """Microseconds of an event (or a call), and of a stream without its events."""
    if not case.stream:
        return best[variant, SHORT] / 1000, 0.0
    event = (best[variant, LONG] - best[variant, SHORT]) / PER_EVENT / 1000
    return event, best[variant, SHORT] / 1000 - SHORT * event


# -- instructions -----------------------------------------------------------------------------------


def calls_to_count(case: Case) -> int:
    if case.stream:
        return 12
    if case.policy is not None:
        return 600  # one collection more or less in 60 calls is a sixth of what enforcing adds
    return 20 if case.gate or case.sdk else 60


def count_instructions(cases: Iterable[Case]) -> dict[str, Counts]:
    """By variant. The two variants are counted side by side: other work does not change a count."""
    with ThreadPoolExecutor(2) as pool:
        bare = pool.submit(_count_variant, cases, "bare")
        ours = pool.submit(_count_variant, cases, "ours")
        return {"bare": bare.result(), "ours": ours.result()}


def _count_variant(cases: Iterable[Case], variant: str) -> Counts:
    counts: Counts = {}
    with tempfile.TemporaryDirectory(prefix="overhead-") as folder:
        done = subprocess.run(
            [
                "valgrind",
                "--tool=callgrind",
                f"--callgrind-out-file={folder}/out.%p",
                sys.executable,
                WORKER,
                "count",
                variant,
                *(f"{case.name}:{calls_to_count(case)}" for case in cases),
            ],
            capture_output=True,
            text=True,
            env=ENVIRONMENT,
            check=False,
        )
        if done.returncode != 0:
            raise SystemExit(f"callgrind failed:\n{done.stderr[-2000:]}")
        for line in done.stdout.splitlines():
            name, calls, events, pid = json.loads(line)
            text = Path(folder, f"out.{pid}").read_text("utf-8", "replace")
            found = re.search(r"^(?:totals|summary): (\d+)", text, re.MULTILINE)
            assert found is not None
            counts[name, calls, events] = int(found[1])
    return counts


def instructions(case: Case, counts: Counts) -> tuple[float, float]:
    """Instructions of an event (or a call), and of a stream without its events."""
    n = calls_to_count(case)
    if not case.stream:
        slope = (counts[case.name, 2 * n, SHORT] - counts[case.name, n, SHORT]) / n
        return slope / (GATE_BATCH if case.gate else 1), 0.0
    short = counts[case.name, n, SHORT]
    event = (counts[case.name, n, LONG] - short) / n / PER_EVENT
    return event, (counts[case.name, 2 * n, SHORT] - short) / n - SHORT * event


# -- rows -------------------------------------------------------------------------------------------


def rows_of(
    case: Case, best: Mapping[tuple[str, int], int], counted: Mapping[str, Counts] | None
) -> list[Row]:
    """A row of a call; two of a stream: its events, and what it costs beside them."""
    bare, bare2, ours = (micros(case, best, variant) for variant in VARIANTS)
    counts = None if counted is None else {v: instructions(case, counted[v]) for v in ("bare", "ours")}

    def row(part: int, name: str, unit: str, max_us: float | None, max_instructions: float | None) -> Row:
        return Row(
            name,
            case.title,
            unit,
            bare[part],
            ours[part] - bare[part],
            abs(bare2[part] - bare[part]),
            max_us,
            None if counts is None else counts["bare"][part],
            None if counts is None else counts["ours"][part] - counts["bare"][part],
            max_instructions,
        )

    if not case.stream:
        return [row(0, case.name, "µs a call", case.max_us, case.max_instructions)]
    return [
        row(0, case.name, "µs an event", case.max_us, case.max_instructions),
        row(1, f"{case.name}, once", "µs a stream", None, None),
    ]


def _worker_json(*arguments: str) -> Any:
    done = subprocess.run(
        [sys.executable, WORKER, *arguments], stdout=subprocess.PIPE, text=True, env=ENVIRONMENT, check=True
    )
    return json.loads(done.stdout)


def long_stream_rows(total: int) -> list[Row]:
    """Peak memory and time of a long stream, in large events and in usual ones."""
    rows = []
    for piece in (64 * 1024, 330):
        found = {v: _worker_json("memory", v, str(piece), str(total)) for v in VARIANTS}
        title = f"{total // 1_000_000} MB stream of {piece} B events"
        for key, what in (("rss_kib", "peak RSS"), ("heap_kib", "Python heap")):
            bare, bare2, ours = (found[v][key] / 1024 for v in VARIANTS)
            noise = abs(bare2 - bare)
            rows.append(Row("memory", f"{title}: {what}", "MiB", bare, ours - bare, noise, 1.0))
        bare, bare2, ours = (found[v]["seconds"] for v in VARIANTS)
        rows.append(Row("memory", f"{title}: time", "s", bare, ours - bare, abs(bare2 - bare)))
    return rows


_INSTRUMENT = "a.instrument(a.MeterOptions(emit_metric=a.create_memory_emitter()))"
START_UP = {
    "bare": "pass",
    "import": "import aden_transport",
    "httpx2": "import httpx2",
    "instrument": f"import aden_transport as a; {_INSTRUMENT}",
    "both": f"import httpx2, aden_transport as a; {_INSTRUMENT}",
}


def start_up_rows(runs: int) -> list[Row]:
    """CPU of a process that only imports, over one that does not."""
    best: dict[str, float] = {}
    for _ in range(runs):
        for name in (*START_UP, "bare2", "httpx2-2"):
            took = _cpu_ms(START_UP[name.removesuffix("2") if name == "bare2" else name.removesuffix("-2")])
            best[name] = min(best.get(name, took), took)
    bare, httpx2 = best["bare"], best["httpx2"]
    noise, noise_httpx2 = abs(best["bare2"] - bare), abs(best["httpx2-2"] - httpx2)
    return [
        Row("start", "import aden_transport", "ms CPU", bare, best["import"] - bare, noise, 60.0),
        Row("start", "import and instrument()", "ms CPU", bare, best["instrument"] - bare, noise),
        Row("start", "the same after import httpx2", "ms CPU", httpx2, best["both"] - httpx2, noise_httpx2),
    ]


def _cpu_ms(code: str) -> float:
    process = subprocess.Popen([sys.executable, "-c", code], env=ENVIRONMENT)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise SystemExit(f"{code!r} failed")
    return (usage.ru_utime + usage.ru_stime) * 1000


# -- the program ------------------------------------------------------------------------------------


QUICK = ["json", "degrade", "gate", "stream", "hidden-async", "memory", "start"]


def chosen(only: list[str] | None) -> tuple[list[Case], bool, bool]:
    """The cases, and whether the long streams and the start-up are wanted."""
    known = {case.name for case in CASES} | {"memory", "start"}
    unknown = set(only or ()) - known
    if unknown:
        raise SystemExit(f"--only {', '.join(sorted(unknown))}: choose from {', '.join(sorted(known))}")
    names = known if only is None else set(only)
    return [case for case in CASES if case.name in names], "memory" in names, "start" in names


def available(cases: Iterable[Case]) -> list[Case]:
    from importlib.util import find_spec

    return [case for case in cases if not case.sdk or find_spec("openai") is not None]


def measured(options: argparse.Namespace) -> list[Row]:
    cases, memory, start = chosen(options.only or (QUICK if options.quick else None))
    cases = available(cases)
    counted = None
    if options.quick or options.no_instructions:
        pass
    elif shutil.which("valgrind") is None:
        report.note("valgrind is not installed: no instruction counts")
    elif cases:
        report.note(f"counting instructions of {len(cases)} cases under callgrind …")
        counted = count_instructions(cases)
    rounds, calls = (3, 3) if options.quick else (options.rounds, 10)
    rows = []
    for case in cases:
        report.note(f"timing {case.name} …")
        rows += rows_of(case, time_case(case, rounds=rounds, calls=calls), counted)
    if memory:
        report.note("long streams …")
        rows += long_stream_rows(2_000_000 if options.quick else 100_000_000)
    if start:
        report.note("imports …")
        rows += start_up_rows(1 if options.quick else 20)
    return rows


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", action="append", metavar="NAME", help="a case, `memory` or `start`")
    parser.add_argument("--rounds", type=int, default=60, help="rounds of wall time (60)")
    parser.add_argument(
        "--quick", action="store_true", help="few rounds of some cases, no instruction counts"
    )
    parser.add_argument("--no-instructions", action="store_true", help="wall time alone")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--markdown", action="store_true", help="write the table into docs/benchmarks.md")
    parser.add_argument("--gate", action="store_true", help="exit 1 where instructions are over a bar")
    options = parser.parse_args(arguments)
    rows = measured(options)
    if options.json:
        print(report.as_json(rows))
    else:
        print(report.as_text(rows))
    if options.markdown:
        report.write_markdown(rows)
    over = [row for row in rows if row.instructions_verdict == "over"]
    if options.gate:
        if all(row.added_instructions is None for row in rows):
            report.note("--gate needs instruction counts, so valgrind")
            return 2
        return 1 if over else 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
