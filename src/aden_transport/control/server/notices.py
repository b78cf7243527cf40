"""How processes hear of each other's changes: LISTEN and NOTIFY, or a look at SQLite's version."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any

from sqlalchemy import Engine

from .storage import ANY, Notice

__all__ = ["Listening"]

LOOK_S = 0.5
"""Between two looks at the version of an SQLite database."""
WAIT_S = 0.1
"""For notices of PostgreSQL, before it is asked whether we are to end."""

log = logging.getLogger("aden.server")


class Listening:
    """A thread that hands notices on."""

    def __init__(self, engine: Engine, *, sqlite: bool) -> None:
        self._engine = engine
        self._told: tuple[Callable[[Notice], None], ...] = ()
        self._lock = threading.Lock()
        self._ended = threading.Event()
        run = self._look if sqlite else self._hear
        self._thread = threading.Thread(target=self._run, args=(run,), name="aden-notices", daemon=True)
        self._thread.start()

    def add(self, told: Callable[[Notice], None]) -> Callable[[], None]:
        """Returns what takes it out again."""
        with self._lock:
            self._told = (*self._told, told)
        return lambda: self._remove(told)

    def tell(self, notice: Notice) -> None:
        """Hand a notice of this process on."""
        for told in self._told:
            try:
                told(notice)
            except Exception:
                log.exception("a listener failed")

    def close(self) -> None:
        self._ended.set()
        if threading.current_thread() is not self._thread:
            self._thread.join(10)

    def _remove(self, told: Callable[[Notice], None]) -> None:
        with self._lock:
            self._told = tuple([one for one in self._told if one is not told])

    def _run(self, run: Callable[[Any], None]) -> None:
        while not self._ended.is_set():
            try:
                held = self._engine.raw_connection()
                connection = held.driver_connection
                # It stays with this thread, and one that listens is for nobody else.
                held.detach()
                try:
                    run(connection)
                finally:
                    held.close()
            except Exception as exc:  # noqa: BLE001 - any driver's fault: the connection is made anew
                log.warning("notices are interrupted: %s", type(exc).__name__)
                self._ended.wait(LOOK_S)

    def _look(self, connection: Any) -> None:
        """SQLite: a connection sees another version when another one has written, of whatever process."""
        before = None
        while True:
            version = connection.execute("PRAGMA data_version").fetchone()[0]
            if version != before:
                # At first, too: what was written before nobody has told.
                before = version
                self.tell(ANY)
            if self._ended.wait(LOOK_S):
                return

    def _hear(self, connection: Any) -> None:
        connection.autocommit = True
        connection.execute("LISTEN aden")
        self.tell(ANY)
        while not self._ended.is_set():
            for notice in connection.notifies(timeout=WAIT_S):
                topic, _, team_id = notice.payload.partition(" ")
                self.tell(Notice(team_id, topic))
