"""The hold of a plain call, in few steps: text and functions, one price, one answer.

The same figures as `bound.py`, `hold.py` and `expectation.py` give, which read every kind of call. What all
calls of a model have in common is kept, so that a call costs a look at its members and a few products.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from math import ceil
from typing import TYPE_CHECKING, Any, TypeAlias

from ..pricing import PriceBook, TextRates
from ..vendors.base import MAX_COUNT, Operation
from ..vendors.ceilings import Ceilings, framing
from .bound import (
    BYTES,
    CALLERS,
    CAP,
    MODEL,
    TURN_MEMBERS,
    WINDOW,
    is_generation,
    is_text,
    marks_cache,
    searches_itself,
)
from .expectation import Expectation, Means
from .rewrite import MAX_PARSED_REQUEST

if TYPE_CHECKING:
    from .classify import Call
    from .exchange import Exchange

__all__ = ["REFERRED", "Amounts", "PlainCalls"]

HELD_AT_MOST = 1024
CAPPED = f"{BYTES}, {CAP}"
WELL_KNOWN, OTHERS = 100, 7
"""From so many answers on, of each kind of call one in eight teaches what to expect."""

SHARED = frozenset(
    {
        "frequency_penalty",
        "logit_bias",
        "logprobs",
        "max_completion_tokens",
        "max_output_tokens",
        "max_tokens",
        "metadata",
        "model",
        "parallel_tool_calls",
        "presence_penalty",
        "prompt_cache_key",
        "reasoning",
        "reasoning_effort",
        "response_format",
        "safety_identifier",
        "seed",
        "stop",
        "stop_sequences",
        "store",
        "stream",
        "stream_options",
        "temperature",
        "text",
        "thinking",
        "tool_choice",
        "top_k",
        "top_logprobs",
        "top_p",
        "user",
        "verbosity",
    }
)
"""Members of a request that add nothing to its bytes, whatever they say, or are read here."""
MESSAGES_OTHERS = frozenset({"system", "tools"})
INPUT_OTHERS = frozenset({"instructions", "tools"})
TEXTS = ("system", "instructions")
ITEM_MEMBERS = TURN_MEMBERS | {"type", "id", "status", "call_id", "arguments", "output"}
ITEMS = frozenset({None, "message", "function_call", "function_call_output"})
"""What the input of a response may consist of: text."""
TOOL_MEMBERS = frozenset(
    {"type", "function", "name", "description", "input_schema", "parameters", "strict", "cache_control"}
)


Amounts: TypeAlias = tuple[int, int, int, str]
"""What a plain call costs at most and probably, in nano-dollars; tokens of its input as its bytes tell, or
`_Kind.noted` where nothing is to be learned of it; what the first rests on."""


class _Kind:
    """What the calls of one vendor, operation and model have in common."""

    __slots__ = (
        "are_common",
        "basis",
        "call",
        "caps",
        "generated",
        "marked",
        "means",
        "members",
        "message",
        "noted",
        "output",
        "rates",
        "read",
        "simple_to",
        "tool",
        "tools",
        "turn_members",
        "turns",
        "until",
        "window",
        "written",
    )

    call: int
    """What the vendor adds to a request: see `ceilings.Framing`."""
    message: int
    tool: int
    tools: int
    caps: tuple[str, ...]
    """Members that bound the output."""
    marked: bool
    """Whether only what the request marks is written to the cache."""
    members: frozenset[str]
    turn_members: frozenset[str]
    turns: str
    """The member that has the messages."""
    means: Means | None
    """What is expected of the model's calls; None: it was not looked up yet."""
    noted: int
    """-1 where later requests may refer to the answer by its id, else 0."""
    are_common: Callable[[Iterable[str]], bool]
    """Whether of these members none but the messages says anything about the size of the input."""
    output: int
    """Where the request names no cap; `UNBOUNDED` where nothing does."""
    basis: str
    """What that rests on."""
    window: int
    rates: tuple[TextRates, ...]
    """By the prompt's length; `()`: no such call is plain."""
    simple_to: int
    """Up to which size of the input a token of it costs `read`, or `written` at most, and one of the output
    `generated`, in whole nano-dollars; -1 where more has to be looked at."""
    read: int
    written: int
    generated: int
    until: float
    """When the prices may change."""


