"""What events add up to: calls, tokens and cost, and what a policy did about them or would have done."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, get_args

from .events import Action, MetricEvent

__all__ = ["Deeds", "Report", "Sums", "summarize"]

MAX_ROWS = 1_000
OTHERS = "(others)"
MAX_KNOWN = 50_000
"""Events and calls that a report recognises when they come again."""
ACTIONS = get_args(Action)
WHO = ("tenant", "customer", "agent", "feature")


@dataclass(slots=True)
class Sums:
    """Figures of some calls, added up."""

    calls: int = 0
    """As the program made them: attempts of one call count once."""
    attempts: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost_nano_usd: int = 0
    unpriced: int = 0
    """Attempts that used something of unknown cost."""
    failed: int = 0
    """Attempts that ended with an error; blocked calls are none."""
    charged_nano_usd: int = 0
    """What ledgers took, of attempts that met a budget."""
    unconfirmed_nano_usd: int = 0
    """What they took beyond the known cost of these: where the vendor may have billed what nobody saw, a
    stream was left, or an answer has no price; only an invoice says what of it is owed."""


@dataclass(slots=True)
class Deeds:
    """What was done about calls for one reason."""

    calls: int = 0
    saved_nano_usd: int = 0
    """Against sending the call as it was asked for, as far as that is known."""
    unknown: int = 0
    """Attempts of which it is not."""
    delay_ms: float = 0.0
    """Waited, all together; of what would have been done, not waited."""


@dataclass(slots=True)
class Report:
    """Figures of events. Tables have a thousand rows at most; the last one is then `"(others)"`."""

    total: Sums = field(default_factory=Sums)
    models: dict[tuple[str, str], Sums] = field(default_factory=dict[tuple[str, str], Sums])
    """By provider and model."""
    attribution: dict[tuple[str, str], Sums] = field(default_factory=dict[tuple[str, str], Sums])
    """By kind (`"tenant"`, `"customer"`, `"agent"`, `"feature"`) and name."""
    done: dict[tuple[str, str], Deeds] = field(default_factory=dict[tuple[str, str], Deeds])
    """What was blocked, degraded, throttled or alerted, by who demanded it (a budget's id, `"a rule"`,
    `"a hook"`) and action."""
    would: dict[tuple[str, str], Deeds] = field(default_factory=dict[tuple[str, str], Deeds])
    """The same of policies that are not enforced: what would have been done."""
    first: str | None = None
    last: str | None = None
    """When the first and the last call started, ISO 8601, UTC."""
    unreadable: int = 0
    """Events that were none."""

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""

        def rows(table: Mapping[tuple[str, str], Any], *names: str) -> list[dict[str, Any]]:
            return [{**dict(zip(names, key, strict=True)), **asdict(row)} for key, row in table.items()]

        return {
            "first": self.first,
            "last": self.last,
            "unreadable": self.unreadable,
            "total": asdict(self.total),
            "models": rows(self.models, "provider", "model"),
            "attribution": rows(self.attribution, "kind", "name"),
            "done": rows(self.done, "by", "action"),
            "would": rows(self.would, "by", "action"),
        }


def summarize(events: Iterable[MetricEvent | Mapping[str, Any]]) -> Report:
    """The report of `events`, in whatever order they come: `MetricEvent`s, or what their `to_dict` gave.

    Reads one at a time, and keeps figures only. An event that comes again (`event_id`) counts once.
    """
    summary = _Summary()
    for event in events:
        summary.add(event.to_dict() if isinstance(event, MetricEvent) else event)
    return summary.report


class _Summary:
    def __init__(self) -> None:
        self.report = Report()
        self._events = _Known()
        self._calls = _Known()

    def add(self, event: Any) -> None:
        try:
            sums = _sums(event)
            decision = event.get("decision") or {}
            deeds = [*_done(decision, event), *_would(decision)]
            keys = (_text(event["provider"]), _text(event.get("model") or "-"))
            who = [(kind, _text(name)) for kind in WHO if (name := _metadata(event).get(kind))]
            at, call_id = _text(event["timestamp"]), _text(event.get("call_id", ""))
            known = self._events.is_known(_text(event["event_id"]))
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
            self.report.unreadable += 1
            return
        if known:
            return
        report = self.report
        report.first = at if report.first is None else min(report.first, at)
        report.last = at if report.last is None else max(report.last, at)
        _add(report.total, sums)
        _add(_row(report.models, keys, Sums, (OTHERS, OTHERS)), sums)
        for kind, name in who:
            _add(_row(report.attribution, (kind, name), Sums, (kind, OTHERS)), sums)
        for table, key, deed in deeds:
            again = self._calls.is_known((call_id, table, key))
            deed.calls = int(not again)
            _add(_row(getattr(report, table), key, Deeds, (OTHERS, key[1])), deed)


Deed = tuple[str, tuple[str, str], Deeds]


def _sums(event: Mapping[str, Any]) -> Sums:
    usage, cost = event.get("usage") or {}, event.get("cost_nano_usd")
    charged = event.get("charged_nano_usd")
    blocked = (event.get("decision") or {}).get("action") == "block"
    failed = not blocked and bool(event.get("error_type") or _whole(event.get("status_code")) >= 400)
    return Sums(
        calls=int(not _whole(event.get("attempt"))),
        attempts=1,
        input_tokens=_whole(usage.get("input_tokens")),
        output_tokens=_whole(usage.get("output_tokens")),
        cost_nano_usd=_whole(cost),
        unpriced=int(cost is None and bool(usage)),
        failed=int(failed),
        charged_nano_usd=_whole(charged),
        unconfirmed_nano_usd=0 if charged is None else _whole(charged) - _whole(cost),
    )


def _done(decision: Mapping[str, Any], event: Mapping[str, Any]) -> Iterable[Deed]:
    action = _action(decision)
    if action == "allow":
        return
    saved = event.get("saved_nano_usd")
    # What a blocked call would have cost, nobody knows.
    unknown = action in ("degrade", "block") and saved is None
    delay = float(event.get("throttle_ms") or 0)
    yield "done", (_by(decision), action), Deeds(0, _whole(saved), int(unknown), delay)


def _would(decision: Mapping[str, Any]) -> Iterable[Deed]:
    shadow = decision.get("shadow")
    if not shadow:
        return
    saved = shadow.get("saved_nano_usd")
    delay = float(shadow.get("delay_ms") or 0)
    yield "would", (_by(shadow), _action(shadow)), Deeds(0, _whole(saved), int(saved is None), delay)


def _action(decision: Mapping[str, Any]) -> str:
    action = decision.get("action", "allow")
    if action not in ACTIONS:
        raise ValueError(f"{action!r} is no action")
    return str(action)


def _by(decision: Mapping[str, Any]) -> str:
    budget_id = decision.get("budget_id")
    if budget_id is not None:
        return _text(budget_id)
    return "a hook" if decision.get("source") == "hook" else "a rule"


def _metadata(event: Mapping[str, Any]) -> Mapping[str, Any]:
    metadata = dict(event.get("metadata") or {})
    metadata.setdefault("agent", event.get("agent_name"))
    return metadata


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{type(value).__name__} is no text")
    return value


def _whole(value: Any) -> int:
    """A count; absent is 0."""
    if value is None:
        return 0
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{type(value).__name__} is no count")
    return value


def _row(table: dict[tuple[str, str], Any], key: tuple[str, str], kind: type[Any], others: Any) -> Any:
    if key not in table and len(table) >= MAX_ROWS:
        key = others
    return table.setdefault(key, kind())


def _add(row: Any, more: Any) -> None:
    for figure in fields(row):
        name = figure.name
        setattr(row, name, getattr(row, name) + getattr(more, name))


class _Known:
    """What has been seen lately: the oldest half is forgotten where there is too much."""

    def __init__(self) -> None:
        self._seen: dict[Hashable, None] = {}

    def is_known(self, key: Hashable) -> bool:
        """Whether `key` was asked about before."""
        if key in self._seen:
            return True
        if len(self._seen) >= MAX_KNOWN:
            for old in list(self._seen)[: MAX_KNOWN // 2]:
                del self._seen[old]
        self._seen[key] = None
        return False
