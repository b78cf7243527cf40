"""The server's policy as calls are judged by it: put in the place of the one before, in one step."""

from __future__ import annotations

import logging
import time
import weakref
from collections.abc import Callable, Mapping
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
from ...ledger.viewed import ViewedLedger
from ...policy import Policy, match_of
from ...pricing import PriceBook
from .kept import Kept
from .received import ReceivedPolicy, is_older, read_policy, read_prices

__all__ = ["InForce"]

_log = logging.getLogger("aden.control")


class InForce:
    """What the server has said last, and the budgets that it is for.

    `take` and `take_prices` read and check what may be large, and write it to disk: call them off an
    application's loop. Not for several threads at once.
    """

    def __init__(self, kept: Kept) -> None:
        self._kept = kept
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
        self._sums: dict[str, int] = {}
        """What the server has counted, by key of the ledger."""
        self._reset: set[str] = set()
        """Of these keys the server began to count anew."""
        self._baseline: Mapping[str, int] | None = None
        self._complaint = ""
        self.on_leases: Callable[[], object] | None = None
        """Called where a call waits for a lease, from any thread."""
        self._last: weakref.ref[Budgets] | None = None

    @property
    def leased(self) -> LeasedLedger | None:
        """The ledger whose leases are to be asked for; None where there are none."""
        budgets = None if self._last is None else self._last()
        ledger = None if budgets is None else budgets.ledger
        return ledger if isinstance(ledger, LeasedLedger) else None

    @property
    def policy(self) -> Policy | None:
        return None if self.received is None else self.received.policy

    def attach(self, budgets: Budgets | None, book: PriceBook) -> None:
        """Have these judged and priced by what the server says, from now on."""
        self._books.add(book)
        if self._prices:
            self._tell_prices(book)
        if budgets is not None:
            self._budgets.add(budgets)
            self._last = weakref.ref(budgets)
            if self.policy is not None:
                self._choose_ledger(budgets)
                budgets.index = budgets.index.replaced(self.policy)

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
                read_prices(kept["prices"])
                self._prices = kept["prices"]
                self.prices_etag = _text(kept.get("prices_etag"))
            sums = kept.get("sums")
            if isinstance(sums, Mapping):
                self._sums = {str(key): value for key, value in sums.items() if type(value) is int}
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
                    "prices": self._prices or None,
                    "prices_etag": self.prices_etag,
                    "sums": self._sums,
                }
            )

    # -- from the server -----------------------------------------------------------------------------

    def take(self, document: Any, *, etag: str | None, ours: bool) -> bool:
        """A policy has come; whether it is in force now. One that cannot be used, or is older than the one in
        force, is refused whole."""
        try:
            new = read_policy(document, expected=not ours)
        except ConfigurationError as exc:
            self._complain(f"The control server's policy cannot be used, the last good one stays:\n{exc}")
            return False
        known = self.received
        if known is not None and is_older(new, known):
            versions = f"{new.version} of the policy after {known.version}"
            self._complain(f"The control server sent version {versions}, which stays")
            return False
        self._complaint = ""
        same = known is not None and new.policy == known.policy and ours == self.is_ours
        self.received, self.etag, self.is_ours = new, etag, ours
        self.confirmed_at = time.time()
        if not same:
            for budgets in list(self._budgets):
                self._choose_ledger(budgets)
                budgets.index = budgets.index.replaced(new.policy)
            _log.info("The control server's policy is in force: %d budgets", len(new.policy.budgets))
        self._see_sums(new)
        self.keep()
        return True

    def _choose_ledger(self, budgets: Budgets) -> None:
        """Leases of a server that grants them; else the sums that it tells."""
        ledger = budgets.ledger
        if self.is_ours and isinstance(ledger, ViewedLedger):
            leases = leases_of(ledger.inner)
            if leases is not None:
                leased = LeasedLedger(ledger.inner, leases)
                leased.wake = self.on_leases
                budgets.ledger = leased
        elif not self.is_ours and isinstance(ledger, LeasedLedger):
            budgets.ledger = ViewedLedger(ledger.local)

    def confirm(self) -> None:
        """The server says that nothing has changed."""
        self.confirmed_at = time.time()

    def take_prices(self, told: Any, *, etag: str | None) -> bool:
        """Prices have come; whether they count now."""
        try:
            read_prices(told)
        except ConfigurationError as exc:
            self._complain(f"The control server's prices cannot be used, the last good ones stay: {exc}")
            return False
        self._prices, self.prices_etag = told, etag
        for book in list(self._books):
            self._tell_prices(book)
        self.keep()
        return True

    def _tell_prices(self, book: PriceBook) -> None:
        book.tell(read_prices(self._prices))

    def _complain(self, message: str) -> None:
        if message != self._complaint:
            self._complaint = message
            _log.warning("%s", message)

    # -- sums of an original Aden server -------------------------------------------------------------

    def note_sums(self, *, all_told: bool) -> None:
        """Before the server is asked for its sums: what this host has counted, where the server has been told
        of all of it. What it counts from here on comes on top of what the server will say."""
        if not self.is_ours and (all_told or self._baseline is None):
            self._baseline = self._own_sums()

    def _own_sums(self) -> Mapping[str, int] | None:
        for budgets in list(self._budgets):
            keys, ledger = self._keys(), budgets.ledger
            if not isinstance(ledger, ViewedLedger):
                continue
            try:
                found = ledger.inner.totals([Line(key, 0, 0) for key in keys])
            except LedgerUnavailable as exc:
                internal_fault("ledger", exc)
                return None
            return {key: sums.spent for key, sums in zip(keys, found, strict=True)}
        return None

    def _keys(self) -> list[str]:
        """Of the ledger, of the budgets whose sums the server tells."""
        if self.received is None:
            return []
        now = time.time()
        return [
            match_of(budget, now).ledger_key
            for budget in self.received.policy.budgets
            if not budget.is_template
        ]

    def _see_sums(self, new: ReceivedPolicy) -> None:
        if self.is_ours:
            self._offset({})
            return
        baseline = self._baseline
        if baseline is None or any(key not in baseline for key in self._keys()):
            baseline = self._baseline = {**(self._own_sums() or {}), **(baseline or {})}
        now, offsets = time.time(), dict[str, int]()
        for budget in new.policy.budgets:
            if budget.is_template:
                continue
            key = match_of(budget, now).ledger_key
            spent = new.spent.get(budget.key, 0)
            if spent < self._sums.get(key, 0):
                self._reset.add(key)
            self._sums[key] = spent
            offset = spent - baseline.get(key, 0)
            # The server may be behind; but where it began anew, what this host counted before is over.
            if offset > 0 or key in self._reset:
                offsets[key] = offset
        self._offset(offsets)

    def learn(self, key: str, spent: int) -> None:
        """The server's sum of one key of the ledger, told beside a policy."""
        baseline = self._baseline or {}
        offset = spent - baseline.get(key, 0)
        self._sums[key] = spent
        for budgets in list(self._budgets):
            ledger = budgets.ledger
            if isinstance(ledger, ViewedLedger) and offset > ledger.offsets.get(key, 0):
                ledger.offsets = {**ledger.offsets, key: offset}

    def _offset(self, offsets: Mapping[str, int]) -> None:
        for budgets in list(self._budgets):
            if isinstance(budgets.ledger, ViewedLedger):
                budgets.ledger.offsets = offsets


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def leases_of(local: Ledger) -> Leases | None:
    """Where leases are kept: beside the sums that are spent under them."""
    if isinstance(local, SqliteLedger):
        return FileLeases(local)
    return MemoryLeases(local) if isinstance(local, MemoryLedger) else None
