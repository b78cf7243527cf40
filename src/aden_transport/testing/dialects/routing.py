"""From a request to the dialect that answers it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from ..answers import Answer, Call, Memory, ProviderError, compact, pretty
from ..errors import KINDS, error_body, error_headers, kind_of_status, status_of
from ..limits import RateLimit
from ..received import ReceivedRequest
from ..reply import Reply, apply_headers
from . import (
    anthropic_messages,
    bedrock,
    cohere,
    embeddings,
    gemini,
    listings,
    mistral,
    moderations,
    ollama,
    openai_audio,
    openai_chat,
    openai_completions,
    openai_images,
    openai_responses,
    reranking,
)
from .headers import vendor_headers

__all__ = ["respond"]

Handler = Callable[[Call, Mapping[str, str]], Answer]


class Route(NamedTuple):
    """Which method and path a handler takes; the pattern's groups are its second argument."""

    vendor: str
    method: str
    path: re.Pattern[str]
    handler: Handler


def _routes(*rows: tuple[str, str, str, Handler]) -> tuple[Route, ...]:
    return tuple(Route(vendor, method, re.compile(path), handler) for vendor, method, path, handler in rows)


_GOOGLE = r"/(?:publishers/google/)?(?:models|tunedModels)/(?P<model>[^/:]+)"
_CLAUDE = r"/publishers/anthropic/models/(?P<model>[^/:]+)"
_BEDROCK = r"/model/(?P<model>[^/]+)"
_OPENAI = r"(?:/openai/deployments/(?P<deployment>[^/]+))?"

# The first match answers, so the more special paths come first.
ROUTES = _routes(
    ("anthropic", "POST", r"/v1/messages$", anthropic_messages.create),
    ("anthropic", "POST", r"/v1/messages/count_tokens$", anthropic_messages.count),
    ("anthropic", "POST", r"/publishers/anthropic/models/count-tokens:rawPredict$", anthropic_messages.count),
    ("anthropic", "POST", rf"{_CLAUDE}:(?:rawPredict|streamRawPredict)$", anthropic_messages.create),
    ("gemini", "POST", rf"{_GOOGLE}:generateContent$", gemini.generate),
    ("gemini", "POST", rf"{_GOOGLE}:streamGenerateContent$", gemini.generate_stream),
    ("gemini", "POST", rf"{_GOOGLE}:countTokens$", gemini.count),
    ("gemini", "POST", rf"{_GOOGLE}:embedContent$", embeddings.embed),
    ("gemini", "POST", rf"{_GOOGLE}:batchEmbedContents$", embeddings.batch_embed),
    ("gemini", "POST", rf"{_GOOGLE}:predict$", embeddings.predict),
    ("gemini", "GET", r"/v1(?:alpha|beta)\d*/(?:publishers/google/)?models$", listings.gemini_models),
    ("bedrock", "POST", rf"{_BEDROCK}/converse$", bedrock.converse),
    ("bedrock", "POST", rf"{_BEDROCK}/converse-stream$", bedrock.converse_stream),
    ("bedrock", "POST", rf"{_BEDROCK}/invoke$", bedrock.invoke),
    ("bedrock", "POST", rf"{_BEDROCK}/invoke-with-response-stream$", bedrock.invoke_stream),
    ("cohere", "POST", r"/v2/chat$", cohere.chat_v2),
    ("cohere", "POST", r"/v1/chat$", cohere.chat_v1),
    ("cohere", "POST", r"/v(?P<version>[12])/embed$", cohere.embed),
    ("cohere", "POST", r"/v1/tokenize$", cohere.tokenize),
    ("mistral", "POST", r"/v1/(?:fim|agents)/completions$", mistral.complete),
    ("mistral", "POST", r"/v1/ocr$", mistral.ocr),
    ("mistral", "POST", r"^/mistral/v1/chat/completions$", mistral.chat),
    ("ollama", "POST", r"/api/chat$", ollama.chat),
    ("ollama", "POST", r"/api/generate$", ollama.generate),
    ("ollama", "POST", r"/api/embed$", ollama.embed),
    ("openai", "POST", r"^/(?:voyage|together)/v1/rerank$", reranking.by_tokens),
    ("cohere", "POST", r"/v(?P<version>[12])/rerank$", cohere.rerank),
    ("openai", "POST", rf"{_OPENAI}/chat/completions$", openai_chat.create),
    ("openai", "POST", rf"{_OPENAI}/completions$", openai_completions.create),
    ("openai", "POST", rf"{_OPENAI}/embeddings$", embeddings.create),
    ("openai", "POST", rf"{_OPENAI}/images/(?P<kind>generations|edits|variations)$", openai_images.create),
    ("openai", "POST", rf"{_OPENAI}/audio/(?P<kind>transcriptions|translations)$", openai_audio.transcribe),
    ("openai", "POST", rf"{_OPENAI}/audio/speech$", openai_audio.speak),
    ("openai", "POST", r"/responses$", openai_responses.create),
    ("openai", "POST", r"/responses/input_tokens$", openai_responses.count),
    ("openai", "POST", r"/responses/(?P<id>[^/]+)/cancel$", openai_responses.cancel),
    ("openai", "GET", r"/responses/(?P<id>[^/]+)$", openai_responses.retrieve),
    ("openai", "DELETE", r"/responses/(?P<id>[^/]+)$", openai_responses.delete),
    ("openai", "POST", r"/moderations$", moderations.create),
    ("openai", "GET", r"/files$", listings.files),
    ("openai", "GET", r"/models/(?P<id>[^/]+)$", listings.openai_model),
    ("openai", "GET", r"/models$", listings.openai_models),
)
# Three vendors list their models at the same path; the headers tell them apart.
_MODELS = {
    "anthropic": Route("anthropic", "GET", re.compile(r"/v1/models$"), listings.anthropic_models),
    "gemini": Route("gemini", "GET", re.compile(r"/v1/models$"), listings.gemini_models),
}


