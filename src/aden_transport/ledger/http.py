"""The ledger of a control server: every hold is one request to it.

Where calls shall not wait for a server, leases are the way (`leased.py`); here each call is judged where all
the fleet's money is. What a request is about is named by an id, so one whose answer was lost may be sent
again; a repeated `settle`, `release` or `settle_deferred` says False of what the first one did.

- **Time** is the server's: it is told how long a hold lives, and settles it, disputed, when that is over.
- **Intents** go with holds: of a call whose hold nobody ends in time the server writes the event.
- **Pace** is each process's own, and events of ends are not kept here.
"""

from __future__ import annotations

import hashlib
import ssl
import threading
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn, TypeVar
from urllib.parse import urlsplit

import httpx2

from .. import _json
from .._fork import on_fork_in_child
from ..control.messages import Paths
from ..control.options import is_loopback, server_address
from ..errors import LedgerUnavailable
from .base import Intent, KeepsNoEvents, Line, Outcome, Spooled, Totals, Unit
from .leased import is_fleet_key
from .pace import Move, Turn
from .pace_memory import Paces
from .wire import escaped, intent_text, line_json, outcome_of, totals_of

__all__ = ["HttpLedger"]

MOST = 2**53 - 1
"""Larger amounts count as this one."""
MOST_ANSWER = 4 << 20
CONNECTIONS = 20
IDLE_S = 30.0


T = TypeVar("T")


