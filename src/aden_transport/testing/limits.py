"""Rate limits in each vendor's headers: figures that count down, or limits that are enforced."""

from __future__ import annotations

from datetime import UTC, datetime

__all__ = ["RateLimit", "duration"]


class RateLimit:
    """Requests and tokens left of one window's allowance.

    Where it is not enforced, nothing is refilled and nothing refused. Enforced, they are token buckets, which
    are refilled continuously (https://docs.anthropic.com/en/api/rate-limits); `burst` is how many requests
    may come at once, as vendors enforce a minute's limit in shorter windows.
    """

    def __init__(
        self,
        *,
        requests: int,
        tokens: int,
        enforced: bool = False,
        window_s: float = 60.0,
        burst: int | None = None,
    ) -> None:
        self.enforced = enforced
        self.window_s = window_s
        self.burst = requests if burst is None else burst
        self.refused = 0
        """How many requests have been."""
        self._ready = float(self.burst)
        self._requests, self._tokens = float(requests), float(tokens)
        self._at: float | None = None
        self.requests = requests
        self.tokens = tokens
        self.requests_left = requests
        self.tokens_left = tokens

    def admit(self, now: float) -> float:
        """Seconds until a request would be admitted; 0 where it is, and is counted. `now`: seconds."""
        if not self.enforced:
            return 0.0
        self._refill(now)
        rate = self.requests / self.window_s
        short = max(1.0 - min(self._ready, self._requests), 0.0) / rate
        if self._tokens < 1:
            short = max(short, (1 - self._tokens) * self.window_s / self.tokens)
        if short > 1e-9:
            self.refused += 1
            return short
        self._ready -= 1
        self._requests -= 1
        self._show()
        return 0.0

    def _refill(self, now: float) -> None:
        passed = 0.0 if self._at is None else max(0.0, now - self._at)
        self._at = now
        share = passed / self.window_s
        self._ready = min(float(self.burst), self._ready + self.requests * share)
        self._requests = min(float(self.requests), self._requests + self.requests * share)
        self._tokens = min(float(self.tokens), self._tokens + self.tokens * share)
        self._show()

    def _show(self) -> None:
        self.requests_left = int(max(0.0, self._requests))
        self.tokens_left = int(max(0.0, self._tokens))

    def take(self, tokens: int) -> None:
        """Count one request and its tokens; what is left stays at zero."""
        if self.enforced:
            self._tokens -= tokens
            self._show()
            return
        self.requests_left = max(0, self.requests_left - 1)
        self.tokens_left = max(0, self.tokens_left - tokens)

    @property
    def _resets(self) -> tuple[float, float]:
        """Seconds until requests and tokens would be full again."""
        return (
            self.window_s * (self.requests - self.requests_left) / max(1, self.requests),
            self.window_s * (self.tokens - self.tokens_left) / max(1, self.tokens),
        )

    def openai(self, *, tokens: bool = True) -> list[tuple[str, str]]:
        """`x-ratelimit-…`, resets as durations; `tokens=False` for APIs billed otherwise."""
        requests_reset, tokens_reset = self._resets
        rows = [
            ("limit-requests", str(self.requests)),
            ("limit-tokens", str(self.tokens)),
            ("remaining-requests", str(self.requests_left)),
            ("remaining-tokens", str(self.tokens_left)),
            ("reset-requests", duration(requests_reset)),
            ("reset-tokens", duration(tokens_reset)),
        ]
        return [(f"x-ratelimit-{name}", value) for name, value in rows if tokens or "tokens" not in name]

    def anthropic(self, now: float) -> list[tuple[str, str]]:
        """`anthropic-ratelimit-…`, four families, resets as RFC 3339 times."""
        requests_reset, tokens_reset = self._resets
        output_left = self.tokens // 5 - (self.tokens - self.tokens_left) // 5
        families = [
            ("input-tokens", self.tokens, self.tokens_left, tokens_reset),
            ("output-tokens", self.tokens // 5, output_left, tokens_reset),
            ("requests", self.requests, self.requests_left, requests_reset),
            ("tokens", self.tokens + self.tokens // 5, self.tokens_left + output_left, tokens_reset),
        ]
        rows: list[tuple[str, str]] = []
        for family, limit, left, reset in families:
            name = f"anthropic-ratelimit-{family}"
            at = datetime.fromtimestamp(now + reset, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            rows += [(f"{name}-limit", str(limit)), (f"{name}-remaining", str(left)), (f"{name}-reset", at)]
        return rows


def duration(seconds: float) -> str:
    """OpenAI's way to write a wait: `0s`, `6ms`, `1.182s`, `2m3.5s`, `1h2m3s`."""
    milliseconds = round(seconds * 1000)
    if milliseconds == 0:
        return "0s"
    if milliseconds < 1000:
        return f"{milliseconds}ms"
    minutes, rest = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    text = f"{rest / 1000:g}s"
    if hours:
        return f"{hours}h{minutes}m{text}"
    return f"{minutes}m{text}" if minutes else text