def respond(
    request: ReceivedRequest, reply: Reply, *, now: float, memory: Memory, limits: Mapping[str, RateLimit]
) -> tuple[Answer, Reply]:
    """The answer, and the reply as the request's own headers changed it."""
    route, groups = _find(request)
    vendor = route.vendor if route is not None else _guess_vendor(request)
    call = Call(request, {}, reply, now, memory)
    try:
        reply = _read_headers(reply, request)
        call = replace(call, reply=reply)
        wait = limits[vendor].admit(now)
        if wait:
            reply = Reply(retry_after_s=round(wait, 3), times=reply.times)
            call = replace(call, reply=reply)
            raise ProviderError("rate_limit")
        answer = _answer(call, route, groups, vendor)
    except ProviderError as exc:
        answer = _failure(call, vendor, exc)
    if reply.raw is not None:
        answer = replace(answer, pieces=(reply.raw,))
    limits[vendor].take(answer.tokens)
    return replace(answer, headers=answer.headers + vendor_headers(call, vendor, limits[vendor])), reply


def _find(request: ReceivedRequest) -> tuple[Route | None, dict[str, str]]:
    listing = _MODELS.get(_guess_vendor(request))
    for route in (listing, *ROUTES) if listing is not None else ROUTES:
        found = route.path.search(request.path)
        if found is not None and route.method == request.method:
            return route, found.groupdict()
    return None, {}


def _guess_vendor(request: ReceivedRequest) -> str:
    if "anthropic-version" in request.headers:
        return "anthropic"
    return "gemini" if "x-goog-api-key" in request.headers else "openai"


def _read_headers(reply: Reply, request: ReceivedRequest) -> Reply:
    try:
        return apply_headers(reply, request.headers)
    except ValueError as exc:
        raise ProviderError("invalid_request", str(exc)) from exc


def _answer(call: Call, route: Route | None, groups: Mapping[str, str], vendor: str) -> Answer:
    reply = call.reply
    if reply.error is not None or (reply.status is not None and reply.status >= 400):
        return _scripted_failure(call, vendor)
    if route is None and reply.raw is not None:
        return Answer(reply.status or 200, "application/json", ())
    if route is None:
        raise ProviderError("not_found", f"Invalid URL ({call.request.method} {call.request.path})")
    try:
        answer = route.handler(replace(call, body=_read_body(call.request)), groups)
    except (AttributeError, LookupError, TypeError, ValueError) as exc:
        # A field of another JSON type than the dialect reads.
        raise ProviderError("invalid_request", f"The request does not fit: {exc!r}") from exc
    answer = replace(answer, error_event=answer.error_event or _error_event(vendor))
    return answer if reply.status is None else replace(answer, status=reply.status)


def _read_body(request: ReceivedRequest) -> Mapping[str, Any]:
    if not request.body or "json" not in request.headers.get("content-type", "json"):
        return {}
    try:
        body = json.loads(request.body)
    except ValueError as exc:
        raise ProviderError("invalid_request", "We could not parse the JSON body of your request.") from exc
    if not isinstance(body, Mapping):
        raise ProviderError("invalid_request", "The body is not a JSON object.")
    return body


def _scripted_failure(call: Call, vendor: str) -> Answer:
    reply = call.reply
    if isinstance(reply.error, Mapping):
        dump = compact if vendor == "anthropic" else pretty
        return Answer(reply.status or 400, "application/json", (dump(reply.error),))
    kind = reply.error or kind_of_status(reply.status or 400)
    if kind not in KINDS:
        raise ProviderError("invalid_request", f"Reply.error is none of {', '.join(KINDS)}")
    return _failure(call, vendor, ProviderError(kind), status=reply.status)


def _failure(call: Call, vendor: str, error: ProviderError, *, status: int | None = None) -> Answer:
    status = status or status_of(error.kind, vendor)
    body = error_body(
        vendor,
        error.kind,
        status=status,
        message=error.message,
        param=error.param,
        code=error.code,
        request_id=call.id("req_011C", 20),
        retry_after_s=call.reply.retry_after_s,
    )
    dump = compact if vendor == "anthropic" else pretty
    content_type = "application/json; charset=UTF-8" if vendor == "gemini" else "application/json"
    return Answer(status, content_type, (dump(body),), error_headers(vendor, error.kind, status))


def _error_event(vendor: str) -> bytes:
    """What breaks a stream of this vendor after it began with 200."""
    if vendor == "anthropic":
        return b"event: error\ndata: " + compact(error_body(vendor, "overloaded", status=529)) + b"\n\n"
    if vendor == "cohere":
        end = {"type": "message-end", "delta": {"finish_reason": "ERROR", "usage": {}}}
        return b"event: message-end\ndata: " + compact(end) + b"\n\n"
    body = error_body(vendor, "server_error", status=500)
    if vendor == "ollama":
        return compact(body) + b"\n"
    # Google writes the error's JSON between the events, without `data:`.
    return pretty(body) if vendor == "gemini" else b"data: " + compact(body) + b"\n\n"
