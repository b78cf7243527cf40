"""The most that a call may use: a bound, never an estimate.

Of text, one UTF-8 byte is at most one token, and what a vendor adds is in `vendors/ceilings.py`. The bytes
are those of the JSON, which is never shorter than the text in it. What nothing bounds says so.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import lru_cache
from threading import Lock
from typing import Any, NamedTuple

from ..events import NormalizedUsage
from ..vendors.base import MAX_COUNT, Operation
from ..vendors.ceilings import Ceiling, Ceilings, drawn_tokens, framing, image_tokens
from .classify import Call
from .media import find_media
from .rewrite import MAX_PARSED_REQUEST

__all__ = [
    "BYTES",
    "CALLERS",
    "CAP",
    "MODEL",
    "TURN_MEMBERS",
    "WINDOW",
    "Bound",
    "KnownTotals",
    "is_generation",
    "is_text",
    "marks_cache",
    "searches_itself",
    "upper_usage",
]


class Bound(NamedTuple):
    """What a call uses at most."""

    usage: NormalizedUsage | None
    """None: nothing bounds it. Parts (cached tokens, cache writes) are left to the price: see `hold.py`."""
    input_basis: str
    """`"bytes"`, `"bytes+media"`, `"known total"`, `"context window"`, `"characters"`, `"documents"`,
    `"free"`, or, of what has no bound, `"unbounded: <why>"`."""
    output_basis: str = ""
    """`"max_tokens"` (whatever the vendor calls it), `"model maximum"`, `"context window"`, `"images"`, or
    nothing where there is no output to pay for."""
    units: Mapping[str, float] | None = None
    """Billed units that are no field of `NormalizedUsage`, as in `UnitPrices.cost`."""
    cache_writes: int = 0
    """1 where the prompt may be written to the cache, 2 where for an hour."""
    tiers: tuple[str | None, ...] = (None,)
    """Service tiers that the call may be billed at; None is the standard one."""
    models: tuple[str, ...] = ()
    """Other models that the request lets answer."""

    @property
    def basis(self) -> str:
        """For the event: `"bytes, max_tokens"`."""
        return f"{self.input_basis}, {self.output_basis}" if self.output_basis else self.input_basis

    @property
    def capped(self) -> bool:
        """Whether the request itself says how long the answer may be."""
        return self.output_basis == CAP


CAP = "max_tokens"
MODEL = "model maximum"
WINDOW = "context window"
BYTES = "bytes"
MEDIA = "bytes+media"
KNOWN = "known total"
FREE = "free"


class KnownTotals:
    """Tokens of what vendors keep, by its id: a bounded memory, the least recently noted leaves first.

    Reads take no lock.
    """

    __slots__ = ("_limit", "_lock", "_totals")

    def __init__(self, limit: int = 10_000) -> None:
        self._limit = limit
        self._lock = Lock()
        self._totals: dict[str, int] = {}

    def note(self, id: str, total_tokens: int) -> None:
        """`id`, of a response or of a cached prompt, stands for that many tokens of input and output.

        Of an id to which others may add (a conversation, a thread) the last total is no bound.
        """
        with self._lock:
            self._totals.pop(id, None)
            self._totals[id] = total_tokens
            if len(self._totals) > self._limit:
                del self._totals[next(iter(self._totals))]

    def get(self, id: str) -> int | None:
        return self._totals.get(id)


NOT_KNOWN = KnownTotals(0)


class Unbounded(Exception):
    """Why a part of the call has no bound."""


class Asked(NamedTuple):
    """A call whose bound is asked for."""

    call: Call
    body: Mapping[str, Any]
    model: str | None
    size: int
    """Bytes of the body."""
    raw: bytes
    ceiling: Ceiling
    seen: KnownTotals


def upper_usage(
    call: Call,
    body: Mapping[str, Any],
    model: str | None,
    ceilings: Ceilings,
    *,
    raw: bytes | None = None,
    seen: KnownTotals | None = None,
) -> Bound:
    """What the call uses at most; never raises.

    `raw` are the bytes of a JSON `body`, None where they are a form or a stream. `seen` has the totals of
    what vendors keep.
    """
    operation = call.operation
    if operation.free:
        return Bound(NormalizedUsage(), FREE)
    reader = READERS.get(operation.name)
    if reader is None:
        return Bound(None, f"unbounded: {operation.name}")
    try:
        if not body:
            raise Unbounded("the request is not read")
        vendor = call.vendor
        ceiling = ceilings.find(vendor.price_provider or vendor.id, model)
        if "models" in body:
            ceiling = _widest([ceiling, *(ceilings.find(vendor.id, name) for name in _other_models(body))])
        size = 0 if raw is None else len(raw)
        return reader(Asked(call, body, model, size, raw or b"", ceiling, seen or NOT_KNOWN))
    except Unbounded as why:
        return Bound(None, f"unbounded: {why}")
    except RecursionError:
        return Bound(None, "unbounded: nested too deeply")


def _widest(ceilings: list[Ceiling]) -> Ceiling:
    """Of models of which any may answer."""
    contexts = [ceiling.context for ceiling in ceilings]
    outputs = [ceiling.output for ceiling in ceilings]
    return Ceiling(
        None if None in contexts else max(filter(None, contexts), default=None),
        None if None in outputs else max(filter(None, outputs), default=None),
    )


# -- chat, completions, responses, messages, generateContent ---------------------------------------------


def _generation(asked: Asked) -> Bound:
    body, ceiling = asked.body, asked.ceiling
    if not asked.size:
        raise Unbounded("the body is not seen")
    if not SERVER_WORK.isdisjoint(body) or asked.size > MAX_PARSED_REQUEST:
        _refuse_server_work(asked)
    if searches_itself(asked.model or ""):
        raise Unbounded("a model with tools of its own")
    tools = body.get("tools") or body.get("functions") or body.get("toolConfig")
    own = _tools(asked, tools) if tools else NO_TOOLS
    size, basis, pictures, sounds = _input(asked, asked.size + own.added)
    if sounds and asked.call.vendor.id in BY_SECONDS:
        raise Unbounded("the length of a sound")
    output, output_basis = _output(asked)
    window = ceiling.context
    if own.reads:
        # Each turn of the vendor's own reads the whole prompt anew, and what its tools have found.
        size, basis = own.turns * _window(asked, "server tools"), WINDOW
        output *= own.turns
    elif window is not None and size > window:
        size, basis = window, WINDOW
    usage = NormalizedUsage(min(size, MAX_COUNT), min(output, MAX_COUNT))
    if pictures or sounds:
        usage.image_input_tokens = min(pictures, usage.input_tokens)
        usage.audio_input_tokens = min(sounds, usage.input_tokens)
    usage.server_tool_calls = own.searches
    _mark_media_output(asked, usage)
    return Bound(
        usage,
        basis,
        output_basis,
        own.units,
        _cache_writes(asked),
        ONE_TIER if TIERED.isdisjoint(body) else _tiers(body),
        _other_models(body) if "models" in body else (),
    )


BY_SECONDS = frozenset({"mistral"})
"""Vendors that bill the seconds of a sound beside its tokens: https://mistral.ai/pricing"""
SERVER_WORK = frozenset(
    {
        "connectors",  # Cohere
        "search_parameters",  # xAI
        "web_search_options",
        "plugins",  # OpenRouter
        "data_sources",  # Azure's "on your data"
        "mcp_servers",
        "context_management",
        "agent",
        "agent_id",
        "assistant_id",
    }
)
"""Members by which a vendor does work of its own whose length the request does not say."""


