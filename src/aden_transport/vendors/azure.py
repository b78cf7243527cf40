"""Azure OpenAI and Foundry: OpenAI's wire format; the deployment stands in the path. Claude beside it, in
Anthropic's, and other vendors' models in OpenAI's.

https://learn.microsoft.com/azure/ai-services/openai/reference
https://learn.microsoft.com/azure/ai-foundry/foundry-models/concepts/endpoints
"""

from __future__ import annotations

import dataclasses
import re

from . import openai
from .anthropic import ANTHROPIC
from .base import Route, Vendor, route
from .limits import openai_limits

__all__ = ["AZURE"]


def _in_deployment(known: Route) -> Route:
    pattern = r"/deployments/(?P<model>[^/]+)" + known.pattern.pattern.removesuffix("$")
    return route(known.method, pattern, known.operation, strong=known.strong)


def _on_openai_surface(known: Route) -> Route:
    pattern = r"/openai(?:/v1)?" + known.pattern.pattern.removesuffix("$")
    return route(known.method, pattern, known.operation)


def _elsewhere(known: Route) -> Route:
    """Of `/models` and of endpoints of one model, which refuse members that they do not know."""
    operation = known.operation
    if operation.asks_usage:
        operation = dataclasses.replace(operation, asks_usage=False)
    return dataclasses.replace(known, operation=operation, strong=False)


# The deployment in the path decides; the `/openai/v1` surface has it in the body instead.
_DEPLOYED = tuple(_in_deployment(r) for r in openai.ROUTES if "/responses" not in r.pattern.pattern)

AZURE = Vendor(
    id="azure",
    otel="azure.ai.openai",
    routes=(
        *_DEPLOYED,
        *(_on_openai_surface(r) for r in openai.ROUTES if r.operation.asks_usage),
        *(_elsewhere(r) for r in (*openai.ROUTES, *ANTHROPIC.routes)),
    ),
    host_suffixes=(
        ".openai.azure.com",
        ".services.ai.azure.com",
        ".cognitiveservices.azure.com",
        ".openai.azure.us",
        ".cognitiveservices.azure.us",
        ".openai.azure.cn",
        ".cognitiveservices.azure.cn",
    ),
    # Endpoints of a region, and of one model: serverless, and on machines of its own.
    host_pattern=re.compile(
        r"(?:(?=[^.]+\.api\.)|[^.]+\.)(?P<region>[a-z0-9]+)"
        r"\.(?:api\.cognitive\.microsoft|(?:models|inference)\.ai\.azure|inference\.ml\.azure)\.com"
    ),
    user_agents=(b"AzureOpenAI/", b"AsyncAzureOpenAI/"),
    price_provider="azure",
    accepts_stream_options=True,
    completion_cap=True,
    request_id_headers=(b"apim-request-id", b"x-request-id", b"request-id"),
    latency_header=b"openai-processing-ms",
    region_header=b"x-ms-region",
    read_rate_limit=openai_limits,
    checked="2026-11-22",
    source="https://learn.microsoft.com/azure/ai-services/openai/reference",
    # Older api-versions and "on your data" requests answer 400 to stream_options.
    quirks={
        "stream_options_since": "2024-10-21",
        "stream_options_not_with": "data_sources",
        "completion_cap_since": "2024-10-21",
    },
)
