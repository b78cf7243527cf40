"""The thread that ends what nobody ends: holds that have expired, and leases whose owners are silent."""

from __future__ import annotations

import logging
import threading

from ...errors import LedgerUnavailable
from .leases import Leases
from .ledger import Ledgers

__all__ = ["Sweeping"]

log = logging.getLogger("aden.server")


class Sweeping:
    """Begins at once. Every server process may have one: each hold and lease is ended once."""

    def __init__(self, ledgers: Ledgers, leases: Leases, *, every_s: float) -> None:
        self._ledgers = ledgers
        self._leases = leases
        self._every_s = every_s
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="aden-sweep", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ended.wait(self._every_s):
            try:
                now = self._ledgers.clock()
                self._ledgers.sweep(now)
                self._leases.sweep(now)
            except LedgerUnavailable as exc:
                log.warning("looking for what nobody has ended: %s", exc)
            except Exception:
                log.exception("looking for what nobody has ended")
