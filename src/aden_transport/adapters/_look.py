"""Having a piece of a body observed, whatever goes wrong."""

from __future__ import annotations

from ..core.exchange import Exchange
from ..core.observe import MANY, StreamObserver

__all__ = ["feed", "look"]


def feed(exchange: Exchange, data: bytes) -> None:
    """Have a piece observed."""
    try:
        exchange.feed(data)
    except Exception as exc:  # noqa: BLE001 - a fault of ours is not the application's
        exchange.observe_failed(exc)


def look(exchange: Exchange, observer: StreamObserver) -> int:
    """`observer.look()`. Once that has failed, or nobody is interested any more, nothing is kept."""
    if exchange.stream_observer is not observer:
        observer.chunks.clear()
        return MANY
    try:
        return observer.look()
    except Exception as exc:  # noqa: BLE001 - a fault of ours is not the application's
        exchange.observe_failed(exc)
        return 0