class PlainCalls:
    """Reads plain calls. Safe for threads: its dictionaries are only added to or replaced."""

    __slots__ = ("_ceilings", "_held", "_kinds", "_learned", "_prices", "_version")

    def __init__(self, prices: PriceBook, ceilings: Ceilings, learned: Expectation) -> None:
        self._prices = prices
        self._ceilings = ceilings
        self._learned = learned
        # In two steps: no tuple has to be made for a look-up.
        self._kinds: dict[Call, dict[str | None, _Kind]] = {}
        self._held = 0
        """How many there are, about."""
        self._version = prices.version

    def amounts(self, exchange: Exchange, expects: bool, hard: bool) -> Amounts | None:
        """None where the call is not plain.

        `expects`: whether anybody asks what it probably costs; else that is the hold. `hard`: whether a limit
        holds whatever happens; else an answer is taken to be as long as nine of ten are.
        """
        # One function, as it is in the path of every call: several take half as much again.
        if self._version != self._prices.version:
            self._version, self._kinds, self._held = self._prices.version, {}, 0
        body: Any = exchange.body
        try:
            kind = self._kinds[exchange.call][exchange.model]
        except KeyError:
            kind = self._kind(exchange)
        if exchange.started_at >= kind.until:
            kind = self._kind(exchange)
        raw = exchange.wire.body
        if raw is None:
            return None
        size = len(raw) + kind.call
        if not kind.are_common(body):
            if not kind.members.issuperset(body):
                return None
            size += _others(kind, body)
        turns: Any = body.get(kind.turns)
        if turns.__class__ is list:
            for turn in turns:
                try:
                    # Nearly every message is a role and a text.
                    if len(turn) == 2 and "role" in turn and turn["content"].__class__ is str:
                        continue
                except (KeyError, TypeError):
                    pass
                if turn.__class__ is not dict or not kind.turn_members.issuperset(turn) or not _is_read(turn):
                    return None
            size += kind.message * len(turns)
        elif turns.__class__ is not str:
            return None
        output, basis, most = kind.output, kind.basis, 0
        for name in kind.caps:
            if name in body:
                cap: Any = body[name]
                if cap.__class__ is int and cap > most:
                    output, basis, most = cap, CAPPED, cap
        if not hard and basis is not CAPPED:
            output = self._usual(exchange, output)
        rates, read, generated = None, kind.read, kind.generated
        if size > kind.simple_to or output > kind.window:
            found = _priced(kind, size, output, basis, raw)
            if found is None:
                return None
            hold, size, output, basis, rates = found
            read, generated = rates.input, rates.output
        else:
            hold = size * kind.written + output * generated
        if not expects:
            return hold, hold, kind.noted, basis
        about, metadata = (size + 3) >> 2, exchange.metadata
        feature = None if metadata is None else metadata.get("feature")
        means = kind.means
        if means is None or means.is_gone or feature is not None:
            means = self._learned.means(exchange.model or "", feature)
            if feature is None:
                kind.means = means
        given, likely = ceil(about * means.input_ratio), means.likely
        cost = (given if given < size else size) * read + (likely if likely < output else output) * generated
        if rates is not None:
            cost = rates.cost(cost)
        if means.answers > WELL_KNOWN and exchange.number & OTHERS:
            about = kind.noted
        return hold, cost if cost < hold else hold, about, basis

    def _usual(self, exchange: Exchange, most: int) -> int:
        if most == UNBOUNDED:
            return most
        usual = self._learned.output_quantile(exchange.model or "", exchange.feature)
        return usual if usual is not None and usual < most else most

    def _kind(self, exchange: Exchange) -> _Kind:
        call, model, kind = exchange.call, exchange.model, _Kind()
        vendor, operation = call.vendor, call.operation
        provider = vendor.price_provider or vendor.id
        unit, kind.until = self._prices.find_until(provider, model or "", at=exchange.started_at)
        plain = unit is not None and model is not None and _is_plain(operation, model)
        kind.rates = unit.text_rates() if unit is not None and plain else ()
        kind.means = None
        kind.simple_to = kind.read = kind.written = kind.generated = -1
        kind.caps = operation.output_cap
        responses = operation.name.startswith("responses")
        kind.turns, kind.turn_members = ("input", ITEM_MEMBERS) if responses else ("messages", TURN_MEMBERS)
        common = SHARED | {kind.turns}
        kind.are_common = common.issuperset
        kind.members = common | (INPUT_OTHERS if responses else MESSAGES_OTHERS)
        kind.marked = marks_cache(vendor.id, model)
        kind.noted = -1 if operation.name in REFERRED else 0
        constants, ceiling = framing(vendor.id), self._ceilings.find(provider, model)
        kind.call, kind.message = constants.call + constants.message, constants.message
        if not kind.rates:
            kind.call = NOT_PLAIN
        kind.tool, kind.tools = constants.tool, constants.tools
        kind.window = MAX_COUNT if ceiling.context is None else ceiling.context
        output = ceiling.context if ceiling.output is None else ceiling.output
        kind.output = UNBOUNDED if output is None else output
        kind.basis = f"{BYTES}, {WINDOW if ceiling.output is None else MODEL}"
        if kind.rates and kind.rates[0].divisor == 1 and not kind.marked:
            first = kind.rates[0]
            kind.simple_to = int(min(kind.window, first.up_to, MAX_PARSED_REQUEST))
            kind.read, kind.written, kind.generated = first.input, first.written, first.output
        if self._held >= HELD_AT_MOST:
            self._kinds, self._held = {}, 0
        self._held += 1
        self._kinds.setdefault(call, {})[model] = kind
        return kind


