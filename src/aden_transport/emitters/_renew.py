"""Fresh queues, locks and threads for a forked child."""

from __future__ import annotations

from typing import Protocol
from weakref import WeakSet

from .. import _fork

__all__ = ["Renewable", "renew_in_child"]


class Renewable(Protocol):
    """Holds locks, threads or a backlog that a forked child must not share with its parent."""

    def renew(self) -> None:
        """Replace them by empty ones. Runs in the child only, and must not wait or raise."""


_live: WeakSet[Renewable] = WeakSet()


def renew_in_child(thing: Renewable) -> None:
    """Call `thing.renew()` in every forked child for as long as `thing` lives."""
    _live.add(thing)


def _renew_all() -> None:
    for thing in list(_live):
        thing.renew()


_fork.on_fork_in_child(_renew_all)
