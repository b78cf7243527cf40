"""The leases of one owner: what it asks the server for, what the answers let it spend, what it gives back.

Values in, values out. What is spent and held under a lease is counted by a local ledger, under the key of the
lease's generation; here is what the server has said, and what to say next. Times are seconds of a clock that
never steps, the same for all processes that share a book.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from ..control.messages import Ask, Grant, State
from .base import NEVER, Line, Unit

__all__ = ["Account", "Book", "Looks", "NOBODY", "given_by", "of_local_key"]

REST_S = 2.0
"""For so long the demand of late may go on without another word of the server."""
PART = 200
"""An owner has ahead at most one part in so many of what it has used of a key: it may be gone at any time,
and what it has then is lost for a while."""
RATE_S = 5.0
"""Over which demand is averaged."""
REPORT_S = 1.0
"""Between two asks that only report."""
RETRY_S = 0.5
"""After which an ask that was not answered is sent again, where a call waits for it."""
IDLE_S = 15.0
"""A lease that was not used for so long, or a good part of it, is given back."""
FRESH_S = 1.0
"""For so long a refusal of the server stands, and what it said that others hold."""
TTL_S = 60.0
"""Until the server says how long leases last."""
MOST_REMEMBERED = 5_000
"""Keys without a lease whose sums are remembered until there is one."""
MOST_LEAVING = 10_000
"""Leases whose end the server was not told of. One more, and the oldest is left to the server to charge."""
NOBODY: Mapping[str, Collection[int]] = {}
"""Of calls that wait: there are none."""


@dataclass(slots=True, kw_only=True)
class Account:
    """One generation of a lease, as its owner knows it. A copy that is out of date allows too little."""

    key: str
    generation: int
    tag: str = ""
    """Part of `local_key`, where several owners have used the same local ledger."""
    unit: Unit = "usd"
    also: tuple[str, ...] = ()
    expires_at: float = 0.0
    hard: bool = False
    """Whether a limit has to hold, so that a lease is needed."""
    life: int = 0
    """Used in earlier generations."""
    # what was asked
    seq: int = 0
    asked_at: float = -math.inf
    told: int = 0
    """`used` of the latest ask."""
    needed: int = 0
    """`need` of the latest ask."""
    final: bool = False
    """Whether the latest ask was."""
    asker: str = ""
    """Whose the latest ask was, of those who share the book: nobody waits for the answers of others."""
    # what was answered
    answered: int = 0
    """`seq` of the latest answer."""
    answered_at: float = -math.inf
    granted: int = 0
    known: int = 0
    """`used` as the server knows it."""
    until: float = -math.inf
    """So long calls may begin under it."""
    ttl_s: float = TTL_S
    state: State = "open"
    limit: int | None = None
    others_spent: int = 0
    """All that the server counts as spent on `key` and `also`, but under leases that are in this book."""
    others_held: int = 0
    denied: int | None = None
    """What the server did not let `granted` come to."""
    # what was seen
    spent: int = 0
    held: int = 0
    looked_at: float = -math.inf
    busy_at: float = -math.inf
    rate: float = 0.0
    """Of what is spent, per second."""
    usual: int = 0
    """The hold of a call that had to ask."""
    slack: int = 0
    """The least that was left since `slack_from`."""
    slack_from: float = -math.inf
    lost: bool = False
    """Whether the sums may be short of what was spent, so that the rest is not to be freed."""

    @property
    def local_key(self) -> str:
        """What the local ledger knows its sums by."""
        return f"{self.key}~{self.tag}{self.generation}"

    def is_usable(self, now: float) -> bool:
        return self.state == "open" and now < self.until

    def is_fresh(self, now: float) -> bool:
        return now - self.answered_at < FRESH_S

    def is_denied(self, level: int, now: float) -> bool:
        """Whether the server has just refused to let `granted` come to `level`."""
        return self.denied is not None and level >= self.denied and self.is_fresh(now)


def of_local_key(key: str) -> str:
    """The key of the fleet, of an `Account.local_key`."""
    return key.rpartition("~")[0]


def given_by(line: Line) -> dict[str, Any]:
    """What `Book.opened` is to know of the key of a line."""
    return {
        "hard": line.limit_held != NEVER,
        "unit": line.unit,
        "also": line.also,
        "expires_at": line.expires_at,
    }


class Looks(Protocol):
    """At the local ledger's sums of a lease."""

    def look(self, account: Account) -> tuple[int, int]:
        """What is spent and what is held."""
        ...

    def seal(self, account: Account) -> None:
        """Let nothing more be held, by anybody. What is held may still be settled."""
        ...


