"""The WebSocket on which a server of ours tells that something has changed.

What a message says is taken for a hint alone: what has changed is fetched, as it always is. So a message that
is lost, repeated or late does no harm, and one that lies costs a request.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

import anyio

from ... import _json
from ..messages import MAX_FRAME_BYTES, Paths
from .session import Task
from .talk import ServerFault, Talk

__all__ = ["follow", "tasks_of"]

PING_S = 20.0
"""Between two signs of life; a server that gives none for as long is gone."""
PAUSE_S = 0.02
"""Between two messages: however many a server sends, they take little of this process."""
TASKS: Mapping[str, tuple[Task, ...]] = {
    "policy": ("policy",),
    "budget_policy": ("policy",),
    "changed": ("policy",),
    "pricing": ("pricing",),
    "leases": ("leases",),
}
MAX_SHOWN = 200
_log = logging.getLogger("aden.control")


async def follow(talk: Talk, *, opened: Callable[[], object], hint: Callable[[Task], object]) -> None:
    """Hear messages until the socket ends. `opened` is called once it stands, `hint` with what to do.

    Raises: ServerFault, always in the end.
    """
    try:
        import wsproto  # noqa: F401 - what httpx2 speaks WebSocket with
    except ImportError as exc:
        raise ServerFault(
            "wsproto is missing, so that changes are polled for: pip install httpx2[ws]"
        ) from exc
    try:
        await _follow(talk, opened, hint)
    except ServerFault:
        raise
    except Exception as exc:
        raise ServerFault(f"the WebSocket ended: {_why(exc)}") from exc
    raise ServerFault("the WebSocket was closed")


async def _follow(talk: Talk, opened: Callable[[], object], hint: Callable[[Task], object]) -> None:
    url = talk.url.replace("http", "ws", 1) + Paths.push
    with anyio.CancelScope() as opening:
        opening.deadline = anyio.current_time() + talk.timeout_s
        async with talk.client.websocket(
            url,
            max_message_size_bytes=MAX_FRAME_BYTES,
            keepalive_ping_interval_seconds=PING_S,
            keepalive_ping_timeout_seconds=PING_S,
            # Of the handshake; afterwards it may be quiet for hours.
            timeout=talk.timeout_s,
        ) as socket:
            opening.deadline = float("inf")
            opened()
            while True:
                for task in tasks_of(await socket.receive_text()):
                    hint(task)
                await anyio.sleep(PAUSE_S)
    raise ServerFault(f"no WebSocket within {talk.timeout_s:g} s")


def tasks_of(message: str) -> tuple[Task, ...]:
    """What a message calls for; nothing where it cannot be read, or is of no known type."""
    try:
        told: Any = _json.loads(message)
    except ValueError:
        return ()
    if not isinstance(told, dict):
        return ()
    if told.get("type") == "alert":
        _log.warning("The control server alerts: %.200s", ascii(told.get("alert")))
    kind = told.get("type")
    return TASKS.get(kind, ()) if isinstance(kind, str) else ()


def _why(exc: BaseException) -> str:
    """What a group of exceptions is about."""
    while isinstance(exc, BaseExceptionGroup):
        exc = exc.exceptions[0]
    response = getattr(exc, "response", None)
    status = getattr(response, "status_code", None)
    return (
        f"status {status}" if status is not None else f"{type(exc).__name__} {str(exc)[:MAX_SHOWN]}".strip()
    )
