"""What httpx and httpx2 share: a request read, rewritten on a copy, sent, refused, observed.

One `Family` per library, made in the file that bears its name.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextvars import ContextVar
from copy import copy
from typing import Any

from .._guard import internal_fault
from ..core.exchange import Exchange
from ..core.steps import SEND, Refuse, Send
from ..core.wire import Rewrite, WireRequest
from ..framing.content_encoding import decoder_for
from ..meter import Meter, classifier
from ._drive import drive, drive_async, in_hook
from ._refusal import REFUSAL_HEADERS, RefusedMixin, refusal_body
from ._tee import Hidden

__all__ = ["BY_HAND", "GLOBAL", "PER_CLIENT", "PER_VENDOR", "Family", "inside"]

GLOBAL, PER_VENDOR, PER_CLIENT, BY_HAND = 0, 1, 2, 3
"""Whose meter counts where several see a call: the highest; the others stand aside."""

inside: ContextVar[tuple[Exchange, int] | None] = ContextVar("aden_inside", default=None)
"""The exchange whose request is on its way to the wire, so that no deeper layer counts it again."""

REDIRECTS = frozenset({307, 308})
"""Redirects that repeat method and body, so that the next hop is the same call."""


class Family:
    """The bound classes of one httpx-like library."""

    def __init__(self, module: Any, *, sync_tee: Any, async_tee: Any, refused: Any) -> None:
        self.module = module
        self.sync_tee = sync_tee
        self.async_tee = async_tee
        self.refused = refused

    # -- reading and rewriting -------------------------------------------------------------------

    def wire(self, request: Any, host: bytes, target: bytes) -> WireRequest:
        headers = {name.lower(): value for name, value in request.headers.raw}
        try:
            return WireRequest(request.method, host, target, headers, request.content)
        except self.module.RequestNotRead:
            pass
        stream = request.stream
        if isinstance(stream, self.module.ByteStream):  # a redirect hop: there, but not read
            return WireRequest(request.method, host, target, headers, request.read())
        return WireRequest(request.method, host, target, headers, None, form_of(stream))

    def rewritten(self, request: Any, change: Rewrite) -> Any:
        """A copy of `request` with the changes; the application keeps its own, unchanged."""
        module = self.module
        url = request.url if change.target is None else request.url.copy_with(raw_path=change.target)
        drop = {*change.drop_headers, *change.set_headers}
        stream = None
        content = change.body
        if content is None and change.form is not None:
            stream = with_fields(request.stream, change.form)
        elif content is None and isinstance(request.stream, module.ByteStream):
            content = request.content
        elif content is None:
            stream = request.stream
        if content is not None or stream is not request.stream:
            drop |= {b"content-length", b"transfer-encoding"}
        headers = [(k, v) for k, v in request.headers.raw if k.lower() not in drop]
        headers += change.set_headers.items()
        if stream is not None and stream is not request.stream:
            headers += [
                (k.encode(), v.encode()) for k, v in stream.get_headers().items() if k.lower() != "content-type"
            ]
        made = module.Request(
            request.method, url, headers=headers, content=content, stream=stream, extensions=request.extensions
        )
        return made

    # -- the two colours, one below the other ----------------------------------------------------

    def send(
        self,
        meter: Meter,
        rank: int,
        exchange: Exchange,
        request: Any,
        transport: Callable[[Any], Any],
        *,
        follows: bool,
    ) -> Any:
        sent = request
        try:
            step = exchange.start(judged=not in_hook())
            if step is not SEND:
                step = drive(exchange, step, meter.hook, meter.hook_timeout_s)
                if isinstance(step, Refuse):
                    return self.refuse(step, request, exchange)
                sent = self._changed(request, step, exchange)
            token = inside.set((exchange, rank))
            try:
                response = transport(sent)
            finally:
                inside.reset(token)
        except BaseException as exc:
            exchange.fail(exc)
            raise
        self._observe(response, request, exchange, meter, self.sync_tee, follows=follows)
        return response

    async def send_async(
        self,
        meter: Meter,
        rank: int,
        exchange: Exchange,
        request: Any,
        transport: Callable[[Any], Awaitable[Any]],
        *,
        follows: bool,
    ) -> Any:
        sent = request
        try:
            step = exchange.start(judged=not in_hook())
            if step is not SEND:
                step = await drive_async(exchange, step, meter.hook, meter.hook_timeout_s)
                if isinstance(step, Refuse):
                    return self.refuse(step, request, exchange)
                sent = self._changed(request, step, exchange)
            token = inside.set((exchange, rank))
            try:
                response = await transport(sent)
            finally:
                inside.reset(token)
        except BaseException as exc:
            exchange.fail(exc)
            raise
        self._observe(response, request, exchange, meter, self.async_tee, follows=follows)
        return response

    def _changed(self, request: Any, step: Send, exchange: Exchange) -> Any:
        if step.rewrite is None:
            return request
        return self.rewritten(request, step.rewrite)

    def refuse(self, step: Refuse, request: Any, exchange: Exchange) -> Any:
        """Raise the refusal, or return it as a response where the SDK would take a raise for a fault of
        the network and retry: Stainless SDKs, known by their headers."""
        if not any(name.startswith(b"x-stainless-") for name in exchange.wire.headers):
            raise step.error
        response = self.refused(
            403, headers=REFUSAL_HEADERS, content=refusal_body(step.error), request=request
        )
        response.aden_error = step.error
        return response

    def _observe(
        self, response: Any, request: Any, exchange: Exchange, meter: Meter, tee: Any, *, follows: bool
    ) -> None:
        """From here on the answer is the application's; what goes wrong is ours alone."""
        response.request = request
        try:
            if isinstance(response, RefusedMixin):
                # Refused by a meter nearer to the wire, whose event this is.
                exchange.withdraw()
                return
            if response.status_code in REDIRECTS and follows and response.has_redirect_location:
                exchange.redirect()
                return
            loaded = hasattr(response, "_content")
            headers = {name.lower(): value for name, value in response.headers.raw}
            if loaded:
                headers.pop(b"content-encoding", None)  # its content is decoded already
            exchange.receive_response(response.status_code, headers)
            hidden = self._hidden(response, exchange, headers)
            if loaded and hidden is None:
                exchange.feed(response.content)
                exchange.receive_eof()
            else:
                response.stream = tee(response.stream, exchange, meter.orphans, hidden)
                meter.watch_orphans()
        except Exception as exc:  # noqa: BLE001 - a fault of ours is not the application's
            internal_fault("observe", exc)
            exchange.close()

    def _hidden(self, response: Any, exchange: Exchange, headers: Mapping[bytes, bytes]) -> Hidden | None:
        if exchange.usage_filter is None or response.status_code >= 400:
            return None
        encoding = headers.get(b"content-encoding")
        decoder = decoder_for(encoding.decode("latin-1")) if encoding else None
        if decoder is not None and not decoder.supported:
            return None
        module = self.module
        for name in ("content-encoding", "content-length"):
            response.headers.pop(name, None)
        request = response.request
        return Hidden(exchange, decoder, lambda why: module.DecodingError(why, request=request))


