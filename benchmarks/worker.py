"""A process that runs cases, metered or bare; started by overhead.py.

    worker.py time METERED CASE             each line "calls events" on stdin is one round; answers ns
    worker.py count METERED CASE:CALLS ...  for callgrind: forks a child for each point of each case
    worker.py memory METERED PIECE BYTES    one long stream; answers peak KiB and seconds

METERED is `bare` or `ours`.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import resource
import sys
import time
import tracemalloc
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.cases import CASES, LONG, SHORT, Case, Check, Measure, prepare, server_for

BY_NAME = {case.name: case for case in CASES}


def points(case: Case, calls: int) -> list[tuple[int, int]]:
    """(calls, events) of the runs whose differences are the figures."""
    if case.stream:
        return [(calls, SHORT), (calls, LONG), (2 * calls, SHORT)]
    return [(calls, SHORT), (2 * calls, SHORT)]


def warm(case: Case, measure: Measure, check: Check) -> None:
    """Past the interpreter's specialising and the library's first-time work; both lengths are ready."""
    measure(5, LONG)
    measure(20, SHORT)
    check(25)
    gc.collect()
    gc.freeze()  # no full collection while measuring: it would count the heap, not the call


def run_time(case: Case, *, metered: bool) -> None:
    measure, check = prepare(case, metered=metered)
    warm(case, measure, check)
    print("ready", flush=True)
    for line in sys.stdin:
        calls, events = map(int, line.split())
        took = measure(calls, events)
        check(calls)
        print(took, flush=True)


def run_count(wanted: list[tuple[Case, int]], *, metered: bool) -> None:
    # Imports are paid once, before the forks.
    for case, _ in wanted:
        importlib.import_module(case.library)
        if case.sdk:
            importlib.import_module("openai")
    if metered:
        for name in ("installation", "adapters.httpx", "adapters.httpx2"):
            importlib.import_module(f"aden_transport.{name}")
    for case, calls in wanted:
        _in_child(lambda case=case, calls=calls: _count(case, calls, metered=metered))


def _count(case: Case, calls: int, *, metered: bool) -> None:
    measure, check = prepare(case, metered=metered)
    warm(case, measure, check)
    # A child's count begins with its parent's, so nothing is done here between two forks.
    found = [
        (case.name, n, events, _in_child(lambda n=n, events=events: measure(n, events)))
        for n, events in points(case, calls)
    ]
    for line in found:
        print(json.dumps(line), flush=True)


def _in_child(work: object) -> int:
    """Run `work` in a fork and wait for it; the child's id names its callgrind file."""
    assert callable(work)
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    if os.waitpid(pid, 0)[1] != 0:
        raise SystemExit(1)
    return pid


def run_memory(piece: int, total: int, *, metered: bool) -> None:
    """A stream of `total` bytes in events of `piece` bytes."""
    case = BY_NAME["stream"]
    measure, check = prepare(case, metered=metered)
    warm(case, measure, check)
    module = importlib.import_module(case.library)
    server = server_for(module, case)
    event = b'data: {"choices":[{"index":0,"delta":{"content":"' + b"x" * (piece - 55) + b'"}}]}\n\n'
    # A list of one object many times: the server's memory does not grow with the stream.
    server.pieces_with_usage = [event] * (total // piece) + [b"data: [DONE]\n\n"]
    client = module.Client(transport=server)

    def stream() -> None:
        body = b'{"model":"gpt-4o","stream":true,"stream_options":{"include_usage":true},"messages":[]}'
        with client.stream("POST", "https://api.openai.com/v1/chat/completions", content=body) as response:
            for _ in response.iter_bytes():
                pass

    before = _reset_peak()
    start = time.perf_counter()
    stream()
    seconds = time.perf_counter() - start
    rss = _peak() - before
    tracemalloc.start()
    stream()
    heap = tracemalloc.get_traced_memory()[1] // 1024
    print(json.dumps({"rss_kib": rss, "heap_kib": heap, "seconds": seconds}))


def _reset_peak() -> int:
    """Start the peak anew where the system can (Linux); the peak so far, in KiB."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        pass
    return _peak()


def _peak() -> int:
    try:
        status = Path("/proc/self/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0])
    except (OSError, IndexError):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def main(arguments: list[str]) -> None:
    mode, variant, *rest = arguments
    metered = variant == "ours"
    match mode:
        case "time":
            run_time(BY_NAME[rest[0]], metered=metered)
        case "count":
            wanted = [(BY_NAME[name], int(n)) for name, _, n in (entry.partition(":") for entry in rest)]
            run_count(wanted, metered=metered)
        case "memory":
            run_memory(int(rest[0]), int(rest[1]), metered=metered)
        case _:
            raise SystemExit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