class HttpLedger(KeepsNoEvents):
    """See `Ledger`. Connects when it is first used; every method waits about `timeout_s` at most.

    `url`: of the server, https, or http to this machine. `api_key`: with the scope `"ledger"`.

    Raises: ConfigurationError where the URL cannot be used; ValueError for what the server cannot read.
    """

    def __init__(
        self,
        url: str,
        api_key: str,
        *,
        timeout_s: float = 0.25,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.url = server_address(url)
        self.timeout_s = timeout_s
        self._key = api_key
        self._wall = wall
        self._client: httpx2.Client | None = None
        self._lock = threading.Lock()
        self._paces = Paces()
        _ledgers.add(self)

    def __repr__(self) -> str:
        return f"HttpLedger({self.url!r})"

    @staticmethod
    def is_fleet(key: str) -> bool:
        """Whether the server's budgets are charged with what is spent on `key`."""
        return is_fleet_key(key)

    # -- a call -------------------------------------------------------------------------------------

    def reserve(
        self,
        op_id: str,
        candidates: Sequence[Sequence[Line]],
        *,
        now: float,
        expires_at: float,
        intent: Intent | None = None,
    ) -> Outcome:
        told: dict[str, Any] = {
            "op_id": escaped(op_id),
            "candidates": [[line_json(line) for line in each] for each in candidates],
            "ttl_s": max(0.0, expires_at - now),
        }
        if intent is not None and (text := intent_text(intent)) is not None:
            told["intent"] = text
        return self._read(outcome_of, self._ask("reserve", **told))

    def settle(self, op_id: str, amounts: Mapping[Unit, int], *, event: Spooled | None = None) -> bool:
        return self._done("settle", op_id=escaped(op_id), amounts=_amounts(amounts))

    def release(self, op_id: str, *, event: Spooled | None = None) -> bool:
        return self._done("release", op_id=escaped(op_id))

    def defer(self, op_id: str, ref: str, *, expires_at: float) -> bool:
        ttl_s = max(0.0, expires_at - self._wall())
        return self._done("defer", op_id=escaped(op_id), ref=escaped(ref), ttl_s=ttl_s)

    def settle_deferred(self, ref: str, amounts: Mapping[Unit, int]) -> bool:
        return self._done("settle_deferred", ref=escaped(ref), amounts=_amounts(amounts))

    # -- a key --------------------------------------------------------------------------------------

    def raise_to(self, key: str, spent: int, *, mark: str, expires_at: float = 0.0) -> None:
        told = {
            "key": escaped(key),
            "spent": min(spent, MOST),
            "mark": escaped(mark),
            "expires_at": expires_at,
        }
        self._ask("raise_to", **told)

    def mark_once(self, key: str, mark: str, *, expires_at: float = 0.0) -> bool:
        return self._done("mark_once", key=escaped(key), mark=escaped(mark), expires_at=expires_at)

    def totals(self, lines: Sequence[Line]) -> tuple[Totals, ...]:
        told = self._ask("totals", lines=[line_json(line) for line in lines])
        return self._read(lambda body: totals_of(body["totals"]), told)

    def pace(self, key: str, move: Move, *, now: float | None = None) -> Turn:
        return self._paces.move(key, move, now)

    def salt(self) -> bytes:
        """The same for all who have this key."""
        return hashlib.sha256(b"aden pace\0" + self._key.encode()).digest()

    # -- all of them --------------------------------------------------------------------------------

    def sweep(self, now: float) -> Sequence[str]:
        """The server does it."""
        return ()

    def disputed(self) -> Mapping[str, int]:
        return self._read(lambda body: dict(body["disputed"]), self._send("GET", "state", None))

    def open_holds(self) -> int:
        return self._read(lambda body: int(body["open_holds"]), self._send("GET", "state", None))

    def close(self) -> None:
        with self._lock:
            client, self._client = self._client, None
        if client is not None:
            client.close()

    # -- the server ---------------------------------------------------------------------------------

    def _done(self, operation: str, **told: Any) -> bool:
        return self._read(lambda body: bool(body["done"]), self._ask(operation, **told))

    def _ask(self, operation: str, **told: Any) -> Any:
        return self._send("POST", operation, _json.dumps(told))

    def _send(self, method: str, operation: str, body: bytes | None) -> Any:
        deadline = time.monotonic() + self.timeout_s
        client = self._connected()
        url = f"{self.url}{Paths.ledger}/{operation}"
        try:
            try:
                status, data = _exchange(client, method, url, body, deadline)
            except (httpx2.RemoteProtocolError, httpx2.ReadError, httpx2.WriteError):
                # A connection that was idle may have been closed by the server at this moment.
                status, data = _exchange(client, method, url, body, deadline)
        except (httpx2.HTTPError, httpx2.StreamError, RuntimeError, OSError) as exc:
            self._fail(_reason(exc, self.timeout_s), exc)
        if status == 200:
            return self._read(_json.loads, data)
        self._refused(status, data)

    def _refused(self, status: int, data: bytes) -> NoReturn:
        if status in (400, 413, 422):
            raise ValueError(f"{self.url} cannot read what it was sent: {data[:300]!r}")
        if status in (401, 403):
            self._fail('it refuses the API key: give one of its keys with the scope "ledger"')
        if status in (404, 405):
            self._fail("it keeps no ledger: give the address of `aden-transport serve`")
        self._fail(f"it answers with status {status}")

    def _read(self, read: Callable[[Any], T], told: Any) -> T:
        try:
            return read(told)
        except (ValueError, KeyError, TypeError) as exc:
            self._fail("its answer cannot be read", exc)

    def _fail(self, reason: str, exc: Exception | None = None) -> NoReturn:
        raise LedgerUnavailable(f"The ledger of {self.url} cannot be used: {reason}") from exc

    def _connected(self) -> httpx2.Client:
        client = self._client
        if client is None:
            with self._lock:
                client = self._client = self._client or _client(self.url, self._key, self.timeout_s)
        return client

    def _renew_in_child(self) -> None:
        """The connections are the parent's, too; the lock may be held by a thread that is not here."""
        self._client = None
        self._lock = threading.Lock()
        self._paces.renew_in_child()


def _client(url: str, key: str, timeout_s: float) -> httpx2.Client:
    local = is_loopback(urlsplit(url).hostname or "")
    # A context that knows no authority is made in no time; plain HTTP has no use for another.
    verify: Any = True if url.startswith("https:") else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    return httpx2.Client(
        headers={
            "authorization": f"Bearer {key}",
            "content-type": "application/json",
            "accept-encoding": "identity",
            "user-agent": "aden-transport",
        },
        timeout=httpx2.Timeout(timeout_s, connect=timeout_s / 2),
        follow_redirects=False,
        trust_env=not local,
        verify=verify,
        limits=httpx2.Limits(max_connections=CONNECTIONS, keepalive_expiry=IDLE_S),
    )


def _exchange(
    client: httpx2.Client, method: str, url: str, body: bytes | None, deadline: float
) -> tuple[int, bytes]:
    with client.stream(method, url, content=body) as response:
        data = bytearray()
        for piece in response.iter_raw():
            data += piece
            if len(data) > MOST_ANSWER:
                raise httpx2.DecodingError("an answer of more than 4 MiB")
            # The client's own limit is of each read: a server may send a byte at a time.
            if time.monotonic() > deadline:
                raise httpx2.ReadTimeout("the answer does not end")
        return response.status_code, bytes(data)


def _reason(exc: Exception, timeout_s: float) -> str:
    if isinstance(exc, httpx2.TimeoutException):
        return f"no answer in {timeout_s:g} s"
    return f"it cannot be reached ({type(exc).__name__}: {str(exc)[:200]})"


def _amounts(amounts: Mapping[Unit, int]) -> dict[Unit, int]:
    return {unit: min(amount, MOST) for unit, amount in amounts.items()}


_ledgers: weakref.WeakSet[HttpLedger] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for ledger in list(_ledgers):
        ledger._renew_in_child()


on_fork_in_child(_after_fork_in_child)
