"""A call leaves nothing to the garbage collector: what it made is gone with its last reference.

Whole collections hold up every thread of the application, tens of milliseconds where much is alive, and they
come the sooner the more cycles are made.
"""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from aden_transport import (
    BeforeRequestResult,
    MeterOptions,
    RequestCancelledError,
    flush,
    instrument,
)

from ..enforcement.offline import PATIENT_MS
from .kit import BODY, CHAT, STREAM, VARIANTS, Caller, Variant, consume
from .test_abandoned import settle

URL = "https://api.openai.com" + CHAT
ANSWER = {
    "id": "1",
    "model": "gpt-4o",
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "hi"}}],
    "usage": {"prompt_tokens": 8, "completion_tokens": 1, "total_tokens": 9},
}
EVENTS = b'data: {"choices":[{"delta":{"content":"hi"}}]}\n\n' * 3 + b"data: [DONE]\n\n"
CALLS = 5
PATCHED = [variant for variant in VARIANTS if variant.way == "patched"]
POLICY = {"type": "global", "limit": 1000, "limitAction": "block"}

pytestmark = pytest.mark.filterwarnings("ignore:Async generator .* was garbage collected:ResourceWarning")


async def answered(caller: Caller) -> None:
    assert (await caller.post(URL, json=BODY)).status_code == 200


async def refused_by_vendor(caller: Caller) -> None:
    assert (await caller.post(URL, json={**BODY, "model": "status"})).status_code == 500


async def broken(caller: Caller) -> None:
    with pytest.raises(caller.variant.module.ConnectError):
        await caller.post(URL, json={**BODY, "model": "broken"})


async def streamed(caller: Caller) -> None:
    response = await caller.open(URL, json=STREAM)
    assert b"".join(await consume(caller.raw(response))).endswith(b"[DONE]\n\n")
    await caller.close(response)


async def left(caller: Caller) -> None:
    response = await caller.open(URL, json=STREAM)
    pieces = caller.raw(response)
    await anext(pieces)
    await caller.close(response)
    if not caller.variant.is_sync:
        await pieces.aclose()


async def degraded(caller: Caller) -> None:
    assert (await caller.post(URL, json={**BODY, "model": "gpt-4.1"})).status_code == 200


async def cancelled(caller: Caller) -> None:
    with pytest.raises(RequestCancelledError):
        await caller.post(URL, json={**BODY, "model": "cancelled"})


WAYS: list[Callable[[Caller], Awaitable[None]]] = [
    answered,
    refused_by_vendor,
    broken,
    streamed,
    left,
    degraded,
    cancelled,
]


def hook(params: Any, _context: Any) -> BeforeRequestResult:
    if params["model"] == "cancelled":
        return BeforeRequestResult.cancel("not this one")
    if params["model"] == "gpt-4.1":
        return BeforeRequestResult.degrade("gpt-4.1-mini", reason="cheaper")
    return BeforeRequestResult.proceed()


def body_of(module: ModuleType, pieces: list[bytes]) -> Any:
    """A stream of `pieces`, in both colours."""

    def sync(_self: object) -> Any:
        yield from pieces

    async def both(_self: object) -> Any:
        for piece in pieces:
            yield piece

    kinds = (module.SyncByteStream, module.AsyncByteStream)
    return type("Body", kinds, {"__iter__": sync, "__aiter__": both})


def handler(variant: Variant) -> Callable[[Any], Any]:
    module, body = variant.module, body_of(variant.module, EVENTS.splitlines(keepends=True))

    def answer(request: Any) -> Any:
        if b'"broken"' in request.content:
            raise module.ConnectError("no")
        if b'"status"' in request.content:
            return module.Response(500, json={"error": {"message": "no"}})
        if b'"stream":true' in request.content.replace(b" ", b""):
            return module.Response(200, headers={"content-type": "text/event-stream"}, stream=body())
        return module.Response(200, json=ANSWER)

    return answer


async def garbage(caller: Caller, way: Callable[[Caller], Awaitable[None]]) -> Counter[str]:
    """What `CALLS` calls left in cycles: names of types, with their modules."""
    await way(caller)  # what is made once
    flush(5.0)
    gc.collect()
    gc.disable()
    try:
        for _ in range(CALLS):
            await way(caller)
        await settle(caller.variant)
        flush(5.0)
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        return Counter(f"{type(each).__module__}.{type(each).__qualname__}" for each in gc.garbage)
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()


async def all_garbage(variant: Variant, ways: list[Callable[[Caller], Awaitable[None]]]) -> dict[str, Any]:
    caller = Caller(variant, variant.client(transport=variant.mock(handler(variant))))
    found = {way.__name__: await garbage(caller, way) for way in ways}
    await caller.end()
    return found


@pytest.mark.parametrize("ledger", [None, "memory", "sqlite"])
@pytest.mark.parametrize("variant", PATCHED, ids=str)
def test_a_call_leaves_nothing_to_the_collector(variant: Variant, ledger: str | None, tmp_path: Path) -> None:
    bare = variant.run(lambda: all_garbage(variant, [way for way in WAYS if way is not cancelled]))
    address = f"sqlite:///{tmp_path}/ledger.sqlite3" if ledger == "sqlite" else ledger
    given: dict[str, Any] = {} if ledger is None else {"policy": POLICY, "ledger": address}
    instrument(
        MeterOptions(emit_metric=lambda _: None, before_request=hook, store_timeout_ms=PATIENT_MS, **given)
    )
    metered = variant.run(lambda: all_garbage(variant, WAYS))
    # httpx's responses and their streams refer to each other; what is ours goes with them.
    left_by_the_library = {way for way, found in bare.items() if any("Response" in name for name in found)}
    assert variant.library == "httpx" or not left_by_the_library
    assert {way: found for way, found in metered.items() if way not in left_by_the_library and found} == {}
