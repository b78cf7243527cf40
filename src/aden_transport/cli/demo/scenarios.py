"""What the demo shows: a table of calls, how to make each, and what to expect."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from ...errors import BudgetExceededError
from ...events import BeforeRequestContext, BeforeRequestResult
from ...testing import Reply, ToolCall
from . import outcome
from .calls import AnthropicCalls, GeminiCalls, OpenAICalls
from .models import CHEAPER_GPT, GPT
from .outcome import Expectation, Outcome
from .summary import dollars, saved_nano_usd

__all__ = ["CLIMBER", "POLICY", "SCENARIOS", "Scenario", "Vendors", "decide"]


class Vendors(Protocol):
    """Whose calls a scenario may make."""

    @property
    def openai(self) -> OpenAICalls: ...
    @property
    def anthropic(self) -> AnthropicCalls: ...
    @property
    def gemini(self) -> GeminiCalls: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One thing that an application does."""

    name: str
    group: str
    vendor: str
    title: str
    run: Callable[[Vendors], object]
    """Make the calls; returns what the application gets."""
    replies: tuple[Reply, ...] = ()
    """What the vendor will answer, call by call."""
    expect: tuple[Expectation, ...]
    """Asked in this order; the first complaint counts."""
    agent: str = "writer"
    tenant: str = "acme"
    say: Callable[[Outcome], str] | None = None
    """A line more, where events alone do not tell."""


# -- the application's own rules ------------------------------------------------------------------

RULES: Mapping[str, BeforeRequestResult] = {
    "crawler": BeforeRequestResult.cancel("the budget of crawler is spent"),
    "drafter": BeforeRequestResult.degrade(CHEAPER_GPT, "drafter is at 82 % of its budget"),
    "batcher": BeforeRequestResult.throttle(100, "batcher is at 96 % of its budget"),
    "support": BeforeRequestResult.alert("support is at 51 % of its budget"),
}
"""By agent; all others go on."""


def decide(params: Mapping[str, object], context: BeforeRequestContext) -> BeforeRequestResult:
    """The demo's `before_request`."""
    return RULES.get(context.metadata.get("agent", ""), BeforeRequestResult.proceed())


# -- the table ------------------------------------------------------------------------------------

HAIKU = "An old silent pond. A frog jumps into the pond. Splash! Silence again."
HANDBOOK = "Our house style: short words, short sentences, and one idea in each of them. " * 24
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather in a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
FINE = (outcome.without_trouble, outcome.events(1), outcome.metered)


def answer(input_tokens: int = 21, output_tokens: int = 18) -> tuple[Reply, ...]:
    return (Reply(text=HAIKU, events=8, input_tokens=input_tokens, output_tokens=output_tokens),)


OPENAI = (
    Scenario(
        name="chat",
        group="OpenAI",
        vendor="openai",
        title="chat completion",
        run=lambda v: v.openai.chat("Write a haiku about a pond."),
        replies=answer(),
        expect=(*FINE, outcome.as_said(21, 18), outcome.answered(HAIKU)),
    ),
    Scenario(
        name="chat-stream",
        group="OpenAI",
        vendor="openai",
        title="chat, streamed: usage is asked for, and hidden again",
        run=lambda v: v.openai.chat_stream("Write a haiku about a pond."),
        replies=answer(),
        expect=(*FINE, outcome.as_said(21, 18), outcome.answered(HAIKU)),
    ),
    Scenario(
        name="chat-tools",
        group="OpenAI",
        vendor="openai",
        title="chat with a tool",
        run=lambda v: v.openai.chat("Is it raining in Kyoto?", tools=[WEATHER]),
        replies=(Reply(tool_calls=[ToolCall("get_weather", {"city": "Kyoto"})], input_tokens=62),),
        expect=(*FINE, outcome.tools("get_weather"), outcome.answered("get_weather")),
        agent="researcher",
    ),
    Scenario(
        name="chat-parse",
        group="OpenAI",
        vendor="openai",
        title="chat parsed into a class",
        run=lambda v: v.openai.chat_parsed("Which city is this: Kinkaku-ji?"),
        replies=(Reply(text='{"city": "Kyoto"}', input_tokens=48, output_tokens=6),),
        expect=(*FINE, outcome.as_said(48, 6), outcome.answered("Kyoto")),
        agent="researcher",
    ),
    Scenario(
        name="responses",
        group="OpenAI",
        vendor="openai",
        title="Responses API",
        run=lambda v: v.openai.respond("Write a haiku about a pond."),
        replies=(Reply(text=HAIKU, input_tokens=21, output_tokens=18, reasoning_tokens=64),),
        expect=(*FINE, outcome.as_said(21, 82), outcome.answered(HAIKU)),
    ),
    Scenario(
        name="responses-stream",
        group="OpenAI",
        vendor="openai",
        title="Responses API, streamed",
        run=lambda v: v.openai.respond_stream("Write a haiku about a pond."),
        replies=answer(),
        expect=(*FINE, outcome.as_said(21, 18), outcome.answered(HAIKU)),
    ),
    Scenario(
        name="responses-background",
        group="OpenAI",
        vendor="openai",
        title="Responses API, in the background: counted when it ends",
        run=lambda v: v.openai.respond_in_background("Write a long report."),
        replies=answer(35, 410),
        expect=(
            outcome.without_trouble,
            outcome.events(2),
            outcome.metered,
            outcome.told_at_the_end,
            outcome.as_said(35, 410),
            outcome.answered("completed"),
        ),
        agent="researcher",
    ),
    Scenario(
        name="embeddings",
        group="OpenAI",
        vendor="openai",
        title="embeddings",
        run=lambda v: v.openai.embed([HANDBOOK, HAIKU]),
        replies=(Reply(input_tokens=496),),
        expect=(*FINE, outcome.as_said(496, 0), outcome.answered(2)),
        agent="researcher",
    ),
)

