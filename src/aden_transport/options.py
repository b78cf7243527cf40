"""What `instrument()` is told, checked at once, with messages that say what to change."""

from __future__ import annotations

import difflib
import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from .control.options import ControlOptions, server_address
from .errors import ConfigurationError, RequestCancelledError
from .events import AlertEvent, BeforeRequestContext, BeforeRequestResult, MetricEvent

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from .pricing import Price

__all__ = ["MeterOptions"]

ForwardMetadata = Literal["native", "always", "never"]

LATER = {
    "capture_content": "prompts and answers are never kept in this release; leave it out",
    "performance_mode": "there is one mode in this release; leave it out",
}
"""Keywords of the public contract that a later release brings, and what to use until then."""

Hook = Callable[
    [Mapping[str, Any], BeforeRequestContext], "BeforeRequestResult | Awaitable[BeforeRequestResult]"
]
ParamsHook = Callable[
    [dict[str, Any], BeforeRequestContext], "Mapping[str, Any] | Awaitable[Mapping[str, Any] | None] | None"
]


class MeterOptions:
    """Options of `instrument()` and of everything that meters. All are keywords; all have a default.

    api_key:          of the control server, which brings budgets and prices and takes events; None takes the
                      environment's ADEN_API_KEY, and without one there is no server.
    server_url:       of the control server; None takes ADEN_API_URL, else Aden's own. https, or http to
                      this machine.
    control:          `ControlOptions(...)`: how the server is asked.
    emit_metric:      called with each `MetricEvent`; sync or async. None: nothing is emitted.
    before_request:   `(params, context) -> BeforeRequestResult`, sync or async; once per logical call.
    modify_params:    `(params, context) -> params or None`, sync or async; once per logical call, before
                      budgets: what it returns is sent in place of the request's JSON body.
    hook_timeout_s:   seconds an async hook may take; then `fail_open` decides.
    request_metadata: a mapping, or a callable giving one per call, merged into `event.metadata`.
    get_context_id:   a callable giving `metadata["context_id"]`, per call.
    on_alert:         called with each `AlertEvent`; sync or async.
    on_blocked:       called with the `RequestCancelledError` of each call that is refused, once per
                      logical call; sync or async.
    on_emit_error:    called with `(event, exception)` when an emitter raises.
    agent_name:       written on every event.
    fail_open:        whether a call goes on (True) or is refused (False) when the hook, or a change that was
                      decided, fails, or while no policy has come from the server.
    prices:           `{"provider/model": Price(...)}`, before the price data and a cost that a vendor
                      states.
    sample_rate:      share of traces that are emitted, 0.0 to 1.0; thins emission only.
    async_emit:       plain callables are called on a thread of ours (True) or in the call (False).
    stream_usage:     ask for usage in streams where the vendor accepts it, and hide the extra event.
    forward_metadata: what happens to a body's `metadata`: "native" sends what the vendor takes,
                      "always" sends all, "never" sends none.
    policy:           budgets and rules, in the place of the server's: a mapping, JSON text, or
                      the path of a JSON or TOML file, which is read again when it changes
                      (docs/budgets.md).
    ledger:           where budgets keep their sums: "memory", "sqlite:///path", "redis://…", or
                      "https://…", a control server that every call asks with `api_key`; None takes
                      a file in the user's state folder where a budget has a period, else memory,
                      or a file of this run where the program has workers.
    spool_dir:        folder of the files of this host: sums, holds, leases, and the events that wait for
                      the server; None takes the user's folder of states. Made with mode 0700.
    on_unknown:       what is done where a figure cannot be known: "allow", "block" or dollars for
                      "price", "size", "store" and "server".
    shadow_mode:      the policy decides and counts, but nothing is blocked, delayed or degraded: events
                      say in `decision.shadow` what would have been done and saved.
    enforce_fraction: share of tenants, 0.0 to 1.0, for which the policy is enforced, always the same ones;
                      for the others it is in shadow mode. Calls that name no tenant go by their
                      customer, else their agent; those that name none are enforced at 1.0 only.
    pacing:           keep calls within the vendor's rate limits, by waiting before they are sent: True, or
                      `{"target": 0.95, "max_wait_ms": 20000}`, the part of a limit that is aimed for (0.1
                      to 1) and the longest wait of one call (0 to 600000). Callers of one key share its
                      pace through `ledger`.
    store_timeout_ms: how long a call waits for a ledger that does I/O; then `on_unknown["store"]` decides.
    prefer_httpx:     SDKs to move from another HTTP library to httpx; only "gemini" (google-genai's
                      async client leaves aiohttp, with its pool, proxy and exceptions).

    Raises: ConfigurationError for an unknown option or a value that cannot be used.
    """

    __slots__ = (
        "agent_name",
        "api_key",
        "async_emit",
        "before_request",
        "control",
        "emit_metric",
        "enforce_fraction",
        "fail_open",
        "forward_metadata",
        "get_context_id",
        "hook_timeout_s",
        "ledger",
        "modify_params",
        "on_alert",
        "on_blocked",
        "on_emit_error",
        "on_unknown",
        "pacing",
        "policy",
        "prefer_httpx",
        "prices",
        "request_metadata",
        "sample_rate",
        "server_url",
        "shadow_mode",
        "spool_dir",
        "store_timeout_ms",
        "stream_usage",
    )

    def __init__(
        self,
        *,
        api_key: str | None = None,
        server_url: str | None = None,
        control: ControlOptions | None = None,
        emit_metric: Callable[[MetricEvent], Any] | None = None,
        before_request: Hook | None = None,
        modify_params: ParamsHook | None = None,
        hook_timeout_s: float = 5.0,
        request_metadata: Mapping[str, Any] | Callable[[], Mapping[str, Any] | None] | None = None,
        get_context_id: Callable[[], str | None] | None = None,
        on_alert: Callable[[AlertEvent], Any] | None = None,
        on_blocked: Callable[[RequestCancelledError], Any] | None = None,
        on_emit_error: Callable[[MetricEvent, BaseException], object] | None = None,
        agent_name: str | None = None,
        fail_open: bool = True,
        prices: Mapping[str, Price] | None = None,
        sample_rate: float = 1.0,
        async_emit: bool = True,
        stream_usage: bool = True,
        forward_metadata: ForwardMetadata = "native",
        policy: Any = None,
        ledger: str | None = None,
        spool_dir: str | os.PathLike[str] | None = None,
        on_unknown: Mapping[str, Any] | None = None,
        shadow_mode: bool = False,
        enforce_fraction: float = 1.0,
        pacing: bool | Mapping[str, float] | None = None,
        store_timeout_ms: float = 250.0,
        prefer_httpx: tuple[str, ...] = (),
        **unknown: Any,
    ) -> None:
        for name in unknown:
            raise ConfigurationError(_unknown_option(name))
        self.api_key = _key("api_key", api_key)
        self.server_url = _text("server_url", server_url)
        if server_url is not None:
            server_address(server_url)
        self.control = _control("control", control)
        self.emit_metric = _callable("emit_metric", emit_metric)
        self.before_request = _callable("before_request", before_request)
        self.modify_params = _callable("modify_params", modify_params)
        self.hook_timeout_s = _number("hook_timeout_s", hook_timeout_s, low=0.0, high=600.0)
        self.request_metadata = _mapping_or_callable("request_metadata", request_metadata)
        self.get_context_id = _callable("get_context_id", get_context_id)
        self.on_alert = _callable("on_alert", on_alert)
        self.on_blocked = _callable("on_blocked", on_blocked)
        self.on_emit_error = _callable("on_emit_error", on_emit_error)
        self.agent_name = _text("agent_name", agent_name)
        self.fail_open = _flag("fail_open", fail_open)
        self.prices = _prices(prices)
        self.sample_rate = _number("sample_rate", sample_rate, low=0.0, high=1.0)
        self.async_emit = _flag("async_emit", async_emit)
        self.stream_usage = _flag("stream_usage", stream_usage)
        self.forward_metadata: ForwardMetadata = _one_of(
            "forward_metadata", forward_metadata, get_args(ForwardMetadata)
        )
        self.policy = _policy("policy", policy)
        self.ledger = _text("ledger", ledger)
        self.spool_dir = _folder("spool_dir", spool_dir)
        if self.spool_dir is not None and (self.ledger or "").startswith("sqlite:"):
            raise ConfigurationError(
                'MeterOptions(spool_dir=…, ledger="sqlite:///…"): two places for one file; leave one out.'
            )
        self.on_unknown = _mapping("on_unknown", on_unknown)
        self.shadow_mode = _flag("shadow_mode", shadow_mode)
        self.enforce_fraction = _number("enforce_fraction", enforce_fraction, low=0.0, high=1.0)
        self.pacing = _pacing("pacing", pacing)
        self.store_timeout_ms = _number("store_timeout_ms", store_timeout_ms, low=1.0, high=60_000.0)
        self.prefer_httpx = _sdk_names("prefer_httpx", prefer_httpx)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, MeterOptions):
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in self.__slots__)

    __hash__ = None  # type: ignore[assignment]

    def replaced(self, **changes: Any) -> MeterOptions:
        """The same options but for `changes`.

        Raises: ConfigurationError as the constructor does.
        """
        return MeterOptions(**{**{name: getattr(self, name) for name in self.__slots__}, **changes})

    def completed(self) -> MeterOptions:
        """With what `ledger` or the environment says of the server, where nothing else is said.

        Raises: ConfigurationError for an address or a key in the environment that cannot be used.
        """
        key, url = os.environ.get("ADEN_API_KEY", "").strip(), os.environ.get("ADEN_API_URL", "").strip()
        changes: dict[str, Any] = {}
        if self.api_key is None and key:
            changes["api_key"] = _key("api_key", key, where="the environment's ADEN_API_KEY")
        ledger = (
            self.ledger if self.ledger is not None and self.ledger.startswith(("https:", "http:")) else ""
        )
        if self.server_url is None and (ledger or url) and (key or self.api_key):
            if not ledger:
                server_address(url, name="the environment's ADEN_API_URL")
            changes["server_url"] = ledger or url
        return self.replaced(**changes) if changes else self

    def __repr__(self) -> str:
        """The names of what is set; values may hold what must not be shown."""
        changed = [name for name in self.__slots__ if getattr(self, name) != getattr(DEFAULTS, name)]
        return f"MeterOptions({', '.join(f'{name}=…' for name in changed)})"