def _is_plain(operation: Operation, model: str) -> bool:
    return (
        is_generation(operation)
        and not any("." in name for name in operation.output_cap)
        and not searches_itself(model)
        and "-tts" not in model
        and "-image" not in model
    )


def _is_read(turn: Mapping[str, Any]) -> bool:
    """Whether a message, or an item of a response's input, is text only."""
    if "type" in turn or "output" in turn:
        kind: Any = turn.get("type")
        if (kind is not None and kind.__class__ is not str) or kind not in ITEMS:
            return False
        if not is_text(turn.get("output")):
            return False
    return is_text(turn.get("content"))


REFERRED = frozenset({"responses", "responses_compact", "interactions", "conversation"})
"""Operations whose answers later requests may refer to by their ids."""
NOT_PLAIN = 1 << 60
"""A size that no call has."""
UNBOUNDED = 1 << 60


def _others(kind: _Kind, body: Mapping[str, Any]) -> int:
    """What the vendor adds to functions; `NOT_PLAIN` where more than bytes counts."""
    for name in TEXTS:
        if not is_text(body.get(name)):
            return NOT_PLAIN
    tools: Any = body.get("tools")
    if not tools:
        return 0
    if tools.__class__ is not list:
        return NOT_PLAIN
    for tool in tools:
        if tool.__class__ is not dict or not tool.keys() <= TOOL_MEMBERS:
            return NOT_PLAIN
        named: Any = tool.get("type")
        if named is not None and (named.__class__ is not str or named not in CALLERS):
            return NOT_PLAIN
    return kind.tools + kind.tool * len(tools)


def _priced(
    kind: _Kind, size: int, output: int, basis: str, raw: bytes
) -> tuple[int, int, int, str, TextRates] | None:
    """The hold of a call that is not priced in one step, what it rests on, and the rates of its length."""
    if size > MAX_PARSED_REQUEST or (output == UNBOUNDED and basis is not CAPPED):
        return None
    window = kind.window
    if size > window:
        size, basis = window, basis.replace(BYTES, WINDOW, 1)
    output = min(output, window)
    rates = next(tier for tier in kind.rates if size <= tier.up_to)
    hold = size * (_marked(rates, raw) if kind.marked else rates.written) + output * rates.output
    if rates.divisor != 1:
        hold = rates.cost(hold) + rates.inexact
    return hold, size, output, basis, rates


def _marked(rates: TextRates, raw: bytes) -> int:
    """The rate of a prompt of which what is marked is written to the cache."""
    if b"cache_control" in raw or b"cachePoint" in raw:
        return rates.written_1h if b'"1h"' in raw else rates.written
    return rates.input