ANTHROPIC = (
    Scenario(
        name="messages",
        group="Anthropic",
        vendor="anthropic",
        title="message",
        run=lambda v: v.anthropic.message("Write a haiku about a pond."),
        replies=answer(),
        expect=(*FINE, outcome.as_said(21, 18), outcome.answered(HAIKU)),
        tenant="globex",
    ),
    Scenario(
        name="messages-stream",
        group="Anthropic",
        vendor="anthropic",
        title="message, streamed",
        run=lambda v: v.anthropic.message_stream("Write a haiku about a pond."),
        replies=answer(),
        expect=(*FINE, outcome.as_said(21, 18), outcome.answered(HAIKU)),
        tenant="globex",
    ),
    Scenario(
        name="messages-cache",
        group="Anthropic",
        vendor="anthropic",
        title="prompt cache: written by one call, read by the next",
        run=lambda v: [
            v.anthropic.message(prompt, cached=HANDBOOK) for prompt in ("Edit this.", "And this.")
        ],
        replies=(
            Reply(text=HAIKU, input_tokens=2069, cache_write_tokens=2048, output_tokens=18),
            Reply(text=HAIKU, input_tokens=2069, cached_tokens=2048, output_tokens=18),
        ),
        expect=(
            outcome.without_trouble,
            outcome.events(2),
            outcome.metered,
            outcome.as_said(2069, 18),
            outcome.cached,
            outcome.answered([HAIKU, HAIKU]),
        ),
        agent="editor",
        tenant="globex",
    ),
)

GEMINI = (
    Scenario(
        name="generate",
        group="Gemini",
        vendor="gemini",
        title="generate content",
        run=lambda v: v.gemini.generate("Write a haiku about a pond."),
        replies=answer(),
        expect=(*FINE, outcome.as_said(21, 18), outcome.answered(HAIKU)),
        tenant="globex",
    ),
    Scenario(
        name="generate-stream",
        group="Gemini",
        vendor="gemini",
        title="generate content, streamed",
        run=lambda v: v.gemini.generate_stream("Write a haiku about a pond."),
        replies=answer(),
        expect=(*FINE, outcome.as_said(21, 18), outcome.answered(HAIKU)),
        tenant="globex",
    ),
    Scenario(
        name="generate-async",
        group="Gemini",
        vendor="gemini",
        title="generate content, in an event loop",
        run=lambda v: v.gemini.generate_async("Write a haiku about a pond."),
        replies=answer(),
        expect=(*FINE, outcome.as_said(21, 18), outcome.answered(HAIKU)),
        agent="editor",
        tenant="globex",
    ),
)

