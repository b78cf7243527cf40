"""Any ledger against a model of it, under whatever order of calls.

Always: what is settled is the sum of what each call was settled at, once (I1); a hard budget's spent and held
stay within its limit, or within what they were when it was cut (I2); what is held is that of the open holds,
each of an owner (I3); the same calls from empty give the same sums (I4); no call touches keys that are not
its own (I5); no sum is negative (I6); each way to end a hold ends it once (I7).

MACHINE=50 in the environment makes 50 times as many examples.
"""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    invariant,
    multiple,
    precondition,
    rule,
    run_state_machine_as_test,
)

from aden_transport.ledger import redis as redis_module
from aden_transport.ledger.base import NEVER, Ledger, Line, Outcome, Totals, Unit
from aden_transport.ledger.memory import MemoryLedger
from aden_transport.ledger.owner import host_name, owner_of
from aden_transport.ledger.sqlite import SqliteLedger

from .kit import NOON, STORES, Store

HARD = "hard"
"""A budget that every line limits alike and whose calls cost at most their holds; each window has a key."""
WINDOWS = 3
FREE = ("tenant a", "tenant b", "rolling")
PARTS = ("old 1", "old 2")
KEYS = (*[f"{HARD} {window}" for window in range(WINDOWS)], *FREE)
UNITS: dict[str, Unit] = {HARD: "usd", "tenant a": "usd", "tenant b": "tokens", "rolling": "calls"}

bounds = st.one_of(st.just(NEVER), st.integers(0, 80))
amounts = st.integers(0, 25)


@st.composite
def lines(draw: st.DrawFn) -> tuple[Line, ...]:
    """Of one candidate: some of the keys, each once."""
    keys = draw(st.lists(st.sampled_from([HARD, *FREE]), unique=True, min_size=1, max_size=4))
    return tuple(draw(line_of(key)) for key in keys)


@st.composite
def line_of(draw: st.DrawFn, key: str) -> Line:
    hold = draw(amounts)
    return Line(
        key,
        hold,
        draw(st.integers(0, hold)),
        limit_held=NEVER if key == HARD else draw(bounds),
        limit_expected=draw(bounds),
        degrade_at=draw(bounds),
        throttle_at=draw(bounds),
        unit=UNITS[key],
        also=PARTS if key == "rolling" else (),
    )


def is_hard(line: Line) -> bool:
    return line.key.startswith(HARD)


@contextmanager
def as_a_process_that_is_gone(ledger: Any) -> Iterator[None]:
    """Holds taken here belong to a process of this one's id that began at another time."""
    pid, _, rest = owner_of(os.getpid()).split(":", 2)
    dead = f"{pid}:0:{rest}"
    with pytest.MonkeyPatch.context() as patch:
        if isinstance(ledger, SqliteLedger):
            patch.setattr(ledger, "_owner", lambda: dead)
        else:
            patch.setattr(redis_module, "_process", lambda pid: (host_name(), dead))
        yield


class Model:
    """The sums by the definitions: nothing is kept that can be counted."""

    def __init__(self) -> None:
        self.spent: Counter[str] = Counter()
        self.disputed: Counter[str] = Counter()
        self.open: dict[str, tuple[Sequence[Line], float, Outcome]] = {}
        self.refs: dict[str, str] = {}
        self.marks: set[tuple[str, str, str]] = set()

    def totals(self, line: Line) -> Totals:
        keys = {line.key, *line.also}
        touching = [each for held, _, _ in self.open.values() for each in held if each.key in keys]
        return Totals(
            sum(self.spent[key] for key in keys),
            sum(each.hold for each in touching),
            sum(each.expected for each in touching),
        )

    def reserve(self, candidates: Sequence[Sequence[Line]]) -> Outcome:
        for index, candidate in enumerate(candidates):
            totals = tuple(map(self.totals, candidate))
            both = list(zip(candidate, totals, strict=True))
            likely = [t.spent + t.expected + each.expected for each, t in both]
            over = [
                n
                for n, (each, t) in enumerate(both)
                if (each.limit_held >= 0 and t.spent + t.held + each.hold > each.limit_held)
                or (each.limit_expected >= 0 and likely[n] > each.limit_expected)
            ]
            is_last = index == len(candidates) - 1
            if not is_last and (
                over
                or any(0 <= each.degrade_at <= sum_ for each, sum_ in zip(candidate, likely, strict=True))
            ):
                continue
            if over:
                helps = all(
                    (each.limit_held < 0 or t.spent + each.hold <= each.limit_held)
                    and (each.limit_held < 0 or likely[n] <= each.limit_held)
                    and (each.limit_expected < 0 or likely[n] <= each.limit_expected)
                    for n, (each, t) in enumerate(both)
                )
                return Outcome("refused", index, totals, over[0], helps)
            waits = [n for n, each in enumerate(candidate) if 0 <= each.throttle_at <= likely[n]]
            if waits:
                return Outcome("throttled", index, totals, waits[0])
            return Outcome("held", index, totals)
        raise AssertionError("no candidate")

    def end(self, op_id: str, spent: dict[Unit, int] | None) -> bool:
        if op_id not in self.open:
            return False
        held, _, _ = self.open.pop(op_id)
        self.refs = {ref: other for ref, other in self.refs.items() if other != op_id}
        for each in held:
            self.spent[each.key] += 0 if spent is None else spent.get(each.unit, each.hold)
        return True


