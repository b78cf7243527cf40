"""A server's leases in memory, by the product's rule: `grants.judge` over dictionaries."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from aden_transport.control.messages import Ask, Grant
from aden_transport.ledger import grants
from aden_transport.ledger.grants import Bounds, Change, Lease, Standing

__all__ = ["RuleServer"]


@dataclass
class Sums:
    spent: int = 0
    held: int = 0
    disputed: int = 0

    def add(self, change: Change) -> None:
        self.spent += change.spent
        self.held += change.held
        self.disputed += change.disputed


class RuleServer:
    """What it keeps survives a restart, as a database does."""

    def __init__(self, limit_of: Callable[[str], int | None], *, bounds: Bounds | None = None) -> None:
        self.limit_of = limit_of
        self.bounds = bounds or Bounds()
        self.sums: defaultdict[str, Sums] = defaultdict(Sums)
        self.leases: dict[tuple[str, str, int], Lease] = {}
        """By key, owner and generation."""

    def answer(self, owner: str, asks: Iterable[Ask], now: float) -> list[Grant]:
        return [self._answer(owner, ask, now) for ask in asks]

    def _answer(self, owner: str, ask: Ask, now: float) -> Grant:
        name = ask.key, owner, ask.generation
        answer = grants.judge(
            ask, self.leases.get(name), self._standing(owner, ask, now), now=now, bounds=self.bounds
        )
        self._put(name, answer.lease, answer.change)
        return answer.grant

    def _standing(self, owner: str, ask: Ask, now: float) -> Standing:
        of_key = {name: lease for name, lease in self.leases.items() if name[0] == ask.key}
        heard = {
            name[1]
            for name, lease in of_key.items()
            if lease.state == "open" and now - lease.heard_at < self.bounds.ttl_s
        }
        counted = [self.sums[key] for key in (ask.key, *ask.also)]
        return Standing(
            sum(each.spent for each in counted),
            sum(each.held for each in counted),
            self.limit_of(ask.key),
            len(heard | {owner}),
            max([name[2] for name in of_key if name[1] == owner], default=0),
        )

    def tick(self, now: float) -> None:
        """What is done from time to time: dispute what is silent, and resolve what was for long."""
        for name, lease in list(self.leases.items()):
            if grants.is_silent(lease, now, self.bounds):
                self._put(name, *grants.dispute(lease, now))
            elif grants.is_stale(lease, now, self.bounds):
                self._put(name, *grants.resolve(lease))

    def _put(self, name: tuple[str, str, int], lease: Lease, change: Change) -> None:
        self.leases[name] = lease
        self.sums[name[0]].add(change)
