"""Vendors that speak OpenAI's format on hosts of their own: one line each.

Where `asks_usage` is set, the vendor's documents or its own SDK name `stream_options.include_usage`, or
recorded requests with it were answered; it is left out where streams tell their usage unasked, and where
nobody says.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ..events import RateLimit
from . import openai_shapes as shapes
from .anthropic import ANTHROPIC
from .base import Headers, Operation, Reading, Route, StreamShape, Vendor, route
from .limits import compatible_limits
from .openai import CHAT, ROUTES

__all__ = ["CALLS", "COMPATIBLE", "RERANK", "amount", "below", "compatible", "reading_also"]

CHECKED = "2026-11-22"

RERANK = Operation("rerank", shapes.read_rerank)

_SHARED = frozenset(
    {
        "chat",
        "text_completion",
        "responses",
        "embeddings",
        "image_generation",
        "transcription",
        "speech",
        "moderation",
        "none",
    }
)
"""What others have of OpenAI's operations. Files, batches and assistants of theirs are not metered."""


def _not_free(known: Route) -> Route:
    """That moderation costs nothing is OpenAI's word, not that of others."""
    if not known.operation.free:
        return known
    return dataclasses.replace(known, operation=dataclasses.replace(known.operation, free=False))


CALLS = (
    *(_not_free(known) for known in ROUTES if known.operation.name in _SHARED),
    route("POST", r"/rerank", RERANK),
    *ANTHROPIC.routes,
)
"""Anthropic's format among them: many of these vendors speak it, too."""


def below(prefix: str, routes: Iterable[Route] = CALLS) -> tuple[Route, ...]:
    """`routes` under a path, a regular expression; for hosts that serve much else."""
    return tuple(
        route(known.method, prefix + known.pattern.pattern.removesuffix("$"), known.operation)
        for known in routes
    )


def amount(value: Any) -> int | float | None:
    """`value` where it is a number, else None."""
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) else None


ReadOwn = Callable[[Mapping[str, Any], Reading], None]


def reading_also(read_own: ReadOwn, routes: Iterable[Route] = CALLS) -> tuple[Route, ...]:
    """`routes` whose answers are read as usual and then by `read_own`, which gets what has the usage: a
    JSON answer, an event of a stream, or the response inside an event."""
    known: dict[int, Operation] = {}
    for each in routes:
        operation = each.operation
        known.setdefault(id(operation), _read_also(operation, read_own) if operation.metered else operation)
    return tuple(dataclasses.replace(each, operation=known[id(each.operation)]) for each in routes)


def _read_also(operation: Operation, read_own: ReadOwn) -> Operation:
    read_body, stream = operation.read_body, operation.stream

    def body(answer: Mapping[str, Any], reading: Reading) -> None:
        if read_body is not None:
            read_body(answer, reading)
        read_own(answer, reading)

    shape = None if stream is None else dataclasses.replace(stream, read_event=_event(stream, read_own))
    return dataclasses.replace(operation, read_body=None if read_body is None else body, stream=shape)


def _event(stream: StreamShape, read_own: ReadOwn) -> Callable[[str, Mapping[str, Any], Reading], None]:
    read_event = stream.read_event

    def event(name: str, chunk: Mapping[str, Any], reading: Reading) -> None:
        read_event(name, chunk, reading)
        response = chunk.get("response")
        read_own(response if isinstance(response, Mapping) else chunk, reading)

    return event


def compatible(
    id: str,
    *hosts: str,
    source: str,
    otel: str | None = None,
    suffixes: tuple[str, ...] = (),
    routes: tuple[Route, ...] = CALLS,
    sdk: str | None = None,
    prices: str | None = None,
    asks_usage: bool = False,
    completion_cap: bool = False,
    limits: Callable[[Headers, float], RateLimit | None] = compatible_limits,
    request_ids: tuple[str, ...] = ("x-request-id",),
    latency: str | None = None,
    region: str | None = None,
) -> Vendor:
    """A vendor's table. `sdk`: the class of the client of the vendor's own SDK, where a generator made it,
    so that it introduces itself as `Class/Python` and `AsyncClass/Python`. `prices`: its id in the price
    book, None where its prices are not known."""
    return Vendor(
        id=id,
        otel=otel or id,
        routes=routes,
        hosts=hosts,
        host_suffixes=suffixes,
        user_agents=() if sdk is None else (f"{sdk}/Python".encode(), f"Async{sdk}/Python".encode()),
        price_provider=prices,
        accepts_stream_options=asks_usage,
        completion_cap=completion_cap,
        request_id_headers=tuple(name.encode() for name in request_ids),
        latency_header=None if latency is None else latency.encode(),
        region_header=None if region is None else region.encode(),
        read_rate_limit=limits,
        checked=CHECKED,
        source=source,
    )


