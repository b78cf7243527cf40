"""The clients' own wrappers around a body are looked through, those of anybody else are not."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import httpx2
import pytest
from httpx import _client as client_of_httpx
from httpx2 import _client as client_of_httpx2

from aden_transport.adapters._below import below

from .kit import BODY, VARIANTS, Metering, Variant
from .test_decoded import URL, USAGE, WHOLE
from .test_garbage import body_of

CLIENTS = {"httpx": client_of_httpx, "httpx2": client_of_httpx2}


@pytest.mark.parametrize("module", [httpx, httpx2], ids=lambda module: module.__name__)
def test_the_wrappers_of_the_installed_clients_are_looked_through(module: Any) -> None:
    client, inner = CLIENTS[module.__name__], module.ByteStream(b"")
    arguments = (inner, module.Response(200), 0.0) if module is httpx else (inner, 0.0)
    assert below(client.BoundSyncStream(*arguments), "__iter__")[:2] == (inner, True)
    stream, replaces, closes = below(client.BoundAsyncStream(*arguments), "__aiter__")
    assert (stream, replaces, closes) == (inner, True, module is httpx2)


class BoundSyncStream(httpx2.SyncByteStream):
    """Another's, of the same name."""

    _stream = ()

    def __iter__(self) -> Iterator[bytes]:
        yield from self._stream


def test_another_wrapper_is_not() -> None:
    stream = BoundSyncStream()
    assert below(stream, "__iter__") == (stream, False, False)


@pytest.mark.parametrize("variant", [v for v in VARIANTS if v.way == "patched"], ids=str)
def test_what_others_have_put_into_the_wrapper_runs(
    variant: Variant, monkeypatch: pytest.MonkeyPatch
) -> None:
    module, seen = variant.module, []

    def watched(self: Any) -> Iterator[bytes]:
        for piece in self._stream:
            seen.append(piece)
            yield piece

    async def watched_async(self: Any) -> Any:
        async for piece in self._stream:
            seen.append(piece)
            yield piece

    metering = Metering(variant)
    metering.start()

    async def scenario() -> None:
        def handler(_: Any) -> Any:
            headers = {"content-type": "application/json"}
            return module.Response(200, headers=headers, stream=body_of(module, [WHOLE])())

        caller = metering.caller(transport=variant.mock(handler))
        assert await caller.read(await caller.open(URL, json=BODY)) == WHOLE
        client = CLIENTS[variant.library]
        monkeypatch.setattr(client.BoundSyncStream, "__iter__", watched)
        monkeypatch.setattr(client.BoundAsyncStream, "__aiter__", watched_async)
        assert await caller.read(await caller.open(URL, json=BODY)) == WHOLE
        await caller.end()

    variant.run(scenario)
    assert seen == [WHOLE]
    assert [event.input_tokens for event in metering.events] == [USAGE["prompt_tokens"]] * 2
