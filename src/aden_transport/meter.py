"""A meter: options made into what exchanges need. It only wires."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from functools import partial
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from ._fork import on_fork_in_child, random_bits
from ._guard import internal_fault
from .bookkeeping import Books, budgets_of, check_said, close_pace, ledger_of_runs, share_pace
from .control.options import ControlOptions, server_address
from .core.classify import Classifier
from .core.exchange import Exchange
from .core.settings import Settings
from .emitters.delivery import Delivery
from .emitters.noop import create_noop_emitter
from .errors import ConfigurationError, RequestCancelledError
from .events import AlertEvent
from .options import MeterOptions
from .outgoing import file_under, open_outgoing
from .pricing import PriceBook

if TYPE_CHECKING:
    from .control.agent.agent import ControlAgent
    from .core.pacing import Pacer
    from .core.reserve import Budgets
    from .events import MetricEvent
    from .ledger.base import Ledger
    from .ledger.sqlite import SqliteLedger
    from .policy import Policy, PolicyFile
    from .policy_watch import PolicyWatch

__all__ = [
    "Meter",
    "State",
    "classifier",
    "counted_ids",
    "meter_for",
    "meters",
    "orphans",
    "state",
]

classifier = Classifier()
"""The process's knowledge of hosts; `register_vendor` adds to it."""
counted_ids: dict[tuple[str, str], object] = {}
"""Deferred work that this process has counted, whichever meter, client or thread did."""


