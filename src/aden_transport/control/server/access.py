"""Who asks: API keys, stored as hashes, each of one team, with scopes.

A token is `aden_<prefix>_<secret>`. The prefix may be shown; the secret has 256 random bits, so its hash
needs no salt and no slow function.
"""

from __future__ import annotations

import hashlib
import hmac
import math
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Annotated, Literal, get_args

from anyio import to_thread
from fastapi import Depends
from sqlalchemy import Connection, insert, select, update
from starlette.requests import HTTPConnection

from .storage import Notice, Storage
from .tables import api_keys, teams
from .wire import Fault

__all__ = [
    "ADMIN",
    "AGENT",
    "Access",
    "Caller",
    "Scope",
    "allowed",
    "allowed_soon",
    "create_key",
    "create_team",
    "storage_of",
    "token_of",
]

Scope = Literal["read", "ingest", "ledger", "policy", "admin"]
SCOPES: tuple[Scope, ...] = get_args(Scope)
ADMIN: tuple[Scope, ...] = SCOPES
AGENT: tuple[Scope, ...] = ("read", "ingest", "ledger")
"""What a program needs that makes calls."""

KNOWN_S = 5.0
"""How long a key is taken as it was read; a revocation is heard of at once where notices arrive."""
USED_S = 60.0
"""Between two notes of a key's last use."""
FAILURES = 30
"""Of one address, in `FAILURES_S`, before it is asked to wait."""
FAILURES_S = 60.0
MOST = 10_000
"""Keys and addresses that are kept in memory."""
NOBODY = hashlib.sha256(secrets.token_bytes(32)).hexdigest()


@dataclass(frozen=True, slots=True)
class Caller:
    """Who has shown a key."""

    team_id: str
    key_id: str
    name: str
    scopes: frozenset[str]

    def may(self, scope: Scope) -> bool:
        return scope in self.scopes


@dataclass(frozen=True, slots=True)
class _Known:
    caller: Caller
    hash: str
    expires_at: float
    until: float
    reading: int
    """In which it was read; a later one begins when keys have changed."""


class Access:
    """Keys as a server reads them, and who has failed to show one. For any thread."""

    def __init__(self, storage: Storage, *, clock: Callable[[], float] = time.time) -> None:
        self._storage = storage
        self._clock = clock
        self._lock = threading.Lock()
        self._known: OrderedDict[str, _Known] = OrderedDict()
        self._failed: OrderedDict[str, tuple[int, float]] = OrderedDict()
        self._reading = 0

    def caller(self, token: str | None, address: str) -> Caller:
        """Raises: Fault 401 where the token is none of ours, 429 where `address` has tried too many."""
        now = self._clock()
        if token:
            prefix, digest = _prefix(token), _hash(token)
            known, is_fresh = self._look_up(prefix, now)
            if not is_fresh:
                if known is None or not hmac.compare_digest(known.hash, digest):
                    self._heed(address, now)
                known = self._read(prefix, now)
            if hmac.compare_digest(known.hash if known else NOBODY, digest):
                assert known is not None
                if now < known.expires_at:
                    return known.caller
        self._fail(address, now)
        raise Fault(
            401,
            "unauthorized",
            "Send `Authorization: Bearer <API key>` with a key of this server that is in force.",
            {"WWW-Authenticate": "Bearer"},
        )

    def at_hand(self, token: str | None) -> Caller | None:
        """`caller`, where that takes no look into the database; else None, and `caller` says."""
        if not token:
            return None
        now = self._clock()
        known, is_fresh = self._look_up(_prefix(token), now)
        if known is None or not is_fresh or now >= known.expires_at:
            return None
        return known.caller if hmac.compare_digest(known.hash, _hash(token)) else None

    def heard(self, notice: Notice) -> None:
        """Read the keys anew, as one may have been revoked."""
        if notice.topic in ("keys", "*"):
            with self._lock:
                self._reading += 1

    def _look_up(self, prefix: str, now: float) -> tuple[_Known | None, bool]:
        """What was read of a key, and whether that was lately, and no key has changed since."""
        with self._lock:
            known = self._known.get(prefix)
            is_fresh = known is not None and now < known.until and known.reading == self._reading
        return known, is_fresh

    def _read(self, prefix: str, now: float) -> _Known | None:
        reading = self._reading
        with self._storage.read() as db:
            row = db.execute(select(api_keys).where(api_keys.c.prefix == prefix)).mappings().first()
        if row is None or row["revoked_at"] is not None:
            with self._lock:
                self._known.pop(prefix, None)
            return None
        if now - (row["last_used_at"] or 0) > USED_S:
            with self._storage.begin() as db:
                db.execute(update(api_keys).where(api_keys.c.id == row["id"]).values(last_used_at=now))
        caller = Caller(row["team_id"], row["id"], row["name"], frozenset(row["scopes"].split()))
        known = _Known(caller, row["hash"], row["expires_at"] or math.inf, now + KNOWN_S, reading)
        with self._lock:
            self._known[prefix] = known
            if len(self._known) > MOST:
                self._known.popitem(last=False)
        return known

    def _heed(self, address: str, now: float) -> None:
        with self._lock:
            count, since = self._failed.get(address, (0, now))
        if count >= FAILURES and now - since < FAILURES_S:
            wait = str(int(FAILURES_S - (now - since)) + 1)
            raise Fault(
                429, "too_many_failures", f"Wait {wait} s, and send a valid key.", {"Retry-After": wait}
            )

    def _fail(self, address: str, now: float) -> None:
        with self._lock:
            count, since = self._failed.pop(address, (0, now))
            if now - since >= FAILURES_S:
                count, since = 0, now
            self._failed[address] = (count + 1, since)
            if len(self._failed) > MOST:
                self._failed.popitem(last=False)


