"""aiohttp, for what leaves httpx: google-genai's async client wherever aiohttp is installed.

`ClientSession._request` is wrapped; the answer and its reader become subclasses of their own classes,
so that reads, releases and finalisers are noticed without a task, a callback or a copy of ours.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import aiohttp

from .._guard import internal_fault
from .._json import dumps
from ..core.exchange import Exchange
from ..core.header_figures import AnswerHeaders
from ..core.steps import Refuse
from ..core.wire import Rewrite, WireRequest
from ..emitters.delivery import in_emitter
from ..meter import classifier, orphans, state
from ._drive import Driver, inside
from ._seam import as_function, meter_of_sdk

__all__ = ["put", "remove"]

METHOD = "_request"
MAX_CLASSES = 64

_patched: tuple[Any, Any] | None = None
_active = False
_reading: dict[int, Exchange] = {}
"""Exchanges by the identity of the reader that delivers their answer; readers take no attributes."""


class MeteredReader(aiohttp.StreamReader):
    """A body as it is read. aiohttp has decoded it already."""

    __slots__ = ()

    def _read_nowait_chunk(self, n: int) -> bytes:
        data: bytes = super()._read_nowait_chunk(n)
        exchange = _reading.get(id(self))
        if exchange is not None:
            try:
                exchange.feed(data)
            except Exception as exc:  # noqa: BLE001 - a fault of ours is not the application's
                exchange.observe_failed(exc)
            if self._eof and not self._buffer:
                self._finish()
        return data

    def feed_eof(self) -> None:
        super().feed_eof()
        if not self._buffer:
            self._finish()

    def set_exception(self, exc: Any, *args: Any, **kwargs: Any) -> None:
        super().set_exception(exc, *args, **kwargs)
        exchange = _reading.pop(id(self), None)
        if exchange is not None:
            exchange.fail(exc if isinstance(exc, BaseException) else exc())

    def _finish(self) -> None:
        exchange = _reading.pop(id(self), None)
        if exchange is not None:
            exchange.receive_eof()


class _MeteredResponse:
    """Mixed into a session's response class."""

    content: Any
    _aden: Exchange | None

    def close(self) -> None:
        try:
            super().close()  # type: ignore[misc]
        finally:
            self._end()

    def release(self) -> Any:
        try:
            return super().release()  # type: ignore[misc]
        finally:
            self._end()

    def _end(self) -> None:
        exchange, self._aden = self._aden, None
        if exchange is not None:
            _reading.pop(id(self.content), None)
            exchange.close()

    def __del__(self, *args: Any) -> None:
        exchange = getattr(self, "_aden", None)
        if exchange is not None and exchange.state != "ended":
            _reading.pop(id(self.content), None)
            orphans.queue.put(exchange)
        super().__del__(*args)  # type: ignore[misc]


_metered: dict[type, type] = {}
"""The metered subclass of each response class; sessions may bring their own."""


def _metered_class(kind: type) -> type:
    made = _metered.get(kind)
    if made is None:
        made = type(kind.__name__, (_MeteredResponse, kind), {"__module__": kind.__module__})
        if len(_metered) < MAX_CLASSES:
            _metered[kind] = made
    return made


def put() -> None:
    """Wrap the session's one request method. Safe to repeat."""
    global _patched, _active
    _active = True
    if _patched is not None:
        return  # in place, or below a patch that lies on top
    current = aiohttp.ClientSession.__dict__[METHOD]
    ours = _bound(as_function(current))
    setattr(aiohttp.ClientSession, METHOD, ours)
    _patched = (current, ours)


def remove() -> None:
    """Put the original back, or stay inert below a patch that lies on top."""
    global _patched, _active
    _active = False
    if _patched is not None and aiohttp.ClientSession.__dict__[METHOD] is _patched[1]:
        setattr(aiohttp.ClientSession, METHOD, _patched[0])
        _patched = None


def _bound(original: Any) -> Any:
    @functools.wraps(original)
    async def _request(session: Any, method: str, str_or_url: Any, **kwargs: Any) -> Any:
        opened = _open(session, method, str_or_url, kwargs) if _active else None
        if opened is None:
            return await original(session, method, str_or_url, **kwargs)
        exchange, url = opened

        def send(sent: _Request) -> Any:
            return original(session, method, sent.str_or_url, **sent.kwargs)

        return await DRIVER.send_async(exchange, _Request(str_or_url, url, kwargs), send)

    return _request


