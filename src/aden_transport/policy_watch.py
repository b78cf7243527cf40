"""A policy's file, read again when it changes, without a restart and beside the path of calls."""

from __future__ import annotations

import logging
import threading
import time
import weakref

from ._guard import internal_fault
from .core.reserve import Budgets
from .errors import ConfigurationError, LedgerUnavailable
from .ledger.memory import MemoryLedger
from .policy import Policy, PolicyFile, raise_floors

__all__ = ["PolicyWatch", "refused"]

EVERY_S = 1.0
"""Between two looks."""
AT_ONCE = 1 << 20
"""Bytes of a file that the first call reads by itself; a larger one is left to the thread."""

_log = logging.getLogger("aden.policy")


def refused(exc: ConfigurationError, *, stays: str = "The policy that was read before") -> None:
    """Say that a file cannot be used."""
    _log.warning("%s\n%s stays in force.", exc, stays)


class PolicyWatch:
    """Judges the calls of `budgets` by what stands in `file`.

    The first call of a process looks itself, and starts the thread that looks from then on; so a server's
    parent, which forks and makes no call, has no thread. It ends with `stop`, or when nobody uses the budgets
    any more.
    """

    def __init__(self, file: PolicyFile, budgets: Budgets) -> None:
        self.file = file
        self._budgets = weakref.ref(budgets)
        self._waiting: Policy | None = None
        """Read, and not in force yet, since the ledger did not answer."""
        self._is_looking = False
        self._prepare()
        budgets.begin = self._begin

    def _prepare(self) -> None:
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    def stop(self) -> None:
        """Look no more. Does not wait for a look that is going on."""
        self._stopped.set()

    def after_fork_in_child(self) -> None:
        """The thread is the parent's, and how far it had got cannot be known."""
        if self._is_looking:
            self.file.forget()
            self._is_looking = False
        was_stopped = self._stopped.is_set()
        self._prepare()
        budgets = self._budgets()
        if was_stopped:
            self._stopped.set()
        elif budgets is not None:
            budgets.begin = self._begin

    def _begin(self) -> None:
        with self._lock:
            budgets = self._budgets()
            if budgets is None or budgets.begin is None:
                return
            if not self._stopped.is_set():
                self._look(budgets, most=AT_ONCE)
                self._thread = threading.Thread(target=self._run, name="aden-policy", daemon=True)
                try:
                    self._thread.start()
                except RuntimeError as exc:  # no thread to be had, or the interpreter is ending
                    internal_fault("policy", exc)
            budgets.begin = None

    def _run(self) -> None:
        stopped = self._stopped
        while not stopped.wait(EVERY_S):
            budgets = self._budgets()
            if budgets is None:
                return
            self._look(budgets)
            del budgets

    def _look(self, budgets: Budgets, **how: int) -> None:
        self._is_looking = True
        try:
            policy = self.file.look(time.time(), **how) or self._waiting
            if policy is not None:
                self._waiting = policy
                self._use(policy, budgets)
                self._waiting = None
        except ConfigurationError as exc:
            refused(exc)
        except LedgerUnavailable as exc:
            internal_fault("ledger", exc)
        except Exception as exc:  # noqa: BLE001 - the next look may do better
            internal_fault("policy", exc)
        finally:
            self._is_looking = False

    def _use(self, policy: Policy, budgets: Budgets) -> None:
        before = budgets.index.policy
        if policy == before:
            return
        known = {one.key: one for one in before.budgets if one.spent}
        changed = [one for one in policy.budgets if one.spent and one != known.get(one.key)]
        raise_floors(budgets.ledger, changed, time.time())
        budgets.index = budgets.index.replaced(policy)
        _log.info("The policy file %s was read again: %d budgets", self.file.path, len(policy.budgets))
        if policy.lasts and not before.lasts and isinstance(budgets.ledger, MemoryLedger):
            _log.warning(
                "Budgets of %s have a period now, but this program keeps its sums in memory until it ends; "
                "restart it to have them kept in a file",
                self.file.path,
            )
