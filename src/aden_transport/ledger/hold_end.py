"""The end of a hold, as the thread of a store tells it: alone, or together with others in one step."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Protocol, runtime_checkable

from .._guard import internal_fault
from .base import End, Ledger, Spooled, Unit

__all__ = ["EndsMany", "HoldEnd", "HoldLost", "Ride", "many_of"]


class HoldLost(Exception):
    """A store had no such hold any more: it lost it, or has settled it as disputed meanwhile."""


class Ride:
    """Ends that are to be told with the next `reserve` of a thread, in its transaction."""

    __slots__ = ("ended", "ends", "thread")

    def __init__(self, ends: Sequence[End], thread: int) -> None:
        self.ends = ends
        self.thread = thread
        self.ended: Sequence[bool] | None = None
        """Of each, whether there was such a hold; None: they have not been told."""


@runtime_checkable
class EndsMany(Protocol):
    """A ledger that takes the ends of many holds in one step: of all of them, or of none."""

    def end_many(self, ends: Sequence[End]) -> Sequence[bool]:
        """As `settle` and `release`, each. Raises: LedgerUnavailable; then none was told."""
        ...

    def riding(self, ends: Sequence[End]) -> AbstractContextManager[Ride]:
        """Have the next `reserve` of this thread tell these, too, if there is one meanwhile."""
        ...


def many_of(ledger: Ledger) -> EndsMany | None:
    """What takes the ends of holds of `ledger` in one step: it itself, or, where it stands before another,
    what it names as `many`; None: nothing does."""
    many = getattr(ledger, "many", ledger)
    return many if isinstance(many, EndsMany) else None


class HoldEnd:
    """How one hold ends."""

    __slots__ = ("_kept", "amounts", "ledger", "op_id", "tell", "then", "write")

    def __init__(self, ledger: Ledger, op_id: str, amounts: Mapping[Unit, int] | None) -> None:
        """`amounts`: see `settle`; None: nothing was spent."""
        self.ledger = ledger
        self.op_id = op_id
        self.amounts = amounts
        self.write: Callable[[], Spooled] | None = None
        """Makes the event that is to be kept with it; asked once, on the store's thread."""
        self.then: Callable[[Spooled | None], object] | None = None
        """Called with that once the ledger has taken it."""
        self.tell: Callable[[], object] | None = None
        """What is to be told of afterwards, for `then`. Raises: LedgerUnavailable."""
        self._kept: Spooled | None = None

    @property
    def many(self) -> EndsMany | None:
        """What takes others of the ledger in the same step."""
        return many_of(self.ledger)

    def told(self) -> End:
        """As a ledger takes it."""
        if self._kept is None and self.write is not None:
            self._kept = self.write()
        return self.op_id, self.amounts, self._kept

    def __call__(self) -> None:
        op_id, amounts, event = self.told()
        ledger = self.ledger
        if amounts is None:
            self.ended(ledger.release(op_id, event=event))
        else:
            self.ended(ledger.settle(op_id, amounts, event=event))

    def ended(self, was_held: bool) -> None:
        """The ledger has answered. Does not raise: the hold has ended, and must not end again."""
        if not was_held:
            internal_fault("settlement", HoldLost())
        elif self.then is not None:
            try:
                self.then(self._kept)
            except Exception as exc:  # noqa: BLE001 - the hold has ended
                internal_fault("settlement", exc)