class _Request:
    """What may change of a request."""

    __slots__ = ("kwargs", "str_or_url", "url")

    def __init__(self, str_or_url: Any, url: Any, kwargs: Mapping[str, Any]) -> None:
        self.str_or_url = str_or_url
        self.url = url
        self.kwargs = kwargs


def _open(session: Any, method: str, str_or_url: Any, kwargs: Mapping[str, Any]) -> Any:
    """`(exchange, url)` of a call to a model, else None."""
    if inside.get() is not None or in_emitter():
        return None
    try:
        url = session._build_url(str_or_url)
        host = url.raw_host or ""
        if not url.is_default_port() and url.explicit_port is not None:
            host = f"{host}:{url.explicit_port}"
        if not classifier.may_be_call(host, url.raw_path):
            return None
        target = url.raw_path_qs.encode()
        method = method.upper()
        headers = _headers(session, kwargs.get("headers"))
        pairs = [(name, name, value) for name, value in headers.items()]
        wire = WireRequest(method, host, target, pairs, _body_of(kwargs), hides_events=False)
        meter = meter_of_sdk(wire.user_agent or b"") or state.everything
        call = classifier.classify(wire)
        if meter is None or call is None:
            return None
        return Exchange(meter.settings, call, wire), url
    except Exception as exc:  # noqa: BLE001 - a fault of ours is not the application's
        internal_fault("open", exc)
        return None


def _headers(session: Any, given: Any) -> dict[bytes, bytes]:
    found: dict[bytes, bytes] = {}
    for source in (session.headers, given or {}):
        pairs = source.items() if hasattr(source, "items") else source
        for name, value in pairs:
            found[str(name).lower().encode()] = str(value).encode("utf-8", "replace")
    return found


def _body_of(kwargs: Mapping[str, Any]) -> bytes | None:
    data = kwargs.get("data")
    if isinstance(data, (bytes, bytearray)):
        return bytes(data)
    if isinstance(data, str):
        return data.encode()
    if data is None:
        sent = kwargs.get("json")
        return b"" if sent is None else dumps(sent)
    return None


class _Sessions(Driver):
    def rewritten(self, request: _Request, change: Rewrite) -> _Request:
        made = dict(request.kwargs)
        url = request.url
        if change.target is not None:
            path = change.target.partition(b"?")[0].decode()
            url = url.with_path(path, encoded=True).with_query(url.query)
        if change.body is not None:
            made.pop("json", None)
            made["data"] = change.body
        drop = {name.decode() for name in change.drop_headers} | {"content-length"}
        given = made.get("headers") or {}
        pairs = given.items() if hasattr(given, "items") else given
        made["headers"] = [(k, v) for k, v in pairs if str(k).lower() not in drop]
        if change.body is not None and not any(str(k).lower() == "content-type" for k, _ in made["headers"]):
            made["headers"].append(("content-type", "application/json"))
        return _Request(url, url, made)

    def refuse(self, step: Refuse, request: _Request) -> Any:
        raise step.refused()

    def observe(self, response: Any, request: Any, exchange: Exchange, tee: Any, client: Any) -> None:
        """From here on the answer is the application's; what goes wrong is ours alone."""
        try:
            headers = AnswerHeaders([(name, name.lower(), value) for name, value in response.raw_headers])
            headers.content_encoding = None  # aiohttp decodes before it delivers
            exchange.receive_response(response.status, headers)
            reader = response.content
            if type(reader) is not aiohttp.StreamReader:
                exchange.receive_eof()  # an empty body
                return
            kind = type(response)
            response.__class__ = _metered_class(kind)
            response._aden = exchange
            reader.__class__ = MeteredReader
            _reading[id(reader)] = exchange
            if reader.is_eof() and not reader._buffer:
                reader._finish()  # type: ignore[attr-defined]
            if orphans.thread is None:
                orphans.watch()
        except Exception as exc:  # noqa: BLE001 - a fault of ours is not the application's
            internal_fault("observe", exc)
            exchange.close()


DRIVER = _Sessions()
