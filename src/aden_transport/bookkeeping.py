"""A meter's budgets and the ledger of their sums: which it is, who shares it, and what is left in it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary, WeakSet

from ._guard import internal_fault
from .emitters.delivery import Delivery
from .errors import LedgerUnavailable
from .ledger.run_files import left_behind, remove
from .ledger.store_thread import StoreThread
from .outgoing import Outgoing, file_under

if TYPE_CHECKING:
    from .core.pacing import Pacer
    from .core.reserve import Budgets
    from .core.settings import Settings
    from .events import MetricEvent
    from .ledger.base import Intent, Ledger, Line, Spooled
    from .ledger.hold_end import HoldEnd
    from .ledger.opened import Choice
    from .ledger.sqlite import SqliteLedger
    from .options import MeterOptions
    from .policy import Policy
    from .pricing import PriceBook

__all__ = ["Books", "budgets_of", "close_pace", "ledger_of_runs", "share_pace"]

_log = logging.getLogger("aden.ledger")
BESIDE = ("outbox", "budgets")
"""Files of a host in which events for servers wait, too."""
TAKEN_AT_ONCE = 500
"""Events that a process takes over from those that are gone."""


@cache
def ledger_of_runs() -> Ledger:
    """One for all meters that have no policy, so that a run is bounded whichever of them its calls meet."""
    from .ledger.memory import MemoryLedger

    return MemoryLedger()


def check_said(options: MeterOptions) -> None:
    """Judge what counts for budgets only: without a policy they may come later, with a `budget(...)` block.

    Raises: ConfigurationError, where `on_unknown` or `ledger` cannot be used.
    """
    if options.on_unknown is not None:
        from .policy import on_unknown

        on_unknown(options.on_unknown)
    if options.ledger is not None:
        from .ledger.opened import check_address

        check_address(options.ledger, options.api_key)


def budgets_of(
    options: MeterOptions,
    policy: Policy,
    prices: PriceBook,
    former: Budgets | None,
    *,
    of_run: bool = True,
    ledger: Ledger | None = None,
    server: str | None = None,
) -> Budgets:
    """A policy, and the ledger of `options` that keeps its sums. `former`: the budgets in whose place these
    stand; what was spent in its memory counts on. `of_run`: whether workers are to share the sums. `ledger`:
    instead of that of the options. `server`: the name of the host's file for a control server, for options
    that name no ledger.

    Raises: ConfigurationError where one of them cannot be used.
    """
    from .core.reserve import Budgets
    from .ledger.memory import MemoryLedger
    from .ledger.opened import choose, opened
    from .policy import Index, OnUnknown, on_unknown

    unknown = on_unknown(options.on_unknown)
    if not options.fail_open:
        unknown = unknown.over(OnUnknown("block", "block", "block", "block"))
    choice = choose(options.ledger, lasting=policy.lasts, server=server, folder=options.spool_dir)
    timeout_s = options.store_timeout_ms / 1000
    if ledger is not None:
        pass
    elif former is not None and former.choice == choice and isinstance(former.ledger, MemoryLedger):
        ledger = former.ledger
    else:
        ledger = opened(choice, timeout_s=timeout_s, api_key=options.api_key)
    thread = None if isinstance(ledger, MemoryLedger) else StoreThread()
    if former is not None and thread is not None:
        _move(former, ledger, thread)
    kind: Callable[..., Budgets] = Budgets
    fraction = 0.0 if options.shadow_mode else options.enforce_fraction
    if fraction < 1:
        from .core.shadow import PartlyEnforced

        kind = partial(PartlyEnforced, fraction=fraction, agent_name=options.agent_name)
    budgets = kind(
        Index(policy),
        ledger,
        prices=prices,
        unknown=unknown,
        wall=time.time,
        thread=thread,
        timeout_s=timeout_s,
    )
    if of_run:
        budgets.choice = choice
        _tell_of(choice, budgets)
    budgets.lay_floors(policy.budgets, time.time())
    return budgets


def _move(former: Budgets, ledger: Ledger, thread: StoreThread) -> None:
    """Take what was spent in memory along, into a file."""
    from .ledger.memory import MemoryLedger
    from .ledger.sqlite import SqliteLedger

    if isinstance(former.ledger, MemoryLedger) and isinstance(ledger, SqliteLedger):
        try:
            former.ledger.move_to(ledger)
        except LedgerUnavailable as exc:
            internal_fault("ledger", exc)
        else:
            former.move_to(ledger, thread)


_told: set[str] = set()


def _tell_of(choice: Choice, budgets: Budgets) -> None:
    """What is not as it should be: once in the log, and in the first decision."""
    budgets.note = choice.warning
    if choice.warning is not None and choice.warning not in _told:
        _told.add(choice.warning)
        _log.warning("%s", choice.warning)


class Books:
    """One meter's budgets, and where its events go.

    With a ledger that keeps events, an event is emitted at once, then written in one step with the end of its
    hold, and forgotten when the emitters have taken it. So whatever a process dies of, another finds either
    the hold with its intent, or the event, and emits it.
    """

    def __init__(self, budgets: Budgets, delivery: Delivery, *, emits: bool) -> None:
        self._budgets = budgets
        self._delivery = delivery
        self._emits = emits
        """Whether there is an emitter; without one events are left to processes that have one."""
        self._left: dict[Path, SqliteLedger] = {}
        """Files of runs that have ended."""
        self._outgoing: Outgoing | None = None
        """Where events wait for a server."""
        self._thread = budgets.thread
        self._settings: Settings | None = None
        self._set_up()
        if budgets.inline and budgets.choice is not None and budgets.choice.of_run:
            _hear_of_children()
            _alone.add(self)

    def attach(self, settings: Settings) -> None:
        """Have the events of these settings pass here, as soon as the ledger keeps any."""
        self._settings = settings
        if not self._budgets.inline or self._outgoing is not None:
            settings.emit = self.emit

    def send_to(self, outgoing: Outgoing) -> None:
        """Have a server get the events, too. To be called before `attach`."""
        self._outgoing = outgoing
        self._set_up()

    def _set_up(self) -> None:
        budgets, outgoing = self._budgets, self._outgoing
        budgets.spools = (self._emits or outgoing is not None) and budgets.ledger.spools
        budgets.intends = (self._emits or outgoing is not None) and not budgets.inline
        if outgoing is not None:
            budgets.addressed = self._addressed
        budgets.recover = self.recover
        if budgets.inline:
            # A run of one process looks once after those before it, if they have left anything.
            left = self._emits and any(left_behind())
            self._thread = StoreThread() if left else None
            budgets.recover = self._recover_once if left else None
        elif self._thread is not None:
            # Of a process that a signal ends, nobody calls `close`.
            self._thread.when_idle = getattr(budgets.ledger, "forget_now", None)

    # -- events -------------------------------------------------------------------------------------

    def emit(self, event: MetricEvent) -> None:
        """Emit, and have the ledger told of the end of the call's hold, with the event."""
        record: Any = event._record
        try:
            self._delivery.deliver(event)
        finally:
            end: HoldEnd | None = None if record is None else record.end
            outgoing = self._outgoing
            settled = outgoing is not None and record is not None and self._has_settled(record)
            if end is not None and self._thread is not None:
                end.write = partial(self._kept, event, settled)
                end.then = partial(self._ended, event, end.tell)
                self._thread.put(end)
            if outgoing is not None and (end is None or not self._is_beside):
                outgoing.keep(event, settled=settled)

    # These two on the store's thread.

    def _kept(self, event: MetricEvent, settled: bool) -> Spooled:
        """An event as the ledger keeps it."""
        from .core.spooled import spooled

        outgoing = self._outgoing
        if outgoing is None or not self._is_beside:
            return spooled(event, emitted=self._emits)
        return outgoing.spooled(event, emitted=self._emits, settled=settled)

    def _ended(self, event: MetricEvent, tell: Callable[[], object] | None, kept: Spooled | None) -> None:
        """The ledger has it, with the end of its hold."""
        if self._outgoing is not None and self._is_beside:
            self._outgoing.on_kept(1)
        if kept is not None and kept.emitted:
            self._delivery.after(event, partial(self._budgets.ledger.forget_events, [kept.event_id]))
        if tell is not None:
            try:
                tell()
            except LedgerUnavailable as exc:
                internal_fault("ledger", exc)
                if self._thread is not None:
                    self._thread.put(tell)

    @property
    def _is_beside(self) -> bool:
        """Whether events wait for the server in the file of the sums."""
        return self._outgoing is not None and self._outgoing.file is file_under(self._budgets.ledger)

    def _addressed(self, intent: Intent, lines: Sequence[Line]) -> Intent:
        """An intent that says where the event of its call goes, if nobody ends it."""
        assert self._outgoing is not None
        return self._outgoing.address(intent, emitted=self._emits, settled=self._is_fleet(lines))

    def _has_settled(self, record: Any) -> bool:
        """Whether the server's own ledger has charged a call that has ended."""
        if record.charged_nano_usd is None:
            return False
        if record.plan is None:
            return record.counted is not None and hasattr(self._budgets.ledger, "is_fleet")
        return any(self._is_fleet(candidate.lines) for candidate in record.plan.candidates)

    def _is_fleet(self, lines: Sequence[Line]) -> bool:
        """Whether any of these sums is the server's, held under a lease of it."""
        is_fleet = getattr(self._budgets.ledger, "is_fleet", None)
        return is_fleet is not None and any(is_fleet(line.key) for line in lines)

    def recover(self) -> None:
        """Emit what processes that are gone have left: in this ledger, and in those of runs that ended."""
        self._take_over(self._budgets.ledger)
        self._send_from(file_under(self._budgets.ledger))
        for path in left_behind():
            ledger = self._left.get(path)
            if ledger is None:
                from .ledger.sqlite import SqliteLedger

                ledger = self._left[path] = SqliteLedger(path)
            try:
                ledger.sweep(time.time())
                self._take_over(ledger)
                self._send_from(ledger)
                self._remove(path, ledger)
            except LedgerUnavailable as exc:
                internal_fault("ledger", exc)

    def adopt(self, name: str, path: Path) -> None:
        """Have what waits under another name of the server, in its file `path` and in those beside it, sent
        under ours. Does not wait."""
        if self._outgoing is not None and self._outgoing.outbox.lasts:
            self._outgoing.thread.put(partial(self._adopt, self._outgoing, name, path))

    def _adopt(self, outgoing: Outgoing, name: str, path: Path) -> None:
        """On the store's thread. What cannot be done now is done at another time."""
        from .ledger.sqlite import SqliteLedger

        own = outgoing.file
        beside = [path.with_name(f"{each}.sqlite3") for each in BESIDE]
        for each in (path, *beside, *([] if own is None else [own.path])):
            if not each.exists():
                continue
            ledger = own if own is not None and own.path == each else self._left.get(each)
            if ledger is None:
                ledger = self._left[each] = SqliteLedger(each)
            try:
                if each == path:
                    ledger.sweep(time.time())
                    self._take_over(ledger)
                outgoing.take_over(ledger, name)
            except LedgerUnavailable as exc:
                internal_fault("ledger", exc)

    def _recover_once(self) -> None:
        self._budgets.recover = None
        if self._thread is not None:
            self._thread.put(self.recover)

    def _take_over(self, ledger: Ledger) -> None:
        from .core.spooled import event_of_told

        if not self._emits:
            return
        for event_id, told in ledger.take_events(TAKEN_AT_ONCE).items():
            forget = partial(ledger.forget_events, [event_id])
            try:
                event = event_of_told(told)
            except (TypeError, LookupError) as exc:
                internal_fault("spool", exc)
                forget()
                continue
            self._delivery.deliver(event)
            self._delivery.after(event, forget)

    def _send_from(self, ledger: SqliteLedger | None) -> None:
        """What waits for the server in a file that is none of its own."""
        if self._outgoing is not None and ledger is not None and ledger is not self._outgoing.file:
            self._outgoing.take_over(ledger)

    def _remove(self, path: Path, ledger: SqliteLedger, *, untouched: bool = True) -> None:
        if ledger.is_done():
            ledger.close()
            if remove(path, untouched=untouched):
                self._left.pop(path, None)

    # -- workers ------------------------------------------------------------------------------------

    def share(self) -> None:
        """Move the sums of a run that was one process so far to where its workers will see them."""
        from .ledger.memory import MemoryLedger
        from .ledger.opened import choose_for_run, opened

        budgets = self._budgets
        memory = budgets.ledger
        choice = choose_for_run(has_workers=True)
        budgets.choice = choice
        _tell_of(choice, budgets)
        if choice.address == "memory" or not isinstance(memory, MemoryLedger):
            return
        ledger: Any = opened(choice, timeout_s=budgets.timeout_s)
        idle = memory.move_to(ledger)
        self._thread = StoreThread()
        budgets.move_to(ledger, self._thread)
        self._set_up()
        if self._settings is not None:
            self._settings.emit = self.emit
        ledger.close()
        if idle:
            _log.warning("what %d idle names of budgets have spent is not known to the workers", idle)

    # -- the end ------------------------------------------------------------------------------------

    def flush(self, timeout: float) -> bool:
        """Have ledger and outbox told of all so far, for at most `timeout` seconds; whether they were."""
        deadline = time.monotonic() + timeout
        done = self._thread is None or self._thread.flush(timeout)
        if self._outgoing is not None and self._outgoing.thread is not self._thread:
            done = self._outgoing.thread.flush(deadline - time.monotonic()) and done
        return done

    async def flush_async(self, timeout: float) -> bool:
        """`flush`, without holding up the loop."""
        from anyio import CapacityLimiter
        from anyio.to_thread import run_sync

        # Its own limiter: the application may be using all threads of the default one.
        return await run_sync(self.flush, timeout, limiter=CapacityLimiter(1), abandon_on_cancel=True)

    def end(self, timeout: float) -> None:
        """At the interpreter's exit: as `flush`, and a last look at what others have left."""
        thread = self._thread
        if thread is not None:
            if thread.is_used or self._is_first():
                thread.put(partial(self._budgets.sweep, time.time()))
            thread.flush(timeout)

    def close(self) -> None:
        """Let go of files and connections; the run's own file goes with its first process."""
        from .ledger.sqlite import SqliteLedger

        ledger = self._budgets.ledger
        for each in (ledger, *self._left.values()):
            each.close()
        if self._is_first() and isinstance(ledger, SqliteLedger) and ledger.path.exists():
            try:
                self._remove(ledger.path, ledger, untouched=False)
            except LedgerUnavailable as exc:
                internal_fault("ledger", exc)

    def _is_first(self) -> bool:
        """Whether this is the first process of a run that has a file of its own."""
        from .ledger.prefork import family

        choice = self._budgets.choice
        return choice is not None and choice.of_run and choice.shared and not family().is_worker


