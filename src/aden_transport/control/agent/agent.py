"""The client of the control server: what `get_control_agent()` gives, and what a meter has of it."""

from __future__ import annotations

import logging
import math
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..._fork import draw, random_bits
from ...core.redact import without_secrets
from ...core.reserve import Budgets
from ...events import MetricEvent
from ...ledger.private import host_file
from ...policy import Policy
from ..options import ControlOptions
from .aden_events import control_event, error_event
from .couriers import Couriers
from .former import former_keys, team_name
from .in_force import InForce
from .kept import Kept, name_of
from .loop import Loop, running_loop
from .marks import Marks
from .questions import Questions
from .session import Session, State, Task

if TYPE_CHECKING:
    from ...outgoing import Outgoing
    from ...pricing import PriceBook

__all__ = ["AgentStatus", "Connection", "ControlAgent"]

IN_A_LOOP = (
    "[aden] API key provided but called from async context. Use instrument_async() for control agent support."
)
"""Aden's own words, where they are true: no thread can be had, so that only a task could run the agent."""

FORMER_S = 60.0
"""Between two looks for what former keys have left."""
_log = logging.getLogger("aden.control")


@dataclass(frozen=True, slots=True)
class Connection:
    """Which server, as whom, and how."""

    url: str
    key: str
    options: ControlOptions
    agent_name: str | None

    def __repr__(self) -> str:
        return f"Connection({self.url})"


@dataclass(frozen=True, slots=True)
class AgentStatus:
    """How the control agent is."""

    state: State
    """`"stopped"`, `"connecting"`, `"healthy"`, `"degraded"` (the server answers, but refuses the key, or
    sends what cannot be used) or `"reconnecting"` (it does not answer)."""
    server_url: str
    is_connected: bool
    """Whether changes are pushed over a WebSocket; else they are polled for."""
    speaks_leases: bool | None
    """Whether the server is one of ours, which grants leases; None: it has not answered yet."""
    policy_version: str | None
    policy_age_s: float | None
    """Since the server last confirmed it; None where it has not, and what is in force was kept from an
    earlier run, or is nothing."""
    last_error: str | None
    """Why the last request failed, if it did."""
    events_waiting: int | None
    """Of all processes of this host that speak to this server with this key; None where their file does not
    answer."""