def _unknown_option(name: str) -> str:
    if name in LATER:
        return f"MeterOptions({name}=…): {LATER[name]}."
    close = difflib.get_close_matches(name, MeterOptions.__slots__, n=1)
    hint = f"did you mean {close[0]}?" if close else f"options are {', '.join(MeterOptions.__slots__)}."
    return f"MeterOptions has no option {name!r}; {hint}"


def _callable(name: str, value: Any) -> Any:
    if value is not None and not callable(value):
        raise ConfigurationError(f"MeterOptions({name}=…) must be callable, not {type(value).__name__}.")
    return value


def _mapping_or_callable(name: str, value: Any) -> Any:
    if value is not None and not callable(value) and not isinstance(value, Mapping):
        raise ConfigurationError(
            f"MeterOptions({name}=…) must be a mapping or a callable giving one, not {type(value).__name__}."
        )
    return value


def _mapping(name: str, value: Any) -> Any:
    if value is not None and not isinstance(value, Mapping):
        raise ConfigurationError(
            f'MeterOptions({name}=…) must be a mapping like {{"price": "block"}}, not {type(value).__name__}.'
        )
    return value


def _policy(name: str, value: Any) -> Any:
    if (
        value is None
        or isinstance(value, (Mapping, list, tuple, str, bytes, Path))
        or hasattr(value, "budgets")
        or hasattr(value, "beside")
    ):
        return value
    raise ConfigurationError(
        f"MeterOptions({name}=…) must be a mapping, JSON text or the path of a JSON or TOML file, not "
        f"{type(value).__name__}."
    )


