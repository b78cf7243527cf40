"""Events as lines on stdout, for local testing.

Always::

    + [a1b2c3d4] openai gpt-4o 1234ms
      tokens: 12 in / 247 out

`tokens: unknown` where an answer without error told no usage. A call that failed starts with `!` and
says how; its tokens line is there only where usage is known. A blocked call starts with `x` and has
no duration, because nothing was sent::

    ! [a1b2c3d4] openai gpt-4o 87ms
      error: 429 rate_limit_error: Rate limit reached for requests
    x [a1b2c3d4] openai gpt-4o blocked
      reason: budget "team" is spent

`pretty` adds lines below these, each where there is something to say, and colour on a terminal::

      cost $0.0025, 8 cached, 128 reasoning, estimated
      degraded: gpt-4o -> gpt-4o-mini (budget "team" at 82 %)
      throttled: 500ms (budget "team" at 96 %)
      alert: budget "team" at 51 %
      left: 4999/5000 requests, 29500/30000 tokens
"""

from __future__ import annotations

import logging
import os
import sys
from typing import Any

from ..errors import ConfigurationError
from ..events import Decision, MetricEvent, NormalizedUsage, RateLimit
from ._text import clean
from .base import BaseEmitter

__all__ = ["ConsoleEmitter", "console_lines", "create_console_emitter"]

_log = logging.getLogger("aden.metrics")
_RED, _GREEN, _YELLOW, _DIM, _RESET = "\x1b[31m", "\x1b[32m", "\x1b[33m", "\x1b[2m", "\x1b[0m"
_HEAD_COLOUR = {"+": _GREEN, "!": _RED, "x": _YELLOW}


class ConsoleEmitter(BaseEmitter):
    """Writes each event to the `sys.stdout` of the moment, or to the logger `aden.metrics`."""

    def __init__(self, *, pretty: bool, use_logging: bool) -> None:
        self._pretty = pretty
        self._use_logging = use_logging

    def __call__(self, event: MetricEvent) -> None:
        if self._use_logging:
            if _log.isEnabledFor(logging.DEBUG):
                _log.debug("%s", "\n".join(console_lines(event, pretty=self._pretty)))
            return
        stream = sys.stdout
        if stream is None or stream.closed:
            return
        lines = console_lines(event, pretty=self._pretty)
        if self._pretty and _wants_colour(stream):
            lines = _coloured(lines)
        _write(stream, "\n".join(lines) + "\n")


def create_console_emitter(pretty: bool = False, use_logging: bool = False) -> ConsoleEmitter:
    """Print two lines per event: who answered in what time, and the tokens.

    `pretty` adds cost, limits and decisions below, and colour where stdout is a terminal and
    `NO_COLOR` is not set. `use_logging` writes to the logger `aden.metrics` at DEBUG instead of stdout,
    one record per event, without colour.

    Raises: ConfigurationError where an argument is not a bool.
    """
    for name, value in (("pretty", pretty), ("use_logging", use_logging)):
        if not isinstance(value, bool):
            raise ConfigurationError(f"create_console_emitter: {name}={value!r}: give True or False")
    return ConsoleEmitter(pretty=pretty, use_logging=use_logging)


def console_lines(event: MetricEvent, *, pretty: bool = False) -> list[str]:
    """The lines about one event, without colour; every string from outside is cleaned and cut."""
    blocked = event.decision.action == "block"
    failed = _failed(event)
    mark = "x" if blocked else "!" if failed else "+"
    who = f"[{clean(event.trace_id[:8])}] {clean(event.provider)} {clean(event.model or '-')}"
    lines = [f"{mark} {who} blocked" if blocked else f"{mark} {who} {event.latency_ms:.0f}ms"]
    if event.usage is not None:
        lines.append(f"  tokens: {event.usage.input_tokens} in / {event.usage.output_tokens} out")
    elif not (blocked or failed):
        lines.append("  tokens: unknown")
    if failed:
        lines.append(f"  error: {_error(event)}")
    if blocked:
        lines.append(f"  reason: {clean(event.decision.reason or 'not given')}")
    if pretty:
        lines += _additions(event, blocked=blocked)
    return lines


