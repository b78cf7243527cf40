"""Response bodies, observed as they pass: the same pieces, in the same order, at the same time.

Nothing here awaits, sleeps or raises on its own account, and a body's end is told to the exchange once,
however it comes: exhausted, closed, broken off, cancelled or collected.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from itertools import islice
from queue import SimpleQueue
from typing import Any

from ..core.exchange import ENDED, Exchange
from ..core.observe import StreamObserver
from ..framing.content_encoding import Decoder

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
        self, inner: Any, exchange: Exchange, orphans: SimpleQueue[Any], hidden: Hidden | None = None
    ) -> None:
        self._inner = inner
        self._exchange = exchange
        self._orphans = orphans
        self._hidden = hidden

    def __getattr__(self, name: str) -> Any:
        # httpx2 reads `stream.elapsed`; what the library put there stays reachable.
        return getattr(self._inner, name)

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
        if observer is not None and observer.plain:
            return collected(self._inner, exchange, observer)
        return observed(self._inner, exchange)

    def close(self) -> None:
        try:
            self._inner.close()
        finally:
            self._exchange.close()


# Functions, not methods: a generator that referred to its tee would keep it alive until a collection.


def observed(inner: Any, exchange: Exchange) -> Iterator[bytes]:
    try:
        for data in inner:
            try:
                exchange.feed(data)
            except Exception as exc:  # noqa: BLE001 - a fault of ours is not the application's
                exchange.observe_failed(exc)
            yield data
    except GeneratorExit:
        raise  # its end is told by close() or the finaliser
    except BaseException as exc:
        exchange.fail(exc)
        raise
    exchange.receive_eof()


def collected(inner: Any, exchange: Exchange, observer: StreamObserver) -> Iterator[bytes]:
    """`observed`, of a stream that need not be decoded, in half the time: what `StreamObserver` says is to
    be done for each piece is done here, and counting the pieces is left to `islice`."""
    append, place, byte = observer.append, observer.place, observer.byte

    def look() -> int:
        try:
            return observer.look()
        except Exception as exc:  # noqa: BLE001 - a fault of ours is not the application's
            exchange.observe_failed(exc)
            return 0

    pieces = iter(inner)
    left = 1
    try:
        while left:
            seen = None
            for seen in islice(pieces, left):
                append(seen)
                try:
                    if seen[place] != byte and not look():
                        break
                except IndexError:
                    if not look():
                        break
                yield seen
            else:
                if seen is None:
                    break
                if left := look():
                    continue
                seen = None
            # Observing has failed: the rest passes unseen.
            left = 0
            if seen is not None:
                yield seen
            yield from pieces
    except GeneratorExit:
        raise
    except BaseException as exc:
        exchange.fail(exc)
        raise
    exchange.receive_eof()


def filtered(inner: Any, exchange: Exchange, hidden: Hidden) -> Iterator[bytes]:
    try:
        for data in inner:
            try:
                exchange.feed(data)
            except Exception as exc:  # noqa: BLE001 - a fault of ours is not the application's
                exchange.observe_failed(exc)
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
        if self._exchange.at_eof:
            return Nothing()
        if self._hidden is not None:
            return AsyncFiltered(self._inner, self._exchange, self._hidden)
        return AsyncObserved(self._inner, self._exchange)

    async def aclose(self) -> None:
        try:
            await self._inner.aclose()
        finally:
            self._exchange.close()


class Nothing:
    """What comes after the end."""

    def __aiter__(self) -> Nothing:
        return self

    async def __anext__(self) -> bytes:
        raise StopAsyncIteration


class AsyncObserved:
    """An async generator in all but name.

    A true one would be finalised by the event loop a second time (trio warns of each), and httpx2 closes
    what looks like one as soon as its reader stops.
    """

    __slots__ = ("_append", "_byte", "_exchange", "_hidden", "_inner", "_left", "_next", "_place")

    def __init__(self, inner: Any, exchange: Exchange, hidden: Hidden | None = None) -> None:
        self._inner = inner.__aiter__()
        self._next = self._inner.__anext__
        self._exchange = exchange
        self._hidden = hidden
        self._append: Callable[[bytes], None] | None = None
        """Where pieces go while nothing else is to be done for them; see `StreamObserver`."""
        self._place = self._byte = self._left = 0

    def __aiter__(self) -> AsyncObserved:
        return self

    async def __anext__(self) -> bytes:
        try:
            data: bytes = await self._next()
        except StopAsyncIteration:
            self._exchange.receive_eof()
            raise
        except BaseException as exc:
            self._exchange.fail(exc)
            raise
        append = self._append
        if append is None:
            self._feed(data)
            return data
        try:
            append(data)
            self._left -= 1
            if not self._left or data[self._place] != self._byte:
                self._look()
        except IndexError:
            self._look()
        return data

    def _feed(self, data: bytes) -> None:
        exchange = self._exchange
        try:
            exchange.feed(data)
        except Exception as exc:  # noqa: BLE001 - a fault of ours is not the application's
            exchange.observe_failed(exc)
        observer = exchange.stream_observer
        if observer is not None and observer.plain and self._hidden is None:
            self._append, self._left = observer.append, 1
            self._place, self._byte = observer.place, observer.byte

    def _look(self) -> None:
        exchange = self._exchange
        observer = exchange.stream_observer
        try:
            if observer is not None:
                self._left = observer.look()
                return
        except Exception as exc:  # noqa: BLE001 - a fault of ours is not the application's
            exchange.observe_failed(exc)
        self._append = None

    async def asend(self, value: Any) -> bytes:
        return await self.__anext__()

    async def athrow(self, *exc: Any) -> bytes:
        result: bytes = await self._inner.athrow(*exc)
        return result

    async def aclose(self) -> None:
        close = getattr(self._inner, "aclose", None)
        if close is not None:
            await close()


class AsyncFiltered(AsyncObserved):
    """The same, without the usage event."""

    __slots__ = ("_ended",)

    def __init__(self, inner: Any, exchange: Exchange, hidden: Hidden) -> None:
        super().__init__(inner, exchange, hidden)
        self._ended = False

    async def __anext__(self) -> bytes:
        exchange, hidden = self._exchange, self._hidden
        assert hidden is not None
        try:
            while not self._ended:
                try:
                    data: bytes = await self._next()
                except StopAsyncIteration:
                    self._ended = True
                    shown = hidden.receive_eof()
                    exchange.receive_eof()
                else:
                    self._feed(data)
                    shown = hidden.receive_data(data)
                if shown:
                    return shown
        except BaseException as exc:
            exchange.fail(exc)
            raise
        raise StopAsyncIteration
