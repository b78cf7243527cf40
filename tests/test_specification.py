"""The examples of the specification's READMEs, run from their text: `aden` is `aden_transport`, the vendors
are the fake provider.

What the examples leave to their reader (`my_emitter`, `get_user_id`, …) is in `NAMES`; where they leave out
arguments (`...`), `FILLED` has them. Nothing else of a text is changed.
"""

from __future__ import annotations

import ast
import asyncio
import gc
import inspect
import logging
import os
import re
import sys
import textwrap
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple

import anthropic
import openai
import pytest

import aden_transport
from aden_transport import (
    BeforeRequestResult,
    MeterOptions,
    MetricEvent,
    NormalizedUsage,
    ToolCallMetric,
    create_memory_emitter,
    flush,
    get_options,
    instrument,
    is_instrumented,
    ready,
    register_vendor,
    uninstrument,
)
from aden_transport.emitters.memory import MemoryEmitter
from aden_transport.testing import FakeProvider

from .interop.original_server import OriginalServer

SPECIFICATION = Path(__file__).parents[2] / "shared" / "spec"
ADEN, METER, METRICS = "aden-readme.md", "openai-meter-readme.md", "metrics-module-readme.md"
COSTS, FEATURES = "aicostmanager-readme.md", "feature-evaluation.md"
MESSAGES: Any = [{"role": "user", "content": "Hello"}]

GRPC = (
    "waits for gRPC, which google-generativeai speaks by default; google-genai is metered: "
    "examples/gemini_basic.py"
)
LIVEKIT = "waits for the integration of LiveKit"
OTHER = "is another product's API, described for comparison"
WAITING: Mapping[tuple[str, int], str] = {
    (ADEN, 13): GRPC,
    (METER, 5): LIVEKIT,
    (METRICS, 2): "is configuration of the application that the module was part of",
    **{(COSTS, number): OTHER for number in (1, 2, 3)},
    (FEATURES, 1): "is a sketch of what is inside, not of what users type",
}
"""What is not run, and why."""

FILLED = {
    "completions.create(...)": 'completions.create(model="gpt-4o", messages=MESSAGES)',
    "completions.create(..., ": 'completions.create(model="gpt-4o", messages=MESSAGES, ',
    "messages.create(...)": 'messages.create(model="claude-haiku-4-5", max_tokens=9, messages=MESSAGES)',
    "MeterOptions(...)": "MeterOptions()",
    "messages=[...]": "messages=MESSAGES",
}
SERVERS = re.compile(r"https://your-(?:aden-)?server\.com|(?<=server_url=\")https://\.\.\.")
SHAPES = {(ADEN, 14): MetricEvent, (METER, 6): MetricEvent, (METER, 7): NormalizedUsage}
"""Listings of fields, not programs."""


class Example(NamedTuple):
    document: str
    number: int
    heading: str
    text: str

    @property
    def key(self) -> tuple[str, int]:
        return self.document, self.number


def examples() -> Iterator[Example]:
    """Every block of Python in the specification, in order."""
    for path in sorted(SPECIFICATION.glob("*.md")):
        heading, lines, number = "", list[str](), 0
        inside = False
        for line in path.read_text("utf-8").splitlines():
            if inside and line.strip() == "```":
                number, inside = number + 1, False
                yield Example(path.name, number, heading, textwrap.dedent("\n".join(lines)))
            elif inside:
                lines.append(line)
            elif line.strip() == "```python":
                inside, lines = True, []
            elif line.startswith("#"):
                heading = line.strip("# ")


EXAMPLES = list(examples())
RUN = [example for example in EXAMPLES if example.key not in WAITING and example.key not in SHAPES]
if not EXAMPLES:
    pytest.skip(f"the specification is not beside this repository: {SPECIFICATION}", allow_module_level=True)


@dataclass
class World:
    """What an example runs in, and what came of it."""

    provider: FakeProvider
    server: OriginalServer
    memory: MemoryEmitter
    rows: list[Any]
    alerts: list[str]
    names: dict[str, Any]
    capsys: pytest.CaptureFixture[str]
    leaves_clients: bool = False

    def call(self) -> None:
        """A call as the reader would make it next."""
        with openai.OpenAI() as client:
            client.chat.completions.create(model="gpt-4o", messages=MESSAGES)
        flush(5.0)

    @property
    def events(self) -> list[MetricEvent]:
        flush(5.0)
        return list(self.memory.events)