def _failed(event: MetricEvent) -> bool:
    if event.decision.action == "block":
        return False
    return bool(event.error or event.error_type or (event.status_code or 0) >= 400)


def _error(event: MetricEvent) -> str:
    """`429 rate_limit_error: message`, of which any part may be missing."""
    parts = [str(event.status_code)] if (event.status_code or 0) >= 400 else []
    if event.error_type:
        parts.append(clean(event.error_type))
    head = " ".join(parts)
    return ": ".join(part for part in (head, clean(event.error or "")) if part)


def _additions(event: MetricEvent, *, blocked: bool) -> list[str]:
    lines = []
    if event.usage is not None or event.cost_nano_usd is not None:
        lines.append("  " + ", ".join(_figures(event)))
    if not blocked:
        lines += _decision(event, event.decision)
    left = _left(event.rate_limit)
    if left:
        lines.append("  left: " + left)
    return lines


def _figures(event: MetricEvent) -> list[str]:
    parts = ["cost unknown" if event.cost_nano_usd is None else f"cost {_dollars(event.cost_nano_usd)}"]
    usage = event.usage or NormalizedUsage()
    for count, word in (
        (usage.cached_tokens, "cached"),
        (usage.cache_write_tokens, "written to cache"),
        (usage.reasoning_tokens, "reasoning"),
        (usage.images, "images"),
        (usage.characters, "characters"),
    ):
        if count > 0:
            parts.append(f"{count} {word}")
    if event.usage_source == "estimated":
        parts.append("estimated")
    return parts


def _decision(event: MetricEvent, decision: Decision) -> list[str]:
    why = f" ({clean(decision.reason)})" if decision.reason else ""
    lines = []
    if event.degraded_from:
        lines.append(f"  degraded: {clean(event.degraded_from)} -> {clean(event.request_model or '-')}{why}")
    if event.throttle_ms > 0:
        lines.append(f"  throttled: {event.throttle_ms:.0f}ms{why}")
    if decision.action == "alert":
        lines.append(f"  alert: {clean(decision.reason or 'no reason given')}")
    if decision.hindered:
        lines.append(f"  not degraded: {clean(decision.hindered)}")
    return lines


def _left(limit: RateLimit | None) -> str:
    """`4999/5000 requests, 29500/30000 tokens`: what the vendor's headers say is left."""
    if limit is None:
        return ""
    parts = []
    for left, most, word in (
        (limit.remaining_requests, limit.limit_requests, "requests"),
        (limit.remaining_tokens, limit.limit_tokens, "tokens"),
        (limit.remaining_input_tokens, limit.limit_input_tokens, "input tokens"),
        (limit.remaining_output_tokens, limit.limit_output_tokens, "output tokens"),
    ):
        if left is not None:
            parts.append(f"{left} {word}" if most is None else f"{left}/{most} {word}")
    return ", ".join(parts)


def _dollars(nano: int) -> str:
    """At least four decimals, and as many more as show two digits of a small sum."""
    decimals = 4 if nano == 0 else max(4, min(9, 11 - len(str(abs(nano)))))
    sign = "-" if nano < 0 else ""
    return f"{sign}${abs(nano) / 1e9:.{decimals}f}"


def _wants_colour(stream: Any) -> bool:
    # https://no-color.org: any value but the empty one.
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return False
    return bool(stream.isatty())


def _coloured(lines: list[str]) -> list[str]:
    head = f"{_HEAD_COLOUR[lines[0][0]]}{lines[0]}{_RESET}"
    return [head, *(f"{_DIM}{line}{_RESET}" for line in lines[1:])]


def _write(stream: Any, text: str) -> None:
    """One write per event, so that the lines of two events do not mix; flushed, so that a forked
    child inherits no copy of it."""
    if not text.isascii():
        encoding = getattr(stream, "encoding", None) or "utf-8"
        text = text.encode(encoding, "backslashreplace").decode(encoding)
    try:
        stream.write(text)
        stream.flush()
    except (OSError, ValueError):
        # A pipe whose reader left, or a stream closed meanwhile: nobody is looking.
        pass
