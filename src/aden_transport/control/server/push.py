"""The WebSocket: what has changed is told at once, and events may come the same way.

The server says `{"type": "policy", "policy", "version", "etag"}` when the socket opens and at every change
(`{"type": "changed", "version", "etag"}`, where it is too large for a frame), and likewise
`{"type": "pricing"}`, that prices are to be fetched. With `?sums=true` it also says
`{"type": "sums", "budgets": […]}`: those that have moved, at most four times a second. The client may send
the objects of Aden's events, one a message, or `{"type": "events", "events": […]}`; each is answered by
`{"type": "taken", "processed", "refused"}` or `{"type": "error", "error", "message"}`.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from typing import Annotated, Any
from urllib.parse import urlsplit

import anyio
from fastapi import APIRouter, Depends, Query
from sqlalchemy import update
from sqlalchemy.exc import SQLAlchemyError
from starlette.concurrency import run_in_threadpool
from starlette.websockets import WebSocket, WebSocketDisconnect

from ..._json import dumps, loads
from ..messages import INSTANCE_HEADER, MAX_BATCH_EVENTS, MAX_FRAME_BYTES, Paths
from .access import Caller, allowed, caller_of
from .events import ingest
from .floors import insert_or_ignore
from .intake import read_batch
from .policies import DEFAULT, current
from .policy_routes import named
from .rooms import Listener, Room, Rooms
from .storage import Storage
from .tables import agents
from .wire import Fault

__all__ = ["router"]

MOST = 2000
"""Connections of a team to one process."""
SEND_S = 15.0
"""For a frame; who does not read for as long is let go."""
CHECK_S = 20.0
"""Between two looks whether the key is still in force, where no notice says that keys have changed."""
POLICY_VIOLATION, TOO_LARGE, TRY_LATER = 1008, 1009, 1013
"""https://www.iana.org/assignments/websocket/websocket.xhtml#close-code-number"""

log = logging.getLogger("aden.server")
router = APIRouter()


class Ended(Exception):
    """The socket is to be closed, with a code and why."""

    def __init__(self, code: int, why: str) -> None:
        super().__init__(why)
        self.code = code


def _same_origin(socket: WebSocket) -> None:
    """A browser says which page asks. Raises: Fault 403, where it is not one of this server."""
    origin = socket.headers.get("origin")
    if origin is not None and urlsplit(origin).netloc != socket.headers.get("host"):
        raise Fault(403, "origin", "Pages of other origins may not connect.")


@router.websocket(Paths.push, dependencies=[Depends(_same_origin)])
async def push(
    socket: WebSocket,
    caller: Annotated[Caller, Depends(allowed("read"))],
    sums: Annotated[bool, Query()] = False,
    policy_id: Annotated[str | None, Query(max_length=200)] = None,
) -> None:
    """A key in the header `Authorization`, as everywhere. What is refused is answered like other requests."""
    rooms: Rooms = socket.app.state.rooms
    chosen = named(socket.headers.get("x-policy-id") or policy_id or DEFAULT)
    await run_in_threadpool(_look, socket.app.state.storage, caller, chosen)
    if rooms.of_team(caller.team_id) >= MOST:
        raise Fault(503, "too_many", f"There are {MOST} connections of this team; try later.")
    await socket.accept()
    instance = socket.headers.get(INSTANCE_HEADER, "")[:200]
    listener = Listener(watches_sums=sums)
    room = rooms.enter(caller.team_id, chosen, listener)
    try:
        await run_in_threadpool(_note, socket.app.state.storage, caller, instance, True)
        await _serve(socket, caller, room, listener)
    finally:
        rooms.leave(room, listener)
        with anyio.CancelScope(shield=True):
            await run_in_threadpool(_note, socket.app.state.storage, caller, instance, False)


