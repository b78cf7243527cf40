"""Methods that somebody has wrapped with wrapt before us, as ddtrace does: they are called as they expect."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import aiohttp
import httpx
import httpx2
import pytest
from wrapt import FunctionWrapper

from aden_transport import MeterOptions, create_memory_emitter, instrument, uninstrument
from aden_transport.testing import FakeProvider

from .kit import BODY, CHAT, VERIFY

pytestmark = pytest.mark.usefixtures("no_faults")


@pytest.fixture
def provider() -> Iterator[FakeProvider]:
    with FakeProvider() as fake:
        yield fake


def wrap(monkeypatch: pytest.MonkeyPatch, kind: type, method: str) -> tuple[Any, list[tuple[Any, Any]]]:
    """Wrap a method; what it is called with is noted."""
    seen: list[tuple[Any, Any]] = []

    def wrapper(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
        seen.append((instance, args))
        return wrapped(*args, **kwargs)

    wrapped = FunctionWrapper(kind.__dict__[method], wrapper)
    monkeypatch.setattr(kind, method, wrapped)
    return wrapped, seen


@pytest.mark.parametrize("library", [httpx, httpx2], ids=["httpx", "httpx2"])
def test_a_wrapped_client_is_called_as_before(
    library: Any, provider: FakeProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    sync, seen = wrap(monkeypatch, library.Client, "_send_single_request")
    _, seen_async = wrap(monkeypatch, library.AsyncClient, "_send_single_request")
    events = create_memory_emitter()
    instrument(MeterOptions(emit_metric=events))
    try:
        with library.Client(verify=VERIFY) as client:
            assert client.post(provider.url + CHAT, json=BODY).status_code == 200
            assert client.get(provider.url + "/elsewhere").status_code == 404

        async def post() -> int:
            async with library.AsyncClient(verify=VERIFY) as client:
                return int((await client.post(provider.url + CHAT, json=BODY)).status_code)

        assert asyncio.run(post()) == 200
    finally:
        uninstrument()
    assert [type(args[0]) for _, args in [*seen, *seen_async]] == [library.Request] * 3
    assert seen[0][0] is client
    assert len(events.events) == 2
    assert library.Client.__dict__["_send_single_request"] is sync


def test_a_wrapped_session_is_called_as_before(
    provider: FakeProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrapped, seen = wrap(monkeypatch, aiohttp.ClientSession, "_request")
    events = create_memory_emitter()
    instrument(MeterOptions(emit_metric=events))

    async def post() -> int:
        async with aiohttp.ClientSession() as session:
            async with session.post(provider.url + CHAT, json=BODY) as answer:
                await answer.read()
            assert seen[0][0] is session
            return answer.status

    try:
        assert asyncio.run(post()) == 200
    finally:
        uninstrument()
    assert len(events.events) == 1
    assert aiohttp.ClientSession.__dict__["_request"] is wrapped
