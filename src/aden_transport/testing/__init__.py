"""What tests need: a fake provider on 127.0.0.1 that speaks the vendors' dialects."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .provider import FakeProvider
    from .received import ReceivedRequest
    from .reply import NO_USAGE, REAL_USAGE, Reply, ToolCall

__all__ = ["FakeProvider", "NO_USAGE", "REAL_USAGE", "ReceivedRequest", "Reply", "ToolCall"]

_HOMES = {
    "FakeProvider": "provider",
    "NO_USAGE": "reply",
    "REAL_USAGE": "reply",
    "ReceivedRequest": "received",
    "Reply": "reply",
    "ToolCall": "reply",
}


def __getattr__(name: str) -> Any:
    """Import a public name at its first use: most programs import this package without testing."""
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{home}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
