"""When events are sent, in what batches, and what becomes of them: told what happened, it says what is next.

::

    if delivery.wants(now):
        delivery.loading()
        delivery.load(rows(), now, more=…)
    while (post := delivery.due(now)) is not None:      # None: nothing to do before delivery.wake_at()
        delivery.take(reply_to(post), now)
        delivery.taken_out()                            # what the outbox is to forget

Nothing here reads a clock, a file or a socket.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from ..messages import MAX_BATCH_BYTES, MAX_BATCH_EVENTS, Paths
from .shapes import Encoder, body_of

__all__ = ["Delivery", "Event", "Post", "Reply", "Taken", "encodings_of", "retry_after_s"]

FLUSH_EVENTS = 10
FLUSH_S = 1.0
"""Events wait until there are so many, or one waits so long. Source: Aden's specification."""
LOOK_S = 10.0
"""Between two looks for what processes that are gone have left."""
FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 30.0
LONGEST_ASKED_S = 300.0
"""For what a server asks for by Retry-After."""
COMPRESSED_FROM = 1024
"""Bytes below which compressing is not worth its time."""
TRIES = 3
"""Of a batch that the server fails on, before it is divided."""

LATER: Final = frozenset(
    {401, 402, 403, 404, 405, 407, 408, 421, 423, 425, 426, 429, 451, 501, 502, 503, 504}
)
"""Answers that say nothing about the events: the key, the address, the server's state."""
TOO_MUCH: Final = 413
UNKNOWN_ENCODING: Final = 415
FAILED: Final = 500


@dataclass(frozen=True, slots=True)
class Event:
    """One event that is to be sent."""

    number: int
    """The outbox's."""
    body: bytes
    """JSON."""


@dataclass(frozen=True, slots=True)
class Post:
    """A request that is to be made; the answer goes to `Delivery.take`."""

    path: str
    headers: Mapping[str, str]
    body: bytes
    events: tuple[Event, ...]


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back of a request; status 0: nothing."""

    status: int
    retry_after_s: float | None = None
    encodings: frozenset[str] | None = None
    """Content codings that the server accepts (RFC 7694); None: it does not say."""


@dataclass(slots=True)
class Taken:
    """What is done with, by the outbox's numbers."""

    sent: list[int] = field(default_factory=list)
    refused: list[int] = field(default_factory=list)


@dataclass(slots=True)
class _Part:
    """Events that go together, and how it went so far."""

    events: Sequence[Event]
    failed: int = 0
    """Times that the server failed on them."""
    since: int = 0
    """Events that the server had taken when it failed on them first."""