class Meter:
    """What one set of options meters with."""

    def __init__(self, options: MeterOptions, former: Meter | None = None) -> None:
        """`former` is the meter that this one replaces: what was spent in its memory counts on.

        Raises: ConfigurationError where the policy or the ledger cannot be used.
        """
        check_said(options)
        self.options = options
        self.delivery = Delivery(
            options.emit_metric or create_noop_emitter(),
            options.on_emit_error,
            async_emit=options.async_emit,
            sample_rate=options.sample_rate,
        )
        self.alerts = callback_delivery(options.on_alert, options)
        self.blocked = callback_delivery(options.on_blocked, options)
        self._callbacks = [each for each in (self.alerts, self.blocked) if each is not None]
        prices = PriceBook(options.prices)
        self.watch: PolicyWatch | None = None
        """What reads the policy's file again when it changes."""
        self.held_to = options
        """Where policy and ledger are from."""
        if options.policy is None and state.bounds is not None:
            self.held_to = state.bounds
        self.books: Books | None = None
        self.agent = agent_of(options, former)
        """The control server's client, where there is a server."""
        self.budgets = self._budgets_of(prices, former)
        self.pacer = None if options.pacing is None else pacer_of(options, self.budgets, former)
        self._run_budgets: Budgets | None = None
        self.settings = Settings(
            owner=self,
            emit=self.delivery.deliver,
            alert=None if self.alerts is None else self.alerts.deliver,
            blocked=None if self.blocked is None else self.blocked.deliver,
            prices=prices,
            clock=time.perf_counter,
            wall=time.time,
            bits=random_bits,
            hook=options.before_request,
            modify=options.modify_params,
            hook_timeout_s=options.hook_timeout_s,
            metadata=options.request_metadata,
            context_id=options.get_context_id,
            stream_usage=options.stream_usage,
            forward_metadata=options.forward_metadata,
            fail_open=options.fail_open,
            agent_name=options.agent_name,
            counted_ids=counted_ids,
            budgets=self.budgets,
            run_budgets=self._budgets_of_runs,
            pacer=self.pacer,
        )
        if self.books is not None:
            self.books.attach(self.settings)
        if self.agent is not None:
            self.settings.emit = partial(observed, self.agent, self.settings.emit)
        meters.add(self)
        if self.agent is not None:
            self.agent.attach(self.budgets if self.budgets is None or self.budgets.server else None, prices)
        if former is not None:
            former.stop_watching(but=self.agent)

    def _budgets_of(self, prices: PriceBook, former: Meter | None) -> Budgets | None:
        if self.held_to.policy is not None:
            return self._budgets_of_policy(prices, former)
        if self.agent is not None:
            return self._budgets_of_server(self.agent, prices, former)
        return None

    def _budgets_of_server(self, agent: ControlAgent, prices: PriceBook, former: Meter | None) -> Budgets:
        """The policy is the server's."""
        from .control.agent.word import Word
        from .ledger.viewed import viewed
        from .policy import Policy

        budgets = budgets_of(
            self.options, Policy(), prices, None if former is None else former.budgets, server=agent.name
        )
        check_alone(file_under(budgets.ledger), agent, former)
        budgets.hold_with(Word(agent, budgets.unknown), viewed(budgets.ledger))
        budgets.asking.timeout_s = agent.connection.options.wait_s
        self.books = self._books_of(budgets)
        return budgets

    def _books_of(self, budgets: Budgets) -> Books:
        books = Books(budgets, self.delivery, emits=self.options.emit_metric is not None)
        agent = self.agent
        if agent is not None:
            choice = budgets.choice
            outgoing = open_outgoing(
                budgets.ledger,
                agent.name,
                lambda: agent.instance,
                thread=budgets.thread,
                lasts=choice is None or not choice.of_run,
                folder=self.options.spool_dir,
                warned=choice is not None and choice.warning is not None,
            )
            books.send_to(outgoing)
            agent.bring(outgoing)
            agent.adopt = books.adopt
        return books

    def hold_to(self, bounds: MeterOptions) -> None:
        """Take policy and ledger of `bounds` where the options name no policy.

        Raises: ConfigurationError where they cannot be used.
        """
        if self.options.policy is None:
            self.held_to = bounds
            self.budgets = self.settings.budgets = self._budgets_of_policy(self.settings.prices, None)
            assert self.books is not None
            self.books.attach(self.settings)

    def _budgets_of_policy(self, prices: PriceBook, former: Meter | None) -> Budgets:
        from .policy import PolicyFile, load
        from .policy_watch import PolicyWatch

        options = self.held_to
        file = PolicyFile.of(options.policy)
        policy = load(options.policy) if file is None else _read(file, options, former)
        budgets = budgets_of(options, policy, prices, None if former is None else former.budgets)
        self.books = self._books_of(budgets)
        if file is not None:
            self.watch = PolicyWatch(file, budgets)
        return budgets

    def _budgets_of_runs(self) -> Budgets:
        """For `budget(...)` blocks where there is no policy; made at the first."""
        if self._run_budgets is None:
            from .policy import Policy

            given = self.options.replaced(ledger="memory")
            self._run_budgets = budgets_of(
                given, Policy(), self.settings.prices, None, of_run=False, ledger=ledger_of_runs()
            )
        return self._run_budgets

    def flush(self, timeout: float) -> bool:
        """Hand over all events so far, for at most `timeout` seconds; whether it was done."""
        orphans.settle(timeout)
        done = self.books is None or self.books.flush(timeout)
        done = self.delivery.flush(timeout) and done
        if self.agent is not None:
            self.agent.tell_all(timeout)
        told = [each.flush(timeout) for each in self._callbacks]
        return all(told) and done

    def bring(self, timeout: float) -> bool:
        """Have the server take what waits for it, for at most `timeout` seconds; whether it has."""
        return self.agent is None or self.agent.flush(timeout)

    async def flush_async(self, timeout: float) -> bool:
        """`flush`, without holding up the loop."""
        orphans.settle(0.0)
        done = self.books is None or await self.books.flush_async(timeout)
        done = await self.delivery.flush_async(timeout) and done
        for each in self._callbacks:
            done = await each.flush_async(timeout) and done
        return done

    async def close_async(self, timeout: float) -> bool:
        """`close`, without holding up the loop."""
        done = await self.flush_async(timeout)
        if self.agent is not None:
            done = await self.agent.stop_async(timeout) and done
            for each in self._callbacks:  # of alerts that waited for the server's word
                done = await each.flush_async(timeout) and done
        return self.close(0.0) and done

    def stop_watching(self, *, but: ControlAgent | None = None) -> None:
        """Hear no more of new policies: another meter has taken over, with the agent `but` perhaps, or none
        is wanted."""
        if self.watch is not None:
            self.watch.stop()
        if self.agent is not None and self.agent is not but:
            self.agent.stop(0.0)

    def close(self, timeout: float) -> bool:
        """Flush and end the emitters' threads. Calls still open end under this meter and start them anew."""
        if self.watch is not None:
            self.watch.stop()
        done = self.flush(timeout)
        if self.agent is not None:
            done = self.agent.stop(timeout) and done
        done = self.close_callbacks(timeout) and done
        done = self.delivery.close(timeout) and done
        self.close_ledgers()
        return done

    def close_ledgers(self) -> None:
        """Let go of the files and connections of budgets and paces."""
        if self.books is not None:
            self.books.close()
        elif self.pacer is not None:
            close_pace(self.pacer)

    def close_callbacks(self, timeout: float) -> bool:
        """Hand over what `on_alert` and `on_blocked` are to be told, and end their threads."""
        told = [each.close(timeout) for each in self._callbacks]
        return all(told)

    @property
    def has_last_words(self) -> bool:
        """Whether a process that ends without them leaves something for others to find out."""
        return self.agent is not None or (self.budgets is not None and not self.budgets.inline)

    def end_open_calls(self) -> None:
        """At the interpreter's exit: what is still open gets its event, with what was seen."""
        for exchange in list(self.settings.open.values()):
            exchange.close()

    def after_fork_in_child(self) -> None:
        """The calls under way are the parent's, and so is the thread that watches."""
        self.settings.open.clear()
        if self.watch is not None:
            self.watch.after_fork_in_child()
        if self.pacer is not None:
            self.pacer.after_fork_in_child()
        if self.agent is not None:
            self.agent.after_fork_in_child()