def read_moonshot(answer: Mapping[str, Any], reading: Reading) -> None:
    """Unasked, a stream tells its usage in the choice that ends, which is why it has one for each.

    https://platform.moonshot.ai/docs/api/chat
    """
    choices = answer.get("choices")
    if isinstance(answer.get("usage"), Mapping) or not isinstance(choices, list):
        return
    for choice in choices:
        usage = choice.get("usage") if isinstance(choice, Mapping) else None
        if isinstance(usage, Mapping):
            reading.usage = shapes.chat_usage(usage, reading) or reading.usage


DATABRICKS = (
    *below(r"/(?:serving-endpoints|ai-gateway/[\w./-]+)"),
    route("POST", r"/serving-endpoints/(?P<model>[^/]+)/invocations", CHAT),
)
SNOWFLAKE = (
    *below(r"/api/v2/cortex/(?:v1|openai)"),
    route("POST", r"/api/v2/cortex/inference:complete", CHAT),
)
PORTKEY = (route("POST", r"/prompts/[^/]+/completions", CHAT), *CALLS)

COMPATIBLE: tuple[Vendor, ...] = (
    compatible(
        "deepseek",
        "api.deepseek.com",
        prices="deepseek",
        asks_usage=True,
        request_ids=("x-ds-trace-id", "x-request-id"),
        source="https://api-docs.deepseek.com/api/create-chat-completion",
    ),
    compatible(
        "cerebras",
        "api.cerebras.ai",
        sdk="Cerebras",
        prices="cerebras",
        asks_usage=True,
        completion_cap=True,
        source="https://inference-docs.cerebras.ai/api-reference/chat-completions",
    ),
    compatible(
        "fireworks",
        "api.fireworks.ai",
        "us.api.fireworks.ai",
        sdk="Fireworks",
        prices="fireworks",
        source="https://docs.fireworks.ai/api-reference/post-chatcompletions",
    ),
    compatible(
        "moonshot",
        "api.moonshot.ai",
        "api.moonshot.cn",
        routes=reading_also(read_moonshot),
        prices="moonshotai",
        asks_usage=True,
        source="https://platform.moonshot.ai/docs/api/chat",
    ),
    compatible("zai", "api.z.ai", prices="zai", asks_usage=True, source="https://docs.z.ai/api-reference"),
    compatible("zhipuai", "open.bigmodel.cn", prices="zhipuai", source="https://docs.bigmodel.cn"),
    compatible(
        "alibaba",
        "dashscope.aliyuncs.com",
        "dashscope-intl.aliyuncs.com",
        "dashscope-us.aliyuncs.com",
        suffixes=(".dashscope.aliyuncs.com", ".maas.aliyuncs.com"),
        asks_usage=True,
        source="https://www.alibabacloud.com/help/en/model-studio/compatibility-of-openai-with-dashscope",
    ),
    compatible(
        "databricks",
        suffixes=(".azuredatabricks.net", ".cloud.databricks.com", ".gcp.databricks.com"),
        routes=DATABRICKS,
        prices="databricks",
        source="https://docs.databricks.com/aws/en/machine-learning/foundation-model-apis/api-reference",
    ),
    compatible(
        "snowflake",
        suffixes=(".snowflakecomputing.com",),
        routes=SNOWFLAKE,
        asks_usage=True,
        source="https://docs.snowflake.com/en/user-guide/snowflake-cortex/cortex-rest-api",
    ),
    compatible(
        "cloudflare",
        "api.cloudflare.com",
        routes=below(r"/ai/v1"),
        prices="cloudflare",
        asks_usage=True,
        request_ids=("cf-ray",),
        source="https://developers.cloudflare.com/workers-ai/configuration/open-ai-compatibility",
    ),
    compatible(
        "crusoe",
        "api.inference.crusoecloud.com",
        "managed-inference-api-proxy.crusoecloud.com",
        asks_usage=True,
        source="https://docs.crusoecloud.com",
    ),
    compatible(
        "heroku",
        suffixes=(".inference.heroku.com",),
        source="https://devcenter.heroku.com/articles/heroku-inference-api-v1-chat-completions",
    ),
    compatible("deepinfra", "api.deepinfra.com", source="https://deepinfra.com/docs/openai_api"),
    compatible("novita", "api.novita.ai", prices="novita", source="https://novita.ai/docs/api-reference"),
    compatible(
        "nebius",
        "api.tokenfactory.nebius.com",
        "api.studio.nebius.com",
        "api.studio.nebius.ai",
        source="https://docs.tokenfactory.nebius.com",
    ),
    compatible(
        "sambanova", "api.sambanova.ai", sdk="SambaNova", source="https://docs.sambanova.ai/docs/en/features"
    ),
    compatible("hyperbolic", "api.hyperbolic.xyz", source="https://docs.hyperbolic.xyz"),
    compatible(
        "nvidia",
        "integrate.api.nvidia.com",
        "ai.api.nvidia.com",
        request_ids=("nvcf-reqid", "x-request-id"),
        source="https://docs.nvidia.com/nim/large-language-models/latest/api-reference.html",
    ),
    compatible(
        "github",
        "models.github.ai",
        "models.inference.ai.azure.com",
        source="https://docs.github.com/en/rest/models/inference",
    ),
    compatible(
        "github-copilot",
        "api.githubcopilot.com",
        "api.individual.githubcopilot.com",
        "api.business.githubcopilot.com",
        "api.enterprise.githubcopilot.com",
        prices="github-copilot",
        source="https://docs.github.com/en/copilot/reference/copilot-billing/models-and-pricing",
    ),
    compatible("ai21", "api.ai21.com", source="https://docs.ai21.com/reference/jamba-1-6-api-ref"),
    compatible(
        "baseten",
        "inference.baseten.co",
        prices="baseten",
        source="https://docs.baseten.co/development/model-apis/overview",
    ),
    compatible("featherless", "api.featherless.ai", source="https://featherless.ai/docs"),
    compatible("inference.net", "api.inference.net", source="https://docs.inference.net"),
    compatible(
        "minimax",
        "api.minimax.io",
        "api.minimaxi.com",
        prices="minimax",
        source="https://platform.minimax.io/docs",
    ),
    compatible("meta", "api.meta.ai", prices="meta", source="https://dev.meta.ai/docs"),
    compatible("arcee", "api.arcee.ai", prices="arcee", source="https://docs.arcee.ai"),
    compatible("avian", "api.avian.io", prices="avian", source="https://avian.io/docs"),
    compatible("doubleword", "api.doubleword.ai", prices="doubleword", source="https://docs.doubleword.ai"),
    compatible(
        "ovhcloud",
        suffixes=(".ai.cloud.ovh.net",),
        prices="ovhcloud",
        source="https://help.ovhcloud.com/csm/en-public-cloud-ai-endpoints",
    ),
    compatible("nscale", "inference.api.nscale.com", source="https://docs.nscale.com"),
    compatible("friendli", "api.friendli.ai", source="https://friendli.ai/docs/openapi"),
    compatible("scaleway", "api.scaleway.ai", source="https://www.scaleway.com/en/docs/generative-apis"),
    compatible(
        "digitalocean",
        "inference.do-ai.run",
        sdk="Gradient",
        source="https://docs.digitalocean.com/products/inference",
    ),
    compatible(
        "siliconflow", "api.siliconflow.com", "api.siliconflow.cn", source="https://docs.siliconflow.com"
    ),
    compatible(
        "volcengine",
        suffixes=(".volces.com", ".bytepluses.com"),
        routes=below(r"/api/(?:coding/)?v3"),
        source="https://docs.byteplus.com/en/docs/ModelArk/1494384",
    ),
    compatible("inception", "api.inceptionlabs.ai", source="https://docs.inceptionlabs.ai"),
    compatible("upstage", "api.upstage.ai", source="https://console.upstage.ai/docs"),
    compatible("reka", "api.reka.ai", source="https://docs.reka.ai"),
    compatible("venice", "api.venice.ai", source="https://docs.venice.ai"),
    compatible("wandb", "api.inference.wandb.ai", source="https://docs.wandb.ai/inference"),
    # Gateways: whose model answers, and whose prices count, is in the model's name.
    compatible(
        "vercel",
        "ai-gateway.vercel.sh",
        request_ids=("x-vercel-id",),
        source="https://vercel.com/docs/ai-gateway/sdks-and-apis/openai-chat-completions",
    ),
    compatible(
        "portkey",
        "api.portkey.ai",
        routes=PORTKEY,
        latency="openai-processing-ms",
        source="https://portkey.ai/docs/api-reference/inference-api/introduction",
    ),
    compatible(
        "helicone",
        "ai-gateway.helicone.ai",
        "oai.helicone.ai",
        source="https://docs.helicone.ai/gateway/overview",
    ),
    compatible(
        "pydantic-gateway",
        "gateway.pydantic.dev",
        suffixes=(".gateway.pydantic.dev",),
        latency="openai-processing-ms",
        source="https://ai.pydantic.dev/gateway",
    ),
)
