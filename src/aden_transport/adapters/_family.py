"""What httpx and httpx2 share: a request read, rewritten on a copy, sent, refused, observed.

One `Family` per library, made in the file that bears its name.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from copy import copy
from typing import Any

from .._guard import internal_fault
from ..core.exchange import ENDED, Exchange
from ..core.header_figures import AnswerHeaders
from ..core.steps import Refuse
from ..core.wire import LOWER_NAME, Pairs, Rewrite, WireRequest, names_of
from ..framing.content_encoding import decoder_for
from ..meter import Meter, classifier, orphans
from ._decoded import shown_by
from ._drive import Driver
from ._refusal import REFUSAL_HEADERS, is_livekit, refusal_body
from ._tee import Hidden

__all__ = ["BY_HAND", "GLOBAL", "PER_CLIENT", "PER_VENDOR", "Family"]

GLOBAL, PER_VENDOR, PER_CLIENT, BY_HAND = 0, 1, 2, 3
"""Whose meter counts where several see a call: the highest; the others stand aside."""

REDIRECTS = frozenset({307, 308})
"""Redirects that repeat method and body, so that the next hop is the same call."""


class SentRequest(WireRequest):
    """A request of httpx or httpx2. What few calls need of its URL is read when it is needed."""

    __slots__ = ("_url",)

    def __init__(
        self,
        request: Any,
        host: str,
        path: str,
        body: bytes | None,
        form: Mapping[str, Any] | None = None,
    ) -> None:
        self.method = request.method
        self.host = host
        self.path = path
        self._url = request.url
        self.pairs = pairs = pairs_of(request.headers)
        self.known = names_of(pairs)
        self.body = body
        self.form = form
        self.hides_events = True

    @property
    def target(self) -> bytes:
        target: bytes = self._url.raw_path
        return target


class Family(Driver):
    """The bound classes of one httpx-like library."""

    def __init__(self, module: Any, *, sync_tee: Any, async_tee: Any, refused: Any) -> None:
        self.module = module
        self.sync_tee = sync_tee
        self.async_tee = async_tee
        self.refused = refused

    # -- reading and rewriting -------------------------------------------------------------------

    def open(self, meter: Meter, rank: int, request: Any, host: str, path: str) -> Exchange | None:
        """The exchange of a request that is a call to a model; None for any other, and where ours fails."""
        try:
            try:
                wire = SentRequest(request, host, path, request.content)
            except self.module.RequestNotRead:
                wire = self._unread(request, host, path)
            call = classifier.classify(wire)
            return None if call is None else Exchange(meter.settings, call, wire, rank)
        except Exception as exc:  # noqa: BLE001 - a fault of ours is not the application's
            internal_fault("open", exc)
            return None

    def _unread(self, request: Any, host: str, path: str) -> SentRequest:
        if isinstance(request.stream, self.module.ByteStream):
            # A redirect hop: its body is there, but not read.
            return SentRequest(request, host, path, request.read())
        return SentRequest(request, host, path, None, form_of(request.stream))

    def rewritten(self, request: Any, change: Rewrite) -> Any:
        """A copy of `request` with the changes; the application keeps its own, unchanged.

        Its parts are shared but for what changes: to build a request anew takes five times as long.
        """
        kind: Any = type(request)
        made = kind.__new__(kind)
        made.__dict__.update(request.__dict__)
        if change.target is not None:
            made.url = request.url.copy_with(raw_path=change.target)
        drop, put = set(change.drop_headers), dict(change.set_headers)
        if change.body is not None:
            made.stream = self.module.ByteStream(change.body)
            made._content = change.body
            drop.add(b"transfer-encoding")
            put[b"content-length"] = str(len(change.body)).encode()
        elif change.form is not None:
            made.stream = with_fields(request.stream, change.form)
            made.__dict__.pop("_content", None)
            drop |= {b"content-length", b"transfer-encoding"}
            for name, value in made.stream.get_headers().items():
                if name.lower() != "content-type":
                    put[name.lower().encode()] = value.encode()
        made.headers = with_headers(request.headers, drop, put)
        return made

    # -- a refusal, an answer --------------------------------------------------------------------------

    def refuse(self, step: Refuse, request: Any) -> Any:
        """Raise the refusal, or return it as a response where the SDK would take a raise for a fault of
        the network and retry: Stainless SDKs, known by their headers."""
        if not any(name.startswith(b"x-stainless-") for _, name, _ in pairs_of(request.headers)):
            raise step.refused()
        plain = is_livekit()
        response = (self.module.Response if plain else self.refused)(
            403, headers=REFUSAL_HEADERS, content=refusal_body(step.error), request=request
        )
        if not plain:
            response.aden_refused = step
        return response

    def observe(self, response: Any, request: Any, exchange: Exchange, tee: Any, client: Any) -> None:
        """From here on the answer is the application's; what goes wrong is ours alone."""
        response.request = request
        if exchange.state == ENDED:
            return  # a meter nearer to the wire has taken the call over
        try:
            status = response.status_code
            headers = AnswerHeaders(pairs_of(response.headers))
            # Not by way of `__dict__`: once asked for, it slows down every access to the response.
            loaded = hasattr(response, "_content")
            if loaded:
                headers.content_encoding = None  # its content is decoded already
            hop = None
            if status in REDIRECTS and response.has_redirect_location:
                hop = goes_on(response, getattr(client, "max_redirects", 20))
            exchange.receive_response(status, headers, hop)
            hidden = None
            if exchange.usage_filter is not None and status < 400:
                hidden = self._hidden(response, exchange, headers)
            if loaded:
                self._pass_loaded(response, exchange, hidden)
                return
            decodes = headers.content_encoding is not None or exchange.stream_observer is not None
            decoder = shown_by(response, exchange) if decodes and hidden is None else None
            response.stream = tee(response.stream, exchange, orphans.queue, hidden, decoder)
            if orphans.thread is None:
                orphans.watch()
        except Exception as exc:  # noqa: BLE001 - a fault of ours is not the application's
            internal_fault("observe", exc)
            exchange.close()

    def _pass_loaded(self, response: Any, exchange: Exchange, hidden: Hidden | None) -> None:
        """A mock's answer, which is there whole and will not be read from its stream."""
        content = response.content
        exchange.feed(content)
        exchange.receive_eof()
        if hidden is not None:
            shown = hidden.receive_data(content) + hidden.receive_eof()
            response._content = shown
            response.stream = self.module.ByteStream(shown)

    def _hidden(self, response: Any, exchange: Exchange, headers: AnswerHeaders) -> Hidden | None:
        encoding = headers.content_encoding
        decoder = decoder_for(encoding.decode("latin-1")) if encoding else None
        if decoder is not None and not decoder.supported:
            return None
        module = self.module
        for name in ("content-encoding", "content-length"):
            response.headers.pop(name, None)
        request = response.request
        return Hidden(exchange, decoder, lambda why: module.DecodingError(why, request=request))


