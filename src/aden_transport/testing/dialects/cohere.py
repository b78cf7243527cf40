"""Cohere's chat, embeddings and reranking, v1 and v2.

https://docs.cohere.com/reference/chat, …/chat-v1, …/embed, …/rerank
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ..answers import Answer, Call, ProviderError, compact, drop_omitted
from ..plan import Asked, Plan, Tool, count_tokens, make_plan, prompt_tokens, strings
from .embeddings import vector
from .openai_usage import as_mappings

__all__ = ["chat_v1", "chat_v2", "embed", "rerank", "tokenize"]

_FINISH = {"stop": "COMPLETE", "length": "MAX_TOKENS", "tools": "TOOL_CALL"}
_HIDDEN = 60
"""Tokens of Cohere's own preamble: `tokens` counts them, `billed_units` do not."""
_DOCUMENTS_A_SEARCH = 100


def chat_v2(call: Call, _path: Mapping[str, str]) -> Answer:
    """POST /v2/chat; a stream is server-sent events."""
    messages = as_mappings(call.body.get("messages"))
    if not call.body.get("model") or not messages:
        raise ProviderError("invalid_request", "invalid request: model and messages are required")
    functions = [tool.get("function", {}) for tool in as_mappings(call.body.get("tools"))]
    last = messages[-1]
    plan = make_plan(
        call.reply,
        Asked(
            prompt_tokens=prompt_tokens(messages, functions),
            last_text=" ".join(strings(last.get("content"))) if last.get("role") == "user" else "",
            tools=tuple(Tool(str(f.get("name")), f.get("parameters") or {}) for f in functions),
            max_tokens=call.body.get("max_tokens"),
        ),
    )
    chat = ChatV2(call, plan)
    tokens = plan.input_tokens + plan.output_tokens
    if call.body.get("stream") is True:
        return Answer(200, "text/event-stream", chat.events(), stream=True, tokens=tokens)
    return Answer(200, "application/json", (compact(chat.whole()),), tokens=tokens)


def _usage(call: Call, plan: Plan) -> Any:
    billed = {"input_tokens": plan.input_tokens, "output_tokens": plan.output_tokens}
    tokens = {"input_tokens": plan.input_tokens + _HIDDEN, "output_tokens": plan.output_tokens + 2}
    return call.usage({"billed_units": billed, "tokens": tokens})


class ChatV2:
    """One v2 answer, whole or as events."""

    def __init__(self, call: Call, plan: Plan) -> None:
        self.call = call
        self.plan = plan
        self.id = call.hex_id("", 32)
        self.finish = call.reply.finish_reason or _FINISH[plan.stop]
        self.usage = _usage(call, plan)
        self.tools = [
            {
                "id": call.id(f"{tool.name}_", 12),
                "type": "function",
                "function": {"name": tool.name, "arguments": tool.arguments_json},
            }
            for tool in plan.tool_calls
        ]

    def whole(self) -> dict[str, Any]:
        message: dict[str, Any] = {"role": "assistant"}
        if self.tools:
            message |= {"tool_plan": "I will use a tool.", "tool_calls": self.tools}
        if self.plan.text:
            message["content"] = [{"type": "text", "text": self.plan.text}]
        return drop_omitted(
            {"id": self.id, "finish_reason": self.finish, "message": message, "usage": self.usage}
        )

    def events(self) -> Iterator[bytes]:
        empty = {"role": "assistant", "content": [], "tool_plan": "", "tool_calls": [], "citations": []}
        yield _event({"id": self.id, "type": "message-start", "delta": {"message": empty}})
        if not self.tools:
            yield from self._text()
        for index, tool in enumerate(self.tools):
            yield from self._tool(index, tool)
        delta = drop_omitted({"finish_reason": self.finish, "usage": self.usage})
        yield _event({"type": "message-end", "delta": delta})
        yield b"data: [DONE]\n\n"

    def _text(self) -> Iterator[bytes]:
        start = {"message": {"content": {"type": "text", "text": ""}}}
        yield _event({"type": "content-start", "index": 0, "delta": start})
        for piece in self.plan.pieces:
            delta = {"message": {"content": {"text": piece}}}
            yield _event({"type": "content-delta", "index": 0, "delta": delta})
        yield _event({"type": "content-end", "index": 0})

    def _tool(self, index: int, tool: dict[str, Any]) -> Iterator[bytes]:
        start = {**tool, "function": {**tool["function"], "arguments": ""}}
        yield _event({"type": "tool-call-start", "index": index, "delta": {"message": {"tool_calls": start}}})
        rest = {"function": {"arguments": tool["function"]["arguments"]}}
        yield _event({"type": "tool-call-delta", "index": index, "delta": {"message": {"tool_calls": rest}}})
        yield _event({"type": "tool-call-end", "index": index})


