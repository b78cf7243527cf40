"""Iterators that are let go: connections come back just where they come back to the bare client."""

from __future__ import annotations

from typing import Any

import pytest

from .kit import STREAM, VARIANTS, Caller, Metering, Variant, collect, consume, open_exchanges
from .test_cancellation import CORES, STREAMED, URL, Network, once

pytestmark = pytest.mark.filterwarnings("ignore:Async generator .* was garbage collected:ResourceWarning")


class SyncWire:
    """`Wire`, without a wait."""

    def __init__(self, pieces: list[bytes]) -> None:
        self._pieces = pieces
        self._coming: list[bytes] = []

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._coming.pop(0) if self._coming else b""

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        if buffer.startswith(b"POST"):
            self._coming = list(self._pieces)

    def close(self) -> None:
        self._coming.clear()

    def get_extra_info(self, info: str) -> Any:
        return None


class SyncNetwork:
    def __init__(self, pieces: list[bytes]) -> None:
        self._pieces = pieces

    def connect_tcp(self, *_: Any, **__: Any) -> SyncWire:
        return SyncWire(self._pieces)


def transport(variant: Variant) -> Any:
    made = variant.transport()
    core = CORES[variant.library]
    if variant.is_sync:
        made._pool = core.ConnectionPool(max_connections=1, network_backend=SyncNetwork(STREAMED))
    else:
        made._pool = core.AsyncConnectionPool(max_connections=1, network_backend=Network(STREAMED))
    return made


async def settle(variant: Variant) -> None:
    """Let the loop finalise what was dropped."""
    for _ in range(0 if variant.is_sync else 20):
        await once()


async def let_go(caller: Caller, kept: list[Any]) -> None:
    """Only the iterator goes."""
    response = await caller.open(URL)
    kept.append(response)
    pieces = caller.raw(response)
    await anext(pieces)


async def dropped(caller: Caller, kept: list[Any]) -> None:
    """Iterator and response go."""
    response = await caller.open(URL)
    pieces = caller.raw(response)
    await anext(pieces)
    del response, pieces


async def iterated_again(caller: Caller, kept: list[Any]) -> None:
    response = await caller.open(URL)
    await anext(caller.stream(response))
    try:
        kept.append(await consume(caller.stream(response)))
    except Exception as exc:
        kept.append((type(exc), str(exc)))


async def iterated_again_while_held(caller: Caller, kept: list[Any]) -> None:
    response = await caller.open(URL)
    first = caller.stream(response)
    await anext(first)
    try:
        kept.append(await consume(caller.stream(response)))
    except Exception as exc:
        kept.append((type(exc), str(exc)))


def outcome(metering: Metering, way: Any) -> tuple[Any, ...]:
    """What the application saw, and what the pool holds afterwards."""
    variant = metering.variant

    async def scenario() -> tuple[Any, ...]:
        inner = transport(variant)
        caller = metering.caller(transport=inner)
        kept: list[Any] = []
        await way(caller, kept)
        await settle(variant)
        seen = [item for item in kept if not hasattr(item, "stream")]
        states = [connection.info() for connection in inner._pool.connections]
        try:
            timeout = variant.module.Timeout(10, pool=0.02)
            answer = await caller.post(URL, json=STREAM, timeout=timeout)
            probe = answer.status_code
        except Exception as exc:
            probe = type(exc)
        for item in kept:
            if hasattr(item, "stream"):
                await caller.close(item)
        await settle(variant)
        return seen, states, probe

    return variant.run(scenario)


@pytest.mark.parametrize("way", [let_go, dropped, iterated_again, iterated_again_while_held])
@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_what_is_let_go_comes_back_as_it_does_without_us(
    variant: Variant, metering: Metering, way: Any
) -> None:
    expected = outcome(Metering(variant.bare), way)
    metering.start()
    found = outcome(metering, way)
    assert found == expected
    collect()
    answered = expected[-1] == 200
    assert len(metering.events) == 1 + (1 if answered or expected[-1] is variant.module.PoolTimeout else 0)
    assert open_exchanges() == 0
