"""The pace of one key: when its next call may leave, so that a vendor's rate limits hold.

The generic cell rate algorithm (ITU-T I.371, Annex A): per family of figures a theoretical arrival time,
which each call moves on by what it takes. A call that comes earlier than that waits for its turn, which is
then its own; so callers leave one by one, in the order in which they came.

`redis_pace.lua` says the same in Lua; the contract suite holds both to the same answers. All figures that go
in and out are durations, so that only the clock of the store counts.
"""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

__all__ = [
    "FAMILIES",
    "KEPT_S",
    "LOOK_S",
    "NO_PACE",
    "Ask",
    "Back",
    "Move",
    "Rate",
    "State",
    "Told",
    "Turn",
    "moved",
]

FAMILIES = ("requests", "tokens", "input_tokens", "output_tokens")
"""What vendors count, as `RateLimit` names it."""

Costs: TypeAlias = tuple[float, float, float, float]
"""What a call takes of each family."""

KEPT_S = 3600.0
"""After so long without a call a key is forgotten, and what was learned of it."""
SCOUT_S = 2.0
"""As long as nothing is known of a key, one call in so long leaves; its answer tells."""
LOOK_S = 0.1
"""Between two looks whether it has."""
LONGEST_STOP_S = 3600.0
BACK_S = 1.0
"""By how much a clock has to go back to be taken for one that was set."""


class Rate(NamedTuple):
    """What an answer says of one family, in seconds."""

    interval: float
    """For each unit, at the rate that is aimed for."""
    burst: float = 0.0
    """How far ahead of that rate calls may be."""
    slow: float = 0.0
    """The interval for the next `slow_for`, since less is left than the rate needs."""
    slow_for: float = 0.0


class Ask(NamedTuple):
    """A call wants to leave."""

    costs: Costs
    patience: float
    """The longest that it will wait."""
    waited: bool = False
    """Whether its turn has come, for which it has waited: only a stop or one that left late is in its way."""


class Told(NamedTuple):
    """What an answer tells."""

    rates: tuple[Rate | None, Rate | None, Rate | None, Rate | None]
    """By family; None: it says nothing."""
    stop: float
    """For how long no call may leave; 0: they may."""
    served: bool
    """Whether the call was not refused for its rate."""
    ago: float
    """How long since it was sent."""


class Back(NamedTuple):
    """A call that had a turn was not sent, or got no answer."""

    costs: Costs
    """What it did not take after all."""


Move: TypeAlias = Ask | Told | Back


class Turn(NamedTuple):
    """When a call may leave."""

    wait: float
    """In so many seconds. It then asks again, if it still has patience."""
    taken: bool
    """Whether the turn is its own. If not, it was given none within its patience, or nothing is known yet."""


NO_PACE = Turn(0.0, False)

State: TypeAlias = list[float]
"""Of a key, the six below and five for each family: one list, as stores keep it. Times are the store's."""
AT, KNOWN, SCOUT, STOP, STOPPED, LEFT = range(6)
"""When it was last looked at, whether an answer has come, until when one is waited for, until when no call
may leave, when that was said, and when a call left last."""
ARRIVAL, INTERVAL, BURST, SLOW, SLOW_UNTIL = range(5)
PLACES = (6, 11, 16, 21)
"""Where the families' five begin."""
REQUESTS = PLACES[0]
SIZE = 26
TIMES = (SCOUT, STOP, STOPPED, LEFT, *(place + each for place in PLACES for each in (ARRIVAL, SLOW_UNTIL)))


def moved(state: State | None, move: Move, now: float) -> tuple[State, Turn]:
    """The state after `move`, which may be the same list, changed, and what the caller is told."""
    if state is None or now - state[AT] > KEPT_S:
        state = [0.0] * SIZE
    elif now < state[AT] - BACK_S:
        # The clock was set back: what was to come stays as far away as it was.
        shift = now - state[AT]
        for place in TIMES:
            state[place] += shift
    state[AT] = now
    match move:
        case Ask():
            return state, _turn(state, move, now)
        case Told():
            _learn(state, move, now)
        case Back():
            _give_back(state, move, now)
    return state, NO_PACE


def _turn(state: State, ask: Ask, now: float) -> Turn:
    stop = state[STOP]
    # Two calls are never closer than this, though one that had its turn before was late.
    apart = state[LEFT] + state[REQUESTS + INTERVAL] - state[REQUESTS + BURST]
    if ask.waited and now >= stop:
        if now < apart:
            return Turn(min(apart - now, ask.patience), True)
        state[LEFT] = now
        return Turn(0.0, True)
    if not state[KNOWN]:
        if now >= max(state[SCOUT], stop):
            state[SCOUT], state[LEFT] = now + SCOUT_S, now
            return Turn(0.0, True)
        return Turn(min(stop - now if stop > now else LOOK_S, ask.patience), False)
    start = max(now, stop, apart)
    taken = [(place, cost) for place, cost in zip(PLACES, ask.costs, strict=True) if state[place + INTERVAL]]
    for place, cost in taken:
        if cost and state[place] - state[place + BURST] > start:
            start = state[place] - state[place + BURST]
    if start - now > ask.patience:
        return Turn(ask.patience, False)
    for place, cost in taken:
        state[place] = max(state[place], start) + cost * _interval(state, place, now)
    if start == now:
        state[LEFT] = now
    return Turn(start - now, True)


def _interval(state: State, place: int, now: float) -> float:
    return state[place + SLOW] if now < state[place + SLOW_UNTIL] else state[place + INTERVAL]


def _learn(state: State, told: Told, now: float) -> None:
    sent = now - told.ago
    if sent >= state[STOPPED]:
        if told.served:
            # Whatever was to be stopped, a call that was sent since then has been served.
            state[STOP] = 0.0
        if told.served or not told.stop:
            state[KNOWN] = 1.0
    for place, rate in zip(PLACES, told.rates, strict=True):
        if rate is not None:
            state[KNOWN] = 1.0
            if not state[place + INTERVAL]:
                # The first call may have been long on its way: it has arrived by now.
                state[place] = now + rate.interval
                state[LEFT] = now
            state[place + INTERVAL : place + SLOW_UNTIL] = rate.interval, rate.burst, rate.slow
            state[place + SLOW_UNTIL] = now + rate.slow_for
    if told.stop > 0:
        state[STOP] = max(state[STOP], now + min(told.stop, LONGEST_STOP_S))
        state[STOPPED] = now
        if not state[REQUESTS + INTERVAL]:
            # Afterwards one call leaves, and the others when it was served: nothing else paces them.
            state[KNOWN] = 0.0


def _give_back(state: State, back: Back, now: float) -> None:
    state[SCOUT] = 0.0
    for place, cost in zip(PLACES, back.costs, strict=True):
        state[place] -= cost * _interval(state, place, now)