def _event(event: Mapping[str, Any]) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (str(event["type"]).encode(), compact(event))


def chat_v1(call: Call, _path: Mapping[str, str]) -> Answer:
    """POST /v1/chat; a stream is one JSON object a line."""
    message = call.body.get("message")
    if not isinstance(message, str):
        raise ProviderError("invalid_request", "invalid request: message is required")
    asked = Asked(
        prompt_tokens=prompt_tokens(message, call.body.get("chat_history"), call.body.get("preamble")),
        last_text=message,
        max_tokens=call.body.get("max_tokens"),
    )
    plan = make_plan(call.reply, asked)
    finish = call.reply.finish_reason or _FINISH[plan.stop]
    generation = call.hex_id("", 32)
    usage = _usage(call, plan)
    meta = {"api_version": {"version": "1"}, **(usage if isinstance(usage, Mapping) else {})}
    whole = {
        "response_id": call.hex_id("r", 32),
        "generation_id": generation,
        "text": plan.text,
        "finish_reason": finish,
        "meta": meta,
    }
    tokens = plan.input_tokens + plan.output_tokens
    if call.body.get("stream") is not True:
        return Answer(200, "application/json", (compact(whole),), tokens=tokens)
    lines = _lines_v1(plan, whole, generation, finish)
    return Answer(200, "application/stream+json", lines, stream=True, tokens=tokens)


def _lines_v1(plan: Plan, whole: Mapping[str, Any], generation: str, finish: str) -> Iterator[bytes]:
    start = {"is_finished": False, "event_type": "stream-start", "generation_id": generation}
    yield compact(start) + b"\n"
    for piece in plan.pieces:
        yield compact({"is_finished": False, "event_type": "text-generation", "text": piece}) + b"\n"
    end = {"is_finished": True, "event_type": "stream-end", "response": whole, "finish_reason": finish}
    yield compact(end) + b"\n"


def embed(call: Call, path: Mapping[str, str]) -> Answer:
    """POST /v1/embed and /v2/embed."""
    texts = [text for text in call.body.get("texts") or [] if isinstance(text, str)]
    if not texts:
        raise ProviderError("invalid_request", "invalid request: texts are required")
    vectors = [vector(text, call.body.get("output_dimension") or 1024) for text in texts]
    by_type = path["version"] == "2" or bool(call.body.get("embedding_types"))
    tokens = call.reply.input_tokens or sum(map(count_tokens, texts))
    billed = call.usage({"input_tokens": tokens})
    body = {
        "id": call.hex_id("", 32),
        "texts": texts,
        "embeddings": {"float": vectors} if by_type else vectors,
        "meta": {"api_version": {"version": path["version"]}, **drop_omitted({"billed_units": billed})},
        "response_type": "embeddings_by_type" if by_type else "embeddings_floats",
    }
    return Answer(200, "application/json", (compact(body),), tokens=tokens)


def rerank(call: Call, path: Mapping[str, str]) -> Answer:
    """POST /v1/rerank and /v2/rerank; one search unit per query with up to 100 documents."""
    documents = call.body.get("documents")
    if not isinstance(documents, list) or not documents:
        raise ProviderError("invalid_request", "invalid request: documents are required")
    top = call.body.get("top_n") or len(documents)
    results = [
        {"index": index, "relevance_score": round(0.9 / (index + 1), 4)} for index in range(len(documents))
    ]
    units = call.usage({"search_units": -(-len(documents) // _DOCUMENTS_A_SEARCH)})
    meta = {"api_version": {"version": path["version"]}, **drop_omitted({"billed_units": units})}
    body = {"id": call.hex_id("", 32), "results": results[:top], "meta": meta}
    return Answer(200, "application/json", (compact(body),))


def tokenize(call: Call, _path: Mapping[str, str]) -> Answer:
    """POST /v1/tokenize."""
    words = str(call.body.get("text", "")).split()
    body = {
        "tokens": list(range(len(words))),
        "token_strings": words,
        "meta": {"api_version": {"version": "1"}},
    }
    return Answer(200, "application/json", (compact(body),))