def _refuse_server_work(asked: Asked) -> None:
    body, raw = asked.body, asked.raw
    unread = asked.size > MAX_PARSED_REQUEST
    if unread and b'"tools"' in raw:
        raise Unbounded("a request too large to read")
    for name in SERVER_WORK:
        if body.get(name) or (unread and f'"{name}"'.encode() in raw):
            if name == "context_management" and b"compact" not in raw:
                continue  # it only leaves out old parts
            raise Unbounded(name)


SEARCHING = ("deep-research", "search-preview", "search-api", "compound", ":online", "perplexity-online")


@lru_cache(maxsize=1024)
def searches_itself(model: str) -> bool:
    return any(part in model for part in SEARCHING)


def _cache_writes(asked: Asked) -> int:
    """Where the caller says what to cache, nothing else is written; elsewhere the vendor decides."""
    if not marks_cache(asked.call.vendor.id, asked.model):
        return 1
    raw = asked.raw
    if b"cache_control" in raw or b"cachePoint" in raw:
        return 2 if b'"1h"' in raw else 1
    return 0


def marks_cache(vendor: str, model: str | None) -> bool:
    """Whether the request says what is written to the prompt cache."""
    return vendor in EXPLICIT_CACHE or (model is not None and "claude" in model)


EXPLICIT_CACHE = frozenset({"anthropic", "bedrock", "gemini", "vertex"})


