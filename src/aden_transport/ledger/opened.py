"""A ledger by its address."""

from __future__ import annotations

from ..errors import ConfigurationError
from .base import Ledger
from .memory import MemoryLedger

__all__ = ["open_ledger"]


def open_ledger(address: str | None, *, lasting: bool) -> Ledger:
    """`"memory"`, `"sqlite:///path/to/file"`, `"redis://host"`; None takes the user's own file where sums
    have to outlast the process, and memory otherwise or where no file can be written.

    Raises: ConfigurationError for another address, or a library that is missing.
    """
    if address is None:
        from .sqlite import SqliteLedger, default_path

        path = default_path("budgets") if lasting else None
        return MemoryLedger() if path is None else SqliteLedger(path)
    kind, _, rest = address.partition(":")
    if address == "memory":
        return MemoryLedger()
    if kind == "sqlite" and rest.startswith("///") and len(rest) > 3:
        from .sqlite import SqliteLedger

        return SqliteLedger(rest[2:] if rest.startswith("////") else rest[3:])
    if kind in ("redis", "rediss", "unix", "valkey"):
        from .redis import RedisLedger

        return RedisLedger(address.replace("valkey", "redis", 1) if kind == "valkey" else address)
    raise ConfigurationError(
        f'MeterOptions(ledger={address.partition("@")[0]!r}) is none of "memory", '
        '"sqlite:///path/to/file", "sqlite:////absolute/path" and "redis://host:6379/0".'
    )
