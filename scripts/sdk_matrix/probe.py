"""Ask one SDK in every way, metered, and print what was seen as JSON. Run by `scripts/sdk_matrix`.

python probe.py DISTRIBUTION
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
from collections.abc import Callable
from contextlib import aclosing, closing
from importlib.metadata import version
from typing import Any

from ways import SDKS, Ways

from aden_transport import (
    BeforeRequestResult,
    BudgetExceededError,
    MeterOptions,
    RequestCancelledError,
    create_memory_emitter,
    flush,
    instrument,
    uninstrument,
)
from aden_transport.testing import FakeProvider, Reply

Seen = dict[str, str]


def main(distribution: str) -> None:
    memory = create_memory_emitter()
    result = instrument(MeterOptions(emit_metric=memory))
    seen: Seen = {}
    with FakeProvider() as fake:
        ways = SDKS[distribution](fake)
        for name, check in CHECKS.items():
            fake.reset()
            memory.clear()
            try:
                seen[name] = check(ways, fake, memory)
            except Exception as exc:
                seen[name] = f"{type(exc).__name__}: {exc}"[:200]
    uninstrument()
    for name, each in POLICIES.items():
        with FakeProvider() as fake:
            seen[name] = each(SDKS[distribution](fake), fake)
    status = result.details.get(ways.provider)
    library = status.http_library if status is not None else None
    print(json.dumps({"version": version(distribution), "library": library, "seen": seen}))


def one(ways: Ways, memory: Any, *, stream: bool, source: str = "reported") -> str:
    """What is wrong with the one event that a call must make, or "ok"."""
    flush(5.0)
    if len(memory.events) != 1:
        return f"{len(memory.events)} events"
    event = memory.events[0]
    usage = event.usage
    wrong = [
        f"{name} {found!r}, not {wanted!r}"
        for name, found, wanted in (
            ("provider", event.provider, ways.provider),
            ("stream", event.stream, stream),
            ("usage_source", event.usage_source, source),
            ("status_code", event.status_code, 200),
            ("faults", [f for f in event.faults if f != "stream.abandoned"], []),
        )
        if found != wanted
    ]
    if usage is None or not usage.input_tokens or not (usage.output_tokens or source == "estimated"):
        wrong.append(f"usage {usage}")
    return "; ".join(wrong) or "ok"


def asked(ways: Ways, _fake: FakeProvider, memory: Any) -> str:
    ways.ask()
    return one(ways, memory, stream=False)


def asked_async(ways: Ways, _fake: FakeProvider, memory: Any) -> str:
    asyncio.run(_awaited(ways.ask_async()))
    return one(ways, memory, stream=False)


async def _awaited(call: Any) -> Any:
    return await call


def streamed(ways: Ways, _fake: FakeProvider, memory: Any) -> str:
    for _ in ways.stream():
        pass
    return one(ways, memory, stream=True, source=_source(memory))


def streamed_async(ways: Ways, _fake: FakeProvider, memory: Any) -> str:
    async def read() -> None:
        async for _ in ways.stream_async():
            pass

    asyncio.run(read())
    return one(ways, memory, stream=True, source=_source(memory))


def _source(memory: Any) -> str:
    """On a host that nobody knows usage is not asked for, so it may be an estimate, which it then says."""
    return memory.events[0].usage_source or "none" if memory.events else "none"


def stopped_early(ways: Ways, fake: FakeProvider, memory: Any) -> str:
    fake.push(Reply(events=500, event_delay_ms=1))
    with closing(ways.stream()) as stream:
        for number, _ in enumerate(stream):
            if number == 3:
                break
    gc.collect()
    return one(ways, memory, stream=True, source="estimated")


def stopped_early_async(ways: Ways, fake: FakeProvider, memory: Any) -> str:
    fake.push(Reply(events=500, event_delay_ms=1))

    async def read() -> None:
        async with aclosing(ways.stream_async()) as stream:
            number = 0
            async for _ in stream:
                number += 1
                if number == 3:
                    break
        gc.collect()

    asyncio.run(read())
    gc.collect()
    return one(ways, memory, stream=True, source="estimated")


def tried_again(ways: Ways, fake: FakeProvider, memory: Any) -> str:
    fake.push(Reply(status=500, retry_after_s=0.01))
    try:
        ways.ask()
    except Exception:
        if ways.retries:
            return "not tried again"
    attempts = [(event.attempt, event.status_code) for event in memory.events]
    wanted = [(0, 500), (1, 200)] if len(fake.requests) > 1 else [(0, 500)]
    calls = len({event.call_id for event in memory.events})
    return "ok" if (attempts, calls) == (wanted, 1) else f"{attempts} of {calls} calls"


def each_way(ways: Ways, fake: FakeProvider, look: Callable[[Any], str], **options: Any) -> str:
    """What is wrong with the one event of each way, sync, async and streamed, or "ok"."""
    memory = create_memory_emitter()
    instrument(MeterOptions(emit_metric=memory, **options))
    faults: list[str] = []
    attempts: dict[str, Callable[[], object]] = {
        "sync": ways.ask,
        "stream": lambda: list(ways.stream()),
        "async": lambda: asyncio.run(_awaited(ways.ask_async())),
        "async stream": lambda: asyncio.run(_all(ways.stream_async())),
    }
    for name, ask in attempts.items():
        memory.clear()
        fake.reset()
        error: Exception | None = None
        try:
            ask()
        except Exception as exc:
            error = exc
        flush(5.0)
        sent = len(fake.requests)
        if len(memory.events) != 1:
            faults.append(f"{name}: {len(memory.events)} events, {sent} requests")
            continue
        wrong = look((memory.events[0], error, fake.requests))
        if wrong:
            faults.append(f"{name}: {wrong}")
    uninstrument()
    return "; ".join(faults) or "ok"


def blocked(ways: Ways, fake: FakeProvider) -> str:
    """Refused by a hook: our exception as it is, one event, nothing sent."""

    def refuse(_params: Any, _context: Any) -> BeforeRequestResult:
        return BeforeRequestResult.cancel("no")

    return each_way(ways, fake, refused(RequestCancelledError), before_request=refuse)


def over_budget(ways: Ways, fake: FakeProvider) -> str:
    policy = {"id": "all", "limit": 0.01, "spent": 0.02, "limitAction": "block"}
    return each_way(ways, fake, refused(BudgetExceededError), policy=policy, ledger="memory")


def refused(kind: type[RequestCancelledError]) -> Callable[[Any], str]:
    def look(seen: Any) -> str:
        event, error, requests = seen
        if type(error) is not kind or error.__cause__ is not None:
            return "went through" if error is None else type(error).__name__
        return f"{event.decision.action}, {len(requests)} requests" if requests or event.attempt else ""

    return look


def delayed(ways: Ways, fake: FakeProvider) -> str:
    """By a budget at 96 %: one wait, and the call goes on."""
    step = {"percent": 95, "action": "throttle", "delayMs": 20}
    policy = {"limit": 100, "spent": 96, "thresholds": [step], "limitAction": "block"}

    def look(seen: Any) -> str:
        event, error, requests = seen
        if error is not None or len(requests) != 1 or event.decision.action != "throttle":
            return f"{error!r}, {event.decision.action}, {len(requests)} requests"
        return "" if event.throttle_ms > 0 else "not delayed"

    return each_way(ways, fake, look, policy=policy, ledger="memory")


def degraded(ways: Ways, fake: FakeProvider) -> str:
    """By a budget at 85 %: the other model is asked, and the event keeps both."""
    step = {"percent": 80, "action": "degrade", "degradeTo": ways.cheaper}
    policy = {"limit": 100, "spent": 85, "thresholds": [step], "limitAction": "block"}

    def look(seen: Any) -> str:
        event, error, requests = seen
        if error is not None or len(requests) != 1 or event.decision.action != "degrade":
            return f"{error!r}, {event.decision.action}, {len(requests)} requests, {event.decision.hindered}"
        asked = requests[0]
        model = asked.json().get("model") or asked.path.rpartition("/models/")[2].partition(":")[0]
        if (model, event.request_model) != (ways.cheaper, ways.cheaper) or not event.degraded_from:
            return f"{model} was asked, {event.degraded_from} → {event.request_model} told"
        return ""

    return each_way(ways, fake, look, policy=policy, ledger="memory")


async def _all(stream: Any) -> list[Any]:
    return [item async for item in stream]


CHECKS: dict[str, Callable[[Ways, FakeProvider, Any], str]] = {
    "sync": asked,
    "async": asked_async,
    "stream": streamed,
    "async stream": streamed_async,
    "stopped early": stopped_early,
    "stopped early, async": stopped_early_async,
    "tried again": tried_again,
}
POLICIES: dict[str, Callable[[Ways, FakeProvider], str]] = {
    "blocked": blocked,
    "over budget": over_budget,
    "delayed": delayed,
    "degraded": degraded,
}

if __name__ == "__main__":
    main(sys.argv[1])