def create_team(db: Connection, name: str, *, now: float, team_id: str | None = None) -> str:
    """Returns its id."""
    team_id = team_id or f"team_{secrets.token_hex(8)}"
    db.execute(insert(teams).values(id=team_id, name=name, created_at=now))
    return team_id


def create_key(
    db: Connection,
    team_id: str,
    name: str,
    scopes: Iterable[Scope],
    *,
    now: float,
    expires_at: float | None = None,
    by: str | None = None,
) -> tuple[str, str]:
    """The id of a new key, and its token, which is nowhere else."""
    prefix = secrets.token_hex(6)
    token = f"aden_{prefix}_{secrets.token_urlsafe(32)}"
    key_id = f"key_{prefix}"
    db.execute(
        insert(api_keys).values(
            id=key_id,
            team_id=team_id,
            prefix=prefix,
            hash=_hash(token),
            name=name,
            scopes=" ".join(dict.fromkeys(scopes)),
            created_at=now,
            created_by=by,
            expires_at=expires_at,
        )
    )
    return key_id, token


def _prefix(token: str) -> str:
    parts = token.split("_", 2)
    return parts[1][:32] if len(parts) == 3 and parts[0] == "aden" and parts[1].isascii() else ""


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def storage_of(connection: HTTPConnection) -> Storage:
    """The dependency of routes that read or write."""
    storage: Storage = connection.app.state.storage
    return storage


def caller_of(connection: HTTPConnection) -> Caller:
    """The dependency of routes that any key may use."""
    access: Access = connection.app.state.access
    address = connection.client.host if connection.client else ""
    return access.caller(token_of(connection), address)


def token_of(connection: HTTPConnection) -> str | None:
    """What the header Authorization brings."""
    scheme, _, token = connection.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


def allowed(scope: Scope) -> Callable[[Caller], Caller]:
    """The dependency of routes that need a scope: `caller: Annotated[Caller, Depends(allowed("read"))]`.

    Raises: Fault 401 without a valid key, 403 where the key has not the scope.
    """

    def check(caller: Annotated[Caller, Depends(caller_of)]) -> Caller:
        return _with_scope(caller, scope)

    return check


async def allowed_soon(connection: HTTPConnection, scope: Scope) -> Caller:
    """What `allowed` gives, for a route on the loop: without a thread, where the key was read lately."""
    access: Access = connection.app.state.access
    caller = access.at_hand(token_of(connection))
    if caller is None:
        caller = await to_thread.run_sync(caller_of, connection)
    return _with_scope(caller, scope)


def _with_scope(caller: Caller, scope: Scope) -> Caller:
    if not caller.may(scope):
        raise Fault(403, "forbidden", f'This key has not the scope "{scope}"; use one that has it.')
    return caller