class Delivery:
    """One server's. `random`: numbers from 0 up to 1. `encoders`: by content coding, the best first; used are
    those that the server has said it accepts, or that are `accepted` until it says."""

    def __init__(
        self,
        *,
        random: Callable[[], float],
        encoders: Mapping[str, Encoder],
        accepted: frozenset[str] = frozenset(),
        path: str = Paths.events,
        content_type: str = "application/json",
        body: Callable[[list[bytes]], bytes] = body_of,
        most: int = MAX_BATCH_EVENTS,
        most_bytes: int = MAX_BATCH_BYTES,
        flush_events: int = FLUSH_EVENTS,
        flush_s: float = FLUSH_S,
    ) -> None:
        self._random = random
        self._encoders = dict(encoders)
        self._path = path
        self._content_type = content_type
        self._body = body
        self.most = most
        self.most_bytes = most_bytes
        self._flush_events = flush_events
        self._flush_s = flush_s
        self._accepted = accepted
        self.renew()

    def renew(self) -> None:
        """Know nothing of what was loaded, and of how it went."""
        self._parts: deque[_Part] = deque()
        self._taken = Taken()
        self._under_way: Post | None = None
        self._waiting = 0
        """Events that this process has put into the outbox since rows were asked for last."""
        self._since: float | None = None
        self._more = True
        """Whether there may be more than was loaded."""
        self._is_loading = False
        self._look_at = 0.0
        self._pauses = 0
        self._again_at = 0.0
        self.sent = 0
        """Events that the server has acknowledged to this process."""

    # -- what is next -------------------------------------------------------------------------------

    def added(self, count: int, now: float) -> bool:
        """This process has put events into the outbox; whether `wake_at` is another now."""
        before, self._waiting = self._waiting, self._waiting + count
        first = self._since is None
        if first:
            self._since = now
        return first or before < self._flush_events <= self._waiting

    def accept(self, encodings: frozenset[str]) -> None:
        """What the server accepts, as long as it has not said so itself."""
        self._accepted = self._accepted or encodings

    def end(self) -> None:
        """Send all that there is without waiting for more; what failed is tried again at once."""
        self._more = True
        self._pauses, self._again_at = 0, 0.0

    def wants(self, now: float) -> bool:
        """Whether rows are to be loaded now."""
        return not self._parts and self._under_way is None and now >= self.wake_at()

    def wake_at(self) -> float:
        """When something is to be done next, if nothing is told before."""
        if self._parts or self._more:
            return self._again_at
        at = self._look_at
        if self._since is not None:
            at = min(at, self._since + (0.0 if self._waiting >= self._flush_events else self._flush_s))
        return max(at, self._again_at)

    def loading(self) -> None:
        """Rows are about to be read: what is added from now on may not be among them."""
        self._waiting, self._since, self._more, self._is_loading = 0, None, False, True

    def load(self, events: Sequence[Event], now: float, *, more: bool) -> None:
        """The oldest rows that nobody else sends. `more`: whether there are further ones."""
        self._more, self._is_loading = more, False
        # Processes of one host do not all look at once.
        self._look_at = now + LOOK_S * (0.5 + self._random())
        part: list[Event] = []
        size = 0
        for event in events:
            if part and (len(part) == self.most or size + len(event.body) > self.most_bytes - 64):
                self._parts.append(_Part(part))
                part, size = [], 0
            part.append(event)
            size += len(event.body) + 1
        if part:
            self._parts.append(_Part(part))

    def due(self, now: float) -> Post | None:
        """The request that is to be made now, if any; one at a time."""
        if not self._parts or self._under_way is not None or now < self._again_at:
            return None
        events = tuple(self._parts[0].events)
        body, headers = self._body([event.body for event in events]), {"content-type": self._content_type}
        encoding = next((name for name in self._encoders if name in self._accepted), None)
        if encoding is not None and len(body) >= COMPRESSED_FROM:
            body = self._encoders[encoding](body)
            headers["content-encoding"] = encoding
        self._under_way = Post(self._path, headers, body, events)
        return self._under_way

    @property
    def is_loaded(self) -> bool:
        """Whether some of what was loaded is still to be sent."""
        return bool(self._parts)

    @property
    def is_done(self) -> bool:
        """Whether nothing is left to be sent, as far as it is known."""
        # Another thread may ask while rows are read.
        return not (self._is_loading or self._parts or self._more or self._since is not None)

    @property
    def is_failing(self) -> bool:
        """Whether the server has failed twice since it took anything, or since `end`."""
        return self._pauses >= 2

    def taken_out(self) -> Taken:
        """What has been done with since this was asked last."""
        taken, self._taken = self._taken, Taken()
        return taken

    def drop(self) -> None:
        """Forget what was loaded, for others to send it, and load anew."""
        self._parts.clear()
        self._under_way, self._more = None, True

    # -- answers ------------------------------------------------------------------------------------

    def take(self, answer: Reply, now: float) -> None:
        """The answer to the request that is under way."""
        post, self._under_way = self._under_way, None
        if post is None:
            return
        if answer.encodings is not None:
            self._accepted = answer.encodings
        part, status = self._parts[0], answer.status
        if 200 <= status < 300:
            self._parts.popleft()
            self._taken.sent += [event.number for event in part.events]
            self.sent += len(part.events)
            self._pauses, self._again_at = 0, 0.0
        elif status == UNKNOWN_ENCODING and "content-encoding" in post.headers:
            self._accepted -= {post.headers["content-encoding"]}
        elif status == FAILED:
            self._server_failed(part, answer, now)
        elif status == 0:
            self._unanswered(part, answer, now)
        elif status in LATER or status < 400 or status > FAILED:
            self._pause(answer, now)
        else:
            self._divide(part)

    def _server_failed(self, part: _Part, answer: Reply, now: float) -> None:
        """On these events, or on all: only a server that takes others meanwhile does not want these."""
        if part.failed == 0:
            part.since = self.sent
        part.failed += 1
        self._pause(answer, now)
        if part.failed < TRIES:
            return
        if len(part.events) > 1 or self.sent > part.since:
            self._divide(part)
        else:
            self._parts.rotate(-1)

    def _unanswered(self, part: _Part, answer: Reply, now: float) -> None:
        """The way may be too slow, or break too soon, for so much at once."""
        part.failed += 1
        self._pause(answer, now)
        if part.failed >= TRIES and len(part.events) > 1:
            self._divide(part)

    def _divide(self, part: _Part) -> None:
        """Send each half by itself; an event that is alone is given up."""
        self._parts.popleft()
        middle = len(part.events) // 2
        if middle == 0:
            self._taken.refused.append(part.events[0].number)
            return
        halves = [_Part(part.events[:middle]), _Part(part.events[middle:])]
        self._parts.extendleft(reversed(halves))

    def _pause(self, answer: Reply, now: float) -> None:
        """Full jitter; not shorter than what the server asks for."""
        longest = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2**self._pauses)
        self._pauses = min(self._pauses + 1, 16)
        asked = min(answer.retry_after_s or 0.0, LONGEST_ASKED_S)
        self._again_at = now + asked + self._random() * longest


def retry_after_s(value: str | None) -> float | None:
    """RFC 9110 §10.2.3, in seconds; dates are not told apart from nothing."""
    return float(value) if value is not None and value.isascii() and value.isdigit() else None


def encodings_of(value: str | None) -> frozenset[str] | None:
    """What an Accept-Encoding of an answer allows in requests (RFC 7694)."""
    if value is None:
        return None
    found: set[str] = set()
    for part in value.lower().split(","):
        name, _, weight = part.partition(";")
        if weight.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000"):
            found.add(name.strip())
    return frozenset(found)
