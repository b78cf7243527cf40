"""Lines and outcomes as JSON, between `ledger/http.py` and a server.

Raises, where what was sent is no line or the like: ValueError, which says what is wrong.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, get_args

from .. import _json
from .base import NEVER, Intent, Line, Outcome, Totals, Unit

__all__ = [
    "MOST",
    "MOST_INTENT",
    "amounts_of",
    "candidates_of",
    "escaped",
    "intent_text",
    "line_json",
    "list_of",
    "lines_of",
    "number",
    "outcome_json",
    "outcome_of",
    "text",
    "totals_json",
    "totals_of",
    "whole",
]

MOST = 2**62
"""Of an integer; more than any limit."""
MOST_CHARS = 20_000
"""Of a name."""
MOST_INTENT = 8192
"""Characters of an intent."""
MOST_CANDIDATES, MOST_LINES, MOST_ALSO = 64, 256, 64
MOST_KEYS = 4096
"""Of all candidates of a call."""
UNITS: tuple[Unit, ...] = get_args(Unit)
BOUNDS = ("limit_held", "limit_expected", "degrade_at", "throttle_at")


def escaped(told: str) -> str:
    """Names come from the application and may hold lone surrogates, which JSON cannot."""
    return told if told.isascii() else told.encode("utf-8", "backslashreplace").decode()


def line_json(line: Line) -> dict[str, Any]:
    """What is as it is by default is left out."""
    told: dict[str, Any] = {"key": escaped(line.key), "hold": line.hold, "expected": line.expected}
    for bound in BOUNDS:
        amount = getattr(line, bound)
        if amount != NEVER:
            told[bound] = amount
    if line.unit != "usd":
        told["unit"] = line.unit
    if line.also:
        told["also"] = [escaped(key) for key in line.also]
    if line.expires_at:
        told["expires_at"] = line.expires_at
    return told


def intent_text(intent: Intent) -> str | None:
    """What a server needs to write the event of a call that nobody ends: without the metadata where these are
    too much, None where the rest is."""
    event, sending = intent["event"], intent.get("sending")
    told = {"event": event, "models": intent["models"], "instance": sending[1] if sending else None}
    for _ in range(2):
        # As text: metadata may hold lone surrogates, and these are escaped so.
        text = str(_json.dumps(told), "utf-8")
        if len(text) <= MOST_INTENT:
            return text
        told["event"] = {name: value for name, value in event.items() if name != "metadata"}
    return None


def lines_of(told: Any) -> list[Line]:
    return [_line(each) for each in list_of(told, "lines", MOST_LINES)]


def candidates_of(told: Any) -> list[list[Line]]:
    found = [lines_of(each) for each in list_of(told, "candidates", MOST_CANDIDATES)]
    if not found:
        raise ValueError("candidates: give at least one")
    if sum(1 + len(line.also) for lines in found for line in lines) > MOST_KEYS:
        raise ValueError(f"candidates: at most {MOST_KEYS} keys in all")
    return found


def _line(told: Any) -> Line:
    if not isinstance(told, Mapping):
        raise ValueError("a line is an object")
    bounds = {name: whole(told, name, least=NEVER) for name in BOUNDS if name in told}
    unit = told.get("unit", "usd")
    if unit not in UNITS:
        raise ValueError(f"unit: one of {', '.join(UNITS)}")
    also = tuple([text({"also": key}, "also") for key in list_of(told.get("also", ()), "also", MOST_ALSO)])
    return Line(
        text(told, "key"),
        whole(told, "hold"),
        whole(told, "expected"),
        **bounds,
        unit=unit,
        also=also,
        expires_at=number(told, "expires_at", 0.0),
    )


def amounts_of(told: Any) -> dict[Unit, int]:
    if not isinstance(told, Mapping) or not set(told) <= set(UNITS):
        raise ValueError(f"amounts: an object of {', '.join(UNITS)}")
    return {unit: whole(told, unit) for unit in UNITS if unit in told}


def outcome_json(outcome: Outcome) -> dict[str, Any]:
    return {
        "kind": outcome.kind,
        "candidate": outcome.candidate,
        "totals": totals_json(outcome.totals),
        "line": outcome.line,
        "fits_expected": outcome.fits_expected,
    }


def outcome_of(told: Mapping[str, Any]) -> Outcome:
    return Outcome(
        told["kind"], told["candidate"], totals_of(told["totals"]), told["line"], told["fits_expected"]
    )


def totals_json(totals: Sequence[Totals]) -> list[tuple[int, int, int]]:
    return [(each.spent, each.held, each.expected) for each in totals]


def totals_of(told: Sequence[Sequence[int]]) -> tuple[Totals, ...]:
    return tuple([Totals(*each) for each in told])


# -- members ----------------------------------------------------------------------------------------


def text(told: Mapping[str, Any], name: str) -> str:
    found = told.get(name)
    if not isinstance(found, str) or len(found) > MOST_CHARS:
        raise ValueError(f"{name}: text of at most {MOST_CHARS} characters")
    return found


def whole(told: Mapping[str, Any], name: str, *, least: int = 0) -> int:
    found = told.get(name)
    if type(found) is not int or not least <= found <= MOST:
        raise ValueError(f"{name}: an integer from {least} to {MOST}")
    return found


def number(told: Mapping[str, Any], name: str, default: float | None = None) -> float:
    """Seconds."""
    found = told.get(name, default)
    if isinstance(found, bool) or not isinstance(found, (int, float)) or not math.isfinite(found):
        raise ValueError(f"{name}: a finite number")
    if not 0 <= found <= 1e12:
        raise ValueError(f"{name}: a number from 0 to 1e12")
    return float(found)


def list_of(told: Any, name: str, most: int) -> Sequence[Any]:
    if not isinstance(told, (list, tuple)) or len(told) > most:
        raise ValueError(f"{name}: a list of at most {most}")
    return told
