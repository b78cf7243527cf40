"""A server's leases in memory, by the product's rule: `grants.judge` over dictionaries."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from aden_transport.control.messages import Ask, Grant
from aden_transport.ledger import grants
from aden_transport.ledger.grants import Bounds, Change, Lease, Standing

__all__ = ["RuleServer", "Server"]


@dataclass
class Sums:
    spent: int = 0
    held: int = 0
    disputed: int = 0

    def add(self, change: Change) -> None:
        self.spent += change.spent
        self.held += change.held
        self.disputed += change.disputed


class Server(Protocol):
    """Of one team."""

    def answer(self, owner: str, asks: Sequence[Ask]) -> list[Grant]: ...
    def tick(self) -> None: ...
    def restart(self) -> None: ...
    def close(self) -> None: ...
    def set_limits(self) -> None: ...
    def sums(self, key: str) -> tuple[int, int]: ...
    def booked(self) -> dict[tuple[str, str], int]: ...


class RuleServer:
    """What it keeps survives a restart, as a database does."""

    def __init__(
        self,
        limit_of: Callable[[str], int | None],
        *,
        clock: Callable[[], float],
        bounds: Bounds | None = None,
    ) -> None:
        self._limit_of = limit_of
        self._clock = clock
        self._bounds = bounds or Bounds()
        self._sums: defaultdict[str, Sums] = defaultdict(Sums)
        self._leases: dict[tuple[str, str, int], Lease] = {}
        """By key, owner and generation."""

    def answer(self, owner: str, asks: Iterable[Ask]) -> list[Grant]:
        # What an older generation gives back is there for the next.
        found = dict(enumerate(asks))
        told = {
            index: self._answer(owner, found[index], self._clock())
            for index in sorted(found, key=lambda each: found[each].generation)
        }
        return [told[index] for index in found]

    def _answer(self, owner: str, ask: Ask, now: float) -> Grant:
        name = ask.key, owner, ask.generation
        answer = grants.judge(
            ask, self._leases.get(name), self._standing(owner, ask, now), now=now, bounds=self._bounds
        )
        self._put(name, answer.lease, answer.change)
        return answer.grant

    def _standing(self, owner: str, ask: Ask, now: float) -> Standing:
        of_key = {name: lease for name, lease in self._leases.items() if name[0] == ask.key}
        heard = {
            name[1]
            for name, lease in of_key.items()
            if lease.state == "open" and now - lease.heard_at < self._bounds.ttl_s
        }
        counted = [self._sums[key] for key in (ask.key, *ask.also)]
        return Standing(
            sum(each.spent for each in counted),
            sum(each.held for each in counted),
            self._limit_of(ask.key),
            len(heard | {owner}),
            max([name[2] for name in of_key if name[1] == owner], default=0),
        )

    def tick(self) -> None:
        """What is done from time to time: dispute what is silent, and resolve what was for long."""
        now = self._clock()
        for name, lease in list(self._leases.items()):
            if grants.is_silent(lease, now, self._bounds):
                self._put(name, *grants.dispute(lease, now))
            elif grants.is_stale(lease, now, self._bounds):
                self._put(name, *grants.resolve(lease))

    def _put(self, name: tuple[str, str, int], lease: Lease, change: Change) -> None:
        self._leases[name] = lease
        self._sums[name[0]].add(change)

    def restart(self) -> None:
        """Nothing is lost."""

    def close(self) -> None:
        """Nothing to let go of."""

    def set_limits(self) -> None:
        """They are asked for each time."""

    def sums(self, key: str) -> tuple[int, int]:
        """Spent and held."""
        return self._sums[key].spent, self._sums[key].held

    def booked(self) -> dict[tuple[str, str], int]:
        """What is counted as spent, by owner and key."""
        found: dict[tuple[str, str], int] = {}
        for (key, owner, _), lease in self._leases.items():
            found[owner, key] = found.get((owner, key), 0) + lease.booked
        return found
