"""Writes one answer to one connection, at the pace and with the faults that the reply asks for."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from email.utils import formatdate

from .answers import Answer
from .bodies import Body, make_body
from .connection import Connection
from .received import ReceivedRequest
from .reply import Reply
from .wire import LAST_CHUNK, chunk, response_head

__all__ = ["deliver"]

# RFC 9110 §6.4.1: answers with these have no content, and RFC 9112 §6.1 forbids them a transfer-coding.
_BODILESS = frozenset({204, 304})


async def deliver(
    connection: Connection, request: ReceivedRequest, answer: Answer, reply: Reply, *, keep_alive: bool
) -> bool:
    """Write the answer. Returns whether the connection can take another request.

    Raises: Gone as soon as the client leaves.
    """
    if reply.delay_ms > 0:
        await connection.sleep(reply.delay_ms / 1000)
    if reply.disconnect_before_headers:
        return False
    body = make_body(answer, reply, accept_encoding=request.headers.get("accept-encoding", ""))
    bodiless = answer.status in _BODILESS
    transfer = "none" if bodiless else _transfer(reply, body)
    keep_alive = keep_alive and transfer != "close" and not body.lost
    headers = _headers(answer, reply, body, transfer=transfer, keep_alive=keep_alive)
    request.answered_status = answer.status
    await connection.write(response_head(answer.status, headers))
    if request.method == "HEAD" or bodiless:
        return keep_alive
    await _write_body(connection, request, reply, body, chunked=transfer == "chunked")
    return keep_alive


async def _write_body(
    connection: Connection, request: ReceivedRequest, reply: Reply, body: Body, *, chunked: bool
) -> None:
    first = True
    for piece in body.pieces:
        if not first and reply.event_delay_ms > 0:
            await connection.sleep(reply.event_delay_ms / 1000)
        first = False
        await connection.write(chunk(piece) if chunked else piece)
        request.answered_bytes += len(piece)
        # One write, one segment: without a turn of the loop the socket might join them, and a long
        # answer would keep the other connections waiting.
        await asyncio.sleep(0)
    if chunked and not body.lost:
        await connection.write(LAST_CHUNK)


def _transfer(reply: Reply, body: Body) -> str:
    if reply.transfer == "length" and body.length is None:
        raise ValueError(
            "transfer='length' needs a body that is made at once: not a stream, text_mb or a bomb"
        )
    if reply.transfer != "auto":
        return reply.transfer
    # Only chunks let the reader see the boundaries that a test asked for.
    return "length" if body.length is not None and reply.chunking == "event" else "chunked"


def _headers(
    answer: Answer, reply: Reply, body: Body, *, transfer: str, keep_alive: bool
) -> Iterable[tuple[str, str]]:
    headers = [
        ("date", formatdate(usegmt=True)),
        ("content-type", answer.content_type),
        ("server", "aden-fake-provider"),
        *answer.headers,
    ]
    if body.encoding != "identity":
        headers.append(("content-encoding", body.encoding))
    if transfer == "length":
        headers.append(("content-length", str(body.length)))
    elif transfer == "chunked":
        headers.append(("transfer-encoding", "chunked"))
    headers.append(("connection", "keep-alive" if keep_alive else "close"))
    if reply.retry_after_s is not None:
        headers.append(("retry-after", f"{reply.retry_after_s:g}"))
    changed = {name.lower() for name in reply.headers}
    headers = [(name, value) for name, value in headers if name.lower() not in changed]
    return headers + [(name, value) for name, value in reply.headers.items() if value is not None]