class Machine(RuleBasedStateMachine):
    store: Store

    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()
        folder = Path(self.stack.enter_context(tempfile.TemporaryDirectory()))
        self.ledger: Ledger = self.stack.enter_context(type(self).store(folder))
        self.model = Model()
        self.now = NOON
        self.limit = self.ceiling = 60
        """Of the hard budget, and what it may stand at since it was last cut."""
        self.window = 0
        self.settled: Counter[str] = Counter()
        """What has been settled of each call on the hard budget, disputed or not."""
        self.ended_at: Counter[str] = Counter()
        self.gone: set[str] = set()
        """Holds whose process has been killed."""
        self.calls = 0
        self.said: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []

    held: Bundle[str] = Bundle("held")
    ended: Bundle[str] = Bundle("ended")

    def say(self, method: str, *args: Any, **more: Any) -> Any:
        self.said.append((method, args, more))
        return getattr(self.ledger, method)(*args, **more)

    def most(self, op_id: str, amount: int) -> int:
        """What a call may cost: no more than its hold where the hard budget is to hold."""
        found = [each.hold for each in self.model.open.get(op_id, ((), 0, None))[0] if is_hard(each)]
        return min([amount, *found])

    def of_now(self, candidates: list[tuple[Line, ...]]) -> list[tuple[Line, ...]]:
        """With the hard budget's window and limit of the moment."""
        key = f"{HARD} {self.window}"
        return [
            tuple(
                [replace(each, key=key, limit_held=self.limit) if each.key == HARD else each for each in one]
            )
            for one in candidates
        ]

    def end(self, op_id: str, spent: dict[Unit, int] | None) -> bool:
        """The model's answer, and, for the sums of events, what the call was settled at."""
        hard = [each for each in self.model.open.get(op_id, ((), 0, None))[0] if is_hard(each)]
        ended = self.model.end(op_id, spent)
        if ended:
            self.ended_at[op_id] += 1
            for each in hard:
                self.settled[each.key] += 0 if spent is None else spent.get("usd", each.hold)
        return ended

    # -- calls --

    @rule(target=held, candidates=st.lists(lines(), min_size=1, max_size=3), lives=st.integers(1, 50))
    def reserve(self, candidates: list[tuple[Line, ...]], lives: int) -> Any:
        return self.hold(self.of_now(candidates), lives)

    def hold(self, candidates: list[tuple[Line, ...]], lives: int) -> Any:
        self.calls += 1
        op_id = f"op {self.calls}"
        expected = self.model.reserve(candidates)
        outcome = self.say("reserve", op_id, candidates, now=self.now, expires_at=self.now + lives)
        assert outcome == expected
        if outcome.kind != "held":
            return multiple()
        self.model.open[op_id] = (candidates[outcome.candidate], self.now + lives, outcome)
        return op_id

    @rule(op_id=held, candidate=lines())
    def reserve_again(self, op_id: str, candidate: tuple[Line, ...]) -> None:
        if op_id in self.model.open:
            again = self.say(
                "reserve", op_id, self.of_now([candidate]), now=self.now, expires_at=self.now + 50
            )
            assert again == self.model.open[op_id][2]

    @rule(
        target=ended, op_id=consumes(held), amount=amounts, units=st.sets(st.sampled_from(["usd", "tokens"]))
    )
    def settle(self, op_id: str, amount: int, units: set[Unit]) -> str:
        spent: dict[Unit, int] = {unit: self.most(op_id, amount) for unit in units}
        assert self.say("settle", op_id, spent) is self.end(op_id, spent)
        return op_id

    @rule(target=ended, op_id=consumes(held))
    def release(self, op_id: str) -> str:
        assert self.say("release", op_id) is self.end(op_id, None)
        return op_id

    @rule(op_id=ended, amount=amounts)
    def end_again(self, op_id: str, amount: int) -> None:
        assert self.say("settle", op_id, {"usd": amount}) is False
        assert self.say("release", op_id) is False
        assert self.say("defer", op_id, "late", expires_at=self.now + 50) is False

    @rule(op_id=held, ref=st.sampled_from(["ref 1", "ref 2", "ref 3"]), lives=st.integers(1, 50))
    def defer(self, op_id: str, ref: str, lives: int) -> None:
        model = self.model
        can = op_id in model.open and model.refs.get(ref, op_id) == op_id
        assert self.say("defer", op_id, ref, expires_at=self.now + lives) is can
        if can:
            model.refs = {r: other for r, other in model.refs.items() if other != op_id} | {ref: op_id}
            lines, _, outcome = model.open[op_id]
            model.open[op_id] = (lines, self.now + lives, outcome)

    @rule(ref=st.sampled_from(["ref 1", "ref 2", "ref 3", "late"]), amount=amounts)
    def settle_deferred(self, ref: str, amount: int) -> None:
        op_id = self.model.refs.get(ref, "")
        spent: dict[Unit, int] = {"usd": self.most(op_id, amount), "tokens": amount}
        assert self.say("settle_deferred", ref, spent) is self.end(op_id, spent)

    # -- keys --

    @rule(key=st.sampled_from([*FREE, *PARTS]), spent=st.integers(0, 90), mark=st.sampled_from("xy"))
    def raise_to(self, key: str, spent: int, mark: str) -> None:
        self.say("raise_to", key, spent, mark=mark)
        if ("raise", key, mark) not in self.model.marks:
            self.model.marks.add(("raise", key, mark))
            self.model.spent[key] = max(self.model.spent[key], spent)

    @rule(key=st.sampled_from(KEYS), mark=st.sampled_from(["50", "80"]))
    def mark_once(self, key: str, mark: str) -> None:
        first = ("mark", key, mark) not in self.model.marks
        self.model.marks.add(("mark", key, mark))
        assert self.say("mark_once", key, mark) is first

    # -- time --

    @rule(seconds=st.integers(0, 30))
    def sweep(self, seconds: int) -> None:
        self.now += seconds
        deferred = set(self.model.refs.values())
        late = [
            op_id
            for op_id, (_, until, _) in self.model.open.items()
            if until <= self.now or op_id in self.gone - deferred
        ]
        assert sorted(self.ledger.sweep(self.now)) == sorted(late)
        for op_id in late:
            for each in self.model.open[op_id][0]:
                if each.unit == "usd" and each.hold:
                    self.model.disputed[each.key] += each.hold
            self.end(op_id, {})
            self.said.append(("settle", (op_id, {}), {}))

    @precondition(lambda self: isinstance(self.ledger, SqliteLedger | redis_module.RedisLedger))
    @rule(target=held, candidates=st.lists(lines(), min_size=1, max_size=3), lives=st.integers(1, 50))
    def reserve_and_be_killed(self, candidates: list[tuple[Line, ...]], lives: int) -> Any:
        with as_a_process_that_is_gone(self.ledger):
            op_id = self.hold(self.of_now(candidates), lives)
        if isinstance(op_id, str):
            self.gone.add(op_id)
        return op_id

    @rule(limit=st.integers(0, 120))
    def cut_or_raise_the_limit(self, limit: int) -> None:
        (sums,) = self.ledger.totals([Line(f"{HARD} {self.window}", 0, 0)])
        self.limit, self.ceiling = limit, max(limit, sums.spent + sums.held)

    @precondition(lambda self: self.window < WINDOWS - 1)
    @rule()
    def begin_the_next_window(self) -> None:
        self.window += 1
        self.ceiling = self.limit

    @rule()
    def close(self) -> None:
        self.ledger.close()

    # -- what always holds --

    @invariant()
    def sums_are_those_of_the_model(self) -> None:
        asked = [Line(key, 0, 0, also=PARTS if key == "rolling" else ()) for key in (*KEYS, *PARTS)]
        assert list(self.ledger.totals(asked)) == [self.model.totals(each) for each in asked]
        assert self.ledger.open_holds() == len(self.model.open)
        assert dict(self.ledger.disputed()) == dict(self.model.disputed)

    @invariant()
    def a_hard_budget_holds_and_nothing_is_negative(self) -> None:
        found = self.ledger.totals([Line(key, 0, 0) for key in (*KEYS, *PARTS)])
        hard = found[self.window]
        assert hard.spent + hard.held <= self.ceiling
        assert all(min(each.spent, each.held, each.expected) >= 0 for each in found)

    @invariant()
    def each_call_ended_once_and_the_budget_is_their_sum(self) -> None:
        assert set(self.ended_at.values()) <= {1}
        assert not self.ended_at.keys() & self.model.open.keys()
        found = self.ledger.totals([Line(key, 0, 0) for key in KEYS[:WINDOWS]])
        assert [each.spent for each in found] == [self.settled[key] for key in KEYS[:WINDOWS]]

    def teardown(self) -> None:
        """The same calls from empty give the same sums."""
        try:
            replayed = MemoryLedger(hot_keys=1)
            for method, args, more in self.said:
                getattr(replayed, method)(*args, **more)
            asked = [Line(key, 0, 0) for key in (*KEYS, *PARTS)]
            assert replayed.totals(asked) == self.ledger.totals(asked)
        finally:
            self.stack.close()


EXAMPLES = {"memory": 100, "redis": 30, "sqlite": 30, "http": 1, "server-postgresql": 4, "server-sqlite": 8}


@pytest.mark.parametrize("name", sorted(STORES))
def test_a_ledger_does_what_its_model_does(name: str) -> None:
    machine = type("Machine", (Machine,), {"store": staticmethod(STORES[name])})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=EXAMPLES.get(name, 10) * int(os.environ.get("MACHINE", "1")),
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )
