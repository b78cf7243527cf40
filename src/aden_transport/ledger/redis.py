"""The ledger of a fleet: sums in Redis or Valkey, each operation one run of `redis_ledger.lua`.

Needs Redis 6 or newer, or Valkey; all keys lie in one slot of a cluster.

- **Time** is the caller's: a hold expires by the `now` of whoever sweeps, so hosts' clocks should agree far
  closer than holds live (NTP does). One that is ahead sweeps early, which charges the hold and marks it
  disputed; it never gives money away. A window is forgotten after what lay between the caller's `now` and its
  end, and an hour more, whatever the server's clock says.
- **Forgetting**: replication is asynchronous, so a failover may lose the last reserves and settlements, and a
  server that evicts (`maxmemory-policy` other than `noeviction`) may lose windows. A fleet is called hard on
  one server with `appendonly yes`; with `appendfsync everysec`, a power cut may lose a second.
- **Numbers** in Lua are doubles: amounts and limits are at most $9,000,000, 9·10¹⁵ tokens or calls.
"""

from __future__ import annotations

import hashlib
import math
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from functools import cache, lru_cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any, NoReturn

from .._fork import current_pid, random_bits
from .._json import dumps, loads
from ..errors import ConfigurationError, LedgerUnavailable
from .base import NEVER, Intent, Line, Outcome, Spooled, Totals, Unit
from .owner import host_name, is_gone, owner_of
from .pace import KEPT_S, Move, Told, Turn

if TYPE_CHECKING:
    import redis

__all__ = ["MOST", "RedisLedger"]

MOST = 9_000_000 * 10**9
"""The largest amount: below 2^53, up to which doubles count every integer."""

SWEPT_AT_ONCE = 200
"""Holds that one run of the script ends, so that others need not wait for long."""

_KINDS: tuple[Any, ...] = ("held", "throttled", "refused")


class RedisLedger:
    """See `Ledger`. Connects when it is first used, and again by itself after an outage.

    `url`: `redis://[user:password@]host:port/db`, `rediss://` for TLS, `unix://path`; `valkey://` and
    `valkeys://` are the same. `timeout_s` bounds each connect and each answer; names are resolved by the
    system, in its own time.

    Raises: ConfigurationError where redis-py is not installed or the URL cannot be read; ValueError for
    amounts and limits above `MOST`.
    """

    def __init__(self, url: str, *, prefix: str = "aden", timeout_s: float = 0.25) -> None:
        if not prefix or "{" in prefix or "}" in prefix:
            raise ConfigurationError(f"prefix={prefix!r}: give a name without braces, such as 'aden'")
        self._tag = f"{{{prefix}}}"
        self._client = _connect(url, timeout_s)
        self._address = _address(self._client)

    def __repr__(self) -> str:
        return f"RedisLedger({self._address!r}, prefix={self._tag[1:-1]!r})"

    # -- a call -------------------------------------------------------------------------------------

    @property
    def spools(self) -> bool:
        return False

    def reserve(
        self,
        op_id: str,
        candidates: Sequence[Sequence[Line]],
        *,
        now: float,
        expires_at: float,
        intent: Intent | None = None,
    ) -> Outcome:
        host, owner = _process(current_pid())
        reply = self._run(
            "reserve",
            op_id=_text(op_id),
            candidates=[[_row(line) for line in lines] for lines in candidates],
            now=_ms(now),
            kept=_ms(expires_at),
            due=_score(expires_at),
            host=host,
            owner=owner,
            **_intent(intent),
        )
        kind, candidate, line, fits_expected, *sums = reply
        return Outcome(_KINDS[kind], candidate, _totals(sums), line, bool(fits_expected))

    def settle(self, op_id: str, amounts: Mapping[Unit, int], *, event: Spooled | None = None) -> bool:
        return bool(self._run("settle", op_id=_text(op_id), amounts=_checked(amounts)))

    def release(self, op_id: str, *, event: Spooled | None = None) -> bool:
        return bool(self._run("release", op_id=_text(op_id)))

    def defer(self, op_id: str, ref: str, *, expires_at: float) -> bool:
        reply = self._run(
            "defer",
            op_id=_text(op_id),
            ref=_text(ref),
            now=_ms(time.time()),
            kept=_ms(expires_at),
            due=_score(expires_at),
        )
        return bool(reply)

    def settle_deferred(self, ref: str, amounts: Mapping[Unit, int]) -> bool:
        return bool(self._run("settle_deferred", ref=_text(ref), amounts=_checked(amounts)))

    # -- a key --------------------------------------------------------------------------------------

    def raise_to(self, key: str, spent: int, *, mark: str, expires_at: float = 0.0) -> None:
        _check(spent)
        self._mark("raise_to", key, mark, expires_at, spent=spent)

    def mark_once(self, key: str, mark: str, *, expires_at: float = 0.0) -> bool:
        return bool(self._mark("mark_once", key, mark, expires_at))

    def _mark(self, operation: str, key: str, mark: str, expires_at: float, **more: Any) -> Any:
        return self._run(
            operation,
            key=_text(key),
            mark=_text(mark),
            token=f"{random_bits(64):x}",
            now=_ms(time.time()),
            kept=_ms(expires_at),
            **more,
        )

    def totals(self, lines: Sequence[Line]) -> tuple[Totals, ...]:
        return _totals(self._run("totals", lines=[_row(line) for line in lines]))

    def pace(self, key: str, move: Move, *, now: float | None = None) -> Turn:
        ask = move._asdict() | {"move": type(move).__name__.lower(), "kept": int(KEPT_S), "now": now}
        if isinstance(move, Told):
            ask["rates"] = [None if rate is None else list(rate) for rate in move.rates]
        wait, taken = self._run("pace", key=_text(key), **ask)
        return Turn(float(wait), bool(taken))

    def salt(self) -> bytes:
        """The fleet's, kept in the server."""
        from redis.exceptions import RedisError

        name = f"{self._tag}:salt"
        try:
            self._client.set(name, os.urandom(32), nx=True)
            found = self._client.get(name)
        except (RedisError, OSError) as exc:
            self._fail(exc)
        assert isinstance(found, bytes)
        return found

    # -- all of them --------------------------------------------------------------------------------

    def sweep(self, now: float) -> Sequence[str]:
        host, _ = _process(current_pid())
        owners = [owner.decode() for owner in self._run("owners", host=host)]
        dead = [owner for owner in owners if is_gone(owner)]
        swept: list[str] = []
        more = True
        while more:
            more, *op_ids = self._run("sweep", now=_score(now), host=host, dead=dead, most=SWEPT_AT_ONCE)
            swept += [op_id.decode() for op_id in op_ids]
        return swept

    def take_events(self, most: int) -> Mapping[str, Mapping[str, Any]]:
        reply = self._run("take_events", most=most)
        return {each.decode(): _swept(text) for each, text in zip(reply[::2], reply[1::2], strict=True)}

    def forget_events(self, event_ids: Iterable[str]) -> None:
        self._run("forget_events", event_ids=list(event_ids))

    def events_dropped(self) -> int:
        return int(self._run("events_dropped"))

    def disputed(self) -> Mapping[str, int]:
        reply = self._run("disputed")
        return {key.decode(): int(amount) for key, amount in zip(reply[::2], reply[1::2], strict=True)}

    def open_holds(self) -> int:
        count: int = self._run("open_holds")
        return count

    def close(self) -> None:
        self._client.connection_pool.disconnect()

    # -- the server ---------------------------------------------------------------------------------

    def _run(self, operation: str, **ask: Any) -> Any:
        """Run the script; it is sent only to a server that does not have it (yet, or any more)."""
        from redis.exceptions import NoScriptError, RedisError

        text, digest = _script("redis_pace.lua" if operation == "pace" else "redis_ledger.lua")
        arguments = (self._tag, operation, dumps(ask))
        try:
            try:
                return self._client.evalsha(digest, 1, *arguments)
            except NoScriptError:
                return self._client.eval(text, 1, *arguments)
        except (RedisError, OSError) as exc:
            self._fail(exc)

    def _fail(self, exc: Exception) -> NoReturn:
        """Leave a server that will not do better: the name may by now be that of another."""
        reason, leave = _reason(exc)
        if leave:
            self._client.connection_pool.disconnect(inuse_connections=False)
        raise LedgerUnavailable(f"{self._address}: {reason}") from exc


# -- requests and replies ---------------------------------------------------------------------------


def _row(line: Line) -> tuple[Any, ...]:
    """A line in the order of the constants at the head of the script."""
    for number in (line.hold, line.expected):
        _check(number)
    for bound in (line.limit_held, line.limit_expected, line.degrade_at, line.throttle_at):
        if bound != NEVER:
            _check(bound)
    return (
        _text(line.key),
        line.hold,
        line.expected,
        line.limit_held,
        line.limit_expected,
        line.degrade_at,
        line.throttle_at,
        line.unit,
        _ms(line.expires_at),
        [_text(key) for key in line.also],
    )


def _intent(intent: Intent | None) -> dict[str, str]:
    if intent is None:
        return {}
    return {"event_id": str(intent["event"]["event_id"]), "intent": str(dumps(intent), "utf-8")}