_alone: WeakSet[Books] = WeakSet()
"""Of runs that have been one process so far, with their sums in memory."""


_alone_paces: WeakKeyDictionary[Pacer, Budgets | None] = WeakKeyDictionary()
"""The same of paces; with the budgets whose ledger they go by."""


def _hear_of_children() -> None:
    from .ledger.prefork import before_children

    if not _alone and not _alone_paces:
        before_children(_share_all)


def _share_all() -> None:
    """Before this process makes its first worker."""
    while _alone:
        try:
            _alone.pop().share()
        except Exception as exc:  # noqa: BLE001 - a fork must not fail for us
            internal_fault("ledger", exc)
    while _alone_paces:
        try:
            _share_pace(*_alone_paces.popitem())
        except Exception as exc:  # noqa: BLE001 - a fork must not fail for us
            internal_fault("pacing", exc)


# -- paces ------------------------------------------------------------------------------------------


def share_pace(pacer: Pacer, budgets: Budgets | None) -> None:
    """Have a run's workers keep one pace, as soon as there are any."""
    if pacer.inline:
        _hear_of_children()
        _alone_paces[pacer] = budgets
    elif budgets is None:
        _tidy()


def _share_pace(pacer: Pacer, budgets: Budgets | None) -> None:
    from .ledger.opened import choose_for_run, opened

    if budgets is not None:  # whose ledger has moved, if it could
        if budgets.thread is not None:
            pacer.move_to(budgets.ledger, budgets.thread)
        return
    choice = choose_for_run(has_workers=True)
    if choice.address == "memory":
        _log.warning("no file can be written for this run: each worker keeps a pace of its own")
        return
    pacer.move_to(opened(choice, timeout_s=pacer.timeout_s), StoreThread())
    _tidy()


def _tidy() -> None:
    """Remove the files of runs that have ended, and that have nothing for others."""
    from .ledger.sqlite import SqliteLedger

    for path in left_behind():
        _remove_done(SqliteLedger(path), untouched=True)


def _remove_done(ledger: SqliteLedger, *, untouched: bool = False) -> None:
    try:
        done = ledger.is_done()
    except LedgerUnavailable:
        return
    finally:
        ledger.close()
    if done:
        remove(ledger.path, untouched=untouched)


def close_pace(pacer: Pacer) -> None:
    """Let go of the ledger of a pace without budgets; the run's own file goes with its first process."""
    from .ledger.prefork import family
    from .ledger.run_files import run_path
    from .ledger.sqlite import SqliteLedger

    ledger = pacer.ledger
    ledger.close()
    if isinstance(ledger, SqliteLedger) and ledger.path.exists():
        kin = family()
        if not kin.is_worker and ledger.path == run_path(kin.root):
            _remove_done(ledger)
