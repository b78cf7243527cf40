"""What each task of a session does: the requests, and what becomes of their answers."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from ... import __version__
from ..._guard import internal_fault
from ...events import MetricEvent
from ..messages import Paths
from .aden_events import Health, control_event, heartbeat, metric_event
from .session import Task

if TYPE_CHECKING:
    from .agent import ControlAgent
    from .talk import Answer, ServerFault, Talk

__all__ = ["Errands"]

MOST_EVENTS = 10_000
MOST_AT_ONCE = 500
T = TypeVar("T")
_log = logging.getLogger("aden.control")


class Errands:
    """The work of an agent's loop; see `loop.Work`."""

    def __init__(self, agent: ControlAgent) -> None:
        self._agent = agent
        self._talk: Talk | None = None
        self._ended: deque[MetricEvent] = deque(maxlen=MOST_EVENTS)
        self._told_of = ""

    def after_fork_in_child(self) -> None:
        self._talk = None
        self._ended.clear()

    def take_event(self, event: MetricEvent) -> None:
        """On any thread, at the end of a call."""
        self._ended.append(event)
        if len(self._ended) >= 10:
            self._agent.loop.wake()

    def flush(self, timeout: float) -> bool:
        deadline = time.monotonic() + timeout
        agent = self._agent
        while (self._ended or agent.waiting) and time.monotonic() < deadline:
            agent.loop.wake()
            time.sleep(0.005)
        return not (self._ended or agent.waiting)

    # -- of the loop --------------------------------------------------------------------------------

    async def open(self) -> None:
        self._talk = await self._off_loop(self._made_talk)
        self._agent.session.begin(time.monotonic())
        _log.info("The control agent has started: %s", self._agent.connection.url)

    def _made_talk(self) -> Talk:
        from .talk import Talk

        connection = self._agent.connection
        timeout_s = connection.options.timeout_ms / 1000
        return Talk(connection.url, connection.key, self._agent.instance, timeout_s=timeout_s)

    def due(self) -> list[Task]:
        session, now = self._agent.session, time.monotonic()
        if self._ended or self._agent.waiting:
            session.wake("events", now)
        return session.due(now)

    def pause(self) -> float:
        pause = self._agent.session.next_at - time.monotonic()
        return min(pause, 1.0)

    async def carry_out(self, task: Task) -> None:
        from .talk import ServerFault

        agent, session = self._agent, self._agent.session
        try:
            next_s = await getattr(self, f"_{task}")()
            session.done(task, time.monotonic(), next_s=next_s)
        except ServerFault as exc:
            agent.last_error = str(exc)
            session.failed(
                task, time.monotonic(), refused=exc.refused, faulty=exc.faulty, after_s=exc.after_s
            )
            self._tell_of(exc)
        except Exception as exc:  # noqa: BLE001 - a fault of ours; the next try may do better
            internal_fault(f"control {task}", exc)
            session.failed(task, time.monotonic(), faulty=True)
        finally:
            if task == "policy":
                agent.known.set()

    def _tell_of(self, exc: ServerFault) -> None:
        """Once of each kind in a row."""
        if exc.refused and self._told_of != str(exc):
            _log.warning("The control server at %s: %s", self._agent.connection.url, exc)
        elif self._told_of != str(exc):
            _log.info("The control server at %s: %s", self._agent.connection.url, exc)
        self._told_of = str(exc)

    async def finish(self) -> None:
        """Bring what waits."""
        while self._ended or self._agent.waiting:
            before = len(self._ended) + len(self._agent.waiting)
            await self.carry_out("events")
            if len(self._ended) + len(self._agent.waiting) >= before:
                return

    async def close(self) -> None:
        talk, self._talk = self._talk, None
        if talk is not None:
            await talk.close()

    def ended(self) -> None:
        self._agent.session.end()

    async def _off_loop(self, work: Callable[[], T]) -> T:
        """`work()` where it holds up nobody: here, on a thread of ours, else on one beside the loop."""
        if self._agent.loop.is_threaded:
            return work()
        from anyio import CapacityLimiter
        from anyio.to_thread import run_sync

        # Its own limiter: the application may be using all threads of the default one.
        return await run_sync(work, limiter=CapacityLimiter(1), abandon_on_cancel=True)

    def _told(self, event: MetricEvent) -> list[dict[str, Any]]:
        agent = self._agent
        policy = agent.in_force.policy
        control = control_event(
            event,
            instance=agent.instance,
            agent_name=agent.connection.agent_name,
            policy_id=None if policy is None else policy.id,
        )
        metric = metric_event(event, instance=agent.instance)
        return [metric] if control is None else [metric, control]

    # -- the tasks ----------------------------------------------------------------------------------

    @property
    def _server(self) -> Talk:
        assert self._talk is not None
        return self._talk

    def _meet(self, answer: Answer) -> bool:
        self._agent.session.met(ours=answer.is_ours, now=time.monotonic())
        return answer.is_ours

    async def _policy(self) -> None:
        from .talk import MAX_POLICY, ServerFault

        in_force = self._agent.in_force
        await self._off_loop(lambda: in_force.note_sums(all_told=not (self._ended or self._agent.waiting)))
        headers = {"if-none-match": in_force.etag} if in_force.etag else {}
        answer = await self._server.get(Paths.policy, headers=headers, most=MAX_POLICY)
        ours = self._meet(answer)
        if answer.status == 304:
            in_force.confirm()
            return
        etag = answer.headers.get("etag") if ours else None
        taken = await self._off_loop(lambda: in_force.take(answer.json(), etag=etag, ours=ours))
        if not taken:
            raise ServerFault("it sent a policy that cannot be used", faulty=True)

    async def _pricing(self) -> None:
        from .talk import MAX_POLICY

        in_force = self._agent.in_force
        headers = {"if-none-match": in_force.prices_etag} if in_force.prices_etag else {}
        answer = await self._server.get(Paths.pricing, headers=headers, most=MAX_POLICY)
        if answer.status != 304:
            etag = answer.headers.get("etag")
            await self._off_loop(lambda: in_force.take_prices(answer.json(), etag=etag))

    async def _heartbeat(self) -> None:
        agent = self._agent
        requests, errors = agent.requests, agent.errors
        status = agent.status
        health: Health = "reconnecting" if status.state in ("connecting", "reconnecting") else "healthy"
        told = heartbeat(
            at=time.time(),
            instance=agent.instance,
            agent_name=agent.connection.agent_name,
            status="degraded" if status.state == "degraded" else health,
            requests=requests,
            errors=errors,
            policy_age_s=status.policy_age_s,
            connected=status.is_connected,
            version=__version__,
        )
        await self._server.post(Paths.events, {"events": [told]})
        agent.requests -= requests
        agent.errors -= errors

    async def _events(self) -> None:
        agent = self._agent
        batch: list[dict[str, Any]] = []
        while agent.waiting and len(batch) < MOST_AT_ONCE:
            batch.append(agent.waiting.popleft())
        while self._ended and len(batch) < MOST_AT_ONCE:
            batch += await self._off_loop(partial(self._told, self._ended.popleft()))
        if batch:
            await self._server.post(Paths.events, {"events": batch})