class Orphans:
    """Exchanges whose answer the garbage collector took before its end; one thread ends them.

    Finalisers only put into `queue`: they may run anywhere, under any lock.
    """

    def __init__(self) -> None:
        self.queue: SimpleQueue[Exchange | _Passed] = SimpleQueue()
        self.thread: threading.Thread | None = None
        """None until `watch` is called."""

    def watch(self) -> None:
        """Have the thread running. Called with the first answer that could be left."""
        self.thread = threading.Thread(target=self._end_each, name="aden-orphans", daemon=True)
        try:
            self.thread.start()
        except RuntimeError as exc:  # no thread to be had, or the interpreter is ending
            internal_fault("orphans", exc)

    def _end_each(self) -> None:
        get = self.queue.get
        while True:
            try:
                get().close()
            except BaseException as exc:  # noqa: BLE001 - an emitter's SystemExit must not end this thread
                internal_fault("orphans", exc)

    def settle(self, timeout: float) -> None:
        """Have those ended that wait; `timeout` seconds for one that the thread is ending just now."""
        if self.thread is None or self.thread is threading.current_thread():
            return
        passed = _Passed()
        self.queue.put(passed)
        passed.wait(timeout)

    def after_fork_in_child(self) -> None:
        """Queue and thread are the parent's."""
        self.queue = SimpleQueue()
        self.thread = None


class _Passed(threading.Event):
    """Goes through the queue and says when all before it have been ended."""

    def close(self) -> None:
        self.set()


orphans = Orphans()


def pacer_of(options: MeterOptions, budgets: Budgets | None, former: Meter | None) -> Pacer:
    """The pacing of `options`, through the ledger of the budgets where there are any.

    Raises: ConfigurationError where the ledger cannot be used.
    """
    from .core.pacing import Pacer
    from .ledger.memory import MemoryLedger
    from .ledger.opened import choose, opened
    from .ledger.store_thread import StoreThread

    assert options.pacing is not None
    timeout_s = options.store_timeout_ms / 1000
    ledger: Ledger
    if budgets is not None:
        ledger = budgets.ledger
    elif former is not None and former.pacer is not None and former.options.ledger == options.ledger:
        ledger = former.pacer.ledger
    else:
        ledger = opened(choose(options.ledger, lasting=False), timeout_s=timeout_s, api_key=options.api_key)
    thread = None
    if not isinstance(ledger, MemoryLedger):
        thread = StoreThread() if budgets is None or budgets.thread is None else budgets.thread
    pacer = Pacer(
        ledger,
        target=options.pacing["target"],
        max_wait_s=options.pacing["max_wait_ms"] / 1000,
        wall=time.time,
        thread=thread,
        timeout_s=timeout_s,
    )
    if options.ledger is None:
        share_pace(pacer, budgets)
    return pacer