# -- tiers and models ------------------------------------------------------------------------------------


def _tiers(body: Mapping[str, Any]) -> tuple[str | None, ...]:
    """A tier that is asked for may be answered at the standard one, and is then billed at that.

    `auto` is the tier of OpenAI's project, which may be priority processing. A request that says nothing
    has that tier, too, and counts as standard: unless somebody changed the project, it is.
    """
    found: list[str | None] = [None]
    for name in TIER_MEMBERS:
        tier = body.get(name)
        if isinstance(tier, str) and tier not in STANDARD:
            found.append("priority" if tier == "auto" else tier)
    return tuple(found)


TIER_MEMBERS = ("service_tier", "serviceTier", "speed")
TIERED = frozenset(TIER_MEMBERS)
STANDARD = frozenset({"", "default", "standard", "standard_only"})
ONE_TIER: tuple[str | None, ...] = (None,)


def _other_models(body: Mapping[str, Any]) -> tuple[str, ...]:
    """https://openrouter.ai/docs/features/model-routing"""
    models = body["models"]
    names = models if isinstance(models, list) else ()
    return tuple(name for name in names[:32] if isinstance(name, str))


# -- input -----------------------------------------------------------------------------------------------


def _input(asked: Asked, size: int) -> tuple[int, str, int, int]:
    """Tokens of the input, what they rest on, and those of them that are pictures and sounds."""
    body = asked.body
    added = framing(asked.call.vendor.id)
    size += added.call + added.message * _turns(body)
    if asked.size > MAX_PARSED_REQUEST:
        return _window(asked, "a request too large to read"), WINDOW, 0, 0
    if KEPT.isdisjoint(body) and _is_text(body):
        return size, BYTES, 0, 0
    basis, pictures, sounds = BYTES, 0, 0
    found = find_media(body)
    window_because = found.unknown
    if found.images:
        each = image_tokens(asked.call.vendor.id, asked.model or "")
        if each is None:
            window_because = window_because or "an image"
        else:
            pictures = each * found.images
            basis = MEDIA
    size += pictures - found.silent
    if not KEPT.isdisjoint(body):
        known = _known_total(asked)
        if known is None:
            window_because = window_because or "what the vendor keeps"
        else:
            size += known
            basis = KNOWN
    if window_because is not None:
        size, basis = _window(asked, window_because), WINDOW
        sounds = size if found.sounds else 0
    return size, basis, pictures, sounds


KEPT = frozenset(
    {
        "previous_response_id",
        "previous_interaction_id",
        "conversation",
        "conversation_id",
        "cachedContent",
        "cached_content",
        "thread_id",
        "preset",
        "prompt_id",
    }
)
"""Members that name what the vendor keeps and puts before the prompt."""


def _known_total(asked: Asked) -> int | None:
    """The tokens of all that the request refers to, None where one of it was not seen."""
    total = 0
    for name in KEPT:
        value = asked.body.get(name)
        if value is None:
            continue
        id = value.get("id") if isinstance(value, Mapping) else value
        known = asked.seen.get(id) if isinstance(id, str) else None
        if known is None:
            return None
        total += known
    return total


def _window(asked: Asked, why: str) -> int:
    if asked.ceiling.context is None:
        raise Unbounded(f"{why}, and the context window is not known")
    return asked.ceiling.context


def _turns(body: Mapping[str, Any]) -> int:
    """How many messages, turns or prompts there are at most."""
    turns = 1
    for name in TURNS:
        value: Any = body.get(name)
        if value.__class__ is list:
            turns += len(value)
    return turns


TURNS = ("messages", "contents", "input", "prompt", "chat_history", "documents", "inputs")


