"""What is due to be asked of the server, and when: told what happened and what time it is.

::

    session = Session(options, draw=draw)
    session.begin(now)
    for task in session.due(now):        # begin each; none of them runs twice at once
        ...
    session.done(task, now)              # or failed(task, now)
    session.next_at                      # when to look again, if nothing wakes it before

All times are seconds of one clock that only goes forward.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

from ..options import ControlOptions

__all__ = ["Session", "State", "Task"]

Task = Literal["policy", "pricing", "heartbeat", "leases", "events", "validate", "marks", "push"]
State = Literal["stopped", "connecting", "healthy", "degraded", "reconnecting"]
"""`"healthy"`: the server answers. `"degraded"`: it answers, but not as it should, or what it said cannot be
used. `"reconnecting"`: it does not answer."""


class Pace(NamedTuple):
    """How a task that fails is tried again: after a random time, full jitter, of at most
    `min(cap_s, base_s · 2^failures)`.

    Source: https://aws.amazon.com/builders-library/timeouts-retries-and-backoff-with-jitter/.
    """

    base_s: float
    cap_s: float


PACES: Mapping[Task, Pace] = {
    "policy": Pace(0.5, 30.0),
    "pricing": Pace(5.0, 600.0),
    "heartbeat": Pace(5.0, 60.0),
    # Calls wait for these two, if not for long.
    "leases": Pace(0.1, 2.0),
    "validate": Pace(0.1, 2.0),
    "marks": Pace(0.1, 2.0),
    "events": Pace(0.5, 15.0),
    "push": Pace(0.5, 30.0),
}
PRICES_S = 3600.0
"""Between two looks at the prices, where the server does not tell of a change."""
PUSHED = 10.0
"""So many polling intervals pass between two looks for a policy whose changes are pushed."""
HURRY_S: Mapping[Task, float] = {"policy": 0.2, "pricing": 1.0}
"""Between two of these that are called for, whoever calls."""
LEAST_S = 0.02
"""Between two tries, whatever the draw."""


@dataclass(slots=True)
class _Errand:
    """One task: when it is next due, and how it went."""

    next_at: float = math.inf
    failures: int = 0
    runs: bool = False
    again: bool = False
    """Whether it was called for while it ran."""
    hurried_at: float = -math.inf
    """Before this it is not due because it is called for."""


class Session:
    """Not for several threads at once."""

    def __init__(self, options: ControlOptions, *, draw: Callable[[], float]) -> None:
        """`draw`: a random number in [0, 1)."""
        self._poll_s = options.polling_interval_ms / 1000
        self._beat_s = options.heartbeat_interval_ms / 1000
        self._draw = draw
        self._errands: dict[Task, _Errand] = {task: _Errand() for task in PACES}
        self.is_ours: bool | None = None
        """Whether the server is one of ours; None: it has not answered yet."""
        self.is_pushed = False
        """Whether a WebSocket is open, on which changes come."""
        self.is_refused = False
        """Whether the server does not take the key."""
        self.is_running = False
        self._has_answered = False
        self._faulty = False

    @property
    def state(self) -> State:
        if not self.is_running:
            return "stopped"
        failures = self._errands["policy"].failures
        if self.is_refused or self._faulty:
            return "degraded"
        if not self._has_answered:
            return "reconnecting" if failures else "connecting"
        return "reconnecting" if failures else "healthy"

    @property
    def next_at(self) -> float:
        """When the next task is due; infinity where only what is under way can bring one."""
        return min((each.next_at for each in self._errands.values() if not each.runs), default=math.inf)

    # -- what there is to do ----------------------------------------------------------------------

    def begin(self, now: float) -> None:
        """The session starts, or starts anew on another loop."""
        self.is_running, self.is_pushed = True, False
        for errand in self._errands.values():
            errand.runs = errand.again = False
            errand.next_at = math.inf
        self._errands["policy"].next_at = now
        self._errands["events"].next_at = now
        self._errands["heartbeat"].next_at = now + self._beat_s
        if self.is_ours:
            self._errands["leases"].next_at = now
            self._errands["push"].next_at = now

    def end(self) -> None:
        """Nothing is due any more."""
        self.is_running = self.is_pushed = False

    def due(self, now: float) -> list[Task]:
        """The tasks to begin now, which then are under way."""
        if not self.is_running:
            return []
        found: list[Task] = [
            task for task, each in self._errands.items() if not each.runs and each.next_at <= now
        ]
        for task in found:
            self._errands[task].runs = True
        return found

    def wake(self, task: Task, now: float) -> None:
        """Something calls for `task`: it is due at once, or once more after the one under way. One that
        fails is not hurried."""
        errand = self._errands[task]
        if errand.runs:
            errand.again = True
        elif not errand.failures:
            errand.next_at = min(errand.next_at, max(now, errand.hurried_at))

    # -- how it went --------------------------------------------------------------------------------

    def done(self, task: Task, now: float, *, next_s: float | None = None) -> None:
        """`task` is over. `next_s`: when it has to do the next, where it is the one to say."""
        errand = self._over(task)
        errand.failures = 0
        usual = self._usual_s(task)
        pause = usual if next_s is None else next_s
        errand.hurried_at = now + HURRY_S.get(task, 0.0)
        errand.next_at = errand.hurried_at if errand.again else now + pause
        errand.again = False
        if task == "policy":
            self.is_refused = self._faulty = False
            if not self._has_answered:
                self._has_answered = True
                self._errands["pricing"].next_at = now

    def failed(
        self, task: Task, now: float, *, refused: bool = False, faulty: bool = False, after_s: float = 0.0
    ) -> None:
        """`task` did not succeed. `refused`: the key was not taken. `faulty`: the server answered what cannot
        be used. `after_s`: the server asks to be left alone for so long."""
        errand = self._over(task)
        pace = PACES[task]
        most = pace.cap_s if refused else min(pace.cap_s, pace.base_s * 2.0 ** min(errand.failures, 30))
        errand.failures += 1
        errand.again = False
        errand.next_at = now + max(LEAST_S, self._draw() * most, min(after_s, 3600.0))
        if task == "policy":
            self.is_refused, self._faulty = refused, faulty

    def met(self, *, ours: bool, now: float) -> None:
        """An answer told what kind of server it is."""
        if ours and not self.is_ours:
            self._errands["push"].next_at = now
            self._errands["leases"].next_at = now
        if not ours:
            self._errands["leases"].next_at = self._errands["push"].next_at = math.inf
        self.is_ours = ours

    def push_opened(self, now: float) -> None:
        """Changes come by themselves from now on; what changed until now may have been missed."""
        self.is_pushed = True
        self._errands["push"].failures = 0
        self.wake("policy", now)

    def push_ended(self, now: float) -> None:
        """The WebSocket is closed, or could not be opened: changes have to be asked for meanwhile."""
        opened, self.is_pushed = self.is_pushed, False
        self.failed("push", now)
        policy = self._errands["policy"]
        policy.next_at = min(policy.next_at, now + self._draw() * self._poll_s)
        if opened and self.is_ours is False:
            self._errands["push"].next_at = math.inf

    def _over(self, task: Task) -> _Errand:
        errand = self._errands[task]
        errand.runs = False
        return errand

    def _usual_s(self, task: Task) -> float:
        match task:
            case "policy":
                return self._poll_s * (PUSHED if self.is_pushed else 1.0)
            case "pricing":
                return PRICES_S
            case "heartbeat":
                return self._beat_s
            case _:
                return math.inf
