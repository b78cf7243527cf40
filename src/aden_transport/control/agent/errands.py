"""What each task of a session does: the requests, and what becomes of their answers."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import anyio

from ... import __version__
from ..._guard import internal_fault
from ..._threads import may_start_threads
from ...policy.money import NANO
from ..messages import TEAM_HEADER, Ask, Grant, Paths
from .aden_events import Health, heartbeat
from .delivery import Post, Reply, encodings_of
from .hybrid import read_validation
from .session import Task

if TYPE_CHECKING:
    from ...ledger.leased import LeasedLedger
    from .agent import ControlAgent
    from .marks import Mark
    from .questions import Question
    from .talk import Answer, ServerFault, Talk

__all__ = ["Errands"]

MOST_ASKS = 500
IDLE_S, WAITED_FOR_S = 1.0, 0.25
"""Between two looks at what is to be asked of leases, and while calls are made, so that what they cost is
known to the server within two seconds."""
USED_S = 3.0
LEAST_WAIT_S = 0.5
PUT_OFF_S, MOST_PUT_OFF = 0.1, 20
"""For so long, and so many times, an original server is not asked for its sums while events are under way."""
LONGEST_PAUSE_S = 1.0
LAST_S = 1.0
"""For the last words of an agent that calls have had run once more."""
AT_ONCE: frozenset[Task] = frozenset({"policy", "leases", "marks", "heartbeat"})
"""What is asked in a flush that nothing runs beside."""
OURS = frozenset({"gzip"})
"""What a server of ours accepts, where it does not say more."""
T = TypeVar("T")
_log = logging.getLogger("aden.control")


class Errands:
    """The work of an agent's loop; see `loop.Work`."""

    def __init__(self, agent: ControlAgent) -> None:
        self._agent = agent
        self._talk: Talk | None = None
        self._told_of = ""
        self._put_off = 0
        self.called: set[Task] = set()
        """Tasks that are called for, by any thread."""

    def after_fork_in_child(self) -> None:
        self._talk = None
        self.called = set()

    def flush(self, timeout: float) -> bool:
        agent, deadline = self._agent, time.monotonic() + timeout
        if agent.is_retired and not agent.loop.is_running and agent.couriers.is_done:
            return True
        agent.couriers.end()
        if not may_start_threads() and not agent.loop.is_running:
            agent.loop.run_here(partial(self._run_once, timeout))
        elif not agent.loop.is_here and agent.run():
            while not agent.couriers.can_wait and time.monotonic() < deadline:
                agent.loop.wake()
                time.sleep(0.005)
        return agent.couriers.is_done

    async def _run_once(self, timeout: float) -> None:
        """All that is due, where nothing of ours runs between two flushes."""
        await self.open()
        try:
            with anyio.move_on_after(timeout):
                for task in self.due():
                    if task in AT_ONCE:
                        await self.carry_out(task)
                await self._bring_all()
        finally:
            await self.close()

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
        while self.called:
            session.wake(self.called.pop(), now)
        if self._agent.couriers.wake_at() <= now:
            session.wake("events", now)
        if self._agent.is_retired and self._agent.couriers.can_wait:
            self._agent.loop.end(LAST_S)
        return session.due(now)

    def pause(self) -> float:
        next_at = min(self._agent.session.next_at, self._agent.couriers.wake_at())
        return min(next_at - time.monotonic(), LONGEST_PAUSE_S)

    async def carry_out(self, task: Task) -> None:
        from .talk import ServerFault

        agent, session = self._agent, self._agent.session
        begun_at = time.monotonic()
        try:
            next_s = await getattr(self, f"_{task}")()
            session.done(task, time.monotonic(), next_s=next_s)
            if self._server.answered_at >= begun_at:  # Some are done without a request.
                agent.last_error = agent.silent_since = None
        except ServerFault as exc:
            now = time.monotonic()
            if task == "push":
                session.push_ended(now)
                _log.info("Changes are polled for: %s", exc)
                return
            agent.silent_since = None if exc.status else agent.silent_since or begun_at
            session.failed(task, now, refused=exc.refused, faulty=exc.faulty, after_s=exc.after_s)
            self._tell_of(exc)
        except Exception as exc:  # noqa: BLE001 - a fault of ours; the next try may do better
            internal_fault(f"control {task}", exc)
            session.failed(task, time.monotonic(), faulty=True)
        finally:
            if task == "policy":
                agent.known.set()

    def _tell_of(self, exc: ServerFault) -> None:
        """Once of each kind in a row."""
        told = self._agent.last_error = str(exc)
        if told != self._told_of:
            level = logging.WARNING if exc.refused else logging.INFO
            _log.log(level, "The control server at %s: %s", self._agent.connection.url, told)
        self._told_of = told

    async def finish(self) -> None:
        """Bring what waits, give back what was leased, and say how many calls there were."""
        from .talk import ServerFault

        async def say(word: Callable[[], Awaitable[object]]) -> None:
            try:
                await word()
            except ServerFault as exc:
                _log.info("The control server was not told the last words: %s", exc)
            except Exception as exc:  # noqa: BLE001 - a fault of ours is not the application's
                internal_fault("control", exc)

        async with anyio.create_task_group() as group:
            group.start_soon(say, self._bring_all)
            group.start_soon(say, self._give_back)
            group.start_soon(say, self._all_marks)
            if self._agent.requests:
                group.start_soon(say, self._heartbeat)

    async def _bring_all(self) -> None:
        couriers = self._agent.couriers
        couriers.end()
        next_s = await self._events()
        while not couriers.can_wait and next_s < self._agent.loop.left_s:
            await anyio.sleep(max(0.01, next_s))
            next_s = await self._events()

    async def close(self) -> None:
        talk, self._talk = self._talk, None
        self._agent.couriers.leave()
        if talk is not None:
            await talk.close()

    def ended(self) -> None:
        self._agent.session.end()
        self._agent.marks.give_up()
        self._agent.in_force.close()

    async def _off_loop(self, work: Callable[[], T]) -> T:
        """`work()` where it holds up nobody: here, on a thread of ours, else on one beside the loop."""
        return work() if self._agent.loop.is_threaded else await self._on_thread(work)

    async def _on_thread(self, work: Callable[[], T]) -> T:
        from anyio import CapacityLimiter
        from anyio.to_thread import run_sync

        # Its own limiter: the application may be using all threads of the default one.
        return await run_sync(work, limiter=CapacityLimiter(1), abandon_on_cancel=True)

    # -- policy and prices --------------------------------------------------------------------------

    @property
    def _server(self) -> Talk:
        assert self._talk is not None
        return self._talk

    async def _policy(self) -> float | None:
        from .talk import MAX_POLICY, ServerFault

        in_force, session = self._agent.in_force, self._agent.session
        if not in_force.is_ours and not await self._off_loop(self._note_sums):
            return PUT_OFF_S
        headers = {"if-none-match": in_force.etag} if in_force.etag else {}
        # A server of ours tells sums with its grants.
        path = f"{Paths.policy}?spent=false" if session.is_ours else Paths.policy
        answer = await self._server.get(path, headers=headers, most=MAX_POLICY)
        session.met(ours=answer.is_ours, now=time.monotonic())
        team = answer.headers.get(TEAM_HEADER) if answer.is_ours else None
        if team:
            await self._off_loop(partial(self._agent.meet, team))
        if answer.status == 304:
            in_force.confirm()
        elif not await self._off_loop(partial(self._take_policy, answer)):
            raise ServerFault("it sent a policy that cannot be used", faulty=True)
        if team:
            await self._off_loop(self._agent.look_for_former)
        return None

    def _note_sums(self) -> bool:
        """Whether to ask for sums now: in a moment the server will have been told of the calls of late."""
        all_told = self._agent.couriers.has_told_all()
        if not all_told and self._agent.in_force.received is not None and self._put_off < MOST_PUT_OFF:
            self._put_off += 1
            return False
        self._put_off = 0
        self._agent.in_force.note_sums(all_told=all_told)
        return True

    def _take_policy(self, answer: Answer) -> bool:
        etag = answer.headers.get("etag") if answer.is_ours else None
        return self._agent.in_force.take(answer.json(), etag=etag, ours=answer.is_ours)

    async def _pricing(self) -> None:
        from .talk import MAX_POLICY

        in_force = self._agent.in_force
        headers = {"if-none-match": in_force.prices_etag} if in_force.prices_etag else {}
        # A server of ours tells what differs from prices as new as these.
        as_of = await self._off_loop(_as_of) if self._agent.session.is_ours else None
        path = f"{Paths.pricing}?as_of={as_of}" if as_of else Paths.pricing
        answer = await self._server.get(path, headers=headers, most=MAX_POLICY)
        if answer.status != 304:
            await self._off_loop(partial(self._take_prices, answer))

    def _take_prices(self, answer: Answer) -> None:
        self._agent.in_force.take_prices(answer.json(), etag=answer.headers.get("etag"))

    async def _push(self) -> None:
        from .push import follow

        agent = self._agent

        def opened() -> None:
            agent.session.push_opened(time.monotonic())
            agent.loop.wake()

        await follow(self._server, opened=opened, hint=agent.call_for)

    # -- money --------------------------------------------------------------------------------------

    @property
    def _wait_s(self) -> float:
        """Of a request that a call waits for."""
        options = self._agent.connection.options
        return min(max(LEAST_WAIT_S, options.wait_s), options.timeout_ms / 1000)

    async def _leases(self) -> float:
        ledgers = await self._off_loop(partial(getattr, self._agent.in_force, "leased"))
        return min([await self._leases_of(ledger) for ledger in ledgers], default=IDLE_S)

    async def _leases_of(self, ledger: LeasedLedger) -> float:
        asked_at = ledger.clock()
        asks = await self._off_loop(ledger.due)
        if not asks:
            is_used = time.monotonic() - self._agent.used_at < USED_S
            return WAITED_FOR_S if is_used or ledger.is_waited_for else IDLE_S
        await self._ask_for(ledger, asks, asked_at)
        return 0.0

    async def _ask_for(self, ledger: LeasedLedger, asks: Sequence[Ask], asked_at: float) -> None:
        owner = await self._off_loop(partial(getattr, ledger, "owner"))
        for first in range(0, len(asks), MOST_ASKS):
            told = [ask.to_json() for ask in asks[first : first + MOST_ASKS]]
            body = {"owner": owner, "asks": told}
            answer = await self._server.post(Paths.leases, body, timeout_s=self._wait_s)
            await self._off_loop(partial(ledger.take, grants_of(answer), asked_at))

    async def _give_back(self) -> None:
        """All leases, as far as their calls have ended; whoever spends on asks anew."""
        for ledger in await self._off_loop(partial(getattr, self._agent.in_force, "leased")):
            await self._give_back_all(ledger)

    async def _give_back_all(self, ledger: LeasedLedger) -> None:
        while not await self._off_loop(partial(getattr, ledger, "is_given_back")):
            asked_at = ledger.clock()
            asks = await self._off_loop(partial(ledger.due, end=True))
            if not asks:
                return
            await self._ask_for(ledger, asks, asked_at)

    async def _validate(self) -> None:
        taken = self._agent.questions.take()
        try:
            async with anyio.create_task_group() as group:
                for question in taken:
                    group.start_soon(self._ask_about, question)
        finally:
            for question in taken:
                question.is_over = True

    async def _ask_about(self, question: Question) -> None:
        from .talk import ServerFault

        body = {
            "budget_id": question.budget_key,
            "estimated_cost": question.estimate / NANO,
            "local_spend": question.spent / NANO,
        }
        try:
            answer = await self._server.post(Paths.validate, body, timeout_s=self._wait_s)
            question.answer = read_validation(answer.json())
        except ServerFault as exc:
            self._tell_of(exc)
        if question.answer is not None and question.answer.spent is not None:
            self._agent.in_force.hear(question.ledger_key, question.answer.spent)
        question.is_over = True

    async def _marks(self) -> float | None:
        marks = self._agent.marks
        async with anyio.create_task_group() as group:
            for asked in marks.take():
                group.start_soon(self._ask_whether_first, asked)
        return 0.0 if marks.waits else None

    async def _all_marks(self) -> None:
        marks = self._agent.marks
        while marks.is_open:
            if await self._marks() is None:
                await anyio.sleep(0.01)

    async def _ask_whether_first(self, asked: Mark) -> None:
        from .talk import ServerFault

        is_first, left_s = True, asked.until - time.monotonic()
        body = {"key": asked.key, "mark": asked.mark, "expires_at": asked.expires_at}
        if left_s > 0:
            try:
                answer = await self._server.post(Paths.mark_once, body, timeout_s=left_s)
                is_first = answer.json().get("done") is not False
            except ServerFault as exc:
                self._tell_of(exc)
            except Exception as exc:  # noqa: BLE001 - a fault of ours must not keep an alert back
                internal_fault("control marks", exc)
        # Whoever is told may take long, and may want a loop of its own.
        await self._on_thread(partial(self._agent.marks.end, asked, is_first=is_first))

    # -- events -------------------------------------------------------------------------------------

    async def _heartbeat(self) -> None:
        agent = self._agent
        requests, errors = agent.requests, agent.errors
        status = await self._off_loop(lambda: agent.status)
        told = heartbeat(
            at=time.time(),
            instance=agent.instance,
            agent_name=agent.connection.agent_name,
            status=health_of(status.state),
            requests=requests,
            errors=errors,
            policy_age_s=status.policy_age_s,
            connected=status.is_connected,
            version=__version__,
        )
        await self._server.post(Paths.events, {"events": [told]})
        agent.requests -= requests
        agent.errors -= errors

    async def _events(self) -> float:
        """Gives the seconds until something is to be sent again. Failing is the couriers' own matter."""
        if self._agent.session.is_ours:
            self._agent.couriers.accept(OURS)
        return await self._agent.couriers.run(self._brought, self._off_loop)

    async def _brought(self, post: Post) -> Reply:
        from .talk import ServerFault

        agent, begun_at = self._agent, time.monotonic()
        try:
            answer = await self._server.post(post.path, post.body, headers=post.headers)
        except ServerFault as exc:
            agent.silent_since = None if exc.status else agent.silent_since or begun_at
            self._tell_of(exc)
            return Reply(exc.status, exc.after_s or None)
        agent.last_error = agent.silent_since = None
        told = encodings_of(answer.headers.get("accept-encoding"))
        return Reply(answer.status, encodings=OURS if told is None and answer.is_ours else told)


def _as_of() -> str:
    """The date of our price data."""
    from ...pricing.snapshot import bundled

    return bundled().as_of


def health_of(state: str) -> Health:
    """What a heartbeat says of a session's state."""
    match state:
        case "healthy" | "degraded":
            return state
        case _:
            return "reconnecting"


def grants_of(answer: Answer) -> list[Grant]:
    """Raises: ServerFault where there are none."""
    from .talk import ServerFault

    try:
        return [Grant.from_json(told) for told in answer.json()["grants"]]
    except (KeyError, TypeError, AttributeError) as exc:
        raise ServerFault("it answers asks for leases with something else", faulty=True) from exc
