"""httpx, bound: `httpx.Client(transport=MeterTransport(options))`."""

from __future__ import annotations

import httpx

from ._family import Family
from ._refusal import RefusedMixin
from ._tee import AsyncTee, SyncTee
from ._transport import AsyncMeterTransportMixin, MeterTransportMixin

__all__ = ["FAMILY", "AsyncMeterTransport", "MeterTransport"]


class MeteredStream(SyncTee, httpx.SyncByteStream):
    """A response body, observed."""


class MeteredAsyncStream(AsyncTee, httpx.AsyncByteStream):
    """A response body, observed."""


class RefusedResponse(RefusedMixin, httpx.Response):
    """A refused call."""


FAMILY = Family(httpx, sync_tee=MeteredStream, async_tee=MeteredAsyncStream, refused=RefusedResponse)


class MeterTransport(MeterTransportMixin, httpx.BaseTransport):
    __doc__ = MeterTransportMixin.__doc__
    _family = FAMILY


class AsyncMeterTransport(AsyncMeterTransportMixin, httpx.AsyncBaseTransport):
    __doc__ = AsyncMeterTransportMixin.__doc__
    _family = FAMILY