class Book:
    """All leases of an owner. Not safe for threads."""

    def __init__(self, *, generation: int = 0, asker: str = "", tag: str = "") -> None:
        self.tag = tag
        self.asker = asker
        self.generation = generation
        """The last that was opened, of any key: each opens with a number of its own."""
        self.open: dict[str, Account] = {}
        """By key: the leases under which calls begin."""
        self.leaving: dict[str, list[Account]] = {}
        """Those under which none does any more, and whose end the server has not acknowledged."""
        self.given_up = 0
        """Leases whose end the server was never told of."""
        self.remembered: dict[str, tuple[int, int]] = {}
        """Of keys whose last lease has ended: what was spent by all, and what was used by this owner."""

    def __iter__(self) -> Iterator[Account]:
        yield from self.open.values()
        for each in self.leaving.values():
            yield from each

    def opened(
        self,
        key: str,
        now: float,
        *,
        hard: bool = False,
        unit: Unit = "usd",
        also: tuple[str, ...] = (),
        expires_at: float = 0.0,
    ) -> Account:
        """The lease of `key` under which calls may begin; a new one, with nothing granted, if needed. `hard`:
        a call that needs it is about to ask, so that there is nothing to ask for before."""
        account = self.open.get(key)
        if account is None:
            self.generation += 1
            account = self.open[key] = Account(
                key=key,
                generation=self.generation,
                tag=self.tag,
                hard=hard,
                unit=unit,
                also=also,
                expires_at=expires_at,
            )
            account.busy_at = account.slack_from = now
            account.others_spent, account.life = self.remembered.pop(key, (0, 0))
            for before in self.leaving.get(key, ()):
                account.life = max(account.life, before.life + before.spent)
                account.hard, account.usual = hard or before.hard, before.usual
                account.others_spent, account.limit = before.others_spent, before.limit
        return account

    def siblings(self, account: Account, also: Iterable[str]) -> list[Account]:
        """The other leases of its key, and those of the keys in `also`."""
        found: list[Account] = []
        for key in (account.key, *also):
            if key in self.open:
                found.append(self.open[key])
            found += self.leaving.get(key, ())
        return [each for each in found if each.generation != account.generation]

    # -- asking -------------------------------------------------------------------------------------

    def due(
        self, now: float, looks: Looks, waiting: Mapping[str, Collection[int]] = NOBODY, *, end: bool = False
    ) -> list[Ask]:
        """What to ask the server now. `waiting`: by key, the holds of calls that wait for a lease. `end`: all
        leases are given back."""
        asks: list[Ask | None] = []
        for account in list(self.open.values()):
            holds = waiting.get(account.key, ())
            _observe(account, *looks.look(account), now)
            if not holds and (end or account.state == "closed" or _is_to_go(account, now, self._ahead)):
                looks.seal(account)
                del self.open[account.key]
                self.leaving.setdefault(account.key, []).append(account)
            else:
                asks.append(self._ask(account, now, holds))
        leaving = [account for each in self.leaving.values() for account in each]
        for account in leaving:
            _observe(account, *looks.look(account), now)
            asks.append(_last_ask(account, now, self.asker))
        for account in leaving[: max(0, len(leaving) - MOST_LEAVING)]:
            self._forget(account)
            self.given_up += 1
        return [ask for ask in asks if ask is not None]

    def _ask(self, account: Account, now: float, holds: Collection[int]) -> Ask | None:
        level = account.spent + account.held
        if holds:
            account.hard, account.usual = True, max(holds)
        need = level + min(holds) if holds else 0
        if need <= account.granted and account.is_usable(now):
            need = 0
        ahead = self._ahead(account)
        low = account.hard and account.granted - level < ahead / 2
        want = level + sum(holds) + ahead if need or low else account.granted
        if not _is_due(account, now, need=need, low=low, asker=self.asker):
            return None
        return _asked(account, now, want=max(want, need), need=need, asker=self.asker)

    def _ahead(self, account: Account) -> int:
        """What is to be left beyond what is used and held."""
        ahead = max(round(account.rate * REST_S), account.usual)
        ahead = min(ahead, (account.life + account.spent) // PART)
        return ahead if ahead >= account.usual else 0

    # -- answers ------------------------------------------------------------------------------------

    def take(self, grants: Iterable[Grant], asked_at: float, now: float) -> list[Account]:
        """What the server answered to asks that were sent at `asked_at`. The leases that are over, whose
        local sums are not needed any more."""
        gone: list[Account] = []
        found = {(each.key, each.generation): each for each in self}
        known = [
            (found[grant.key, grant.generation], grant)
            for grant in grants
            if (grant.key, grant.generation) in found
        ]
        for account, grant in known:
            _grown(account, grant, asked_at)
        for account, grant in known:
            if grant.seq < account.answered:
                continue  # It came late: later words have been heard.
            self._learn(account, grant, now)
            if account.lost:
                is_over = not account.held and account.known >= account.spent
            else:
                is_over = account.final and grant.seq >= account.seq
            if is_over:
                gone.append(account)
        for account in gone:
            self._forget(account)
        return gone

    def _learn(self, account: Account, grant: Grant, now: float) -> None:
        siblings = self.siblings(account, account.also)
        account.answered, account.answered_at = grant.seq, now
        account.state, account.limit = grant.state, grant.limit
        account.others_spent = max(0, grant.spent - grant.used - sum(each.known for each in siblings))
        own = [account, *siblings]
        account.others_held = max(
            0, grant.held - sum(max(0, each.granted - each.known) for each in own if each.state != "closed")
        )
        if grant.state != "open":
            account.denied = 0
        elif grant.seq >= account.seq:
            account.denied = account.needed if grant.granted < account.needed else None

    def add(self, key: str, spent: int) -> None:
        """So much more was spent on `key` by others, as long as the server has not said how much it was."""
        account = self.open.get(key)
        if account is not None and not account.answered:
            account.others_spent += spent

    def _forget(self, account: Account) -> None:
        """What was spent under it is, from now on, what the server counts beside this book."""
        for each in self:
            if each is not account and account.key in (each.key, *each.also):
                each.others_spent += account.known
        if account.key not in self.open:
            used = account.life + account.known
            self.remembered[account.key] = (account.others_spent + account.known, used)
            if len(self.remembered) > MOST_REMEMBERED:
                del self.remembered[next(iter(self.remembered))]
        others = [each for each in self.leaving[account.key] if each is not account]
        if others:
            self.leaving[account.key] = others
        else:
            del self.leaving[account.key]


def _grown(account: Account, grant: Grant, asked_at: float) -> None:
    account.granted = max(account.granted, grant.granted)
    account.known = max(account.known, grant.used)
    account.until = max(account.until, asked_at + grant.ttl_s)
    account.ttl_s = grant.ttl_s


def _observe(account: Account, spent: int, held: int, now: float) -> None:
    since = now - account.looked_at
    if spent != account.spent or held != account.held:
        account.busy_at = now
    elif now - account.busy_at > 3 * RATE_S:
        account.rate = 0.0
        return  # Nothing of it changes, so that nothing has to be written.
    if 0 < since < math.inf:
        rate = max(0, spent - account.spent) / since
        account.rate += (rate - account.rate) * -math.expm1(-since / RATE_S)
    if since > 0:
        account.looked_at = now
    account.spent, account.held = spent, held
    account.slack = min(account.slack, account.granted - spent - held)


def _is_to_go(account: Account, now: float, ahead: _Ahead) -> bool:
    """Whether it is not used any more, or far too large."""
    if now - account.busy_at >= IDLE_S:
        return account.held == 0
    if now - account.slack_from < IDLE_S:
        return False
    unused = account.slack
    account.slack, account.slack_from = account.granted - account.spent - account.held, now
    return unused > 2 * max(ahead(account), account.usual)


class _Ahead(Protocol):
    def __call__(self, account: Account, /) -> int: ...


def _is_due(account: Account, now: float, *, need: int, low: bool, asker: str) -> bool:
    waited = now - account.asked_at
    unanswered = account.answered < account.seq and account.asker == asker
    if need and not account.is_denied(need, now):
        return not unanswered or need > account.needed or waited >= RETRY_S
    if not account.seq:
        return not account.hard or low or account.spent > 0
    if waited >= account.ttl_s / 3:
        return True
    return waited >= REPORT_S and (account.spent != account.told or low or unanswered)


def _asked(account: Account, now: float, *, want: int, need: int, asker: str, final: bool = False) -> Ask:
    account.seq += 1
    account.asked_at, account.told, account.needed, account.final = now, account.spent, need, final
    account.asker = asker
    return Ask(
        key=account.key,
        generation=account.generation,
        seq=account.seq,
        used=account.spent,
        want=want,
        need=need,
        unit=account.unit,
        also=account.also,
        expires_at=account.expires_at,
        final=final,
    )


def _last_ask(account: Account, now: float, asker: str) -> Ask | None:
    """Of a lease under which no call begins any more."""
    waited = now - account.asked_at
    final = account.held == 0 and not account.lost
    is_new = final and not account.final
    if not is_new:
        if waited < REPORT_S:
            return None
        if not final and account.spent == account.told and waited < account.ttl_s / 3:
            return None
    return _asked(account, now, want=account.granted, need=0, asker=asker, final=final)
