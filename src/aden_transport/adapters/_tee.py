"""Response bodies, observed as they pass: the same pieces, in the same order, at the same time.

Nothing here awaits, sleeps or raises on its own account, and a body's end is told to the exchange once,
however it comes: exhausted, closed, broken off, cancelled or collected.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from itertools import islice, repeat
from queue import SimpleQueue
from typing import Any

from ..core.exchange import ENDED, Exchange
from ..core.observe import StreamObserver
from ..framing.content_encoding import Decoder
from ._decoded import Shown
from ._look import feed, look

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
        exchange, observer = self._exchange, self._exchange.stream_observer
        if self._hidden is not None:
            return filtered(self._inner, exchange, self._hidden)
        if observer is not None and observer.plain and self._decoder is None:
            return collected(self._inner, exchange, observer)
        return observed(self._inner, exchange, self._decoder)

    def close(self) -> None:
        try:
            self._inner.close()
        finally:
            self._end()


# Functions, not methods: a generator that referred to its tee would keep it alive until a collection.


def observed(inner: Any, exchange: Exchange, decoder: Shown | None = None) -> Iterator[bytes]:
    """`decoder`: the client's own, which shows us what it makes of the pieces."""
    try:
        for data in inner:
            if decoder is None:
                feed(exchange, data)
            else:
                decoder.pass_raw(data)
            yield data
    except GeneratorExit:
        raise  # its end is told by close() or the finaliser
    except BaseException as exc:
        exchange.fail(exc)
        raise
    if decoder is not None:
        decoder.end()
    exchange.receive_eof()


def collected(inner: Any, exchange: Exchange, observer: StreamObserver) -> Iterator[bytes]:
    """`observed`, of a stream that need not be decoded, in half the time: what `StreamObserver` says
    is to be done for each piece is done here."""
    append, place, byte = observer.chunks.append, observer.place, observer.byte
    pieces = iter(inner)
    try:
        for seen in pieces:
            append(seen)
            many = look(exchange, observer)
            yield seen
            for piece in islice(pieces, many):
                append(piece)
                try:
                    if piece[place] != byte:
                        look(exchange, observer)
                except IndexError:
                    look(exchange, observer)
                yield piece
    except GeneratorExit:
        raise
    except BaseException as exc:
        exchange.fail(exc)
        raise
    exchange.receive_eof()


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
        exchange, observer = self._exchange, self._exchange.stream_observer
        if exchange.at_eof:
            return Nothing()
        inner = self._inner.__aiter__()
        if self._hidden is not None:
            pieces = filtered_async(inner, exchange, self._hidden)
        elif observer is not None and observer.plain and self._decoder is None:
            pieces = collected_async(inner, exchange, observer)
        else:
            pieces = observed_async(inner, exchange, self._decoder)
        made: Any = Pieces(pieces, inner)  # its `__anext__` stands in a slot, which protocols do not know of
        return made  # type: ignore[no-any-return]

    async def aclose(self) -> None:
        try:
            await self._inner.aclose()
        finally:
            self._end()


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


async def observed_async(
    inner: Any, exchange: Exchange, decoder: Shown | None = None
) -> AsyncGenerator[bytes, None]:
    """See `observed`."""
    take = inner.__anext__
    while True:
        try:
            data = await take()
        except StopAsyncIteration:
            break
        except BaseException as exc:
            exchange.fail(exc)
            raise
        if decoder is None:
            feed(exchange, data)
        else:
            decoder.pass_raw(data)
        yield data
    if decoder is not None:
        decoder.end()
    exchange.receive_eof()


async def collected_async(
    inner: Any, exchange: Exchange, observer: StreamObserver
) -> AsyncGenerator[bytes, None]:
    """`observed_async`, of a stream that need not be decoded; see `collected`."""
    append, place, byte = observer.chunks.append, observer.place, observer.byte
    take = inner.__anext__
    try:
        while True:
            seen = await take()
            append(seen)
            many = look(exchange, observer)
            yield seen
            for _ in repeat(None, many):
                seen = await take()
                append(seen)
                try:
                    if seen[place] != byte:
                        look(exchange, observer)
                except IndexError:
                    look(exchange, observer)
                yield seen
    except GeneratorExit:
        raise
    except StopAsyncIteration:
        pass
    except BaseException as exc:
        exchange.fail(exc)
        raise
    exchange.receive_eof()


async def filtered_async(inner: Any, exchange: Exchange, hidden: Hidden) -> AsyncGenerator[bytes, None]:
    take = inner.__anext__
    ended = False
    while not ended:
        try:
            try:
                data = await take()
            except StopAsyncIteration:
                ended = True
                shown = hidden.receive_eof()
                exchange.receive_eof()
            else:
                feed(exchange, data)
                shown = hidden.receive_data(data)
        except BaseException as exc:
            exchange.fail(exc)
            raise
        if shown:
            yield shown
