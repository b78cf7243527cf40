"""What arrived at the fake provider, kept within bounds."""

from __future__ import annotations

import json
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

__all__ = ["ReceivedRequest", "RequestLog"]


@dataclass(slots=True, eq=False)
class ReceivedRequest:
    """One request as it came over the wire."""

    number: int
    """Counts requests from 1."""
    connection: int
    """Counts connections from 1: equal numbers mean keep-alive."""
    method: str
    target: str
    """Path and query, undecoded."""
    raw_headers: tuple[tuple[str, str], ...]
    """Names and values as sent, in order."""
    body: bytes
    """After transfer-coding, before content-encoding."""
    complete: bool = True
    """False where the client left before its body was whole."""
    disconnected: bool = False
    """True once the client left before the answer was written."""
    answered_status: int | None = None
    """The status sent back; None until then."""
    answered_bytes: int = 0
    """Body bytes handed to the socket so far."""
    at: float = field(default_factory=time.monotonic)
    """`time.monotonic()` of arrival."""

    @property
    def path(self) -> str:
        """The path, percent-decoded."""
        return unquote(urlsplit(self.target).path)

    @property
    def query(self) -> dict[str, str]:
        """The query's last value per name."""
        return dict(parse_qsl(urlsplit(self.target).query, keep_blank_values=True))

    @property
    def headers(self) -> Mapping[str, str]:
        """Lower-cased names; repeated ones are joined with a comma."""
        joined: dict[str, str] = {}
        for name, value in self.raw_headers:
            key = name.lower()
            joined[key] = f"{joined[key]}, {value}" if key in joined else value
        return joined

    def json(self) -> Any:
        """The body as JSON.

        Raises: ValueError.
        """
        return json.loads(self.body)


class RequestLog:
    """The latest requests: at most `max_requests` of them and `max_bytes` of bodies. Thread-safe."""

    def __init__(self, *, max_requests: int, max_bytes: int) -> None:
        self._max_requests = max_requests
        self._max_bytes = max_bytes
        self._kept: deque[ReceivedRequest] = deque()
        self._bytes = 0
        self._seen = 0
        self._changed = threading.Condition()

    def next_number(self) -> int:
        with self._changed:
            self._seen += 1
            return self._seen

    def add(self, request: ReceivedRequest) -> None:
        with self._changed:
            self._kept.append(request)
            self._bytes += len(request.body)
            while len(self._kept) > self._max_requests or (
                self._bytes > self._max_bytes and len(self._kept) > 1
            ):
                self._bytes -= len(self._kept.popleft().body)
            self._changed.notify_all()

    def clear(self) -> None:
        with self._changed:
            self._kept.clear()
            self._bytes = 0

    def wake(self) -> None:
        """Something about a request changed."""
        with self._changed:
            self._changed.notify_all()

    def snapshot(self) -> list[ReceivedRequest]:
        with self._changed:
            return list(self._kept)

    def wait(
        self, ready: Callable[[Sequence[ReceivedRequest]], bool], timeout: float, what: str
    ) -> list[ReceivedRequest]:
        """The kept requests once they are `ready`; `what` names that in the error.

        Raises: TimeoutError.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: ready(self._kept), timeout):
                raise TimeoutError(f"no {what} within {timeout} s; {len(self._kept)} requests arrived")
            return list(self._kept)
