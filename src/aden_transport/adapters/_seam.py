"""The one method where client meets transport, patched on both client classes of a library.

`_send_single_request` has the same name and arguments in httpx 0.27, 0.28 and httpx2 2.x; every client,
transport, mount and mock passes through it. Classes keep their identity, and `remove()` puts back the
very objects that were there.
"""

from __future__ import annotations

import functools
import inspect
import logging
from collections.abc import Callable
from types import FunctionType
from typing import Any

from ..core.exchange import Exchange
from ..emitters.delivery import in_emitter
from ..meter import Meter, classifier, state
from ._drive import inside
from ._family import GLOBAL, PER_CLIENT, PER_VENDOR, Family, address
from ._transport import AsyncMeterTransportMixin, ByHand, MeterTransportMixin

__all__ = ["CLIENT_METER", "Seam"]

METHOD = "_send_single_request"
CLIENT_METER = "_aden_meter"
"""Attribute of an httpx client that `make_metered_*` was given."""

_log = logging.getLogger("aden.seam")


class Seam:
    """The patch of one library. Can be put in place and taken out any number of times."""

    def __init__(self, family: Family) -> None:
        self.family = family
        self._active = False
        self._patched: list[tuple[type, Any, Any]] = []

    @property
    def in_place(self) -> bool:
        return self._active

    def put(self) -> None:
        """Patch both client classes. Safe to repeat."""
        if self._active:
            return
        self._active = True
        module = self.family.module
        for client, bound in ((module.Client, self._sync), (module.AsyncClient, self._async)):
            original = client.__dict__.get(METHOD)
            if original is None or list(inspect.signature(original).parameters) != ["self", "request"]:
                self._active = False
                self.remove()
                _log.warning(
                    "%s.%s has no %s(request); its traffic is not metered. Pass a MeterTransport by hand.",
                    module.__name__,
                    client.__name__,
                    METHOD,
                )
                return
            if any(known is client and ours is original for known, _, ours in self._patched):
                continue  # somebody wrapped ours meanwhile and has put it back
            ours = bound(as_function(original))
            setattr(client, METHOD, ours)
            self._patched.append((client, original, ours))

    def remove(self) -> None:
        """Put the originals back. Where another patch lies on top of ours, ours stays below it, inert."""
        self._active = False
        kept = []
        for client, original, ours in self._patched:
            if client.__dict__.get(METHOD) is ours:
                setattr(client, METHOD, original)
            else:
                kept.append((client, original, ours))
        self._patched = kept

    # -- the two colours, one below the other ----------------------------------------------------

    def _sync(self, original: Callable[..., Any]) -> Callable[..., Any]:
        seam, family = self, self.family

        @functools.wraps(original)
        def _send_single_request(client: Any, request: Any) -> Any:
            if not seam._active:
                return original(client, request)
            host, path = address(request.url)
            if not classifier.may_be_call(host, path):
                return original(client, request)
            exchange = seam._open(client, request, host, path)
            if exchange is None:
                return original(client, request)
            return family.send(exchange, request, original, client)

        return _send_single_request

    def _async(self, original: Callable[..., Any]) -> Callable[..., Any]:
        seam, family = self, self.family

        @functools.wraps(original)
        async def _send_single_request(client: Any, request: Any) -> Any:
            if not seam._active:
                return await original(client, request)
            host, path = address(request.url)
            if not classifier.may_be_call(host, path):
                return await original(client, request)
            exchange = seam._open(client, request, host, path)
            if exchange is None:
                return await original(client, request)
            return await family.send_async(exchange, request, original, client)

        return _send_single_request

    def _open(self, client: Any, request: Any, host: str, path: str) -> Exchange | None:
        """The exchange of a call that this layer counts: by the most particular meter in force, of this
        client, of this SDK or of everything."""
        if inside.get() is not None or in_emitter():
            return None
        meter: Meter | None = getattr(client, CLIENT_METER, None)
        rank = PER_CLIENT
        if meter is None and state.vendors:
            agent = request.headers.get("user-agent", "")
            meter = meter_of_sdk(agent.encode("ascii", "replace"))
            rank = PER_VENDOR
        if meter is None:
            meter = state.everything
            rank = GLOBAL
        if meter is None or (ByHand.made and has_own_meter(client, request)):
            return None
        return self.family.open(meter, rank, request, host, path)


def as_function(original: Any) -> Callable[..., Any]:
    """A method found in a class, to be called with its instance first.

    A wrapper of wrapt (ddtrace and others patch with it) learns its instance from being bound: called like
    a function, it takes the instance for the first argument.
    """
    if type(original) is FunctionType:  # wrapt's also pass isinstance()
        return original

    @functools.wraps(original)
    def call(instance: Any, *args: Any, **kwargs: Any) -> Any:
        return original.__get__(instance, type(instance))(*args, **kwargs)

    return call


def meter_of_sdk(agent: bytes) -> Meter | None:
    """The meter of `instrument_<vendor>()` for the SDK with this user agent, if there is one."""
    return next((meter for vendor, meter in state.vendors.items() if speaks_for(vendor, agent)), None)


def speaks_for(vendor: str, agent: bytes) -> bool:
    """Whether a user agent is that of the vendor's SDK, its clients for other hosts (`AzureOpenAI`,
    `AnthropicBedrock`) among them."""
    names = [prefix.strip(b"/-") for v in classifier.vendors if v.id == vendor for prefix in v.user_agents]
    return any(name in agent for name in names)


def has_own_meter(client: Any, request: Any) -> bool:
    """Whether the request goes to a transport made by hand that has options of its own."""
    transport = client._transport_for_url(request.url)
    return (
        isinstance(transport, (MeterTransportMixin, AsyncMeterTransportMixin))
        and transport._own_meter is not None
    )
