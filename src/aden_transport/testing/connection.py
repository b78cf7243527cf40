"""One client's connection: bytes in, requests out, answers written with back-pressure."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Coroutine
from typing import Any, cast

from .wire import MAX_HEAD_BYTES, Head, HttpError, parse_head

__all__ = ["Connection", "Gone"]

# Reading stops above this much unread input, until a request body asks for more.
_HIGH_WATER = 256 * 1024


class Gone(Exception):
    """The client has left."""


class Connection(asyncio.Protocol):
    """Reads and writes for `serve`, which runs as one task for the life of the connection."""

    def __init__(
        self,
        number: int,
        *,
        serve: Callable[[Connection], Coroutine[Any, Any, None]],
        count: Callable[[int], None],
    ) -> None:
        self.number = number
        self.task: asyncio.Task[None] | None = None
        self.gone = asyncio.Event()
        """The client has closed its side or the connection is lost."""
        self._lost = asyncio.Event()
        self._serve = serve
        self._count = count
        self._buffer = bytearray()
        self._arrived = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()
        self._transport: asyncio.Transport | None = None

    # Called by asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=64 * 1024)
        # asyncio does this only where the socket names its protocol, which `create_server`'s does not.
        # Without it each small write waits for the client's delayed acknowledgement.
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.task = asyncio.get_running_loop().create_task(self._run())

    def data_received(self, data: bytes) -> None:
        self._count(len(data))
        self._buffer += data
        if len(self._buffer) > _HIGH_WATER and self._transport is not None:
            self._transport.pause_reading()
        self._arrived.set()

    def eof_received(self) -> bool:
        self.gone.set()
        self._arrived.set()
        self._writable.set()
        return True  # The task closes the transport, after it noted that the client left.

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost.set()
        self.eof_received()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    # Called by the server's task

    async def read_head(self) -> Head | None:
        """The next request's head; None where the client left between requests.

        Raises: HttpError; Gone in the midst of a head.
        """
        while (end := self._buffer.find(b"\r\n\r\n")) < 0:
            if len(self._buffer) > MAX_HEAD_BYTES:
                raise HttpError(431, "head too large")
            if self.gone.is_set():
                if self._buffer:
                    raise Gone
                return None
            await self._more()
        head = bytes(self._buffer[:end])
        del self._buffer[: end + 4]
        return parse_head(head)

    async def read_exactly(self, size: int, into: bytearray) -> None:
        """Append `size` bytes to `into`, keeping in `into` what came before a loss.

        Raises: Gone.
        """
        while size > 0:
            if not self._buffer:
                if self.gone.is_set():
                    raise Gone
                await self._more()
            taken = self._buffer[:size]
            del self._buffer[: len(taken)]
            into += taken
            size -= len(taken)

    async def read_line(self) -> bytes:
        """One line without its CRLF.

        Raises: HttpError, Gone.
        """
        while (end := self._buffer.find(b"\r\n")) < 0:
            if len(self._buffer) > MAX_HEAD_BYTES:
                raise HttpError(400, "line too long")
            if self.gone.is_set():
                raise Gone
            await self._more()
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 2]
        return line

    async def write(self, data: bytes) -> None:
        """Hand one piece to the socket and wait until the kernel has taken most of it.

        Raises: Gone.
        """
        if self.gone.is_set() or self._transport is None:
            raise Gone
        self._transport.write(data)
        await self._writable.wait()

    async def sleep(self, seconds: float) -> None:
        """Sleep, or raise as soon as the client leaves.

        Raises: Gone.
        """
        try:
            await asyncio.wait_for(self.gone.wait(), seconds)
        except TimeoutError:
            return
        raise Gone

    def abort(self) -> None:
        """Reset the connection, dropping what is unsent."""
        if self._transport is not None:
            self._transport.abort()

    async def flush_and_close(self) -> None:
        """Close after what is written has been sent."""
        if self._transport is not None and not self._lost.is_set():
            self._transport.close()
            await self._lost.wait()

    async def _more(self) -> None:
        self._arrived.clear()
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()
        if not self.gone.is_set():
            await self._arrived.wait()

    async def _run(self) -> None:
        try:
            await self._serve(self)
        finally:
            self.abort()
            await self._lost.wait()