@pytest.fixture(scope="module")
def provider() -> Iterator[FakeProvider]:
    with FakeProvider() as running:
        yield running


@pytest.fixture
def server() -> Iterator[OriginalServer]:
    """Takes any key, as the texts name several."""
    with OriginalServer(key=None) as running:
        yield running
        if is_instrumented():
            uninstrument()


@pytest.fixture
def world(
    provider: FakeProvider,
    server: OriginalServer,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> Iterator[World]:
    provider.reset()
    memory, rows, alerts = create_memory_emitter(), list[Any](), list[str]()
    for module in ("aden", "openai_meter", "metrics"):
        monkeypatch.setitem(sys.modules, module, aden_transport)
    given = {"OPENAI_API_KEY": "any", "OPENAI_BASE_URL": provider.openai_base_url, "ANTHROPIC_API_KEY": "any"}
    for name, value in (given | {"ANTHROPIC_BASE_URL": provider.anthropic_base_url}).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)

    class Table:
        insert = staticmethod(rows.append)

    class Database:
        llm_metrics = Table

    names = {
        **{name: getattr(aden_transport, name) for name in aden_transport.__all__ if name != "demo"},
        "__name__": __name__,
        "asyncio": asyncio,
        "OpenAI": openai.OpenAI,
        "MESSAGES": MESSAGES,
        "API_KEY": "any",
        "my_emitter": memory,
        "my_backend_emitter": memory,
        "send_to_backend": rows.extend,
        "db": Database,
        "alert_ops": alerts.append,
        "get_current_user_id": lambda: "user-7",
        "get_user_id": lambda: "user-7",
        "my_budget_checker": lambda params, context: BeforeRequestResult.proceed(),
        "check_rate_limit": lambda user: user == "user-7",
        "should_throttle": lambda: False,
        "should_degrade": lambda: True,
        "get_remaining_budget": lambda tenant: {"acme-corp": 5}[tenant],
    }
    instrument(MeterOptions(emit_metric=memory))
    monkeypatch.setenv("ADEN_API_KEY", "from-the-environment")
    monkeypatch.setenv("ADEN_API_URL", server.url)
    loggers = {name: logging.getLogger(name).level for name in ("aden", "aden.metrics")}
    made = World(provider, server, memory, rows, alerts, names, capsys)
    yield made
    if is_instrumented():
        uninstrument()
    if isinstance(names.get("client"), (openai.OpenAI, anthropic.Anthropic)):
        names["client"].close()
    for name, level in loggers.items():
        logging.getLogger(name).setLevel(level)
        logging.getLogger(name).handlers.clear()
    with warnings.catch_warnings():  # clients that the examples leave open
        warnings.simplefilter("ignore")
        names.clear()
        if made.leaves_clients:
            gc.collect()


