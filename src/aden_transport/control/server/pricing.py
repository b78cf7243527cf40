"""What models cost: our price book, and a team's own prices before it, in Aden's shape and for events."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Annotated, Any, NamedTuple

import orjson
from fastapi import APIRouter, Depends, Query, Request
from sqlalchemy import Connection, delete, select
from starlette.requests import HTTPConnection
from starlette.responses import Response

from ...events import NormalizedUsage
from ...pricing import Price, PriceBook, UnitPrices
from ..messages import Paths
from . import audit
from .access import Caller, allowed, storage_of
from .policies import lock
from .storage import Notice, Storage
from .tables import prices as table
from .wire import Answer, Body, Fault, is_same, unchanged

__all__ = ["Pricing", "TeamPrices", "own_prices", "router", "state_of"]

router = APIRouter(tags=["pricing"])

MOST = 1000
"""Prices of a team's own."""
MAX_USD = 1_000_000.0
KNOWN_S = 5.0
"""How long a team's prices are taken as they were read; a change is heard of at once where notices arrive."""
TEAMS = 10_000
FIRST = ("openai", "anthropic", "google", "mistral", "deepseek", "x-ai", "groq", "cohere", "perplexity")
"""Whose models have their bare names, where several list one."""
MEMBERS = frozenset({"input", "output", "cached_input", "aliases"})


class TeamPrices:
    """The prices that hold for a team: its own, else those of the book."""

    def __init__(self, book: PriceBook, own: Mapping[str, Mapping[str, Any]]) -> None:
        self._book = book
        self.own = own
        """By model, or `provider/model`, as of `/tsdb/pricing`."""
        self._own: dict[str, UnitPrices] = {}
        for name, entry in own.items():
            found = UnitPrices(_price(entry).rates(), model=name, source="team")
            for each in (name, *entry.get("aliases", ())):
                self._own[each.lower()] = found

    def find(self, provider: str, model: str, at: float, tier: str | None = None) -> UnitPrices | None:
        listed = self._book.find(provider, model, at=at, service_tier=tier)
        if self._own:
            names = (model, listed.model) if listed is not None else (model,)
            for name in names:
                for each in (f"{provider}/{name}", name):
                    if (own := self._own.get(each.lower())) is not None:
                        return own
        return listed

    def cost(
        self, provider: str, model: str, usage: NormalizedUsage, at: float, tier: str | None
    ) -> int | None:
        found = self.find(provider, model, at, tier)
        return None if found is None or found.unpriced(usage) else found.cost(usage)


class _Known(NamedTuple):
    prices: TeamPrices
    until: float


class Pricing:
    """The prices of all teams. For any thread."""

    def __init__(self, storage: Storage) -> None:
        self.book = PriceBook()
        self._storage = storage
        self._known: dict[str, _Known] = {}
        self._changes = 0
        self._lock = threading.Lock()

    def of(self, team_id: str, now: float) -> TeamPrices:
        known = self._known.get(team_id)
        if known is not None and now < known.until:
            return known.prices
        changes = self._changes
        with self._storage.read() as db:
            own = own_prices(db, team_id)
        same = known is not None and known.prices.own == own
        found = known.prices if known is not None and same else TeamPrices(self.book, own)
        with self._lock:
            if len(self._known) >= TEAMS:
                self._known.clear()
            # What has changed while they were read is read with the next question.
            self._known[team_id] = _Known(found, now + KNOWN_S if changes == self._changes else 0)
        return found

    def heard(self, notice: Notice) -> None:
        """Read a team's prices anew."""
        if notice.topic in ("prices", "*"):
            with self._lock:
                self._changes += 1
                for team_id in list(self._known) if notice.team_id == "*" else [notice.team_id]:
                    known = self._known.get(team_id)
                    if known is not None:
                        self._known[team_id] = known._replace(until=0)


def pricing_of(connection: HTTPConnection) -> Pricing:
    pricing: Pricing = connection.app.state.pricing
    return pricing


