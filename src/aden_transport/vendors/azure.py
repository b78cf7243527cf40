"""Azure OpenAI: OpenAI's wire format; the deployment stands in the path. Claude beside it, in Anthropic's.

https://learn.microsoft.com/azure/ai-services/openai/reference
"""

from __future__ import annotations

import dataclasses

from . import openai
from .anthropic import ANTHROPIC
from .base import Route, Vendor, route
from .limits import openai_limits

__all__ = ["AZURE"]


def _in_deployment(known: Route) -> Route:
    pattern = r"/deployments/(?P<model>[^/]+)" + known.pattern.pattern.removesuffix("$")
    return route(known.method, pattern, known.operation, strong=known.strong)


# The deployment in the path decides; the `/openai/v1` surface has it in the body instead.
_DEPLOYED = tuple(_in_deployment(r) for r in openai.ROUTES if "/responses" not in r.pattern.pattern)

AZURE = Vendor(
    id="azure",
    otel="azure.ai.openai",
    routes=(
        *_DEPLOYED,
        *(dataclasses.replace(r, strong=False) for r in (*openai.ROUTES, *ANTHROPIC.routes)),
    ),
    host_suffixes=(".openai.azure.com", ".services.ai.azure.com", ".cognitiveservices.azure.com"),
    user_agents=(b"AzureOpenAI/", b"AsyncAzureOpenAI/"),
    price_provider="azure",
    accepts_stream_options=True,
    request_id_headers=(b"apim-request-id", b"x-request-id"),
    latency_header=b"openai-processing-ms",
    region_header=b"x-ms-region",
    read_rate_limit=openai_limits,
    checked="2026-11-21",
    source="https://learn.microsoft.com/azure/ai-services/openai/reference",
    # Older api-versions and "on your data" requests answer 400 to stream_options.
    quirks={"stream_options_since": "2024-10-21", "stream_options_not_with": "data_sources"},
)