def _is_text(body: Mapping[str, Any]) -> bool:
    """Whether a look at the members of messages and their parts says that there are no media. The common
    case; `find_media` looks at all others."""
    if not OTHER_CONTENT.isdisjoint(body):
        return False
    for name, member in (("messages", "content"), ("contents", "parts")):
        turns: Any = body.get(name)
        if turns is None:
            continue
        if turns.__class__ is not list:
            return False
        for turn in turns:
            if turn.__class__ is not dict or not TURN_MEMBERS.issuperset(turn):
                return False
            if not is_text(turn.get(member)):
                return False
    return TEXTUAL.issuperset([body.get(name).__class__ for name in PROMPTS])


def is_text(content: Any) -> bool:
    """Whether the content of a message is text, or nothing."""
    if content.__class__ is list:
        return all(part.__class__ is dict and TEXT_MEMBERS.issuperset(part) for part in content)
    return content is None or content.__class__ is str


OTHER_CONTENT = frozenset({"documents", "images", "inputs", "instances", "requests", "chat_history"})
PROMPTS = ("system", "input", "prompt", "systemInstruction", "system_instruction")
TEXTUAL = frozenset({str, type(None)})
TURN_MEMBERS = frozenset(
    {"role", "content", "parts", "name", "tool_calls", "tool_call_id", "refusal", "reasoning_content"}
)
TEXT_MEMBERS = frozenset({"type", "text", "cache_control", "thought", "thoughtSignature", "annotations"})


# -- tools -----------------------------------------------------------------------------------------------


class _Tools(NamedTuple):
    """What the tools of a request add to it."""

    added: int
    """Tokens beside their bytes."""
    turns: int = 1
    searches: int = 0
    """Searches that are paid for."""
    units: Mapping[str, float] | None = None
    reads: bool = False
    """Whether the vendor runs some of them, and reads what they answer."""


NO_TOOLS = _Tools(0)


def _tools(asked: Asked, tools: Any) -> _Tools:
    listed = tools.get("tools") if isinstance(tools, Mapping) else tools
    if not isinstance(listed, list):
        raise Unbounded("tools of another form")
    constants = framing(asked.call.vendor.id)
    added = constants.tools
    run_by_vendor: list[Mapping[str, Any]] = []
    for tool in listed:
        if not isinstance(tool, Mapping):
            continue
        added += constants.tool
        kind = tool.get("type")
        if kind is None or (kind.__class__ is str and kind in CALLERS):
            declared = tool.get("functionDeclarations") or tool.get("function_declarations")
            if isinstance(declared, list):
                added += constants.tool * len(declared)
            if not GOOGLE.isdisjoint(tool):
                run_by_vendor.append(tool)
        elif isinstance(kind, str) and kind.startswith(RUN_BY_CALLER):
            added += constants.own_tool
        else:
            run_by_vendor.append(tool)
    return _run_by_vendor(asked, run_by_vendor, added) if run_by_vendor else _Tools(added)


def _run_by_vendor(asked: Asked, tools: list[Mapping[str, Any]], added: int) -> _Tools:
    """Fees and turns of tools that the vendor runs: as many as the request allows, if it says so."""
    kinds = [str(tool.get("type")) for tool in tools]
    limit: Any = asked.body.get("max_tool_calls")
    if "image_generation" in kinds:
        raise Unbounded("tokens of a picture")
    if limit.__class__ is int and 0 <= limit <= MOST_USES:
        units: dict[str, float] = {}
        if "file_search" in kinds:
            units["file_searches"] = limit
        if "code_interpreter" in kinds:
            units["container_sessions"] = 1
        searches = limit if any("web_search" in kind for kind in kinds) else 0
        return _Tools(added, limit + 1, searches, units or None, reads=True)
    if all(_is_old_google_search(asked.model or "", tool) for tool in tools):
        return _Tools(added, searches=1, reads=True)
    uses = [_most_uses(tool) for tool in tools]
    paid = sum(most for most, kind in zip(uses, kinds, strict=True) if "web_search" in kind)
    return _Tools(added, sum(uses) + 1, paid, reads=True)


MOST_USES = 1024


CALLERS = frozenset({"function", "custom"})
RUN_BY_CALLER = ("bash_", "text_editor_", "computer_", "memory_", "computer", "local_shell", "apply_patch")
"""The vendor's own tools that the caller runs; what they answer comes with the next request."""
GOOGLE = frozenset(
    {
        "googleSearch",
        "google_search",
        "googleSearchRetrieval",
        "google_search_retrieval",
        "codeExecution",
        "code_execution",
        "urlContext",
        "url_context",
        "fileSearch",
        "file_search",
        "googleMaps",
        "google_maps",
        "enterpriseWebSearch",
        "computerUse",
        "retrieval",
        "mcpServers",
    }
)