def own_prices(db: Connection, team_id: str) -> dict[str, dict[str, Any]]:
    rows = db.execute(select(table.c.model, table.c.document).where(table.c.team_id == team_id))
    return {model: orjson.loads(document) for model, document in rows}


def state_of(own: Mapping[str, Any]) -> str:
    """Another for other prices."""
    return hashlib.sha256(orjson.dumps(own, option=orjson.OPT_SORT_KEYS)).hexdigest()[:32]


@router.get(Paths.pricing)
def get_pricing(
    request: Request,
    caller: Annotated[Caller, Depends(allowed("read"))],
    storage: Annotated[Storage, Depends(storage_of)],
    pricing: Annotated[Pricing, Depends(pricing_of)],
    as_of: Annotated[str | None, Query(max_length=32)] = None,
) -> Response:
    """US dollars per million tokens, the team's own prices first. With `as_of`, the date of the price data
    that a client of ours has of its own, they are by `provider/model`, and those of our data are left out
    where the client's are as new."""
    # Not as they are remembered: who was told of a change gets what has changed.
    with storage.read() as db:
        found = own_prices(db, caller.team_id)
    book, hour = pricing.book, int(time.time() // 3600)
    if as_of is None:
        found |= {name: entry for name, entry in _listed(book, hour).items() if name not in found}
    elif as_of < book.snapshot.as_of:
        found = {**_listed_apart(book, hour), **found}
    answer = Answer({"pricing": found})
    etag = hashlib.sha256(bytes(answer.body)).hexdigest()[:32]
    if is_same(request, etag):
        return unchanged(etag)
    answer.headers["ETag"] = f'"{etag}"'
    answer.headers["Cache-Control"] = "no-cache"
    return answer


@router.put(Paths.pricing)
def put_pricing(
    caller: Annotated[Caller, Depends(allowed("policy"))],
    body: Body,
    storage: Annotated[Storage, Depends(storage_of)],
    pricing: Annotated[Pricing, Depends(pricing_of)],
) -> dict[str, Any]:
    """Set prices of the team's own: `{"pricing": {model: {"input", "output", "cached_input", "aliases"}}}`;
    null takes one away. Models are `"name"` or `"provider/name"`."""
    changes = _changes(body.get("pricing"))
    now = time.time()

    def change(db: Connection) -> dict[str, Any]:
        lock(db, caller.team_id)
        before = own_prices(db, caller.team_id)
        after = {**before, **changes}
        after = {name: entry for name, entry in after.items() if entry is not None}
        if len(after) > MOST:
            raise Fault(422, "too_many", f"A team has at most {MOST} prices of its own.")
        _write(db, caller, changes, now)
        _audit(db, caller, before, after, now, body.get("reason"))
        storage.notify(db, caller.team_id, "prices")
        return after

    after = storage.transact(change)
    pricing.heard(Notice(caller.team_id, "prices"))
    return {"success": True, "pricing": after}


def _write(db: Connection, caller: Caller, changes: Mapping[str, Any], now: float) -> None:
    gone = table.c.team_id == caller.team_id, table.c.model.in_(list(changes))
    db.execute(delete(table).where(*gone))
    rows = [
        {
            "team_id": caller.team_id,
            "model": model,
            "document": str(orjson.dumps(entry), "utf-8"),
            "changed_at": now,
            "changed_by": caller.key_id,
        }
        for model, entry in changes.items()
        if entry is not None
    ]
    if rows:
        db.execute(table.insert(), rows)


def _audit(
    db: Connection,
    caller: Caller,
    before: Mapping[str, Any],
    after: Mapping[str, Any],
    now: float,
    reason: Any,
) -> None:
    changed = sorted({name for name in {*before, *after} if before.get(name) != after.get(name)})
    for name in changed:
        audit.record(
            db,
            caller.team_id,
            caller.key_id,
            "pricing.put",
            name,
            now=now,
            before=before.get(name),
            after=after.get(name),
            reason=reason if isinstance(reason, str) else None,
        )


def _changes(told: Any) -> dict[str, dict[str, Any] | None]:
    """Raises: Fault 422, which says what to correct."""
    if not isinstance(told, dict) or not told or len(told) > MOST:
        raise Fault(422, "invalid", 'Send {"pricing": {"model": {"input": 2.5, "output": 10}}}.')
    return {_model(name): None if entry is None else _entry(name, entry) for name, entry in told.items()}


def _model(name: str) -> str:
    if not 0 < len(name) <= 200 or not name.isascii() or not name.isprintable():
        raise Fault(422, "invalid", "Name models by 1 to 200 printable ASCII characters.")
    return name.lower()


def _entry(name: str, entry: Any) -> dict[str, Any]:
    if not isinstance(entry, dict) or not entry.keys() <= MEMBERS:
        raise Fault(
            422, "invalid", f"Give {name[:60]!r} input, output and, if need be, cached_input and aliases."
        )
    found: dict[str, Any] = {}
    for member in ("input", "output", "cached_input"):
        value = entry.get(member)
        if value is None and member == "cached_input":
            continue
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= MAX_USD:
            raise Fault(422, "invalid", f"Give {name[:60]!r}.{member} as dollars per million tokens, from 0.")
        found[member] = value
    aliases = entry.get("aliases") or []
    if (
        not isinstance(aliases, list)
        or len(aliases) > 100
        or not all(isinstance(one, str) for one in aliases)
    ):
        raise Fault(422, "invalid", f"Give {name[:60]!r}.aliases as a list of at most 100 names.")
    found["aliases"] = [_model(alias) for alias in aliases]
    return found


def _price(entry: Mapping[str, Any]) -> Price:
    return Price(entry["input"], entry["output"], entry.get("cached_input"))


@lru_cache(maxsize=2)
def _listed(book: PriceBook, hour: int) -> Mapping[str, dict[str, Any]]:
    """The book's prices of text, as of an hour: names that begin alike by falling length, since Aden's client
    takes the first that its model begins with."""
    found: dict[str, dict[str, Any]] = {}
    for _, name, shown, aliases in _of_text(book, hour):
        found.setdefault(name, {**shown, "aliases": aliases})
    return {name: found[name] for name in sorted(found, key=lambda name: (-len(name), name))}


@lru_cache(maxsize=2)
def _listed_apart(book: PriceBook, hour: int) -> Mapping[str, dict[str, Any]]:
    """The same by provider and model, as several may list one."""
    return {
        f"{provider}/{name}": {**shown, "aliases": [f"{provider}/{alias}" for alias in aliases]}
        for provider, name, shown, aliases in _of_text(book, hour)
    }


def _of_text(book: PriceBook, hour: int) -> Iterator[tuple[str, str, dict[str, Any], list[str]]]:
    """Provider, model, prices and the model's other names."""
    snapshot = book.snapshot
    snapshot.read_all()
    for provider in (*FIRST, *[name for name in snapshot.providers() if name not in FIRST]):
        for model in snapshot.models_of(provider):
            prices = book.find(provider, model.id, at=hour * 3600.0)
            if prices is not None and "input" in prices.rates and "output" in prices.rates:
                name = model.id.lower()
                exact = [part[1:] for part in _parts(model.clause) if part.startswith("=")]
                yield provider, name, _shown(prices), [alias for alias in exact if alias != name]


def _shown(prices: UnitPrices) -> dict[str, Any]:
    rates = prices.rates
    shown = {"input": _dollars(rates["input"]), "output": _dollars(rates["output"])}
    shown["cached_input"] = _dollars(rates.get("cached", rates["input"]))
    return shown


def _parts(clause: Any) -> list[str]:
    """The names of a clause, of its first level."""
    if isinstance(clause, str):
        return [clause]
    return [part for part in clause[1:] if isinstance(part, str)] if clause and clause[0] == "|" else []


def _dollars(rate: Any) -> float:
    """Of a million units, from pico-dollars of one; of prices by length, those of short prompts."""
    from fractions import Fraction

    return float(Fraction(rate[0] if isinstance(rate, list) else rate) / 1_000_000)
