"""The HTTP/1.1 server: an asyncio loop in a daemon thread, started and stopped from any thread."""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
from collections.abc import Callable

from .answers import Answer
from .connection import Connection, Gone
from .delivery import deliver
from .received import ReceivedRequest, RequestLog
from .reply import Reply
from .wire import Head, HttpError, response_head

__all__ = ["Server"]

_log = logging.getLogger("aden.testing")

_MAX_BODY_BYTES = 64 * 1024 * 1024
_STOP_TIMEOUT_S = 10.0


class Server:
    """Reads requests, asks `respond` for the answer and delivers it."""

    def __init__(
        self, respond: Callable[[ReceivedRequest], tuple[Answer, Reply]], *, log: RequestLog, port: int = 0
    ) -> None:
        self._respond = respond
        self._log = log
        self._wanted_port = port
        self._open: set[Connection] = set()
        self._connections = 0
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping: asyncio.Event | None = None
        self.port = 0
        self.bytes_received = 0

    @property
    def connections_open(self) -> int:
        return len(self._open)

    @property
    def connections_made(self) -> int:
        return self._connections

    def start(self) -> None:
        """Listen on 127.0.0.1; returns when connections are accepted.

        Raises: OSError where the port is taken; RuntimeError where it runs already.
        """
        if self._thread is not None:
            raise RuntimeError("the fake provider runs already")
        listener = socket.create_server(("127.0.0.1", self._wanted_port), backlog=1024)
        self.port = listener.getsockname()[1]
        ready = threading.Event()
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._main(listener, ready)), name="aden-fake-provider", daemon=True
        )
        self._thread.start()
        ready.wait(_STOP_TIMEOUT_S)

    def stop(self) -> None:
        """Drop every connection and wait for the thread; does nothing where it does not run."""
        thread, self._thread = self._thread, None
        if thread is None:
            return
        if self._loop is not None and self._stopping is not None:
            self._loop.call_soon_threadsafe(self._stopping.set)
        thread.join(_STOP_TIMEOUT_S)

    async def _main(self, listener: socket.socket, ready: threading.Event) -> None:
        self._loop, self._stopping = asyncio.get_running_loop(), asyncio.Event()
        server = await self._loop.create_server(self._connect, sock=listener)
        ready.set()
        await self._stopping.wait()
        server.close()
        tasks = [connection.task for connection in self._open if connection.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.wait_closed()

    def _connect(self) -> Connection:
        self._connections += 1
        return Connection(self._connections, serve=self._serve, count=self._count)

    def _count(self, size: int) -> None:
        self.bytes_received += size

    async def _serve(self, connection: Connection) -> None:
        """Requests of one connection, one after the other."""
        self._open.add(connection)
        try:
            while await self._serve_one(connection):
                pass
            await connection.flush_and_close()
        except Gone:
            pass
        except HttpError as exc:
            await _refuse(connection, exc)
        finally:
            self._open.discard(connection)

    async def _serve_one(self, connection: Connection) -> bool:
        head = await connection.read_head()
        if head is None:
            return False
        request = await self._receive(connection, head)
        self._log.add(request)
        if not request.complete:
            return False
        try:
            answer, reply = self._respond(request)
            return await deliver(connection, request, answer, reply, keep_alive=head.keep_alive)
        except Gone:
            request.disconnected = True
            return False
        except Exception as exc:
            _log.exception("no answer to %s %s", request.method, request.target)
            if request.answered_status is None:
                raise HttpError(500, f"the fake provider cannot answer so: {exc!r}") from exc
            return False
        finally:
            self._log.wake()

    async def _receive(self, connection: Connection, head: Head) -> ReceivedRequest:
        """The request with its body.

        Raises: HttpError.
        """
        body = bytearray()
        complete = True
        try:
            if head.get("expect").lower() == "100-continue":
                await connection.write(response_head(100, ()))
            if head.chunked:
                await _read_chunks(connection, body)
            else:
                _check_size(head.content_length)
                await connection.read_exactly(head.content_length, body)
        except Gone:
            complete = False
        return ReceivedRequest(
            number=self._log.next_number(),
            connection=connection.number,
            method=head.method,
            target=head.target,
            raw_headers=head.headers,
            body=bytes(body),
            complete=complete,
            disconnected=not complete,
        )


async def _read_chunks(connection: Connection, body: bytearray) -> None:
    """A chunked body and its trailers, which are dropped.

    Raises: HttpError, Gone.
    """
    while True:
        line = (await connection.read_line()).partition(b";")[0].strip()
        try:
            size = int(line, 16)
        except ValueError:
            raise HttpError(400, "not a chunk size") from None
        if size == 0:
            break
        _check_size(len(body) + size)
        await connection.read_exactly(size, body)
        await connection.read_line()
    while await connection.read_line():
        pass


def _check_size(size: int) -> None:
    if size > _MAX_BODY_BYTES:
        raise HttpError(413, f"bodies over {_MAX_BODY_BYTES} bytes are not taken")


async def _refuse(connection: Connection, error: HttpError) -> None:
    """Answer a request that is no HTTP/1.1, and close."""
    text = str(error).encode()
    headers = [("content-type", "text/plain"), ("content-length", str(len(text))), ("connection", "close")]
    try:
        await connection.write(response_head(error.status, headers) + text)
        await connection.flush_and_close()
    except Gone:
        return