async def _serve(socket: WebSocket, caller: Caller, room: Room, listener: Listener) -> None:
    """Until either side ends it."""
    sending = anyio.Lock()

    async def send(text: str) -> None:
        try:
            with anyio.fail_after(SEND_S):
                async with sending:
                    await socket.send_text(text)
        except TimeoutError as exc:
            raise Ended(TRY_LATER, "nothing was read") from exc

    async def tell() -> None:
        while room.ended is None:
            await listener.woken.wait()
            listener.woken = anyio.Event()
            for message in room.messages(listener):
                await send(message)
        raise Ended(POLICY_VIOLATION, room.ended)

    async def check() -> None:
        while True:
            with anyio.move_on_after(CHECK_S):
                await listener.suspected.wait()
            listener.suspected = anyio.Event()
            try:
                await run_in_threadpool(caller_of, socket)
            except Fault as exc:
                raise Ended(POLICY_VIOLATION, "the key is no longer in force") from exc

    async def hear() -> None:
        while True:
            text = await _receive(socket)
            await send(dumps(await run_in_threadpool(_answer, socket, caller, text)).decode())

    try:
        async with anyio.create_task_group() as group:
            for task in (tell, check, hear):
                group.start_soon(task)
    except* Ended as several:
        ended = next(_leaves(several))
        # A peer that is gone takes no farewell.
        with anyio.move_on_after(1):
            try:
                await socket.close(ended.code, str(ended)[:100])
            except (RuntimeError, WebSocketDisconnect, OSError):
                pass
    except* (WebSocketDisconnect, OSError):
        pass


def _leaves(several: BaseExceptionGroup[Ended]) -> Iterator[Ended]:
    for exc in several.exceptions:
        if isinstance(exc, BaseExceptionGroup):
            yield from _leaves(exc)
        else:
            yield exc


async def _receive(socket: WebSocket) -> str:
    message = await socket.receive()
    if message["type"] == "websocket.disconnect":
        raise WebSocketDisconnect(message.get("code", 1000), message.get("reason"))
    text = message.get("text")
    if not isinstance(text, str):
        raise Ended(POLICY_VIOLATION, "send text")
    if len(text) > MAX_FRAME_BYTES:
        raise Ended(TOO_LARGE, f"send at most {MAX_FRAME_BYTES} bytes in a message")
    return text


def _answer(socket: WebSocket, caller: Caller, text: str) -> dict[str, Any]:
    """To a message of the client."""
    try:
        told = loads(text)
    except ValueError:
        return _error("bad_json", "Send JSON.")
    if not isinstance(told, dict):
        return _error("not_an_object", "Send an object.")
    if told.get("type") == "ping":
        return {"type": "pong"}
    events = told.get("events") if told.get("type") == "events" else [told]
    if not isinstance(events, list) or len(events) > MAX_BATCH_EVENTS:
        return _error("invalid", f"Send at most {MAX_BATCH_EVENTS} events.")
    if not caller.may("ingest"):
        return _error("forbidden", 'This key has not the scope "ingest".')
    state = socket.app.state
    now = time.time()
    try:
        batch = read_batch(events, now=now, prices=state.pricing.of(caller.team_id, now))
        taken = ingest(state.storage, caller.team_id, batch, now, alerting=state.alerting)
    except SQLAlchemyError:
        # They were not taken; the client keeps them.
        log.exception("events of a socket could not be stored")
        return _error("internal", "The events were not stored; send them again later.")
    refused = sum(batch.refused.values()) + taken.conflicts
    return {"type": "taken", "processed": len(events) - refused, "refused": refused}


def _error(code: str, message: str) -> dict[str, Any]:
    return {"type": "error", "error": code, "message": message}


def _look(storage: Storage, caller: Caller, policy_id: str) -> None:
    """Raises: Fault 404, where there is no such policy."""
    with storage.read() as db:
        current(db, caller.team_id, policy_id)


def _note(storage: Storage, caller: Caller, instance: str, connected: bool) -> None:
    """That a program listens, or no longer does."""
    if not instance or not instance.isprintable():
        return
    now = time.time()
    own = agents.c.team_id == caller.team_id, agents.c.instance_id == instance
    with storage.begin() as db:
        if connected:
            row = {"first_seen_at": now, "last_seen_at": 0.0}
            insert_or_ignore(db, agents, team_id=caller.team_id, instance_id=instance, **row)
        db.execute(update(agents).where(*own).values(connected=connected))