def agent_of(options: MeterOptions, former: Meter | None) -> ControlAgent | None:
    """The client of the server that the options name, that of the meter before where it is the same.

    Raises: ConfigurationError for an address that cannot be used.
    """
    if not options.api_key:
        return None
    from .control.agent.agent import Connection, ControlAgent

    connection = Connection(
        server_address(options.server_url),
        options.api_key,
        options.control or ControlOptions(),
        options.agent_name,
    )
    if former is not None and former.agent is not None and former.agent.connection == connection:
        return former.agent
    return ControlAgent(connection, folder=options.spool_dir)


def check_alone(file: SqliteLedger | None, agent: ControlAgent, former: Meter | None) -> None:
    """Raises: ConfigurationError where another meter of this process keeps its sums in the same file for
    another server, or with another key."""
    for meter in meters.each():
        other = meter.agent
        if other is None or other.is_retired or other.name == agent.name or meter is former:
            continue
        theirs = None if meter.budgets is None else file_under(meter.budgets.ledger)
        if file is not None and theirs is not None and theirs.path == file.path:
            raise ConfigurationError(
                f'MeterOptions(ledger="sqlite:///{file.path}") is in use with another api_key or server_url: '
                "leave ledger=… out, so that each has a file of its own, or name another file"
            )


def observed(agent: ControlAgent, emit: Callable[[MetricEvent], object], event: MetricEvent) -> None:
    """An event goes to the server and to the emitters."""
    try:
        emit(event)  # first: it has the hold ended, by what the event says before it is read
    finally:
        agent.observe(event)


def callback_delivery(callback: Any, options: MeterOptions) -> CallbackDelivery | None:
    return None if callback is None else CallbackDelivery(callback, async_emit=options.async_emit)


def _read(file: PolicyFile, options: MeterOptions, former: Meter | None) -> Policy:
    """The policy, or where its file cannot be used any more, what was read of it before.

    Raises: ConfigurationError.
    """
    from .policy_watch import refused

    try:
        return file.load(time.time())
    except ConfigurationError as exc:
        before = None if former is None or former.held_to.policy != options.policy else former.budgets
        if before is not None:
            refused(exc)
            return before.index.policy
        if file.beside is None:
            raise
        refused(exc, stays="What is beside it")
        return file.beside


class CallbackDelivery:
    """What a callback of the options is told goes the way of events."""

    def __init__(self, callback: Any, *, async_emit: bool) -> None:
        self._delivery = Delivery(callback, async_emit=async_emit)

    def deliver(self, value: AlertEvent | RequestCancelledError) -> None:
        self._delivery.deliver(value)  # type: ignore[arg-type]

    def flush(self, timeout: float) -> bool:
        return self._delivery.flush(timeout)

    async def flush_async(self, timeout: float) -> bool:
        return await self._delivery.flush_async(timeout)

    def close(self, timeout: float) -> bool:
        return self._delivery.close(timeout)


class State:
    """Which meters of the process are in force."""

    __slots__ = ("bounds", "everything", "vendors")

    def __init__(self) -> None:
        self.bounds: MeterOptions | None = None
        """Policy and ledger of `aden-transport run`, for every meter whose options name no policy."""
        self.everything: Meter | None = None
        """Of `instrument()`."""
        self.vendors: dict[str, Meter] = {}
        """Of `instrument_<vendor>()`."""


state = State()
_spare: Meter | None = None


def meter_for(request: Any) -> Meter:
    """The process's meter for a request that a transport made by hand sees; metering alone, emitting
    nothing, where `instrument()` was not called."""
    global _spare
    if state.everything is not None:
        return state.everything
    if _spare is None:
        _spare = Meter(MeterOptions())
    return _spare


class _Meters:
    """All meters that ever were, weakly, for forks and exits."""

    def __init__(self) -> None:
        from weakref import WeakSet

        self._all: WeakSet[Meter] = WeakSet()

    def add(self, meter: Meter) -> None:
        self._all.add(meter)

    def each(self) -> list[Meter]:
        return list(self._all)


meters = _Meters()


def _after_fork_in_child() -> None:
    orphans.after_fork_in_child()
    for meter in meters.each():
        meter.after_fork_in_child()


on_fork_in_child(_after_fork_in_child)
