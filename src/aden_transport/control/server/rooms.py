"""What is pushed: for each policy of a team that anybody listens to, its state of now, read once for all.

A listener that is slow misses states in between, never the last one; nothing is queued for it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import anyio
from anyio.abc import TaskGroup
from starlette.concurrency import run_in_threadpool

from ..._json import dumps
from ..messages import MAX_FRAME_BYTES
from .budgets import listed
from .policies import Current, current, told_exactly
from .pricing import own_prices, state_of
from .storage import Notice, Storage
from .wire import Fault

__all__ = ["Listener", "Room", "Rooms"]

LEAST_S = 0.25
"""Between two looks for one room, however much happens."""
LOOK_S = 1.0
"""Between two looks at sums that somebody watches: what moves under leases makes no notice."""
AGAIN_S = 5.0
"""After a look that failed."""
MOST_BUDGETS = 500
"""Whose sums are told."""
TOPICS = frozenset({"policy", "sums", "keys", "prices", "*"})
"""Of notices."""
PRICES = dumps({"type": "pricing"}).decode()
"""The message that prices are to be fetched."""

log = logging.getLogger("aden.server")


class Listener:
    """One connection."""

    def __init__(self, *, watches_sums: bool) -> None:
        self.watches_sums = watches_sums
        self.woken = anyio.Event()
        self.suspected = anyio.Event()
        """Keys of the team have changed; its may be one of them."""
        self.etag: str | None = None
        """Of the policy that it was told last."""
        self.prices: str | None = None
        """The state of prices that it was told of last."""
        self.seen = 0
        """Of the room's changes of sums."""


@dataclass(slots=True, eq=False)
class Room:
    """The policy of a team, those who listen to it, and what they are to be told."""

    team_id: str
    policy_id: str
    listeners: set[Listener] = field(default_factory=set)
    called: anyio.Event = field(default_factory=anyio.Event)
    etag: str | None = None
    policy: str = ""
    """The message."""
    prices: str | None = None
    """The state of the team's own prices; None: it was not read."""
    reads_prices: bool = True
    """Whether they may have changed since."""
    sums: dict[str, tuple[int, dict[str, Any]]] = field(default_factory=dict)
    """By budget, with the number of the change that it came with."""
    changes: int = 0
    ended: str | None = None
    """Why nothing more will come."""

    def messages(self, listener: Listener) -> list[str]:
        """What a listener does not know yet. It is taken to know it then."""
        out = []
        if self.etag is not None and listener.etag != self.etag:
            listener.etag = self.etag
            out.append(self.policy)
        if self.prices is not None and listener.prices != self.prices:
            listener.prices = self.prices
            out.append(PRICES)
        if listener.watches_sums and listener.seen < self.changes:
            budgets = [told for change, told in self.sums.values() if change > listener.seen]
            listener.seen = self.changes
            out.append(dumps({"type": "sums", "budgets": budgets}).decode())
        return out

    def take(self, etag: str, policy: str | None, prices: str | None, budgets: list[dict[str, Any]]) -> None:
        """The state that was read; `policy` is None where its ETag is known, `prices` where they were not
        looked at."""
        if policy is not None:
            self.etag, self.policy = etag, policy
        if prices is not None:
            self.prices = prices
        moved = [told for told in budgets if self.sums.get(told["id"], (0, {}))[1] != told]
        if moved:
            self.changes += 1
            self.sums.update({told["id"]: (self.changes, told) for told in moved})
        if len(self.sums) > 2 * MOST_BUDGETS:
            there = {told["id"] for told in budgets}
            self.sums = {key: told for key, told in self.sums.items() if key in there}
        self._wake()

    def close(self, why: str) -> None:
        """There is nothing to listen to any more."""
        self.ended = why
        self._wake()

    def _wake(self) -> None:
        for listener in self.listeners:
            listener.woken.set()


class Rooms:
    """All rooms of a process. `hear` and `listeners` are for any thread, the rest for its loop."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._rooms: dict[tuple[str, str], Room] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._group: TaskGroup | None = None

    @property
    def listeners(self) -> int:
        """How many connections there are; for any thread, while rooms come and go."""
        return sum(len(room.listeners) for room in list(self._rooms.values()))

    def of_team(self, team_id: str) -> int:
        """How many of them are a team's."""
        return sum(len(room.listeners) for room in self._rooms.values() if room.team_id == team_id)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Rooms are served for as long."""
        async with anyio.create_task_group() as group:
            self._loop, self._group = asyncio.get_running_loop(), group
            try:
                yield
            finally:
                self._loop = self._group = None
                group.cancel_scope.cancel()

    def hear(self, notice: Notice) -> None:
        """A notice of the database."""
        loop = self._loop
        if loop is not None and notice.topic in TOPICS:
            # The loop may be closed by now.
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(self._call, notice)

    def enter(self, team_id: str, policy_id: str, listener: Listener) -> Room:
        """The room in which `listener` hears; it is told the state of now first."""
        assert self._group is not None
        room = self._rooms.get((team_id, policy_id))
        if room is None:
            room = self._rooms[team_id, policy_id] = Room(team_id, policy_id)
            self._group.start_soon(self._serve, room)
        room.listeners.add(listener)
        room.called.set()
        return room

    def leave(self, room: Room, listener: Listener) -> None:
        room.listeners.discard(listener)
        room.called.set()

    def _call(self, notice: Notice) -> None:
        for room in self._rooms.values():
            if notice.team_id not in ("*", room.team_id):
                continue
            room.called.set()
            if notice.topic in ("prices", "*"):
                room.reads_prices = True
            if notice.topic in ("keys", "*"):
                for listener in room.listeners:
                    listener.suspected.set()

    async def _serve(self, room: Room) -> None:
        """Read the state whenever the room is called, until nobody is left in it."""
        while room.listeners:
            room.called = anyio.Event()
            watched = any(listener.watches_sums for listener in room.listeners)
            priced, room.reads_prices = room.reads_prices, False
            try:
                room.take(*await run_in_threadpool(self._read, room, priced, watched))
            except Fault as exc:
                room.close(str(exc.body["message"]))
            except Exception:
                log.exception("what is to be pushed cannot be read")
                room.reads_prices = room.reads_prices or priced
                await anyio.sleep(AGAIN_S)
                room.called.set()
            await anyio.sleep(LEAST_S)
            with anyio.move_on_after(LOOK_S if watched else None):
                await room.called.wait()
        # Nothing is awaited between the look and this, so that nobody has entered meanwhile.
        self._rooms.pop((room.team_id, room.policy_id), None)

    def _read(
        self, room: Room, priced: bool, watched: bool
    ) -> tuple[str, str | None, str | None, list[dict[str, Any]]]:
        with self._storage.read() as db:
            found = current(db, room.team_id, room.policy_id)
            message = None if found.etag == room.etag else _message(found)
            prices = state_of(own_prices(db, room.team_id)) if priced else None
            budgets = listed(db, found, time.time(), most=MOST_BUDGETS) if watched else []
        return found.etag, message, prices, budgets


def _message(found: Current) -> str:
    """Of a policy; where it is too large for a frame, that it is to be fetched."""
    head = {"version": str(found.version), "etag": found.etag}
    whole = dumps({"type": "policy", "policy": told_exactly(found), **head})
    if len(whole) <= MAX_FRAME_BYTES:
        return whole.decode()
    return dumps({"type": "changed", **head}).decode()
