"""Gemini's generateContent, at the Gemini API and at Vertex.

https://ai.google.dev/api/generate-content
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from ..answers import Answer, Call, ProviderError, compact, drop_omitted, pretty, sse
from ..plan import Asked, Tool, make_plan, prompt_tokens, strings
from ..reply import NO_USAGE
from .openai_usage import as_mappings

__all__ = ["count", "generate", "generate_stream"]

_FINISH = {"stop": "STOP", "length": "MAX_TOKENS", "tools": "STOP"}
JSON = "application/json; charset=UTF-8"


def generate(call: Call, path: Mapping[str, str]) -> Answer:
    """POST …:generateContent."""
    content = Content(call, model=path["model"])
    return Answer(200, JSON, (pretty(content.whole()),), tokens=content.tokens)


def generate_stream(call: Call, path: Mapping[str, str]) -> Answer:
    """POST …:streamGenerateContent: events with `alt=sse`, else one JSON array."""
    content = Content(call, model=path["model"])
    if call.request.query.get("alt") == "sse":
        pieces = sse(content.chunks(), end=b"\r\n\r\n")
        return Answer(
            200,
            "text/event-stream",
            pieces,
            (("content-disposition", "attachment"),),
            stream=True,
            tokens=content.tokens,
        )
    return Answer(200, JSON, _array(content.chunks()), stream=True, tokens=content.tokens)


def count(call: Call, path: Mapping[str, str]) -> Answer:
    """POST …:countTokens."""
    tokens = _asked(call.body.get("generateContentRequest") or call.body).prompt_tokens
    return Answer(200, JSON, (pretty({"totalTokens": tokens, "promptTokensDetails": _text(tokens)}),))


def _array(chunks: Iterable[Any]) -> Iterator[bytes]:
    opening = b"["
    for chunk in chunks:
        yield opening + compact(chunk)
        opening = b"\n,\r\n"
    yield b"\n]\n"


def _asked(body: Mapping[str, Any]) -> Asked:
    body = _camel(body)
    contents = as_mappings(body.get("contents"))
    last = contents[-1] if contents else {}
    parts = [_camel(part) for part in as_mappings(last.get("parts"))]
    config = _camel(body.get("generationConfig"))
    functions = [
        _camel(function)
        for tool in as_mappings(body.get("tools"))
        for function in as_mappings(_camel(tool).get("functionDeclarations"))
    ]
    return Asked(
        prompt_tokens=prompt_tokens(contents, body.get("systemInstruction"), functions),
        last_text="" if any("functionResponse" in part for part in parts) else " ".join(strings(parts)),
        tools=tuple(Tool(str(f.get("name")), _schema(f)) for f in functions),
        tool_choice=_choice(_camel(_camel(body.get("toolConfig")).get("functionCallingConfig"))),
        json_schema=config.get("responseJsonSchema") or config.get("responseSchema"),
        max_tokens=config.get("maxOutputTokens"),
    )


def _camel(value: Any) -> dict[str, Any]:
    """The object with its keys in camel case: Google takes `maxOutputTokens` and `max_output_tokens`."""
    return {re.sub(r"_([a-z])", lambda m: m[1].upper(), key): item for key, item in (value or {}).items()}


def _schema(function: Mapping[str, Any]) -> Mapping[str, Any]:
    schema: Mapping[str, Any] = function.get("parametersJsonSchema") or function.get("parameters") or {}
    return schema


def _choice(config: Mapping[str, Any]) -> str:
    allowed = config.get("allowedFunctionNames")
    if config.get("mode") == "ANY":
        return str(allowed[0]) if allowed else "required"
    return str(config.get("mode") or "auto").lower()


class Content:
    """One answer, whole or in chunks."""

    def __init__(self, call: Call, *, model: str) -> None:
        if not isinstance(call.body.get("contents"), list):
            raise ProviderError("invalid_request", "contents are not specified")
        if "metadata" in call.body or "stream_options" in call.body:
            field = "metadata" if "metadata" in call.body else "stream_options"
            message = f'Invalid JSON payload received. Unknown name "{field}": Cannot find field.'
            raise ProviderError("invalid_request", message)
        self.call = call
        self.model = call.model(model)
        self.vertex = "/publishers/" in call.request.path
        config = _camel(_camel(call.body).get("generationConfig"))
        thinking = _camel(config.get("thinkingConfig"))
        self.shows_thoughts = bool(thinking.get("includeThoughts")) or call.reply.thinking is not None
        thinks = bool(thinking) and thinking.get("thinkingBudget") != 0
        self.plan = make_plan(
            call.reply, _asked(call.body), default_thinking=self.shows_thoughts, reasoning=48 if thinks else 0
        )
        self.finish = call.reply.finish_reason or _FINISH[self.plan.stop]

    @property
    def tokens(self) -> int:
        return self.plan.input_tokens + self.plan.output_tokens + self.plan.reasoning_tokens

    def whole(self) -> dict[str, Any]:
        """The GenerateContentResponse."""
        parts = [*self._thoughts(), *self._text_parts([self.plan.text]), *self._calls()]
        return self._response(parts, self.finish, self._usage(self.plan.output_tokens))

    def chunks(self) -> Iterator[dict[str, Any]]:
        """One response per delta; each carries the usage up to then, the last the reason to end."""
        parts = [*self._thoughts(), *self._text_parts(self.plan.pieces), *self._calls()]
        for number, part in enumerate(parts, 1):
            last = number == len(parts)
            output = self.plan.output_tokens if last else self.plan.output_tokens * number // len(parts)
            yield self._response([part], self.finish if last else None, self._usage(output))
        if not parts:
            yield self._response([{"text": ""}], self.finish, self._usage(self.plan.output_tokens))

    def _thoughts(self) -> list[dict[str, Any]]:
        return [{"text": self.plan.thinking, "thought": True}] if self.plan.thinking else []

    def _text_parts(self, pieces: Iterable[str]) -> list[dict[str, Any]]:
        return [{"text": piece} for piece in pieces if piece]

    def _calls(self) -> list[dict[str, Any]]:
        return [
            {"functionCall": {"name": tool.name, "args": tool.arguments}} for tool in self.plan.tool_calls
        ]

    def _response(self, parts: list[dict[str, Any]], finish: str | None, usage: Any) -> dict[str, Any]:
        candidate: dict[str, Any] = {"content": {"parts": parts, "role": "model"}}
        if finish is not None:
            candidate["finishReason"] = finish
        return drop_omitted(
            {
                "candidates": [{**candidate, "index": 0}],
                "usageMetadata": usage,
                "modelVersion": self.model,
                "createTime": self._create_time(),
                "responseId": self.call.id("", 23),
            }
        )

    def _create_time(self) -> Any:
        """Only Vertex tells it."""
        if not self.vertex:
            return NO_USAGE
        return datetime.fromtimestamp(self.call.now, UTC).isoformat().replace("+00:00", "Z")

    def _usage(self, output: int) -> Any:
        """`usageMetadata`. Thoughts and cached tokens are listed only where there are some."""
        plan, cached = self.plan, self.call.reply.cached_tokens
        usage: dict[str, Any] = {
            "promptTokenCount": plan.input_tokens,
            "candidatesTokenCount": output,
            "totalTokenCount": plan.input_tokens + output + plan.reasoning_tokens,
        }
        if cached:
            usage |= {"cachedContentTokenCount": cached, "cacheTokensDetails": _text(cached)}
        if self.vertex:
            usage["trafficType"] = "ON_DEMAND"
        usage["promptTokensDetails"] = _text(plan.input_tokens)
        if plan.reasoning_tokens:
            usage["thoughtsTokenCount"] = plan.reasoning_tokens
        return self.call.usage(usage)


def _text(tokens: int) -> list[dict[str, Any]]:
    return [{"modality": "TEXT", "tokenCount": tokens}]