def _is_old_google_search(model: str, tool: Mapping[str, Any]) -> bool:
    """Before Gemini 3 an answer that rests on a search pays for one, and what was found is no prompt.

    https://ai.google.dev/gemini-api/docs/google-search#pricing
    """
    named = GOOGLE & tool.keys()
    return bool(named) and named <= GOOGLE_SEARCH and model.startswith(("gemini-1", "gemini-2"))


GOOGLE_SEARCH = frozenset(
    {"googleSearch", "google_search", "googleSearchRetrieval", "google_search_retrieval"}
)


def _most_uses(tool: Mapping[str, Any]) -> int:
    parameters = tool.get("parameters")
    limit = tool.get("max_uses")
    if limit is None and isinstance(parameters, Mapping):
        limit = parameters.get("max_uses")
    if not isinstance(limit, int) or isinstance(limit, bool) or not 0 <= limit <= MOST_USES:
        raise Unbounded("server tools without a limit")
    return limit


# -- output ----------------------------------------------------------------------------------------------


def _output(asked: Asked) -> tuple[int, str]:
    """Tokens of all choices, and what they rest on. Reasoning is inside the cap with every vendor here:
    `budget_tokens` within `max_tokens`, Gemini's `thinkingBudget` within `maxOutputTokens`."""
    body, ceiling = asked.body, asked.ceiling
    cap = 0
    for name in asked.call.operation.output_cap:
        value: Any = body
        if "." in name:
            for part in name.split("."):
                value = value.get(part) if value.__class__ is dict else None
        else:
            value = body.get(name)
        if value.__class__ is int and value > cap:
            cap = value
    window = ceiling.context
    if cap:
        most, basis = cap if window is None else min(cap, window), CAP
    elif ceiling.output is not None:
        most, basis = ceiling.output, MODEL
    elif window is not None:
        most, basis = window, WINDOW
    else:
        raise Unbounded("neither a cap on the output nor the model's own is known")
    choices = _choices(body)
    if "prediction" in body:
        # Predicted tokens that are rejected are billed as output.
        most += asked.size
    return most * choices, basis


def _choices(body: Mapping[str, Any]) -> int:
    choices = 1
    if not CHOICES.isdisjoint(body):
        for name in CHOICES:
            choices = max(choices, _whole(body.get(name)))
    for name in ("generationConfig", "generation_config"):
        config: Any = body.get(name)
        if config.__class__ is dict:
            choices = max(choices, _whole(config.get("candidateCount") or config.get("candidate_count")))
    prompts: Any = body.get("prompt")
    if prompts.__class__ is list and prompts and prompts[0].__class__ is not int:
        choices *= len(prompts)
    return choices


CHOICES = frozenset({"n", "best_of", "num_generations", "numResults"})


