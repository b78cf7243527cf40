"""Response bodies, observed as they pass: the same pieces, in the same order, at the same time.

Nothing here awaits, sleeps or raises on its own account, and a body's end is told to the exchange once,
however it comes: exhausted, closed, broken off, cancelled or collected.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from functools import partial
from queue import SimpleQueue
from types import GeneratorType
from typing import Any

from ..core.exchange import ENDED, Exchange
from ..framing.content_encoding import Decoder
from ._below import below
from ._decoded import Shown
from ._look import feed

__all__ = ["AsyncTee", "Hidden", "SyncTee"]


class Hidden:
    """Takes the usage event that we asked for out of a stream, decoding it where it came encoded."""

    __slots__ = ("_decoder", "_error", "_filter")

    def __init__(
        self, exchange: Exchange, decoder: Decoder | None, error: Callable[[str], Exception]
    ) -> None:
        assert exchange.usage_filter is not None
        self._filter = exchange.usage_filter
        self._decoder = decoder
        self._error = error

    def receive_data(self, data: bytes) -> bytes:
        if self._decoder is None:
            return self._filter.receive_data(data)
        out = b"".join([self._filter.receive_data(piece) for piece in self._decoder.receive_data(data)])
        self._check()
        return out

    def receive_eof(self) -> bytes:
        if self._decoder is None:
            return self._filter.receive_eof()
        out = b"".join([self._filter.receive_data(piece) for piece in self._decoder.receive_eof()])
        self._check()
        return out + self._filter.receive_eof()

    def _check(self) -> None:
        """What cannot be decoded is the same error that the client itself would have raised."""
        if self._decoder is not None and self._decoder.faults:
            raise self._error(self._decoder.faults[0])


class Tee:
    """What the two colours share."""

    def __init__(
        self,
        inner: Any,
        exchange: Exchange,
        orphans: SimpleQueue[Any],
        hidden: Hidden | None = None,
        decoder: Shown | None = None,
    ) -> None:
        self._inner = inner
        self._exchange = exchange
        self._orphans = orphans
        self._hidden = hidden
        self._decoder = decoder

    def __getattr__(self, name: str) -> Any:
        # httpx2 reads `stream.elapsed`; what the library put there stays reachable.
        return getattr(self._inner, name)

    def _end(self) -> None:
        if self._decoder is not None:
            self._decoder.end()
        self._exchange.close()

    def __del__(self) -> None:
        # May run anywhere, under any lock: nothing but a put, which takes none.
        if self._exchange.state != ENDED:
            self._orphans.put(self._exchange)


class SyncTee(Tee):
    """Mixed into a library's `SyncByteStream`."""

    def __iter__(self) -> Iterator[bytes]:
        # A new one each time, which goes on where the connection is: kept, it would hold the connection
        # of an answer whose reader has stopped, until a collection. After the end there is nothing, where
        # the connection would be waited for.
        if self._exchange.at_eof:
            return iter(())
        inner = below(self._inner, "__iter__")[0]
        if self._hidden is not None:
            return filtered(inner, self._exchange, self._hidden)
        if self._decoder is not None:
            return shown(inner, self._exchange, self._decoder)
        return observed(inner, self._exchange)

    def close(self) -> None:
        try:
            self._inner.close()
        finally:
            self._end()


# Functions, not methods: a generator that referred to its tee would keep it alive until a collection.


def observed(inner: Any, exchange: Exchange) -> Iterator[bytes]:
    try:
        for data in inner:
            feed(exchange, data)
            yield data
    except GeneratorExit:
        raise  # its end is told by close() or the finaliser
    except BaseException as exc:
        exchange.fail(exc)
        raise
    exchange.receive_eof()


def shown(inner: Any, exchange: Exchange, decoder: Shown) -> Iterator[bytes]:
    """`observed`, of a body that the client decodes: once it is seen to, nothing is left to do here for a
    piece."""
    decoder.begin()
    pieces = iter(inner)
    if not hasattr(pieces, "__iter__"):  # a loop does without, two loops do not
        pieces = iter(partial(next, pieces), None)
    try:
        for data in pieces:
            decoder.pass_raw(data)
            yield data
            if decoder.is_used:
                yield from lent(pieces)
                break
    except GeneratorExit:
        raise
    except BaseException as exc:
        exchange.fail(exc)
        raise
    decoder.end()
    exchange.receive_eof()


def lent(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """`pieces` for `yield from`, which would close them with the generator that it stands in: they may be the
    body itself."""
    closes = not isinstance(pieces, GeneratorType) and hasattr(pieces, "close")
    return (piece for piece in pieces) if closes else pieces


def filtered(inner: Any, exchange: Exchange, hidden: Hidden) -> Iterator[bytes]:
    try:
        for data in inner:
            feed(exchange, data)
            if shown := hidden.receive_data(data):
                yield shown
        if shown := hidden.receive_eof():
            yield shown
    except GeneratorExit:
        raise
    except BaseException as exc:
        exchange.fail(exc)
        raise
    exchange.receive_eof()


class AsyncTee(Tee):
    """Mixed into a library's `AsyncByteStream`."""

    def __aiter__(self) -> AsyncIterator[bytes]:
        # openai 3 iterates a stream a second time to drain it.
        exchange = self._exchange
        if exchange.at_eof:
            return Nothing()
        stream, replaces, closes = below(self._inner, "__aiter__")
        inner = stream.__aiter__()
        if not hasattr(inner, "__aiter__"):
            inner = Steps(inner)
        if self._hidden is not None:
            pieces = filtered_async(inner, exchange, self._hidden, closes)
        elif self._decoder is not None:
            pieces = shown_async(inner, exchange, self._decoder, closes)
        else:
            pieces = observed_async(inner, exchange, closes)
        if replaces:
            return pieces
        made: Any = Pieces(pieces, inner)  # its `__anext__` stands in a slot, which protocols do not know of
        return made  # type: ignore[no-any-return]

    async def aclose(self) -> None:
        try:
            await self._inner.aclose()
        finally:
            self._end()


class Steps:
    """An iterator that lacks `__aiter__`: a loop does without, two loops do not."""

    def __init__(self, iterator: Any) -> None:
        self._iterator = iterator

    def __aiter__(self) -> Steps:
        return self

    async def __anext__(self) -> bytes:
        piece: bytes = await self._iterator.__anext__()
        return piece


class Nothing:
    """What comes after the end."""

    def __aiter__(self) -> Nothing:
        return self

    async def __anext__(self) -> bytes:
        raise StopAsyncIteration


class Pieces:
    """An async generator that no event loop finalises.

    Of one that loops know of, trio would warn each time that it is left half-way. Nothing has to be closed
    but `inner`, which httpx2 has us do as soon as its reader stops.
    """

    __slots__ = ("__anext__", "_inner", "_pieces")

    def __init__(self, pieces: AsyncGenerator[bytes, None], inner: Any) -> None:
        self._pieces = pieces
        self._inner = inner
        # The generator's own method, so that no Python function lies between it and its reader; a type's
        # special methods may be found in a slot.
        self.__anext__: Callable[[], Awaitable[bytes]] = self._begin

    def __aiter__(self) -> Pieces:
        return self

    def _begin(self) -> Awaitable[bytes]:
        """The first piece. Loops hear of a generator when it is first asked for one."""
        hooks = sys.get_asyncgen_hooks()
        sys.set_asyncgen_hooks(None, None)
        try:
            self.__anext__ = self._pieces.__anext__
            return self.__anext__()
        finally:
            sys.set_asyncgen_hooks(*hooks)

    async def asend(self, value: Any) -> bytes:
        return await self.__anext__()

    async def athrow(self, *exc: Any) -> bytes:
        result: bytes = await self._inner.athrow(*exc)
        return result

    async def aclose(self) -> None:
        close = getattr(self._inner, "aclose", None)
        if close is not None:
            await close()


# Of these three, `closes` says whether the iterator below is closed with them.


async def observed_async(inner: Any, exchange: Exchange, closes: bool) -> AsyncGenerator[bytes, None]:
    """See `observed`."""
    try:
        async for data in inner:
            feed(exchange, data)
            yield data
    except GeneratorExit:
        raise
    except BaseException as exc:
        exchange.fail(exc)
        raise
    finally:
        if closes:
            await closed(inner)
    exchange.receive_eof()


async def shown_async(
    inner: Any, exchange: Exchange, decoder: Shown, closes: bool
) -> AsyncGenerator[bytes, None]:
    """See `shown`."""
    decoder.begin()
    try:
        async for data in inner:
            decoder.pass_raw(data)
            yield data
            if decoder.is_used:
                async for another in inner:
                    yield another
                break
    except GeneratorExit:
        raise
    except BaseException as exc:
        exchange.fail(exc)
        raise
    finally:
        if closes:
            await closed(inner)
    decoder.end()
    exchange.receive_eof()


async def filtered_async(
    inner: Any, exchange: Exchange, hidden: Hidden, closes: bool
) -> AsyncGenerator[bytes, None]:
    try:
        async for data in inner:
            feed(exchange, data)
            if shown := hidden.receive_data(data):
                yield shown
        shown = hidden.receive_eof()
    except GeneratorExit:
        raise
    except BaseException as exc:
        exchange.fail(exc)
        raise
    finally:
        if closes:
            await closed(inner)
    exchange.receive_eof()
    if shown:
        yield shown


async def closed(inner: Any) -> None:
    if isinstance(inner, AsyncGenerator):
        await inner.aclose()
