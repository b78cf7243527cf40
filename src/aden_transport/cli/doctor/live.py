"""One call of each kind through a fake provider on 127.0.0.1: is it one event, with usage and price?"""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from typing import Any

from ... import MeterOptions, create_memory_emitter, instrument, register_vendor, uninstrument
from ...adapters._seam import METHOD
from ...emitters.memory import MemoryEmitter
from ...meter import classifier
from ...testing import FakeProvider
from ..demo.isolation import TLS, serverless
from .findings import Finding, version_of

__all__ = ["live"]

SECTION = "A call of each kind"
PATH = "/v1/chat/completions"
BODY = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Hello!"}]}


def _sync(module: Any, url: str) -> None:
    with module.Client(verify=TLS, trust_env=False) as client:
        client.post(url + PATH, json=BODY).raise_for_status()


async def _async(module: Any, url: str) -> None:
    async with module.AsyncClient(verify=TLS, trust_env=False) as client:
        (await client.post(url + PATH, json=BODY)).raise_for_status()


async def _session(module: Any, url: str) -> None:
    async with module.ClientSession() as session, session.post(url + PATH, json=BODY) as answer:
        await answer.read()


KINDS: tuple[tuple[str, str, Callable[[Any, str], Awaitable[None] | None]], ...] = (
    ("httpx", "sync", _sync),
    ("httpx", "async", _async),
    ("httpx2", "sync", _sync),
    ("httpx2", "async", _async),
    ("aiohttp", "async", _session),
)


def live() -> Iterator[Finding]:
    """A finding per kind, and one on whether everything was put back."""
    kinds = [(*kind, importlib.import_module(kind[0])) for kind in KINDS if version_of(kind[0]) is not None]
    uninstrument()
    before = _patched(kinds)
    events = create_memory_emitter()
    with FakeProvider() as provider:
        host = f"127.0.0.1:{provider.port}"
        vendor = register_vendor("openai", hosts=[host], like="openai")
        try:
            with serverless():
                instrument(MeterOptions(emit_metric=events, async_emit=False))
            for library, colour, send, module in kinds:
                events.clear()
                yield _call(f"{library}, {colour}", partial(send, module, provider.url), events)
        finally:
            uninstrument()
            classifier.unregister(vendor)
    yield _restored(before, _patched(kinds))


def _restored(before: list[Any], after: list[Any]) -> Finding:
    if all(now is then for now, then in zip(after, before, strict=True)):
        return Finding(SECTION, "uninstrument()", "ok", "puts back the very objects")
    text = "another patch was put on top of ours meanwhile; ours stays below it, inert"
    return Finding(SECTION, "uninstrument()", "warning", text)


def _call(name: str, send: Callable[[], Awaitable[None] | None], events: MemoryEmitter) -> Finding:
    try:
        pending = send()
        if pending is not None:
            asyncio.run(_awaited(pending))
    except Exception as exc:  # noqa: BLE001 - that it fails is the finding
        return Finding(SECTION, name, "fault", f"the call fails: {type(exc).__name__}: {exc}")
    complaint = _complaint(events.events)
    if complaint is not None:
        return Finding(SECTION, name, "fault", complaint, "pip install --upgrade aden-transport")
    event: Any = events.events[0]
    usage, cost = event.usage, event.cost_nano_usd / 1e9
    text = f"one event: {usage.input_tokens} in / {usage.output_tokens} out, ${cost:.6f}"
    return Finding(SECTION, name, "ok", text)


async def _awaited(pending: Awaitable[None]) -> None:
    await pending


def _complaint(events: list[Any]) -> str | None:
    if len(events) != 1:
        return f"makes {len(events)} events, not one"
    if events[0].usage is None:
        return "its event has no usage"
    if events[0].cost_nano_usd is None:
        return "its event has no price"
    return None


def _patched(kinds: list[Any]) -> list[Any]:
    """What `instrument()` replaces."""
    found = []
    for library, colour, _, module in kinds:
        if library == "aiohttp":
            found.append(module.ClientSession.__dict__.get("_request"))
        else:
            client = module.Client if colour == "sync" else module.AsyncClient
            found.append(client.__dict__.get(METHOD))
    return found