TROUBLE = (
    Scenario(
        name="retry",
        group="When things go wrong",
        vendor="openai",
        title="429, tried again by the client: two attempts of one call",
        run=lambda v: v.openai.chat("Write a haiku about a pond."),
        replies=(Reply(error="rate_limit", headers={"retry-after-ms": "40"}), *answer()),
        expect=(
            outcome.without_trouble,
            outcome.events(2),
            outcome.linked,
            outcome.metered,
            outcome.answered(HAIKU),
        ),
    ),
    Scenario(
        name="error",
        group="When things go wrong",
        vendor="openai",
        title="an error passes as it is, and costs nothing",
        run=lambda v: v.openai.chat("Summarise this library."),
        replies=(Reply(error="context_length_exceeded"),),
        expect=(outcome.events(1), outcome.failed(400, "context_length_exceeded")),
    ),
    Scenario(
        name="abandoned",
        group="When things go wrong",
        vendor="openai",
        title="a stream left after two chunks is estimated",
        run=lambda v: v.openai.chat_stream("Write a haiku about a pond.", leave_after=2),
        replies=(Reply(text=HAIKU, events=8, event_delay_ms=20),),
        expect=(outcome.events(1), outcome.estimated),
    ),
)

DECISIONS = (
    Scenario(
        name="blocked",
        group="Decided before anything is sent",
        vendor="openai",
        title="blocked: the caller gets RequestCancelledError",
        run=lambda v: v.openai.chat("Read the whole internet."),
        expect=(outcome.events(1), outcome.blocked),
        agent="crawler",
        say=lambda o: f"{o.bytes_sent} bytes sent",
    ),
    Scenario(
        name="degraded",
        group="Decided before anything is sent",
        vendor="openai",
        title="degraded to a cheaper model",
        run=lambda v: v.openai.chat("Draft a page about ponds."),
        replies=answer(160, 540),
        expect=(
            *FINE,
            outcome.decided("degrade"),
            outcome.degraded(GPT, CHEAPER_GPT),
            outcome.answered(HAIKU),
        ),
        agent="drafter",
        say=lambda o: f"saved {dollars(saved_nano_usd(o.events))} by the prices of {GPT}",
    ),
    Scenario(
        name="throttled",
        group="Decided before anything is sent",
        vendor="openai",
        title="throttled: it waits before it is sent",
        run=lambda v: v.openai.chat("Next, please."),
        replies=answer(),
        expect=(*FINE, outcome.decided("throttle"), outcome.answered(HAIKU)),
        agent="batcher",
    ),
    Scenario(
        name="alerted",
        group="Decided before anything is sent",
        vendor="openai",
        title="alert: on_alert is told, the call goes on",
        run=lambda v: v.openai.chat("How do I reset my password?"),
        replies=answer(),
        expect=(*FINE, outcome.decided("alert"), outcome.alerted, outcome.answered(HAIKU)),
        agent="support",
        say=lambda o: f"on_alert got: {o.alerts[0].level}, {o.alerts[0].message!r}",
    ),
)

# -- a budget --------------------------------------------------------------------------------------

CLIMBER = "novelist"
POLICY: Mapping[str, Any] = {
    "type": "agent",
    "name": CLIMBER,
    "limit": 0.05,
    "thresholds": [
        {"percent": 50, "action": "alert"},
        {"percent": 80, "action": "degrade", "degradeTo": CHEAPER_GPT},
        {"percent": 95, "action": "throttle", "delayMs": 300},
    ],
    "limitAction": "block",
}
"""The demo's `policy`: the ladder of the specification, for one agent."""
CHAPTERS = (1000, 1000, 1000, 600, 10_000, 9000, 500, 500, 10_000)
"""How long the chapters are that it asks for, in tokens; the last one is more than what is left pays for."""


def write_a_novel(vendors: Vendors) -> list[str]:
    """What the application gets: each chapter, and at last the reason why there is none."""
    chapters: list[str] = []
    for tokens in CHAPTERS:
        try:
            chapters.append(vendors.openai.chat("Write the next chapter.", most=tokens))
        except BudgetExceededError as refused:
            chapters.append(f"{type(refused).__name__}: {refused}")
    return chapters


def told_and_caught(outcome: Outcome) -> str:
    caught = outcome.result[-1] if isinstance(outcome.result, list) else None
    return f"on_alert got: {outcome.alerts[0].level}, {outcome.alerts[0].message!r}; caught {caught}"


BUDGET = (
    Scenario(
        name="ladder",
        group="A budget of five cents",
        vendor="openai",
        title="alert at 50 %, degrade at 80 %, throttle at 95 %, block at 100 %",
        run=write_a_novel,
        replies=tuple([Reply(text="Once upon a time.", output_tokens=tokens) for tokens in CHAPTERS[:-1]]),
        expect=(outcome.without_trouble, outcome.events(len(CHAPTERS)), outcome.climbed, outcome.alerted),
        agent=CLIMBER,
        say=told_and_caught,
    ),
)

SCENARIOS = (*OPENAI, *ANTHROPIC, *GEMINI, *TROUBLE, *DECISIONS, *BUDGET)
