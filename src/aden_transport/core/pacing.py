"""Pacing: calls leave as fast as the vendor's rate limits let them, and no faster.

A pace belongs to a host, a credential and a family of models, and is shared through the ledger. What an
answer's headers say of limits makes it (`rates.py`), a turn under it is taken last, just before the request
leaves, when everything else has been decided; nothing is held through the wait.
"""

from __future__ import annotations

import hmac
import re
import threading
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, TypeVar

from .._guard import internal_fault
from ..errors import LedgerUnavailable
from ..events import Decision, NormalizedUsage, RateLimit
from ..ledger.base import Ledger
from ..ledger.pace import LOOK_S, NO_PACE, Ask, Back, Move, Told, Turn
from ..vendors.limits import retry_after
from .header_figures import AnswerHeaders
from .rates import Rates, rates_of
from .steps import Consult, Step
from .wire import WireRequest

if TYPE_CHECKING:
    from ..ledger.store_thread import StoreThread
    from .attempts import LogicalCall
    from .exchange import Exchange

K = TypeVar("K")
V = TypeVar("V")

__all__ = ["Pace", "Pacer", "credential", "family"]

REFUSED = frozenset({429, 503, 529})
"""Statuses whose `retry-after` stops all callers: 529 is Anthropic's "overloaded"."""
HEARD_S = 0.1
"""While nothing is short, the next answers are not listened to for so long; a refusal always is."""
AGAIN_S = 5.0
"""What an answer says is not told again for so long, where nothing has changed."""
DOWN_S = 1.0
"""A store that did not answer is left alone for so long."""
SALT_S = 60.0
"""Between two looks at the salt, which a store may have lost and another process made anew."""
SKEW_S = 60.0
"""Between two looks at a vendor's clock."""
MOST = 1024
"""Of what is remembered by key, by host or by model."""
PLAIN_BYTES = 32 * 1024
"""Requests up to this size are weighed by their bytes alone."""
FIRST_OUTPUT = 500
"""Output tokens that are expected before any answer was seen."""
UNKNOWN = Turn(LOOK_S, False)
NOTHING = (0.0, 0.0, 0.0, 0.0)


class Pace:
    """One attempt's turn."""

    __slots__ = ("asked_s", "begun_s", "costs", "done", "key", "over", "pacer", "taken", "waited_s", "waits")

    def __init__(self, pacer: Pacer, begun_s: float) -> None:
        self.pacer = pacer
        self.begun_s = begun_s
        """How long earlier attempts of the call have waited."""
        self.key: str | None = None
        self.costs = NOTHING
        self.taken = False
        """Whether it has a turn of its own."""
        self.waits = False
        self.asked_s = 0.0
        self.waited_s = 0.0
        self.over = False
        """Whether it waits no longer."""
        self.done = False

    @property
    def inline(self) -> bool:
        return self.pacer.inline

    def ask(self, exchange: Exchange) -> float:
        """How long to wait before the next look; 0: the request may leave. May wait for a store."""
        if self.key is None:
            self.pacer.open(self, exchange)
        patience = self.pacer.max_wait_s - self.begun_s - self.waited_s
        if self.over or self.key is None or patience <= 0:
            return 0.0
        turn = self.pacer.move(self.key, Ask(self.costs, patience, self.taken))
        self.taken = turn.taken
        return turn.wait

    def wait(self, seconds: float) -> None:
        self.waits, self.asked_s = True, seconds

    def waited(self, seconds: float) -> None:
        """It was woken after `seconds`. Where it was not let sleep for long enough, it goes on."""
        self.waits = False
        self.waited_s += seconds
        self.over = seconds < 0.9 * self.asked_s - 0.001

    def described(self, decision: Decision) -> Decision:
        """What is decided, and that it was paced."""
        if decision.action == "allow":
            decision = Decision("throttle", "paced to the vendor's rate limits", "pacing")
        return replace(decision, paced_s=self.waited_s)

    def learn(self, exchange: Exchange, status: int, headers: AnswerHeaders) -> None:
        """Take what an answer's headers say; at once, however long its body is."""
        if self.key is not None:
            self.pacer.learn(self, self.key, exchange, status, headers)

    def restart(self, exchange: Exchange) -> None:
        """The request leaves with another model than the turn was taken for."""
        self.end(exchange)
        self.taken = self.over = self.done = False

    def end(self, exchange: Exchange, usage: NormalizedUsage | None = None) -> None:
        """The attempt has ended."""
        if self.key is None:
            return
        if exchange.status is None and self.taken:
            self.pacer.give_back(self.key, NOTHING if exchange.sent_at else self.costs)
        elif usage is not None:
            self.pacer.sizes.learn(exchange.sent_model or "", _weight(exchange), usage)
        self.key = None