PACING = {"target": (0.95, 0.1, 1.0), "max_wait_ms": (20_000.0, 0.0, 600_000.0)}
"""Each one's default and bounds."""


def _pacing(name: str, value: Any) -> Mapping[str, float] | None:
    if value is None or value is False:
        return None
    if value is not True and not isinstance(value, Mapping):
        raise ConfigurationError(
            f'MeterOptions({name}=…) must be True or {{"target": 0.95, "max_wait_ms": 20000}}, not {value!r}.'
        )
    given = {} if value is True else dict(value)
    for unknown in given.keys() - PACING.keys():
        raise ConfigurationError(f"MeterOptions({name}=…) knows {' and '.join(PACING)}, not {unknown!r}.")
    return {
        key: _number(f'{name}["{key}"]', given.get(key, default), low=low, high=high)
        for key, (default, low, high) in PACING.items()
    }


def _number(name: str, value: Any, *, low: float, high: float) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ConfigurationError(f"MeterOptions({name}=…) must be a number from {low:g} to {high:g}.")
    if not low <= value <= high:
        raise ConfigurationError(f"MeterOptions({name}={value:g}) must lie between {low:g} and {high:g}.")
    return float(value)


def _flag(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise ConfigurationError(f"MeterOptions({name}=…) must be True or False, not {value!r}.")
    return value


def _text(name: str, value: Any) -> str | None:
    if value is not None and not isinstance(value, str):
        raise ConfigurationError(f"MeterOptions({name}=…) must be a string, not {type(value).__name__}.")
    return value


def _key(name: str, value: Any, *, where: str | None = None) -> str | None:
    key = _text(name, value)
    if key and not (key.isascii() and key.isprintable() and " " not in key):
        given = where or f"MeterOptions({name}=…)"
        raise ConfigurationError(f"{given} must be the key alone, in one line without spaces.")
    return key


def _control(name: str, value: Any) -> ControlOptions | None:
    if value is not None and not isinstance(value, ControlOptions):
        raise ConfigurationError(
            f"MeterOptions({name}=…) must be ControlOptions(…), not {type(value).__name__}."
        )
    return value


def _folder(name: str, value: Any) -> Path | None:
    if value is None:
        return None
    text = os.fspath(value) if isinstance(value, (str, os.PathLike)) else None
    if not isinstance(text, str) or not text or "\0" in text:
        raise ConfigurationError(f"MeterOptions({name}=…) must be the path of a folder, not {value!r}.")
    return Path(text).expanduser().absolute()


def _one_of(name: str, value: Any, allowed: tuple[str, ...]) -> Any:
    if value not in allowed:
        raise ConfigurationError(f"MeterOptions({name}={value!r}) must be one of {', '.join(allowed)}.")
    return value


def _prices(value: Any) -> Mapping[str, Price] | None:
    if value is not None and not isinstance(value, Mapping):
        raise ConfigurationError('MeterOptions(prices=…) must be a mapping like {"openai/gpt-4o": Price(…)}.')
    return value


def _sdk_names(name: str, value: Any) -> tuple[str, ...]:
    if not isinstance(value, (str, list, tuple, set, frozenset)):
        raise ConfigurationError(
            f'MeterOptions({name}=…) must be SDK names like ("gemini",), not {type(value).__name__}.'
        )
    names = (value,) if isinstance(value, str) else tuple(value)
    for sdk in names:
        if sdk != "gemini":
            raise ConfigurationError(f'MeterOptions({name}={sdk!r}): only "gemini" can be moved to httpx.')
    return names


DEFAULTS = MeterOptions()