def form_of(stream: Any) -> Mapping[str, Any] | None:
    """The text fields of a multipart body, None where the body is another stream."""
    fields = getattr(stream, "fields", None)
    if not isinstance(fields, list):
        return None
    form: dict[str, Any] = {}
    for part in fields:
        value = getattr(part, "value", None)
        if isinstance(value, bytes):
            value = value.decode("utf-8", "replace")
        if isinstance(value, str) and isinstance(part.name, str):
            form[part.name] = value
    return form


def with_fields(stream: Any, changes: Mapping[str, str | None]) -> Any:
    """A multipart body with text fields replaced or removed; the files are the same objects."""
    made = copy(stream)
    made.fields = []
    for part in stream.fields:
        if getattr(part, "value", None) is None or part.name not in changes:
            made.fields.append(part)
        elif (value := changes[part.name]) is not None:
            made.fields.append(type(part)(name=part.name, value=value))
    return made


def open_exchange(
    family: Family, meter: Meter, request: Any, host: bytes, target: bytes
) -> Exchange | None:
    """The exchange of a request that is a call to a model; None for any other, and where ours fails."""
    try:
        wire = family.wire(request, host, target)
        call = classifier.classify(host, request.method, target, wire.headers)
        if call is None:
            return None
        return Exchange(meter.settings, call, wire)
    except Exception as exc:  # noqa: BLE001 - a fault of ours is not the application's
        internal_fault("open", exc)
        return None


def address(url: Any) -> tuple[bytes, bytes]:
    """Host (with its port where it is not the scheme's own) and target of an httpx URL."""
    host = url.raw_host
    port = url.port
    return (host if port is None else host + b":%d" % port), url.raw_path
