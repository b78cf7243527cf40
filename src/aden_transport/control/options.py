"""How the control server is spoken to: its address, and `ControlOptions`, checked at once."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from ..errors import ConfigurationError
from .messages import URL

__all__ = ["ControlOptions", "server_address"]

SECURE = {"https": "https", "wss": "https"}
PLAIN = {"http": "http", "ws": "http"}
BOUNDS: dict[str, tuple[float, float]] = {
    "polling_interval_ms": (100, 86_400_000),
    "heartbeat_interval_ms": (100, 86_400_000),
    "timeout_ms": (1, 600_000),
    "server_validation_timeout_ms": (0, 60_000),
    "server_validation_threshold": (0, 100),
    "adaptive_min_remaining_usd": (0, 9_000_000),
    "sampling_base_rate": (0, 1),
    "sampling_full_validation_percent": (0, 100),
    "max_expected_overspend_percent": (0, 1_000),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlOptions:
    """How the control server is asked, for `MeterOptions(control=…)`. Names and defaults are Aden's.

    With a server of ours (`aden-transport serve`) money comes in leases, and the options of hybrid
    enforcement mean nothing but `server_validation_timeout_ms`. They say when an original Aden server is
    asked about a call that the policy at hand would decide; a server that does not answer decides nothing,
    and `on_unknown` and `fail_open` say what then.

    Raises: ConfigurationError for a value that cannot be used.
    """

    polling_interval_ms: float = 30_000
    """Between two looks for a new policy, where the server does not push it."""
    heartbeat_interval_ms: float = 10_000
    timeout_ms: float = 5_000
    """Of one request to the server. No call waits for it."""
    enable_hybrid_enforcement: bool = True
    """Whether an original Aden server is asked about calls at all."""
    server_validation_threshold: float = 5.0
    """Percent of a budget's limit; below it, calls are not asked about."""
    server_validation_timeout_ms: float = 2_000
    """How long a call waits for the server's word, on its own loop or thread."""
    adaptive_threshold_enabled: bool = True
    adaptive_min_remaining_usd: float = 5.0
    """With this or less left, every call is asked about."""
    sampling_enabled: bool = True
    """Whether between the threshold and the full percent only a share of calls is asked about."""
    sampling_base_rate: float = 0.1
    """That share at the threshold, 0.0 to 1.0; it grows linearly to 1.0."""
    sampling_full_validation_percent: float = 95.0
    """From here on every call is asked about."""
    max_expected_overspend_percent: float = 5.0
    """So far over its limit a budget may be by the sums at hand while the server, asked, still allows
    calls."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name in BOUNDS:
                _number(field.name, value, *BOUNDS[field.name])
            elif not isinstance(value, bool):
                raise ConfigurationError(
                    f"ControlOptions({field.name}=…) must be True or False, not {value!r}."
                )

    @property
    def wait_s(self) -> float:
        """How long a call waits at most."""
        return self.server_validation_timeout_ms / 1000


def _number(name: str, value: Any, low: float, high: float) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ConfigurationError(f"ControlOptions({name}=…) must be a number from {low:g} to {high:g}.")
    if not low <= value <= high:
        raise ConfigurationError(f"ControlOptions({name}={value:g}) must lie between {low:g} and {high:g}.")


def server_address(given: str | None, *, name: str = "MeterOptions(server_url=…)") -> str:
    """The address that requests begin with: `https://host[:port][/path]`; None is Aden's own server.

    `wss` and `ws` stand for `https` and `http`, and `http` is for this machine only, as the key would pass
    everybody on the way. `name`: where it was given, for the message.

    Raises: ConfigurationError for an address that is none.
    """
    text = (given or "").strip() or URL
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname, parts.port
    except ValueError as exc:
        raise ConfigurationError(_no_address(name, "it is no URL")) from exc
    if not host or parts.query or parts.fragment or not text.isprintable() or " " in text:
        raise ConfigurationError(_no_address(name, "give scheme and host, and no query"))
    if parts.username is not None or parts.password is not None:
        raise ConfigurationError(_no_address(name, "give the key as api_key, not within the address"))
    scheme = parts.scheme.lower()
    if scheme in PLAIN and not is_loopback(host):
        raise ConfigurationError(
            _no_address(
                name,
                f"{scheme} would show the key to everybody on the way; use https, or http for 127.0.0.1",
            )
        )
    written = SECURE.get(scheme) or PLAIN.get(scheme)
    if written is None:
        raise ConfigurationError(_no_address(name, "use https, or http for 127.0.0.1"))
    return f"{written}://{parts.netloc.lower()}{parts.path.rstrip('/')}"


def is_loopback(host: str) -> bool:
    """Whether `host` is this machine, without asking a name server."""
    if host.lower() == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _no_address(name: str, why: str) -> str:
    return f"{name} cannot be used: {why}."