class Pacer:
    """The paces of one meter."""

    def __init__(
        self,
        ledger: Ledger,
        *,
        target: float,
        max_wait_s: float,
        wall: Callable[[], float],
        thread: StoreThread | None = None,
        timeout_s: float = 0.25,
    ) -> None:
        """`thread`: of a ledger that does I/O; None of one that answers at once."""
        self.ledger = ledger
        self.target = target
        self.max_wait_s = max_wait_s
        self.inline = thread is None
        """Whether the ledger answers at once, so that a call need not wait for it on its loop."""
        self.sizes = Sizes()
        self._wall = wall
        self._thread = thread
        self.timeout_s = timeout_s
        self._salt = b""
        self._salt_until = 0.0
        self._down_until = 0.0
        self._lock = threading.Lock()
        self._keys: dict[int, str] = {}
        self._looked: dict[str, float] = {}
        self._heard: dict[str, float] = {}
        self._said: dict[str, tuple[Rates, float]] = {}
        self._skews: dict[str, tuple[float, float]] = {}

    def move_to(self, ledger: Ledger, thread: StoreThread) -> None:
        """Keep the paces elsewhere from now on, where other processes see them. Answers tell them anew."""
        self._thread, self.ledger = thread, ledger
        self.inline = False
        self._salt = b""
        for known in (self._keys, self._looked, self._heard, self._said):
            known.clear()

    def pace(self, logical: LogicalCall | None) -> Pace:
        """Of a new attempt of `logical`; None: of a call's first."""
        return Pace(self, 0.0 if logical is None else logical.paced_s)

    def open(self, pace: Pace, exchange: Exchange) -> None:
        """Find out whose pace an attempt has to keep, and what it takes. May wait for a store."""
        salt = self._known_salt()
        if salt is None:
            return
        wire, model = exchange.wire, exchange.sent_model
        caller = credential(wire)
        of = family(exchange.call.vendor.id, model or exchange.call.operation.name)
        pace.costs = self.sizes.costs(model or "", exchange)
        # By a hash that is keyed anew in every process: what it is of is not kept.
        asked = hash((salt, wire.host, caller, of))
        pace.key = self._keys.get(asked)
        if pace.key is None:
            pace.key = f"{wire.host}|{hmac.digest(salt, caller, 'sha256')[:12].hex()}|{of}"
            _remember(self._keys, asked, pace.key)

    def move(self, key: str, move: Move) -> Turn:
        """Where the store does not answer, nobody waits."""
        if self.inline:
            return self.ledger.pace(key, move)
        # One of a process at a time: a crowd of its threads would keep a file's lock from each other until
        # the store's patience is over.
        with self._lock:
            return self._ask_store(key, move)

    def _ask_store(self, key: str, move: Move) -> Turn:
        now = self._wall()
        if now < self._down_until:
            return NO_PACE
        if move.__class__ is Ask and 0 <= now - self._looked.get(key, 0.0) < LOOK_S / 2:
            return UNKNOWN  # nothing was known a moment ago
        for last in (False, True):
            try:
                turn = self.ledger.pace(key, move)
            except LedgerUnavailable as exc:
                if last:
                    self._down(exc)
            else:
                if turn == UNKNOWN:
                    _remember(self._looked, key, now)
                return turn
        return NO_PACE

    def consult(self, ask: Callable[[], float], then: Callable[[float], Step]) -> Consult:
        """Ask a store that does I/O; where it does not answer, nobody waits."""
        assert self._thread is not None
        return Consult(
            ask,
            then,
            otherwise=lambda: 0.0,
            late=lambda _: None,
            thread=self._thread,
            timeout_s=self.timeout_s,
        )

    def _put(self, work: Callable[[], object]) -> None:
        if self._thread is None:
            work()
        else:
            self._thread.put(work)

    def after_fork_in_child(self) -> None:
        """A thread that is not here may hold the lock."""
        self._lock = threading.Lock()

    def give_back(self, key: str, costs: tuple[float, float, float, float]) -> None:
        self._put(partial(self.move, key, Back(costs)))

    def learn(self, pace: Pace, key: str, exchange: Exchange, status: int, headers: AnswerHeaders) -> None:
        wall, refused = self._wall(), status in REFUSED
        if not refused and not pace.waited_s and 0 <= wall - self._heard.get(key, 0.0) < HEARD_S:
            return
        kept, host = headers.kept(), exchange.wire.host
        at = wall + self._skew(host, wall, kept.get(b"date"))
        read = exchange.call.vendor.read_rate_limit
        limit = read(kept, at) if read is not None else RateLimit(retry_after_s=retry_after(kept, at))
        stop = (limit.retry_after_s or 0.0) if limit is not None and refused else 0.0
        rates = rates_of(limit, self.target)
        calm = not refused and not rates.hold and not pace.waited_s
        if not calm or not rates.is_steady:
            self._heard.pop(key, None)
            self._said.pop(key, None)
        else:
            _remember(self._heard, key, wall)
            if self._was_said(key, rates, wall):
                return
        ago = exchange.settings.clock() - exchange.sent_at
        told = Told(rates.families, max(stop, rates.hold), not refused, ago)
        self._put(partial(self.move, key, told))

    def _was_said(self, key: str, rates: Rates, wall: float) -> bool:
        said = self._said.get(key)
        if said is not None and said[0] == rates and 0 <= wall - said[1] < AGAIN_S:
            return True
        _remember(self._said, key, (rates, wall))
        return False

    def _skew(self, host: str, wall: float, date: bytes | None) -> float:
        """By how much the vendor's clock is ahead of ours; below what its `date` can tell, 0."""
        known = self._skews.get(host)
        if known is not None and 0 <= wall - known[1] < SKEW_S:
            return known[0]
        skew = 0.0
        if date is not None:
            from email.utils import parsedate_to_datetime

            try:
                skew = parsedate_to_datetime(date.decode("ascii", "replace")).timestamp() + 0.5 - wall
            except (ValueError, TypeError, OverflowError):
                skew = 0.0
        skew = skew if abs(skew) > 1.5 else 0.0
        _remember(self._skews, host, (skew, wall))
        return skew

    def _known_salt(self) -> bytes | None:
        wall = self._wall()
        if self._salt:
            if not 0 < self._salt_until - wall <= SALT_S:
                self._salt_until = wall + SALT_S
                self._put(self._look_at_salt)
            return self._salt
        if not self._down_until or wall >= self._down_until:
            self._look_at_salt()
        return self._salt or None

    def _look_at_salt(self) -> None:
        try:
            self._salt = self.ledger.salt()
            self._salt_until = self._wall() + SALT_S
        except LedgerUnavailable as exc:
            self._down(exc)

    def _down(self, exc: Exception) -> None:
        internal_fault("pacing", exc)
        self._down_until = self._wall() + DOWN_S


