"""A small HTTP/2 server without TLS, told by the request's path what to do."""

from __future__ import annotations

import socket
import threading
from typing import Any

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import RequestReceived, StreamEnded

__all__ = ["EVENTS", "JSON", "H2Server"]

JSON = b'{"id":"1","model":"gpt-4o","choices":[],"usage":{"prompt_tokens":3,"completion_tokens":4}}'
EVENTS = [
    b'data: {"id":"1","choices":[{"index":0,"delta":{"content":"one"},"finish_reason":null}]}\n\n',
    b'data: {"id":"1","choices":[{"index":0,"delta":{"content":"two"},"finish_reason":null}]}\n\n',
    b'data: {"id":"1","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n',
    b"data: [DONE]\n\n",
]


class H2Server:
    """Answers `/json…`, `/stream…`, `/reset…` (RST_STREAM after an event), `/goaway…`, `/lost…`."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def stop(self) -> None:
        for one in (self._listener, *self._open):
            try:
                one.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            one.close()
        for thread in self._threads:
            thread.join(5)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self._open.append(client)
            thread = threading.Thread(target=self._serve, args=(client,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, client: socket.socket) -> None:
        connection = H2Connection(H2Configuration(client_side=False, header_encoding="utf-8"))
        connection.initiate_connection()
        paths: dict[int, str] = {}
        try:
            client.sendall(connection.data_to_send())
            while data := client.recv(65536):
                for event in connection.receive_data(data):
                    if isinstance(event, RequestReceived):
                        assert event.stream_id is not None
                        headers: dict[Any, Any] = dict(event.headers or [])
                        paths[event.stream_id] = headers[":path"]
                    elif isinstance(event, StreamEnded):
                        assert event.stream_id is not None
                        if not self._answer(client, connection, event.stream_id, paths[event.stream_id]):
                            return
                client.sendall(connection.data_to_send())
        except OSError:
            return
        finally:
            client.close()

    def _answer(self, client: socket.socket, connection: H2Connection, stream: int, path: str) -> bool:
        """Whether the connection goes on."""
        kind = path.split("/")[1]
        streamed = kind != "json"
        content_type = "text/event-stream" if streamed else "application/json"
        connection.send_headers(stream, [(":status", "200"), ("content-type", content_type)])
        if kind in ("json", "stream"):
            for piece in EVENTS if streamed else [JSON]:
                connection.send_data(stream, piece)
                client.sendall(connection.data_to_send())
            connection.end_stream(stream)
            return True
        connection.send_data(stream, EVENTS[0])
        client.sendall(connection.data_to_send())
        if kind == "reset":
            connection.reset_stream(stream, ErrorCodes.INTERNAL_ERROR)
            return True
        if kind == "goaway":
            connection.close_connection(ErrorCodes.ENHANCE_YOUR_CALM, last_stream_id=0)
            client.sendall(connection.data_to_send())
        # Closing with something unread would be a reset, which may overtake what was sent.
        client.shutdown(socket.SHUT_WR)
        while client.recv(65536):
            pass
        return False