def _whole(value: Any) -> int:
    """A whole number of a request, rounded up; forms have it as text. What is none is 1."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 10:
        return int(value)
    if isinstance(value, (int, float)) and value > 0:
        return math.ceil(min(value, MAX_COUNT))
    return 1


def _mark_media_output(asked: Asked, usage: NormalizedUsage) -> None:
    """An answer that may be sound or pictures may be nothing else."""
    body, model = asked.body, asked.model or ""
    modalities = body.get("modalities")
    if modalities is None:
        config: Any = body.get("generationConfig")
        modalities = config.get("responseModalities") if config.__class__ is dict else None
    wanted = str(modalities).lower() if isinstance(modalities, list) else ""
    if "audio" in wanted or "-tts" in model:
        usage.audio_output_tokens = usage.output_tokens
    if "image" in wanted or "-image" in model:
        usage.image_output_tokens = usage.output_tokens


# -- other operations ------------------------------------------------------------------------------------


def _input_only(asked: Asked) -> Bound:
    """Embeddings, moderation, classification: bytes of the inputs, no output."""
    if not asked.size:
        raise Unbounded("the body is not seen")
    found = find_media(asked.body) if asked.size <= MAX_PARSED_REQUEST else None
    if found is None or found.images or found.unknown is not None:
        raise Unbounded("media")
    added = framing(asked.call.vendor.id)
    # Templates such as "Represent the query for retrieval" come with each input.
    size = asked.size + added.call + 2 * added.message * _inputs(asked.body)
    return Bound(NormalizedUsage(min(size, MAX_COUNT)), BYTES)


def _inputs(body: Mapping[str, Any]) -> int:
    names = ("input", "inputs", "texts", "instances", "requests", "content")
    return 1 + sum(len(value) for name in names if isinstance(value := body.get(name), list))


def _images(asked: Asked) -> Bound:
    """Pictures × their number; of models that are billed by tokens, the most that one picture has."""
    body = asked.body
    read = asked.call.operation.read_request
    details = read(body) if read is not None else {}
    parameters = body.get("parameters")
    asked_for = parameters.get("sampleCount") if isinstance(parameters, Mapping) else body.get("n")
    # Imagen draws four where nobody says how many: https://ai.google.dev/gemini-api/docs/imagen
    number = _whole(asked_for) if asked_for is not None else 4 if isinstance(parameters, Mapping) else 1
    each = drawn_tokens(asked.model or "", details.get("size"), details.get("quality"))
    if each == 0:
        return Bound(NormalizedUsage(images=number), BYTES, "images")
    if each is None or not asked.size:
        raise Unbounded("tokens of a picture")
    partial = _whole(body.get("partial_images")) if "partial_images" in body else 0
    tokens = number * (each + 100 * partial)
    usage = NormalizedUsage(asked.size + framing(asked.call.vendor.id).call, tokens)
    usage.image_output_tokens = tokens
    return Bound(usage, BYTES, "images")


def _speech(asked: Asked) -> Bound:
    read = asked.call.operation.read_request
    characters = (read(asked.body) if read is not None else {}).get("characters")
    if not isinstance(characters, int):
        raise Unbounded("speech")
    return Bound(NormalizedUsage(characters=characters), "characters")


def _rerank(asked: Asked) -> Bound:
    """Cohere bills units of a query with a hundred documents, a long document counting as several; others
    bill the tokens of the documents and of the query with each."""
    body = asked.body
    documents, query = body.get("documents"), body.get("query")
    if not isinstance(documents, list) or not asked.size:
        raise Unbounded("documents")
    query_size = _bytes_of(query)
    if asked.call.vendor.id not in BY_SEARCH_UNITS:
        each = query_size + 4 * framing(asked.call.vendor.id).message
        return Bound(NormalizedUsage(min(asked.size + len(documents) * each, MAX_COUNT)), BYTES)
    room = max(CHUNK - query_size, CHUNK // 2)
    chunks = sum(max(1, -(-_bytes_of(document) // room)) for document in documents)
    return Bound(NormalizedUsage(search_units=-(-chunks // 100) or 1), "documents")


BY_SEARCH_UNITS = frozenset({"cohere", "azure", "bedrock", "vertex"})
CHUNK = 500
"""https://cohere.com/pricing: a document of more tokens, the query's included, counts as several."""


def _bytes_of(value: Any) -> int:
    if isinstance(value, str):
        return len(value.encode("utf-8", "replace"))
    if isinstance(value, Mapping):
        return sum(len(str(name)) + _bytes_of(item) + 4 for name, item in value.items())
    if isinstance(value, list):
        return sum(map(_bytes_of, value))
    return len(str(value))


def _video(asked: Asked) -> Bound:
    read = asked.call.operation.read_request
    details = read(asked.body) if read is not None else {}
    seconds = details.get("video_seconds")
    if not isinstance(seconds, (int, float)) or not seconds > 0:
        raise Unbounded("video")
    return Bound(NormalizedUsage(), BYTES, "seconds", {"video_seconds": float(seconds) * details.get("n", 1)})


READERS: Mapping[str, Callable[[Asked], Bound]] = {
    "chat": _generation,
    "text_completion": _generation,
    "responses": _generation,
    "responses_compact": _generation,
    "generate_content": _generation,
    "interactions": _generation,
    "inference": _generation,
    "embeddings": _input_only,
    "moderation": _input_only,
    "classification": _input_only,
    "image_generation": _images,
    "speech": _speech,
    "rerank": _rerank,
    "video": _video,
}
"""Operations that have a bound. Batches, training, transcription, pages, runs and conversations have none."""


def is_generation(operation: Operation) -> bool:
    """Whether a prompt is answered with text."""
    return READERS.get(operation.name) is _generation
