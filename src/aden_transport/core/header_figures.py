"""What an answer's headers say: allow-listed at once, read when the event is."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from operator import itemgetter
from typing import Any

from ..vendors import Vendor
from .wire import LOWER_NAME, Pairs, are_plain

__all__ = ["AnswerHeaders"]

KEPT_NAMES = frozenset(
    name.encode()
    for name in (
        "x-request-id",
        "request-id",
        "apim-request-id",
        "x-ms-region",
        "x-ms-deployment-name",
        "azureml-model-session",
        "openai-processing-ms",
        "openai-model",
        "openai-version",
        "openai-organization",
        "anthropic-organization-id",
        "x-client-request-id",
        "cf-ray",
        "retry-after",
        "retry-after-ms",
        "x-should-retry",
        "x-amzn-requestid",
        "x-amzn-errortype",
        "x-amzn-bedrock-input-token-count",
        "x-amzn-bedrock-output-token-count",
        "x-amzn-bedrock-cache-read-input-token-count",
        "x-amzn-bedrock-cache-write-input-token-count",
        "x-amzn-bedrock-invocation-latency",
        "x-amzn-bedrock-service-tier",
        # Mistral, Cohere, Hugging Face, Together, xAI, Perplexity, Groq, OpenRouter, DeepSeek, Databricks
        "mistral-correlation-id",
        "x-kong-request-id",
        "x-debug-trace-id",
        "x-envoy-upstream-service-time",
        "x-inference-provider",
        "inference-id",
        "x-compute-type",
        "x-compute-time",
        "x-compute-characters",
        "x-inference-time",
        "x-queue-time",
        "x-total-time",
        "x-metrics-e2e-ms",
        "x-metrics-ttft-ms",
        "x-ppl-region",
        "x-groq-region",
        "x-generation-id",
        "x-provider-name",
        "x-ds-trace-id",
        "nvcf-reqid",
        "x-vercel-id",
        "cf-aig-log-id",
        "cf-aig-cache-status",
        # LiteLLM: https://docs.litellm.ai/docs/proxy/response_headers
        "x-litellm-call-id",
        "x-litellm-model-group",
        "x-litellm-response-cost",
        "x-litellm-response-duration-ms",
        "x-litellm-overhead-duration-ms",
        "pydantic-ai-gateway-price-estimate",
        "llm_provider-x-request-id",
        "llm_provider-openai-processing-ms",
        "num_chars",
        "num_tokens",
        "x-inference-id",
        "x-compute-tokens",
        "x-prompt-tokens",
        "x-generated-tokens",
        "server-timing",
        "via",
        "content-type",
        "date",
    )
)
"""Response headers that an event may carry; rate limits come on top, nothing else ever does."""
KEPT_PREFIXES = (
    b"x-ratelimit-",
    b"ratelimit-",
    b"ratelimitbysize-",
    b"x-ratelimitbysize-",
    b"x-tokenlimit-",
    b"anthropic-ratelimit-",
    b"llm_provider-x-ratelimit-",
    b"llm_provider-anthropic-ratelimit-",
    b"x-trial-endpoint-call-",
    b"x-endpoint-monthly-call-",
    b"x-goog-request",
)
DROPPED = frozenset({b"x-ratelimit-key"})
"""Of these, what is no figure: on Azure, whom the limit is for."""
MAX_VALUE = 256
MAX_KEPT = 64
MAX_KNOWN = 512

_plans: dict[bytes, Plan] = {}


class Plan:
    """Where in an answer's headers what is needed stands. The names of a vendor's answers are the same
    each time, so that this is found out once."""

    __slots__ = ("encoding_at", "pick", "size", "type_at")

    def __init__(self, names: tuple[bytes, ...]) -> None:
        self.size = len(names)
        places = [place for place, name in enumerate(names) if is_kept(name)]
        # One place alone would be handed out bare, none not at all.
        self.pick: Callable[[Pairs], Pairs] = (
            itemgetter(*places) if len(places) > 1 else lambda pairs: [pairs[place] for place in places]
        )
        self.type_at = _last(names, b"content-type")
        self.encoding_at = _last(names, b"content-encoding")


def is_kept(name: bytes) -> bool:
    return name in KEPT_NAMES or (name.startswith(KEPT_PREFIXES) and name not in DROPPED)


def _last(names: tuple[bytes, ...], name: bytes) -> int | None:
    places = [place for place, known in enumerate(names) if known == name]
    return places[-1] if places else None


def _new_plan(key: bytes, pairs: Pairs) -> Plan:
    names = tuple(map(LOWER_NAME, pairs))
    plan = Plan(names)
    if are_plain(names):
        if len(_plans) >= MAX_KNOWN:
            _plans.clear()
        _plans[key] = plan
    return plan


class AnswerHeaders:
    """The headers of an answer that observing and events need. No credential or cookie is among them."""

    __slots__ = ("_kept", "content_encoding", "content_type")

    def __init__(self, pairs: Pairs) -> None:
        key = b"\n".join(map(LOWER_NAME, pairs))
        plan = _plans.get(key)
        if plan is None or plan.size != len(pairs):
            plan = _new_plan(key, pairs)
        self._kept = plan.pick(pairs)
        at = plan.type_at
        self.content_type = b"" if at is None else pairs[at][2]
        at = plan.encoding_at
        self.content_encoding: bytes | None = None if at is None else pairs[at][2]

    def kept(self) -> dict[bytes, bytes]:
        """The allow-listed headers by lower-case name."""
        return {name: value for _, name, value in self._kept[:MAX_KEPT]}

    def figures(self, vendor: Vendor, at: float, client_request_id: bytes | None) -> dict[str, Any]:
        """The event's fields that stand in the headers. `at`: seconds since the epoch."""
        found = self.kept()
        figures: dict[str, Any] = {
            "headers": {name.decode("ascii", "replace"): plain(value) for name, value in found.items()},
            "request_id": _first(found, vendor.request_id_headers),
            "client_request_id": None if client_request_id is None else plain(client_request_id),
        }
        if vendor.read_rate_limit is not None:
            figures["rate_limit"] = vendor.read_rate_limit(found, at)
        if vendor.latency_header is not None and (took := found.get(vendor.latency_header)) is not None:
            figures["server_latency_ms"] = milliseconds(took)
        if vendor.region_header is not None:
            figures["region"] = _first(found, (vendor.region_header,))
        if vendor.organization_header is not None:
            figures["organization"] = _first(found, (vendor.organization_header,))
        return figures


def _first(headers: Mapping[bytes, bytes], names: tuple[bytes, ...]) -> str | None:
    return next((plain(headers[name]) for name in names if name in headers), None)


_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def plain(value: bytes) -> str:
    """A header value as text, cut, with control characters replaced."""
    text = value[:MAX_VALUE].decode("latin-1")
    return text if text.isprintable() else _CONTROL.sub("?", text)


_DUR = re.compile(rb"(?:^|dur=)(\d{1,12}(?:\.\d{1,9})?)(?![\w.])")


def milliseconds(value: bytes) -> float | None:
    """`"321"`, `"1116.2"`, or the `dur` of a Server-Timing header (W3C Server Timing, milliseconds)."""
    if value.isdigit() and len(value) < 13:
        return float(value)
    found = _DUR.search(value[:MAX_VALUE])
    return float(found[1]) if found else None
