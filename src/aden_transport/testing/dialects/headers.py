"""The headers that come with every answer of a vendor."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ..answers import Call
from ..limits import RateLimit

__all__ = ["vendor_headers"]


def vendor_headers(call: Call, vendor: str, limit: RateLimit) -> tuple[tuple[str, str], ...]:
    """Request id, processing time, organisation and rate limits, as `vendor` names them."""
    if vendor == "anthropic":
        return _anthropic(call, limit)
    if vendor == "gemini":
        return _google(call)
    if vendor in OWN:
        return OWN[vendor](call, limit)
    if "/openai/deployments/" in call.request.path:
        return _azure(call, limit)
    return _openai(call, limit)


def _openai(call: Call, limit: RateLimit) -> tuple[tuple[str, str], ...]:
    return (
        ("access-control-expose-headers", "X-Request-ID"),
        ("openai-organization", "org-fake"),
        ("openai-processing-ms", str(processing_ms(call))),
        ("openai-project", "proj_fake"),
        ("openai-version", "2020-10-01"),
        *limit.openai(tokens="/audio/" not in call.request.path),
        ("x-request-id", call.hex_id("req_", 32)),
    )


def _azure(call: Call, limit: RateLimit) -> tuple[tuple[str, str], ...]:
    return (
        ("apim-request-id", _uuid(call, "apim")),
        ("x-ms-region", "West Europe"),
        ("x-ms-deployment-name", call.request.path.partition("/deployments/")[2].partition("/")[0]),
        ("x-ratelimit-limit-requests", str(limit.requests)),
        ("x-ratelimit-limit-tokens", str(limit.tokens)),
        ("x-ratelimit-remaining-requests", str(limit.requests_left)),
        ("x-ratelimit-remaining-tokens", str(limit.tokens_left)),
        ("x-ratelimit-renewalperiod-requests", "60"),
        ("x-ratelimit-renewalperiod-tokens", "60"),
        ("x-request-id", _uuid(call, "x")),
    )


def _anthropic(call: Call, limit: RateLimit) -> tuple[tuple[str, str], ...]:
    return (
        *limit.anthropic(call.now),
        ("request-id", call.id("req_011C", 20)),
        ("anthropic-organization-id", _uuid(call, "org", number=0)),
        ("x-envoy-upstream-service-time", str(processing_ms(call))),
    )


def _google(call: Call) -> tuple[tuple[str, str], ...]:
    return (
        ("server-timing", f"gfet4t7; dur={processing_ms(call)}"),
        ("vary", "Origin"),
        ("vary", "X-Origin"),
        ("vary", "Referer"),
    )


def _cohere(call: Call, limit: RateLimit) -> tuple[tuple[str, str], ...]:
    return (
        ("x-debug-trace-id", call.hex_id("", 32)),
        ("x-envoy-upstream-service-time", str(processing_ms(call))),
        ("x-endpoint-monthly-call-limit", "1000"),
        ("x-trial-endpoint-call-limit", str(limit.requests)),
        ("x-trial-endpoint-call-remaining", str(limit.requests_left)),
    )


def _mistral(call: Call, limit: RateLimit) -> tuple[tuple[str, str], ...]:
    return (
        ("mistral-correlation-id", _uuid(call, "mistral")),
        ("x-ratelimit-limit-req-minute", str(limit.requests)),
        ("x-ratelimit-remaining-req-minute", str(limit.requests_left)),
        ("x-ratelimit-limit-tokens-minute", str(limit.tokens)),
        ("x-ratelimit-remaining-tokens-minute", str(limit.tokens_left)),
    )


OWN: Mapping[str, Callable[[Call, RateLimit], tuple[tuple[str, str], ...]]] = {
    "bedrock": lambda call, _limit: (("x-amzn-requestid", _uuid(call, "amzn")),),
    "cohere": _cohere,
    "mistral": _mistral,
    "ollama": lambda _call, _limit: (),
}


def processing_ms(call: Call) -> int:
    """A made-up time on the server, the same for the same request."""
    return 20 + len(call.request.body) % 400


def _uuid(call: Call, name: str, *, number: int | None = None) -> str:
    digits = call.hex_id(name, 32)[len(name) :] if number is None else "0" * 32
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))
