"""The server's policy as calls are judged by it: put in the place of the one before, in one step."""

from __future__ import annotations

import logging
import threading
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..._guard import internal_fault
from ...core.reserve import Budgets
from ...errors import ConfigurationError, LedgerUnavailable
from ...ledger.base import Ledger, Line
from ...ledger.lease_file import FileLeases
from ...ledger.lease_memory import MemoryLeases
from ...ledger.leased import LeasedLedger, Leases
from ...ledger.memory import MemoryLedger
from ...ledger.sqlite import SqliteLedger
from ...ledger.viewed import ViewedLedger, viewed
from ...policy import Budget, Policy
from ...policy.index import ledger_key
from ...pricing import PriceBook
from .former import Former
from .kept import Kept
from .received import Prices, ReceivedPolicy, is_older, read_policy, read_prices, with_other_sums
from .sums import OthersSums

__all__ = ["InForce"]

READ_AT_ONCE = 500
"""Sums that are read in one step, so that calls have their turn between."""
OF_ANOTHER_TEAM = (
    "The file that MeterOptions(ledger=…) names keeps what another team leases: this process spends for "
    "itself. Leave ledger=… out, so that each key has a file of its own, or name another file"
)
_log = logging.getLogger("aden.control")


class InForce:
    """What the server has said last, and the budgets that it is for.

    `take` and `take_prices` read and check what may be large, and write it to disk: call them off an
    application's loop. Any thread may call.
    """

    def __init__(self, kept: Kept) -> None:
        self._kept = kept
        self._lock = threading.Lock()
        self._budgets: weakref.WeakSet[Budgets] = weakref.WeakSet()
        self._books: weakref.WeakSet[PriceBook] = weakref.WeakSet()
        self.received: ReceivedPolicy | None = None
        self.etag: str | None = None
        self.prices_etag: str | None = None
        self.confirmed_at: float | None = None
        """When the server last said that this is the policy, seconds since the epoch."""
        self.is_ours = False
        self._prices: Mapping[str, Any] = {}
        """As they came."""
        self._told = Prices({})
        """The same, read."""
        self._sums = OthersSums({})
        self._complaint = ""
        self.on_leases: Callable[[], object] | None = None
        """Called where a call waits for a lease, from any thread."""
        self._last: weakref.ref[Budgets] | None = None
        self.team: str | None = None
        """The name of the team whose key this is (`former.team_name`), as far as a server has told it."""
        self._leased: tuple[LeasedLedger, ...] = ()
        """Those of budgets that are there no more among them, until all is given back."""
        self._former: Mapping[Path, LeasedLedger] = {}
        """Of files of the team's former keys."""

    @property
    def leased(self) -> Sequence[LeasedLedger]:
        """The ledgers whose leases are to be asked for. May read files."""
        if not self.is_ours:
            return ()
        used = {id(budgets.ledger) for budgets in list(self._budgets)}
        over = [each for each in self._leased if id(each) not in used and not is_needed(each)]
        done = [each for each in self._former.values() if not is_left(each)]
        with self._lock:
            self._leased = tuple([each for each in self._leased if each not in over])
            self._former = {path: each for path, each in self._former.items() if each not in done}
        for each in done:
            each.close()
        return (*self._leased, *self._former.values())

    def take_back(self, former: Former) -> None:
        """Have what was leased under a former key of the team reported and given back with this one."""
        if not self.is_ours or former.path in self._former or not former.path.exists():
            return
        ledger = SqliteLedger(former.path)
        with self._lock:
            self._former = {**self._former, former.path: LeasedLedger(ledger, FileLeases(ledger))}

    def close(self) -> None:
        """Let go of files that are of no budgets."""
        for each in self._former.values():
            each.close()

    def note_team(self, team: str) -> None:
        """The server has told whose key this is."""
        if team != self.team:
            self.team = team
            self.keep()

    @property
    def policy(self) -> Policy | None:
        return None if self.received is None else self.received.policy

    def attach(self, budgets: Budgets | None, book: PriceBook) -> None:
        """Have these judged and priced by what the server says, from now on."""
        self._books.add(book)
        if self._told:
            book.tell(self._told)
        if budgets is None:
            return
        with self._lock:
            self._budgets.add(budgets)
            self._last = weakref.ref(budgets)
            if self.received is not None:
                self._choose_ledger(budgets)
                self._see_sums(self.received)
                budgets.index = budgets.index.replaced(self.received.policy)

    def after_fork_in_child(self) -> None:
        """The lock may be held by a thread that is not here."""
        self._lock = threading.Lock()

    # -- from the disk -------------------------------------------------------------------------------

    def restore(self) -> None:
        """Take what was kept last, as far as it can be used."""
        kept = self._kept.read()
        self.is_ours = kept.get("ours") is True
        try:
            if isinstance(kept.get("policy"), Mapping):
                self.received = read_policy(kept["policy"], expected=not self.is_ours)
                self.etag = _text(kept.get("etag"))
            if isinstance(kept.get("prices"), Mapping):
                self._told = read_prices(kept["prices"])
                self._prices = kept["prices"]
                self.prices_etag = _text(kept.get("prices_etag"))
            self.team = _text(kept.get("team"))
            sums = kept.get("sums")
            if isinstance(sums, Mapping):
                told = {str(key): value for key, value in sums.items() if type(value) is int}
                self._sums = OthersSums(told, _texts(kept.get("began_anew")))
        except ConfigurationError as exc:
            internal_fault("kept policy", exc)

    def keep(self) -> None:
        """Write down what is in force."""
        if self.received is not None:
            self._kept.write(
                {
                    "policy": self.received.document,
                    "etag": self.etag,
                    "ours": self.is_ours,
                    "team": self.team,
                    "prices": self._prices or None,
                    "prices_etag": self.prices_etag,
                    "sums": self._sums.told,
                    "began_anew": sorted(self._sums.began_anew),
                }
            )

    # -- from the server -----------------------------------------------------------------------------

    def take(self, document: Any, *, etag: str | None, ours: bool) -> bool:
        """A policy has come; whether it is in force now. One that cannot be used, or is older than the one in
        force, is refused whole."""
        with self._lock:
            return self._take(document, etag, ours)

    def _take(self, document: Any, etag: str | None, ours: bool) -> bool:
        known = self.received
        if known is not None and ours == self.is_ours and document == known.document:
            self.confirm()
            self._see_sums(known)
            return True
        try:
            new = (known and with_other_sums(known, document)) or read_policy(document, expected=not ours)
        except ConfigurationError as exc:
            self._complain(f"The control server's policy cannot be used, the last good one stays:\n{exc}")
            return False
        if known is not None and is_older(new, known):
            versions = f"{new.version} of the policy after {known.version}"
            self._complain(f"The control server sent version {versions}, which stays")
            return False
        self._complaint = ""
        same = known is not None and new.policy == known.policy and ours == self.is_ours
        self.is_ours = ours
        for budgets in list(self._budgets):
            self._choose_ledger(budgets)
        # Sums before the budgets that they are of, and both before calls that wait for a policy go on.
        self._see_sums(new)
        if not same:
            for budgets in list(self._budgets):
                budgets.index = budgets.index.replaced(new.policy)
            _log.info("The control server's policy is in force: %d budgets", len(new.policy.budgets))
        self.received, self.etag = new, etag
        self.confirmed_at = time.time()
        self.keep()
        return True

    def _choose_ledger(self, budgets: Budgets) -> None:
        """Leases of a server that grants them; else the sums that it tells."""
        ledger = budgets.ledger
        if self.is_ours and isinstance(ledger, ViewedLedger):
            local, leases = ledger.inner, leases_of(ledger.inner)
            if isinstance(leases, FileLeases) and not self._is_own(leases):
                local = MemoryLedger()
                leases = MemoryLeases(local)
            if leases is not None:
                leased = LeasedLedger(local, leases)
                leased.wake = self.on_leases
                budgets.ledger, budgets.spools = leased, budgets.spools and leased.spools
                self._leased = (*self._leased, leased)
        elif not self.is_ours and isinstance(ledger, LeasedLedger):
            budgets.ledger = viewed(ledger.local)

    def _is_own(self, leases: FileLeases) -> bool:
        """Whether a file's leases are this team's, as far as both are known: the sums of two teams must not
        be mixed."""
        try:
            if self.team is None or leases.is_of(self.team):
                return True
        except LedgerUnavailable as exc:
            internal_fault("ledger", exc)
            return True
        _log.error(OF_ANOTHER_TEAM)
        return False

    def confirm(self) -> None:
        """The server says that nothing has changed."""
        self.confirmed_at = time.time()

    def take_prices(self, told: Any, *, etag: str | None) -> bool:
        """Prices have come; whether they count now."""
        try:
            found = read_prices(told)
        except ConfigurationError as exc:
            self._complain(f"The control server's prices cannot be used, the last good ones stay: {exc}")
            return False
        # What books have found is looked up anew after they were told.
        is_news = (found or self._told) and told != self._prices
        self._prices, self._told, self.prices_etag = told, found, etag
        for book in list(self._books) if is_news else ():
            book.tell(found)
        self.keep()
        return True

    def _complain(self, message: str) -> None:
        if message != self._complaint:
            self._complaint = message
            _log.warning("%s", message)

    # -- sums of an original Aden server -------------------------------------------------------------

    def note_sums(self, *, all_told: bool) -> None:
        """Before the server is asked for its sums. `all_told`: whether it was told of all that this host has
        counted."""
        if not self.is_ours and all_told:
            own = self._own_sums([key for _, key in self._keys(self.received)])
            if own is not None:
                self._sums.note(own)

    def hear(self, key: str, spent: int) -> None:
        """The server's sum of one key of the ledger, told beside a policy."""
        self._sums.hear(key, spent)
        self._tell_offsets()

    def _see_sums(self, new: ReceivedPolicy) -> None:
        keys = () if self.is_ours else self._keys(new)
        missing = self._sums.missing([key for _, key in keys])
        own = self._own_sums(missing) if missing else None
        if own is not None:
            self._sums.add(own)
        self._sums.see({key: new.spent.get(budget.key, 0) for budget, key in keys})
        self._tell_offsets()

    def _tell_offsets(self) -> None:
        for budgets in list(self._budgets):
            if isinstance(budgets.ledger, ViewedLedger):
                budgets.ledger.offsets = self._sums.offsets

    def _keys(self, received: ReceivedPolicy | None) -> Sequence[tuple[Budget, str]]:
        """The budgets whose sums the server tells, and the keys of their windows of now."""
        budgets = None if self._last is None else self._last()
        if received is None or budgets is None:
            return ()
        index, now = budgets.index, time.time()
        return [
            (budget, ledger_key(budget.key, index.window(budget, now), budget.generation))
            for budget in received.policy.budgets
            if not budget.is_template
        ]

    def _own_sums(self, keys: Sequence[str]) -> dict[str, int] | None:
        """What this host has counted; None where its store does not answer."""
        budgets = None if self._last is None else self._last()
        if budgets is None or not isinstance(budgets.ledger, ViewedLedger):
            return None
        found: dict[str, int] = {}
        try:
            for first in range(0, len(keys), READ_AT_ONCE):
                some = keys[first : first + READ_AT_ONCE]
                sums = budgets.ledger.inner.totals([Line(key, 0, 0) for key in some])
                found.update((key, each.spent) for key, each in zip(some, sums, strict=True))
        except LedgerUnavailable as exc:
            internal_fault("ledger", exc)
            return None
        return found


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _texts(value: object) -> list[str]:
    return [text for text in value if isinstance(text, str)] if isinstance(value, list) else []


def is_needed(ledger: LeasedLedger) -> bool:
    """Whether leases of budgets that are there no more are still to be seen to. Those in a file are seen to
    with whatever ledger has it open."""
    return ledger.is_waited_for or (not ledger.leases.is_shared and not ledger.is_given_back)


def is_left(ledger: LeasedLedger) -> bool:
    """Whether something is leased in a file that can be read."""
    with suppress(LedgerUnavailable):
        return not ledger.is_given_back
    return False


def leases_of(local: Ledger) -> Leases | None:
    """Where leases are kept: beside the sums that are spent under them."""
    if isinstance(local, SqliteLedger):
        return FileLeases(local)
    return MemoryLeases(local) if isinstance(local, MemoryLedger) else None
