"""Events to any HTTP collector, in the batches and with the patience of delivery to a control server."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Literal
from urllib.parse import urlsplit

from ..._fork import draw
from ..._guard import internal_fault
from ...core.spooled import event_of_told, spooled
from ...emitters._reentry import emitting
from ...emitters._renew import renew_in_child
from ...emitters.base import BaseEmitter, Placement
from ...errors import ConfigurationError
from ...events import MetricEvent
from ...ledger.base import Sending
from ...ledger.outbox import Bounds, Row
from ...ledger.outbox_memory import BOUNDS, MemoryOutbox
from .courier import Courier
from .delivery import Delivery, Post, Reply, encodings_of, retry_after_s
from .shapes import encoders

__all__ = ["HttpEmitter", "create_http_emitter"]

SENDING = Sending("", "")
WAIT_S = 1.0


class HttpEmitter(BaseEmitter):
    """Keeps events in memory until a collector has taken them; sends them on one thread."""

    placement = Placement.THREAD

    def __init__(
        self,
        url: str,
        *,
        headers: Mapping[str, str],
        delivery: Callable[[], Delivery],
        bounds: Bounds,
        timeout_s: float,
    ) -> None:
        self._url = url
        self._headers = dict(headers)
        self._delivery = delivery
        self._bounds = bounds
        self._timeout_s = timeout_s
        self.renew()
        renew_in_child(self)

    def renew(self) -> None:
        self._outbox = MemoryOutbox(SENDING, self._bounds)
        self._courier = Courier(self._outbox, self._delivery(), shape=_flat)
        self._courier.delivery.load((), time.monotonic(), more=False)  # Nobody has left anything.
        self._changed = threading.Event()
        self._courier.on_change = self._changed.set
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._stop = False

    @property
    def waiting(self) -> int:
        """Events that the collector has not taken yet."""
        return self._outbox.waiting()

    @property
    def sent(self) -> int:
        """Events that it has taken."""
        return self._courier.delivery.sent

    def __call__(self, event: MetricEvent) -> None:
        self._outbox.add([spooled(event)])
        self._start()
        self._courier.added(1, time.monotonic())

    def flush(self, timeout: float = 2.0) -> bool:
        """Wait at most `timeout` seconds until the collector has taken all events so far; whether it has."""
        deadline = time.monotonic() + timeout
        if self.waiting and self._start():
            self._courier.end()
            self._changed.set()
            while self.waiting and time.monotonic() < deadline:
                time.sleep(0.005)
        return not self.waiting

    def close(self, timeout: float = 2.0) -> bool:
        """Flush, and end the thread. A later event starts it again."""
        done = self.flush(timeout)
        with self._lock:
            thread, self._thread = self._thread, None
            self._stop = True
        self._changed.set()
        if thread is not None:
            thread.join(max(0.1, timeout) if done else 0.1)
        return done

    def _start(self) -> bool:
        with self._lock:
            if self._thread is not None:
                return True
            self._stop = False
            thread = threading.Thread(target=self._run, name="aden-http", daemon=True)
            try:
                thread.start()
            except RuntimeError as exc:  # no threads are to be had, or the interpreter is ending
                internal_fault("emit thread", exc)
                return False
            self._thread = thread
            return True

    def _run(self) -> None:
        import httpx2

        emitting.set(True)
        me = threading.current_thread()
        with httpx2.Client(timeout=self._timeout_s, headers=self._headers) as client:
            while not (self._stop or self._thread not in (me, None)):
                self._changed.clear()
                post = self._courier.due(time.monotonic())
                if post is None:
                    pause = self._courier.wake_at() - time.monotonic()
                    self._changed.wait(min(max(0.0, pause), WAIT_S))
                else:
                    self._courier.take(self._sent(client, post), time.monotonic())
        self._courier.leave()

    def _sent(self, client: Any, post: Post) -> Reply:
        import httpx2

        try:
            answer = client.post(self._url, content=post.body, headers=dict(post.headers))
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError) as exc:
            internal_fault("emit", exc)
            return Reply(0)
        told = answer.headers
        return Reply(
            answer.status_code,
            retry_after_s(told.get("retry-after")),
            encodings_of(told.get("accept-encoding")),
        )


def _flat(row: Row) -> dict[str, Any]:
    """An event as other emitters write it."""
    return dict(row.told) if "event_type" in row.told else event_of_told(row.told).to_dict()


def _lines(events: list[bytes]) -> bytes:
    return b"\n".join(events) + b"\n"


def _array(events: list[bytes]) -> bytes:
    return b"[%b]" % b",".join(events)


BODIES: Mapping[str, tuple[str, Callable[[list[bytes]], bytes]]] = {
    "json": ("application/json", _array),
    "ndjson": ("application/x-ndjson", _lines),
}


def create_http_emitter(
    url: str,
    *,
    headers: Mapping[str, str] | None = None,
    format: Literal["json", "ndjson"] = "json",
    batch_size: int = 100,
    flush_interval: float = 1.0,
    compress: bool = False,
    timeout: float = 10.0,
    max_events: int = 10_000,
) -> HttpEmitter:
    """POST events to `url` in batches: as a JSON array, or as lines of JSON (`"ndjson"`).

    A batch goes out when it is full, when its oldest event is `flush_interval` seconds old, and at
    `.flush()`. `headers` are sent with each, as an `Authorization`. 2xx takes a batch. After a network
    fault, 401, 403, 404, 408, 429 and 5xx it is sent again, with random pauses that grow up to 30 s, or as
    long as Retry-After says. Other answers divide it until the bad event is alone, which is given up and
    counted. While `max_events` wait, or 16 MiB, the oldest are given up, and an event `"events_lost"` counts
    them. `compress`: with gzip.

    Raises: ConfigurationError for an argument that cannot be used.
    """
    what = "create_http_emitter"
    parts = urlsplit(url) if isinstance(url, str) else None
    if parts is None or parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigurationError(f"{what}: url={str(url)[:64]!r}: give an address like https://host/path")
    if format not in BODIES:
        raise ConfigurationError(f"{what}: format={format!r}: give one of {', '.join(BODIES)}")
    for name, count in (("batch_size", batch_size), ("max_events", max_events)):
        if not isinstance(count, int) or isinstance(count, bool) or count < 1:
            raise ConfigurationError(f"{what}: {name}={count!r}: give a whole number of events above 0")
    for name, seconds in (("flush_interval", flush_interval), ("timeout", timeout)):
        if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not 0 < seconds < math.inf:
            raise ConfigurationError(f"{what}: {name}={seconds!r}: give a number of seconds above 0")
    content_type, body = BODIES[format]

    def delivery() -> Delivery:
        return Delivery(
            random=draw,
            encoders=encoders() if compress else {},
            accepted=frozenset({"gzip"}) if compress else frozenset(),
            path=url,
            content_type=content_type,
            body=body,
            most=batch_size,
            flush_events=batch_size,
            flush_s=float(flush_interval),
        )

    return HttpEmitter(
        url,
        headers=headers or {},
        delivery=delivery,
        bounds=Bounds(rows=max_events, size=BOUNDS.size),
        timeout_s=float(timeout),
    )
