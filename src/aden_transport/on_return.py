"""Flushing before a request is over, for hosts that freeze or end a process once it has answered."""

from __future__ import annotations

import functools
import inspect
import logging
from collections.abc import Awaitable, Callable, Iterable, Iterator, MutableMapping
from typing import Any, Literal, TypeAlias

from ._threads import forbid_threads
from .errors import ConfigurationError
from .installation import flush, flush_async

__all__ = ["flush_on_return"]

Kind = Literal["handler", "asgi", "wsgi"]
TIMEOUT_S = 2.0
Message: TypeAlias = MutableMapping[str, Any]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
LAST = "http.response.body"

_log = logging.getLogger("aden.delivery")


def flush_on_return(
    app: Any, *, kind: Kind = "handler", timeout: float = TIMEOUT_S, threads: bool = True
) -> Any:
    """`app`, with what its calls cost settled and their events delivered before its answer is finished.

    `kind`: `"handler"` for a function that is called once per request, plain or async (AWS Lambda, Cloud
    Functions; usable as a decorator), `"asgi"` or `"wsgi"` for an application. `timeout`: seconds that an
    answer is held up at most; what is not delivered by then is in the host's file, or in memory, for the
    next flush. `threads=False`: of this process none is started for it, neither to settle nor to deliver,
    as where a host runs no threads of its guests (uWSGI without `--enable-threads`); flushing then does both.

    Raises: ConfigurationError where `app` cannot be called or `kind` is none of the three.
    """
    if not callable(app):
        raise ConfigurationError(
            f"flush_on_return() takes a function or application, not {type(app).__name__}."
        )
    wrappers: dict[str, Callable[[Any, float], Any]] = {"handler": _handler, "asgi": _asgi, "wsgi": _wsgi}
    if kind not in wrappers:
        raise ConfigurationError(f"flush_on_return(kind={kind!r}) must be one of {', '.join(wrappers)}.")
    if not threads:
        forbid_threads()
    return wrappers[kind](app, timeout)


def _flush(timeout: float) -> None:
    if not flush(timeout):
        _log.info("not all was delivered within %g s; it is kept for later", timeout)


async def _flush_async(timeout: float) -> None:
    if not await flush_async(timeout):
        _log.info("not all was delivered within %g s; it is kept for later", timeout)


def _handler(handler: Callable[..., Any], timeout: float) -> Callable[..., Any]:
    @functools.wraps(handler)
    def plain(*args: Any, **given: Any) -> Any:
        try:
            return handler(*args, **given)
        finally:
            _flush(timeout)

    @functools.wraps(handler)
    async def awaited(*args: Any, **given: Any) -> Any:
        try:
            return await handler(*args, **given)
        finally:
            await _flush_async(timeout)

    is_async = inspect.iscoroutinefunction(handler) or inspect.iscoroutinefunction(
        getattr(handler, "__call__", None)  # noqa: B004 - looks at the method, not whether
    )
    return awaited if is_async else plain


def _asgi(app: Callable[..., Awaitable[None]], timeout: float) -> Callable[..., Awaitable[None]]:
    async def flushing(scope: Message, receive: Any, send: Send) -> None:
        if scope["type"] == "lifespan":
            await app(scope, receive, send)
            return

        async def sending(message: Message) -> None:
            if message["type"] == LAST and not message.get("more_body", False):
                await _flush_async(timeout)
            await send(message)

        try:
            await app(scope, receive, sending)
        finally:
            # What it did after its answer, as background tasks do.
            await _flush_async(timeout)

    return flushing


def _wsgi(app: Callable[..., Iterable[bytes]], timeout: float) -> Callable[..., Iterable[bytes]]:
    @functools.wraps(app, updated=())
    def flushing(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        try:
            answer = app(environ, start_response)
        except BaseException:
            _flush(timeout)
            raise
        wrapper = environ.get("wsgi.file_wrapper")
        if isinstance(answer, (list, tuple)) or (isinstance(wrapper, type) and isinstance(answer, wrapper)):
            _flush(timeout)
            return answer
        return _Answer(answer, timeout)

    return flushing


class _Answer:
    """A WSGI answer that flushes after its last piece, and when it is closed."""

    def __init__(self, pieces: Iterable[bytes], timeout: float) -> None:
        self._pieces = pieces
        self._next: Iterator[bytes] | None = None
        self._timeout = timeout

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        if self._next is None:
            self._next = iter(self._pieces)
        try:
            return next(self._next)
        except BaseException:
            _flush(self._timeout)
            raise

    def close(self) -> None:
        close = getattr(self._pieces, "close", None)
        try:
            if close is not None:
                close()
        finally:
            _flush(self._timeout)
