"""The transports that users wrap by hand; one class per library is bound from these."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from ..core.exchange import Exchange
from ..emitters.delivery import in_emitter
from ..meter import Meter, classifier, meter_for
from ._drive import inside
from ._family import BY_HAND, Family, address

if TYPE_CHECKING:
    from ..options import MeterOptions

__all__ = ["AsyncMeterTransportMixin", "ByHand", "MeterTransportMixin"]


class ByHand:
    """What transports of both colours share."""

    _family: ClassVar[Family]
    made: ClassVar[bool] = False
    """Whether there ever was one, so that the seam looks for them only then."""

    def __init__(self, options: MeterOptions | None = None, inner: Any = None) -> None:
        self._own_meter: Meter | None = None if options is None else Meter(options)
        self._inner = self._default_inner() if inner is None else inner
        ByHand.made = True

    def _default_inner(self) -> Any:
        raise NotImplementedError

    def _open(self, request: Any) -> Exchange | None:
        """The exchange of a call that this transport counts, else None."""
        host, path = address(request.url)
        if not classifier.may_be_call(host, path) or in_emitter():
            return None
        outer = inside.get()
        if outer is not None and (outer.rank >= BY_HAND or self._own_meter is None):
            return None  # counted by a layer that means the same meter, or a more particular one
        meter = self._own_meter or meter_for(request)
        exchange = self._family.open(meter, BY_HAND, request, host, path)
        if exchange is not None and outer is not None:
            outer.withdraw()
        return exchange


class MeterTransportMixin(ByHand):
    """Meters every call that passes to `inner` (default: the library's own transport).

    `options=None` uses the process's meter, or metering alone where there is none. Given as
    `transport=`, it replaces the client's proxies from the environment, as any transport does.
    """

    def _default_inner(self) -> Any:
        return self._family.module.HTTPTransport()

    def handle_request(self, request: Any) -> Any:
        exchange = self._open(request)
        if exchange is None:
            return self._inner.handle_request(request)
        return self._family.send(exchange, request, self._inner.handle_request)

    def close(self) -> None:
        self._inner.close()

    def __enter__(self) -> Any:
        self._inner.__enter__()
        return self

    def __exit__(self, *exc: Any) -> None:
        self._inner.__exit__(*exc)


class AsyncMeterTransportMixin(ByHand):
    """`MeterTransport` for async clients."""

    def _default_inner(self) -> Any:
        return self._family.module.AsyncHTTPTransport()

    async def handle_async_request(self, request: Any) -> Any:
        exchange = self._open(request)
        if exchange is None:
            return await self._inner.handle_async_request(request)
        return await self._family.send_async(exchange, request, self._inner.handle_async_request)

    async def aclose(self) -> None:
        await self._inner.aclose()

    async def __aenter__(self) -> Any:
        await self._inner.__aenter__()
        return self

    async def __aexit__(self, *exc: Any) -> None:
        await self._inner.__aexit__(*exc)
