"""Where the time of a metered call goes, step by step. A developer's tool.

    python benchmarks/profile_call.py [CASE] [--calls N]
    python benchmarks/profile_call.py [CASE] --bytecodes

Without `--bytecodes` the steps are wrapped and timed: the fastest of N calls, children taken off, and the
wrapper's own cost, measured beforehand, as well. The sum is less than what overhead.py shows: deallocation,
colder caches and the code between the steps are not in it.

With `--bytecodes` the interpreter's instructions are counted per function: no noise at all, but C functions
(orjson, zlib, re) count as one.
"""

from __future__ import annotations

import argparse
import functools
import importlib
import sys
from collections import Counter
from pathlib import Path
from time import perf_counter_ns
from types import CodeType, FrameType
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.cases import CASES, LONG, prepare

STEPS = (
    # where the caller looks the name up, step
    ("installation:Seam._open", "open (inside?, meter, by hand?)"),
    ("adapters._seam:address", "address"),
    ("core.classify:Classifier.may_be_call", "may_be_call"),
    ("adapters._family:Family.open", "open: wire, classify, exchange"),
    ("adapters._family:SentRequest.__init__", "SentRequest.__init__"),
    ("core.classify:Classifier.classify", "classify"),
    ("core.exchange:Exchange.__init__", "Exchange.__init__"),
    ("core.attempts:begin", "attempts.begin"),
    ("core.exchange:read_request", "read_request (JSON of the request)"),
    ("core.exchange:current_source", "current_source"),
    ("core.exchange:Exchange._gather_metadata", "gather_metadata"),
    ("adapters._drive:Driver.send", "send (and the client's own part)"),
    ("core.exchange:Exchange.start", "start"),
    ("core.exchange:Exchange._rewrite", "rewrite decided"),
    ("adapters._drive:drive", "drive (Ask, Wait)"),
    ("core.exchange:Exchange._hook_context", "hook context"),
    ("core.exchange:estimate.input_tokens", "estimate.input_tokens"),
    ("core.rewrite:with_model", "with_model"),
    ("core.rewrite:with_usage", "with_usage"),
    ("adapters._family:Family.rewritten", "rewritten (request copied)"),
    ("adapters._family:Family.observe", "observe"),
    ("core.exchange:Exchange.receive_response", "receive_response"),
    ("adapters._tee:Tee.__init__", "tee made"),
    ("adapters._tee:SyncTee.close", "tee closed (and the client's own part)"),
    ("adapters._tee:Tee.__del__", "tee collected"),
    ("meter:Orphans.watch", "watch orphans"),
    ("core.header_figures:AnswerHeaders.__init__", "AnswerHeaders.__init__"),
    ("core.observe:BodyObserver.receive_data", "feed, JSON"),
    ("core.observe:StreamObserver.receive_data", "feed, stream"),
    ("framing.content_encoding:Decoder.receive_data", "decode"),
    ("core.usage_event:UsageEventFilter.receive_data", "usage filter"),
    ("core.observe:StreamObserver.read", "read the stream's ends"),
    ("core.exchange:Exchange._end", "end"),
    ("core.exchange:conclude", "conclude"),
    ("core.conclude:_read_answer", "read_answer (JSON of the answer)"),
    ("events:MetricEvent.read", "event read"),
    ("core.conclude:_take_answer", "take_answer"),
    ("core.conclude:_details", "details"),
    ("core.conclude:_price", "price"),
    ("pricing.book:PriceBook.find", "PriceBook.find"),
    ("meter:Delivery.deliver", "emit"),
)

SYNC = [case.name for case in CASES if not case.asynchronous]
"""A wrapped coroutine function would be timed up to its first await only."""


class Steps:
    """Own time per step and call, from nested wrappers."""

    def __init__(self) -> None:
        self.own: dict[str, int] = {}
        self.times: Counter[str] = Counter()
        self._children = [0]
        self._cost = (0, 0)

    def wrap(self, name: str, function: Any) -> Any:
        children, own, times = self._children, self.own, self.times

        @functools.wraps(function)
        def timed(*args: Any, **kwargs: Any) -> Any:
            children.append(0)
            start = perf_counter_ns()
            try:
                return function(*args, **kwargs)
            finally:
                took = perf_counter_ns() - start
                inner = children.pop()
                # What the wrapper costs inside its own clock, and what it costs its caller.
                inside, outside = self._cost
                own[name] = own.get(name, 0) + took - inner - inside
                children[-1] += took + outside - inside
                times[name] += 1

        return timed

    def calibrate(self) -> None:
        """Measure the wrapper around nothing."""

        def nothing(_one: Any) -> None:
            pass

        wrapped = self.wrap("nothing", nothing)
        plain = both = inside = 10**9
        for _ in range(5000):
            start = perf_counter_ns()
            nothing(1)
            plain = min(plain, perf_counter_ns() - start)
            self.clear()
            start = perf_counter_ns()
            wrapped(1)
            both = min(both, perf_counter_ns() - start)
            inside = min(inside, self.own["nothing"])
        clock = (
            40  # two reads of the clock, of which about one lies inside; an error of this is ±20 ns a step
        )
        self._cost = (max(0, inside - max(0, plain - clock)), max(0, both - plain))
        self.clear()

    def clear(self) -> None:
        self.own.clear()
        self.times.clear()
        self._children[:] = [0]