def _swept(text: bytes) -> dict[str, Any]:
    """An event that a sweep left."""
    hold, candidate, intent = text.split(b" ", 2)
    told: dict[str, Any] = loads(intent)
    return told | {"hold": None if int(hold) < 0 else int(hold), "candidate": int(candidate)}


def _check(amount: int) -> None:
    if not 0 <= amount <= MOST:
        raise ValueError(
            f"{amount}: a Redis ledger counts from 0 to {MOST} (as dollars 9,000,000); "
            "set a limit within that, or keep this budget in SQLite or PostgreSQL"
        )


def _checked(amounts: Mapping[Unit, int]) -> dict[Unit, int]:
    for amount in amounts.values():
        _check(amount)
    return dict(amounts)


def _totals(sums: Sequence[int]) -> tuple[Totals, ...]:
    return tuple([Totals(*sums[i : i + 3]) for i in range(0, len(sums), 3)])


def _text(name: str) -> str:
    """Names come from the application and may hold lone surrogates, which UTF-8 cannot."""
    return name if name.isascii() else name.encode("utf-8", "backslashreplace").decode()


def _ms(seconds: float) -> int:
    """Of a time; 0, for never, where it is not finite."""
    return math.ceil(seconds * 1000) if math.isfinite(seconds) else 0


def _score(seconds: float) -> str:
    """Of a sorted set, which orders infinities, too."""
    return repr(float(seconds))


@lru_cache(maxsize=1)
def _process(pid: int) -> tuple[str, str]:
    """Whose processes can be looked for from here, and this one."""
    return host_name(), owner_of(pid)


# -- the driver -------------------------------------------------------------------------------------


@cache
def _script(name: str) -> tuple[str, str]:
    text = files("aden_transport.ledger").joinpath(name).read_text("utf-8")
    return text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


def _connect(url: str, timeout_s: float) -> redis.Redis:
    """A client whose pool is safe in threads and after a fork.

    One repeat of what met a broken connection, since a pooled one may have been closed by a proxy in between;
    none of what timed out. Where only the answer was lost, a repeated `settle`, `release` or
    `settle_deferred` says False of what the first one did.
    """
    try:
        import redis
        from redis.backoff import NoBackoff
        from redis.retry import Retry
    except ImportError as exc:
        raise ConfigurationError(
            "a ledger in Redis needs redis-py: pip install 'aden-transport[redis]'"
        ) from exc
    try:
        return redis.Redis.from_url(
            url.replace("valkey", "redis", 1) if url.startswith(("valkey://", "valkeys://")) else url,
            protocol=2,
            socket_timeout=timeout_s,
            socket_connect_timeout=timeout_s,
            retry=Retry(NoBackoff(), 1, supported_errors=(redis.ConnectionError,)),
        )
    except ValueError:
        # Its message may quote the password.
        raise ConfigurationError(
            "the ledger's URL cannot be read: give redis://[user:password@]host:port/db, "
            "with the password percent-encoded"
        ) from None


def _address(client: redis.Redis) -> str:
    """Where the server is, without user, password and query."""
    pool = client.connection_pool
    given = pool.connection_kwargs
    if "path" in given:
        return f"unix://{given['path']}"
    scheme = "rediss" if pool.connection_class.__name__.startswith("SSL") else "redis"
    return f"{scheme}://{given.get('host', 'localhost')}:{given.get('port', 6379)}/{given.get('db', 0)}"


def _reason(exc: Exception) -> tuple[str, bool]:
    """What is wrong and what to do, and whether idle connections should be given up."""
    from redis import exceptions as errors

    # redis-py has a class for what a command answers; Redis 6 quotes what a script met amid another message.
    said = f"{type(exc).__name__}: {exc}"
    for names, reason, leave in _ANSWERS:
        if any(name in said for name in names):
            return reason, leave
    if isinstance(exc, errors.TimeoutError):
        return "no answer in time", False
    if isinstance(exc, errors.ConnectionError | OSError):
        return "the server cannot be reached", True
    return f"the server answers {exc}", True


_ANSWERS = (
    (("BusyLoadingError",), "the server is still loading its data", False),
    (
        ("AuthenticationError", "AuthorizationError", "NoPermissionError", "NOAUTH", "NOPERM"),
        "the server refuses this user or password, or scripts to this user",
        False,
    ),
    (
        ("ReadOnlyError", "READONLY "),
        "the server is a read-only replica: give the address of the primary",
        True,
    ),
    (("OutOfMemoryError", "OOM "), "the server is out of memory (maxmemory)", False),
    (
        ("MovedError", "MOVED "),
        "the cluster keeps these keys on another node: give the address of that one",
        True,
    ),
)
"""redis-py's class or the server's word, what to say, and whether to leave."""