def pairs_of(headers: Any) -> Pairs:
    """Headers as `(as sent, lower-case, value)`, which httpx and httpx2 keep in `_list`; by way of their
    public reads it would take a call 5 µs more."""
    try:
        return headers._list  # type: ignore[no-any-return]
    except AttributeError:
        return [(name, name.lower(), value) for name, value in headers.raw]


def with_headers(headers: Any, drop: AbstractSet[bytes], put: Mapping[bytes, bytes]) -> Any:
    """A copy without those in `drop` and with those in `put`, each in its old place or at the end."""
    if not hasattr(headers, "_list"):
        made = headers.copy()
        for name in drop:
            made.pop(name.decode("ascii", "replace"), None)
        for name, value in put.items():
            made[name.decode()] = value.decode()
        return made
    # Each change by way of the public methods, and their copy, is a pass in Python over all that there are.
    kind: Any = type(headers)
    made = kind.__new__(kind)
    made.__dict__.update(headers.__dict__)
    pairs = list(headers._list)
    names = list(map(LOWER_NAME, pairs))
    gone: set[int] = set()
    for name in drop:
        if name in names and name not in put:
            gone.update(_places(names, name))
    for name, value in put.items():
        if name in names:
            pairs[names.index(name)] = (name, name, value)
            if names.count(name) > 1:
                gone.update(_places(names, name)[1:])
        else:
            pairs.append((name, name, value))
    made._list = [pair for at, pair in enumerate(pairs) if at not in gone] if gone else pairs
    return made


def _places(names: Sequence[bytes], name: bytes) -> list[int]:
    return [at for at, each in enumerate(names) if each == name]


def goes_on(response: Any, max_redirects: int) -> Callable[[], bool]:
    """Whether the client follows a redirect, to be asked at the end of its body: a hop that is followed
    is read before the next one, a hop that is not has its `next_request` set before it can be read."""
    known = weakref.ref(response)
    if not leads_to_call(response):
        return never

    def follows() -> bool:
        hop = known()
        return hop is not None and hop.next_request is None and len(hop.history) < max_redirects

    return follows


def never() -> bool:
    return False


def leads_to_call(response: Any) -> bool:
    """Whether a redirect leads to where the next hop would be seen as a call again."""
    try:
        url = response.url.join(response.headers["location"])
    except Exception:  # noqa: BLE001 - whatever a library raises for what is no URL
        return False
    return url.scheme in ("http", "https") and classifier.may_be_call(*address(url))


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


def address(url: Any) -> tuple[str, str]:
    """Host (with its port where it is not the scheme's own) and path of an httpx URL, as they are sent.

    The public reads of an URL decode and encode; every request of the process passes here.
    """
    try:
        parts = url._uri_reference
        host, port, path = parts.host, parts.port, parts.path
    except AttributeError:
        host, port, path = url.host, url.port, url.raw_path.partition(b"?")[0].decode("ascii", "replace")
    return (host if port is None else f"{host}:{port}"), path