def put(steps: Steps) -> list[str]:
    """Wrap every step; the names of those that are not there (any more)."""
    missing = []
    for place, name in STEPS:
        module_name, _, path = place.partition(":")
        try:
            target: Any = importlib.import_module(f"aden_transport.{module_name}")
            *owners, attribute = path.split(".")
            for owner in owners:
                target = getattr(target, owner)
            setattr(target, attribute, steps.wrap(name, getattr(target, attribute)))
        except (ImportError, AttributeError):
            missing.append(name)
    return missing


def by_time(case_name: str, calls: int) -> None:
    case = next(case for case in CASES if case.name == case_name)
    steps = Steps()
    steps.calibrate()
    missing = put(steps)
    measure, check = prepare(case, metered=True)
    measure(30, LONG)
    check(30)
    best: dict[str, int] = {}
    times: dict[str, int] = {}
    for _ in range(calls):
        steps.clear()
        measure(1, LONG)
        for name, own in steps.own.items():
            best[name] = min(best.get(name, own), own)
        times.update(steps.times)
    order = [name for _, name in STEPS if name in best]
    print(f"{case.title}: own time per step, fastest of {calls} calls\n")
    print(f"{'step':40} {'times':>6} {'µs':>8}")
    ours = 0
    for name in order:
        if "client's own part" not in name:
            ours += best[name]
        print(f"{name:40} {times[name]:6} {best[name] / 1000:8.2f}")
    print(f"{'sum, without the lines of the client':40} {'':6} {ours / 1000:8.2f}")
    if missing:
        print(f"\nnot there, so counted to their callers: {', '.join(missing)}")


def by_bytecodes(case_name: str) -> None:
    case = next(case for case in CASES if case.name == case_name)
    bare, ours = (_bytecodes(case_name, metered=metered) for metered in (False, True))
    print(f"{case.title}: interpreter instructions per call, metered less bare\n")
    print(f"{'function':70} {'calls':>6} {'instructions':>12}")
    rows = []
    for key in ours.keys() | bare.keys():
        entered, executed = ours.get(key, (0, 0))
        entered_bare, executed_bare = bare.get(key, (0, 0))
        if executed != executed_bare and not key.startswith("benchmarks/"):
            rows.append((executed - executed_bare, entered - entered_bare, key))
    for executed, entered, key in sorted(rows, reverse=True)[:45]:
        print(f"{key:70} {entered:6} {executed:12}")
    print(f"{'all':70} {'':6} {sum(row[0] for row in rows):12}")


def _bytecodes(case_name: str, *, metered: bool) -> dict[str, tuple[int, int]]:
    """Per function how often it was entered and what it executed, in one call."""
    case = next(case for case in CASES if case.name == case_name)
    measure, check = prepare(case, metered=metered)
    measure(30, LONG)
    check(30)
    entered: Counter[CodeType] = Counter()
    executed: Counter[CodeType] = Counter()

    def trace(frame: FrameType, event: str, _argument: Any) -> Any:
        if event == "call":
            frame.f_trace_opcodes, frame.f_trace_lines = True, False
            entered[frame.f_code] += 1
        elif event == "opcode":
            executed[frame.f_code] += 1
        return trace

    sys.settrace(trace)
    try:
        measure(1, LONG)
    finally:
        sys.settrace(None)
    return {_name(code): (entered[code], count) for code, count in executed.items()}


def _name(code: CodeType) -> str:
    parts = Path(code.co_filename).parts
    return f"{'/'.join(parts[-2:])}:{code.co_firstlineno} {code.co_qualname}"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("case", nargs="?", default="json", choices=SYNC)
    parser.add_argument("--calls", type=int, default=1000)
    parser.add_argument("--bytecodes", action="store_true", help="count the interpreter's instructions")
    options = parser.parse_args()
    if options.bytecodes:
        by_bytecodes(options.case)
    else:
        by_time(options.case, options.calls)


if __name__ == "__main__":
    main()