class ControlAgent:
    """Keeps this process in step with a control server: takes its policy and prices, brings it the events.

    Made by `instrument(MeterOptions(api_key=…))`; `get_control_agent()` gives it.
    """

    def __init__(self, connection: Connection, *, folder: Path | None = None) -> None:
        """`folder`: of what is kept on this host; None: the user's folder of states."""
        self.connection = connection
        self.name = name_of(connection.url, connection.key)
        """Of the host's files for this server and key."""
        self.instance = str(uuid.uuid4())
        """Of this process, as the server knows it."""
        self.in_force = InForce(Kept(kept_path(self.name, folder)))
        self.in_force.restore()
        self.session = Session(connection.options, draw=draw)
        if self.in_force.received is not None:
            self.session.is_ours = self.in_force.is_ours
        self.requests = self.errors = 0
        """Calls since the last heartbeat."""
        self.used_at = -math.inf
        """When the last call ended, on the monotonic clock."""
        self.last_error: str | None = None
        self.started_at = 0.0
        """Of the monotonic clock; 0: not yet."""
        self.known = threading.Event()
        """Set once it is known what the server has to say first: a policy, or nothing."""
        if self.in_force.received is not None:
            self.known.set()
        self.adopt: Callable[[str, Path], object] | None = None
        """Has what waits under the name of a former key, and in its file, brought with this one. Must not
        wait."""
        self._former_at = -math.inf
        """When to look for former keys again, on the monotonic clock."""
        self._folder = folder
        self.is_retired = False
        """Whether its meter has ended. Calls that end later have it run for as long as that takes."""
        self.silent_since: float | None = None
        """Since when requests have failed, on the monotonic clock; None: the last one was answered."""
        from .errands import Errands

        self.errands = Errands(self)
        self.loop = Loop(self.errands)
        self.couriers = Couriers(self.loop.wake)
        self.questions = Questions(partial(self.call_for, "validate"))
        self.marks = Marks(partial(self.call_for, "marks"), bound_s=connection.options.wait_s)
        self.in_force.on_leases = partial(self.call_for, "leases")

    # -- for everybody ------------------------------------------------------------------------------

    @property
    def status(self) -> AgentStatus:
        """How it is, now."""
        session, in_force = self.session, self.in_force
        at = in_force.confirmed_at
        return AgentStatus(
            session.state,
            self.connection.url,
            session.is_pushed,
            session.is_ours,
            None if in_force.received is None else in_force.received.version,
            None if at is None else max(0.0, time.time() - at),
            self.last_error,
            self.couriers.waiting(),
        )

    def is_connected(self) -> bool:
        """Whether the server answers."""
        return self.session.state == "healthy"

    def get_policy(self) -> Policy | None:
        """The server's policy in force; None where there never was one."""
        return self.in_force.policy

    def ready(self, timeout: float) -> bool:
        """Wait at most `timeout` seconds for the first policy; whether there is one. Blocks this thread."""
        self.start()
        self.known.wait(timeout)
        return self.in_force.received is not None

    def report_error(
        self,
        message: str,
        error: BaseException | None = None,
        *,
        code: str | None = None,
        trace_id: str | None = None,
    ) -> None:
        """Tell the server that something went wrong. What looks like a credential is taken out."""
        stack = None if error is None else f"{type(error).__name__}: {error}"
        self.put(
            error_event(
                without_secrets(message),
                at=time.time(),
                instance=self.instance,
                agent_name=self.connection.agent_name,
                code=code,
                stack=None if stack is None else without_secrets(stack),
                trace_id=trace_id,
            )
        )

    # -- for a meter --------------------------------------------------------------------------------

    def attach(self, budgets: Budgets | None, book: PriceBook) -> None:
        """Judge and price by what the server says."""
        self.in_force.attach(budgets, book)

    def start(self) -> bool:
        """Run on a thread of ours until `stop`, unless it runs already; whether it runs."""
        self.is_retired = False
        return self.run()

    def run(self) -> bool:
        """`start`; after `stop`, only as long as something is to be brought to the server."""
        if self.loop.is_running:
            return True
        self.started_at = self.started_at or time.monotonic()
        if self.loop.start_thread():
            return True
        if running_loop()[1] is not None:
            _log.warning("%s", IN_A_LOOP)
        self.known.set()
        return False

    def start_here(self) -> bool:
        """Run as a task of this thread's loop."""
        self.is_retired = False
        self.started_at = self.started_at or time.monotonic()
        return self.loop.start_task()

    @property
    def is_silent(self) -> bool:
        """Whether the server has not answered for as long as a call would wait, so that none has to."""
        since = self.silent_since
        return since is not None and time.monotonic() - since >= self.connection.options.wait_s

    def call_for(self, task: Task) -> None:
        """Have a task done as soon as may be. Any thread may call."""
        self.errands.called.add(task)
        if not self.loop.is_running:
            self.run()  # in a child that was forked, by its first call
        self.loop.wake()

    def meet(self, team: str) -> None:
        """The server has told whose key this is. Writes a file."""
        self.in_force.note_team(team_name(self.connection.url, team))

    def look_for_former(self) -> None:
        """See to what former keys of the team have left, now and from time to time. Reads files."""
        team = self.in_force.team
        if team is None or time.monotonic() < self._former_at:
            return
        self._former_at = time.monotonic() + FORMER_S
        for former in former_keys(self.name, team, self._folder):
            self.in_force.take_back(former)
            if self.adopt is not None:
                self.adopt(former.name, former.path)

    def bring(self, outgoing: Outgoing) -> None:
        """Take what waits there to the server from now on."""
        self.couriers.bring(outgoing)

    def observe(self, event: MetricEvent) -> None:
        """A call has ended. Any thread may call; it does not wait and does not raise."""
        self.requests += 1
        self.used_at = time.monotonic()
        record: Any = event._record
        if record is not None and record.exchange.decision.action == "allow":
            # There is nothing to tell, as of nearly every call; and the event need not be read for it.
            self.errors += record.error is not None
        else:
            self.couriers.keep_told(partial(self._told_of, event))
        if not self.loop.is_running:
            self.run()

    def _told_of(self, event: MetricEvent) -> dict[str, Any] | None:
        """What was done about the call of `event`."""
        if event.error is not None:
            self.errors += 1
        policy = self.in_force.policy
        return control_event(
            event,
            instance=self.instance,
            agent_name=self.connection.agent_name,
            policy_id=None if policy is None else policy.id,
        )

    def put(self, told: dict[str, Any]) -> None:
        """Have an event brought to the server."""
        told.setdefault("event_id", f"{int(time.time() * 1000):012x}{random_bits(64):016x}")
        self.couriers.keep_told(lambda: told)

    def tell_all(self, timeout: float) -> None:
        """Have the alerts that wait for the server's word told of, after at most `timeout` seconds."""
        if self.loop.is_here or not self.loop.is_running:
            self.marks.give_up()
        else:
            self.marks.wait(timeout)

    def flush(self, timeout: float) -> bool:
        """Bring what waits to the server, for at most `timeout` seconds; whether it has taken it."""
        return self.errands.flush(timeout)

    def stop(self, timeout: float) -> bool:
        """Bring what waits to the server and end, for at most `timeout` seconds; whether it was brought."""
        self.is_retired = True
        return self.loop.stop(timeout) and self.couriers.is_done

    async def stop_async(self, timeout: float) -> bool:
        """`stop`, without holding up the loop."""
        self.is_retired = True
        return await self.loop.stop_async(timeout) and self.couriers.is_done

    def after_fork_in_child(self) -> None:
        """The thread or the task is the parent's, and so is what it has not brought to the server yet."""
        self.instance = str(uuid.uuid4())
        self.couriers.after_fork_in_child()
        self.loop.after_fork_in_child()
        self.session.end()
        was_known, self.known = self.known.is_set(), threading.Event()
        if was_known:
            self.known.set()
        self.questions.after_fork_in_child()
        self.marks.after_fork_in_child()
        self.in_force.after_fork_in_child()
        self.errands.after_fork_in_child()


def kept_path(name: str, folder: Path | None) -> Path | None:
    """Where the last good policy is kept; None where nothing can be written."""
    try:
        return host_file(name, folder).with_suffix(".json")
    except OSError:
        return None
