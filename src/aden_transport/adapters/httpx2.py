"""httpx2, bound: `httpx2.Client(transport=MeterTransport(options))`."""

from __future__ import annotations

import httpx2

from ._family import Family
from ._refusal import RefusedMixin
from ._tee import AsyncTee, SyncTee
from ._transport import AsyncMeterTransportMixin, MeterTransportMixin

__all__ = ["FAMILY", "AsyncMeterTransport", "MeterTransport"]


class MeteredStream(SyncTee, httpx2.SyncByteStream):
    """A response body, observed."""


class MeteredAsyncStream(AsyncTee, httpx2.AsyncByteStream):
    """A response body, observed."""


class RefusedResponse(RefusedMixin, httpx2.Response):
    """A refused call."""


FAMILY = Family(httpx2, sync_tee=MeteredStream, async_tee=MeteredAsyncStream, refused=RefusedResponse)


class MeterTransport(MeterTransportMixin, httpx2.BaseTransport):
    __doc__ = MeterTransportMixin.__doc__
    _family = FAMILY


class AsyncMeterTransport(AsyncMeterTransportMixin, httpx2.AsyncBaseTransport):
    __doc__ = AsyncMeterTransportMixin.__doc__
    _family = FAMILY