class Sizes:
    """What calls take of each family, learned per model from what answers have reported."""

    __slots__ = ("_known",)

    def __init__(self) -> None:
        self._known: dict[str, tuple[float, float, float]] = {}
        """Input tokens, those not from a cache, each for one that was estimated; and output tokens."""

    def costs(self, model: str, exchange: Exchange) -> tuple[float, float, float, float]:
        ratio, uncached, output = self._known.get(model) or (1.0, 1.0, float(FIRST_OUTPUT))
        about = _weight(exchange)
        cap = _cap(exchange)
        if cap is not None and cap < output:
            output = cap
        return (1.0, about * ratio + output, about * uncached, output)

    def learn(self, model: str, about: float, usage: NormalizedUsage) -> None:
        given, output = usage.input_tokens, float(usage.output_tokens)
        fresh = max(0, given - usage.cached_tokens)
        ratio, uncached = given / max(about, 1.0), fresh / max(about, 1.0)
        known = self._known.get(model)
        if known is not None:
            ratio = known[0] + (ratio - known[0]) * 0.1
            uncached = known[1] + (uncached - known[1]) * 0.1
            output = known[2] + (output - known[2]) * 0.1
        _remember(self._known, model, (ratio, uncached, output))


def _weight(exchange: Exchange) -> float:
    """Tokens of the input as its bytes tell."""
    money, raw = exchange.money, exchange.wire.body
    if money is not None and money.about:
        return float(money.about)
    if raw is None:
        return 0.0
    if len(raw) <= PLAIN_BYTES:
        return len(raw) / 4
    from .estimate import input_tokens

    return float(input_tokens(exchange.body))  # pictures are not their base64


def _cap(exchange: Exchange) -> float | None:
    """How long the request lets the answer be."""
    body = exchange.body
    for name in exchange.call.operation.output_cap:
        value: Any = body.get(name)
        if value.__class__ is int and value >= 0:
            return float(value)
    return None


def _remember(known: dict[K, V], key: K, value: V) -> None:
    if len(known) >= MOST:
        known.clear()
    known[key] = value


_SIGNER = re.compile(rb"Credential=([^/,\s]+)")
_KEY_IN_QUERY = re.compile(rb"[?&]key=([^&]*)")


def credential(wire: WireRequest) -> bytes:
    """What tells callers apart: the credential, and the organization and project that it is used for. For
    a keyed hash only."""
    pairs = wire.pairs
    values = [pairs[at][2] for at in wire.known.credentials_at]
    if not values:
        found = _KEY_IN_QUERY.search(wire.target)
        return b"" if found is None else found[1]
    if values[0].startswith(b"AWS4-"):
        # A signature differs from call to call; who signed does not.
        found = _SIGNER.search(values[0])
        values[0] = b"" if found is None else found[1]
    return values[0] if len(values) == 1 else b"\0".join(values)


_DATED = re.compile(r"(?:[-@]\d{8}|-\d{4}-\d{2}-\d{2}|-latest)$")
_CLAUDE_4 = re.compile(r"claude-(?:opus|sonnet)-4(?=-|$)")


@lru_cache(maxsize=MOST)
def family(vendor: str, model: str) -> str:
    """The models that share a limit with `model`, as a name.

    Anthropic: Opus 4.x together, and Sonnet 4.x together; every other model has its own
    (https://docs.anthropic.com/en/api/rate-limits). OpenAI: a model and its dated snapshots, and a
    fine-tuned model with its base (https://platform.openai.com/docs/guides/rate-limits); which others an
    organization has under one "shared limit" stands on its limits page only.
    """
    if model.startswith("ft:"):
        model = model.split(":")[1] or model
    shared = _CLAUDE_4.match(model) if vendor == "anthropic" else None
    return shared[0] if shared is not None else _DATED.sub("", model)[:128]