def run(example: Example, world: World) -> None:
    """The example's text, as a program or, where it awaits, as the body of a coroutine."""
    text = example.text
    for left_out, written in FILLED.items():
        text = text.replace(left_out, written)
    text = text.replace("https://api.yourcompany.com", world.provider.url)
    text = text.replace("https://api.yourerp.com", world.provider.url)
    text = SERVERS.sub(world.server.url, text)
    world.leaves_clients = "AsyncOpenAI()" in text or "pydantic_ai" in text
    if "pydantic_ai" in text:
        # It has a user agent of its own, and the vendor is on another host than usual: on one that no other
        # example uses, as it stays registered.
        host = world.provider.url.removeprefix("http://").replace("127.0.0.1", "localhost")
        os.environ["OPENAI_BASE_URL"] = f"http://{host}/v1"
        register_vendor("openai", hosts=[host])
    if "make_metered_openai" in text or "metered = " in text:
        uninstrument()  # it stands alone
    code = compile(text, f"{example.document} {example.number}", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    names = world.names
    if not code.co_flags & inspect.CO_COROUTINE:
        kind = anthropic.Anthropic if "messages.create" in text and "chat" not in text else openai.OpenAI
        names["client"] = kind()
        exec(code, names)
        return

    async def main() -> None:
        kind = anthropic.AsyncAnthropic if example.document == METRICS else openai.AsyncOpenAI
        async with kind() as client:
            names["client"] = client
            await eval(code, names)

    asyncio.run(main())


# -- what each example shows ---------------------------------------------------------------------


def answered(world: World) -> None:
    """A call was made, and metered."""
    (event,) = world.events
    assert event.usage is not None
    assert event.cost_usd


def answered_twice(world: World) -> None:
    whole, streamed = world.events
    assert (whole.stream, streamed.stream) == (False, True)


def nothing_is_left(world: World) -> None:
    assert not is_instrumented()


def shown_on_the_console(world: World) -> None:
    world.call()
    said = re.sub(r"\x1b\[[0-9;]*m", "", world.capsys.readouterr().out)
    assert re.search(r"^\+ \[\w{8}\] openai gpt-4o\S* \d+ms", said, re.MULTILINE)
    assert re.search(r"^  tokens: \d+ in / \d+ out", said, re.MULTILINE)


def shown_and_ended(world: World) -> None:
    assert not is_instrumented()


def posted(world: World) -> None:
    if example_is_alone(world):
        instrument(MeterOptions(emit_metric=world.names["http_emitter"]))
    world.call()
    (sent,) = [request for request in world.provider.requests if "/chat/" not in request.path]
    assert sent.headers["authorization"] == "Bearer any"
    assert sent.json()["input_tokens"] > 0
    assert sent.json()["model"].startswith("gpt-4o")


def example_is_alone(world: World) -> bool:
    options = get_options()
    return options is None or options.emit_metric is world.memory


def attributed(world: World) -> None:
    (event,) = world.events
    assert event.metadata is not None
    assert event.metadata["agent"] == "enterprise"
    if "tenant" in event.metadata:
        assert (event.metadata["tenant"], event.metadata["customer"]) == ("acme-corp", "customer-123")
    assert "metadata" not in world.provider.requests[0].json()


def caught(world: World) -> None:
    answered(world)


def emitted(world: World) -> None:
    world.call()
    answered(world)


def emitted_and_shown(world: World) -> None:
    shown_on_the_console(world)
    answered(world)


def filtered(world: World) -> None:
    world.call()
    assert world.events == []


def written(world: World) -> None:
    world.call()
    (path,) = Path("logs").glob("metrics-????-??-??.jsonl")
    assert '"gpt-4o' in path.read_text()


def stored(world: World) -> None:
    world.call()
    (row,) = world.rows
    assert row["tokens"] > 0
    assert row["latency_ms"] < 30_000
    assert world.alerts == []


def degraded(world: World) -> None:
    world.call()
    (event,) = world.events
    assert (event.request_model, event.degraded_from) == ("gpt-4o-mini", "gpt-4o")
    assert event.decision.reason == "High load"


def metered_alone(world: World) -> None:
    world.names["metered"].chat.completions.create(model="gpt-4o", messages=MESSAGES)
    answered(world)


def throttled(world: World) -> None:
    world.names["metered"].chat.completions.create(model="gpt-4o", messages=MESSAGES)
    (event,) = world.events
    assert event.throttle_ms >= 2000
    assert event.metadata == {"tenant": "acme-corp"}


def metered_on_the_console(world: World) -> None:
    said = re.sub(r"\x1b\[[0-9;]*m", "", world.capsys.readouterr().out)
    assert re.search(r"^\+ \[\w{8}\] openai gpt-4o-mini\S* \d+ms", said, re.MULTILINE)


def batched(world: World) -> None:
    instrument(MeterOptions(emit_metric=world.names["emitter"]))
    world.call()
    uninstrument()
    (event,) = world.rows
    assert event.total_tokens


def tagged(world: World) -> None:
    assert [event.source for event in world.events] == ["extraction", "learning"]


def configured(world: World) -> None:
    world.call()


def sent(world: World) -> None:
    """The call's event has come to the server, after a policy has come from it."""
    if is_instrumented():
        uninstrument()
    assert world.server.asked("/v1/control/policy")
    (metric,) = world.server.of_type("metric")
    assert metric["data"]["usage"]["output_tokens"] > 0
    assert metric["data"]["cost_usd"] > 0


def sent_when_asked(world: World) -> None:
    world.call()
    sent(world)


def sent_and_emitted(world: World) -> None:
    if is_instrumented():
        world.call()
    (event,) = world.events
    sent(world)
    (metric,) = world.server.of_type("metric")
    assert metric["event_id"] == event.event_id


def connected(world: World) -> None:
    """There is no call; the server was asked for its policy."""
    if is_instrumented():
        assert ready(10.0)
        uninstrument()
    assert [seen.headers["authorization"] for seen in world.server.asked("/v1/control/policy")]
    assert not is_instrumented()


def sent_by_an_application(world: World) -> None:
    app = world.names["app"]

    async def main() -> None:
        async with app.router.lifespan_context(app), openai.AsyncOpenAI() as client:
            await client.chat.completions.create(model="gpt-4o", messages=MESSAGES)

    asyncio.run(main())
    sent(world)


def sent_by_its_first_request(world: World) -> None:
    """`teardown_appcontext` runs after each request: examples/flask_app.py shows it corrected."""
    app = world.names["app"]

    def index() -> str:
        with openai.OpenAI() as client:
            client.chat.completions.create(model="gpt-4o", messages=MESSAGES)
        return "done"

    app.add_url_rule("/", view_func=index)
    assert app.test_client().get("/").text == "done"
    assert not is_instrumented()
    sent(world)


def there(world: World) -> None:
    """It only names what can be imported."""


CHECKS: Mapping[tuple[str, int], Callable[[World], None]] = {
    (ADEN, 1): sent,
    (ADEN, 2): sent_when_asked,
    (ADEN, 3): answered,
    (ADEN, 4): nothing_is_left,
    (ADEN, 5): shown_on_the_console,
    (ADEN, 6): posted,
    (ADEN, 7): sent,
    (ADEN, 8): attributed,
    (ADEN, 9): caught,
    (ADEN, 10): sent_when_asked,
    (ADEN, 11): answered_twice,
    (ADEN, 12): answered,
    (ADEN, 15): there,
    (ADEN, 16): shown_on_the_console,
    (ADEN, 17): emitted_and_shown,
    (ADEN, 18): filtered,
    (ADEN, 19): written,
    (ADEN, 20): stored,
    (ADEN, 21): sent_and_emitted,
    (ADEN, 22): degraded,
    (ADEN, 23): metered_alone,
    (ADEN, 24): configured,
    (ADEN, 25): configured,
    (ADEN, 26): sent_and_emitted,
    (ADEN, 27): sent_and_emitted,
    (ADEN, 28): connected,
    (ADEN, 29): nothing_is_left,
    (ADEN, 30): sent_by_an_application,
    (ADEN, 31): sent_by_its_first_request,
    (ADEN, 32): sent,
    (ADEN, 33): nothing_is_left,
    (ADEN, 34): shown_and_ended,
    (ADEN, 35): there,
    (ADEN, 36): configured,
    (ADEN, 37): shown_on_the_console,
    (ADEN, 38): connected,
    (ADEN, 39): attributed,
    (ADEN, 40): answered,
    (ADEN, 41): nothing_is_left,
    (ADEN, 42): nothing_is_left,
    (METER, 1): metered_on_the_console,
    (METER, 2): throttled,
    (METER, 3): batched,
    (METER, 4): posted,
    (METER, 8): there,
    (METRICS, 1): tagged,
}


@pytest.mark.parametrize("example", RUN, ids=lambda e: f"{e.document.partition('-readme')[0]}-{e.number}")
def test_an_example_runs_from_its_text(example: Example, world: World) -> None:
    run(example, world)
    CHECKS[example.key](world)


@pytest.mark.parametrize("key", SHAPES, ids=lambda key: f"{key[0]}-{key[1]}")
def test_a_listed_type_has_the_fields_that_are_listed(key: tuple[str, int]) -> None:
    (example,) = [example for example in EXAMPLES if example.key == key]
    names: dict[str, Any] = {
        "dataclass": dataclass,
        "NormalizedUsage": NormalizedUsage,
        "ToolCallMetric": ToolCallMetric,
    }
    exec(example.text, names)
    kind = SHAPES[key]
    for field in fields(names[kind.__name__]):
        assert hasattr(kind, field.name) or field.name in {own.name for own in fields(kind)}, field.name


def test_every_example_is_run_or_says_why_not() -> None:
    told = {*CHECKS, *WAITING, *SHAPES}
    assert {example.key for example in EXAMPLES} == told
    assert len(CHECKS) + len(WAITING) + len(SHAPES) == len(told)
