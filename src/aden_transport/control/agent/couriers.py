"""All couriers of an agent: one for each place where events wait."""

from __future__ import annotations

import math
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from ..._fork import draw
from ...errors import LedgerUnavailable
from .courier import Courier
from .delivery import Delivery, Post, Reply
from .shapes import encoders

if TYPE_CHECKING:
    from ...outgoing import Outgoing

__all__ = ["Couriers"]


class Couriers:
    """`on_change` is called, on any thread, where there is something to do earlier than `wake_at` said."""

    def __init__(self, on_change: Callable[[], object]) -> None:
        self._on_change = on_change
        self._all: tuple[Courier, ...] = ()
        self._outgoing: Outgoing | None = None
        self._is_busy = False

    def bring(self, outgoing: Outgoing) -> None:
        """Take what waits there to the server from now on, and that of others as before."""
        self._outgoing = outgoing
        courier = next((each for each in self._all if each.outbox.is_same(outgoing.outbox)), None)
        if courier is None:
            courier = Courier(outgoing.outbox, Delivery(random=draw, encoders=encoders()))
            courier.on_change = self._on_change
            self._all = (*self._all, courier)
        # Also what it keeps in memory, where the file takes nothing.
        outgoing.outbox = courier.outbox
        outgoing.on_kept = partial(_added, courier)

    def keep_told(self, tell: Callable[[], dict[str, Any] | None]) -> None:
        """Have an event of the server's protocol wait with the others; see `Outgoing`."""
        if self._outgoing is not None:
            self._outgoing.keep_told(tell)

    def waiting(self) -> int | None:
        """Events of all processes of the host; None where their file does not answer."""
        try:
            return sum(courier.outbox.waiting() for courier in self._all)
        except LedgerUnavailable:
            return None

    def has_told_all(self) -> bool:
        """Whether the server has every event of this host. May wait for its file."""
        return self.waiting() == 0 and (self._outgoing is None or self._outgoing.is_written)

    def accept(self, encodings: frozenset[str]) -> None:
        """Content codings of the server, as long as it has not said which."""
        for courier in self._all:
            courier.delivery.accept(encodings)

    def wake_at(self) -> float:
        """When something is to be done next, on the monotonic clock."""
        return math.inf if self._is_busy else min([each.wake_at() for each in self._all], default=math.inf)

    def end(self) -> None:
        """Send all that there is; see `is_done` and `can_wait`."""
        for courier in self._all:
            courier.end()

    @property
    def is_done(self) -> bool:
        """Whether the server had all that was there when it was last looked."""
        return all(courier.is_done for courier in self._all)

    @property
    def can_wait(self) -> bool:
        """Whether nothing is to be had of trying on: all is done, or what the server does not take is in a
        file, for later."""
        return all(courier.is_done or courier.can_wait for courier in self._all)

    async def run(
        self,
        bring: Callable[[Post], Awaitable[Reply]],
        off_loop: Callable[[Callable[[], Any]], Awaitable[Any]],
    ) -> float:
        """Send what is due; gives the seconds until something is again."""
        self._is_busy = True
        try:
            for courier in self._all:
                while (post := await off_loop(partial(courier.due, time.monotonic()))) is not None:
                    reply = await bring(post)
                    await off_loop(partial(courier.take, reply, time.monotonic()))
        finally:
            self._is_busy = False
        return max(0.0, self.wake_at() - time.monotonic())

    def leave(self) -> None:
        """Let others send what this process has not."""
        for courier in self._all:
            courier.leave()

    def after_fork_in_child(self) -> None:
        self._is_busy = False
        for courier in self._all:
            courier.renew()


def _added(courier: Courier, count: int) -> None:
    courier.added(count, time.monotonic())
