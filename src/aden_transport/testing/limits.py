"""Rate limits that count down, in each vendor's headers."""

from __future__ import annotations

from datetime import UTC, datetime

__all__ = ["RateLimit", "duration"]


class RateLimit:
    """Requests and tokens left of one minute's allowance; nothing is refilled and nothing refused."""

    def __init__(self, *, requests: int, tokens: int) -> None:
        self.requests = requests
        self.tokens = tokens
        self.requests_left = requests
        self.tokens_left = tokens

    def take(self, tokens: int) -> None:
        """Count one request and its tokens; what is left stays at zero."""
        self.requests_left = max(0, self.requests_left - 1)
        self.tokens_left = max(0, self.tokens_left - tokens)

    @property
    def _resets(self) -> tuple[float, float]:
        """Seconds until requests and tokens would be full again."""
        return (
            60.0 * (self.requests - self.requests_left) / max(1, self.requests),
            60.0 * (self.tokens - self.tokens_left) / max(1, self.tokens),
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
