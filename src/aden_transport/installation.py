"""`instrument()` and its kin: which meters are in force, and where they see calls."""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.util
import logging
import sys
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from ._guard import internal_fault
from .adapters._seam import CLIENT_METER, Seam
from .attributes import current_attributes, normalized
from .core import attempts
from .errors import ConfigurationError
from .logs import configure_from_environment
from .meter import Meter, classifier, meters, orphans, state
from .options import MeterOptions
from .process_end import at_process_end, forget_sigterm, look_for_pools, look_for_sigterm
from .vendors import VENDORS

if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec

    from .control.agent.agent import ControlAgent
    from .events import BudgetStatus
    from .vendors import Vendor

__all__ = [
    "InstrumentResult",
    "SDKStatus",
    "flush",
    "flush_async",
    "get_budget_status",
    "get_control_agent",
    "get_instrumented_sdks",
    "get_options",
    "instrument",
    "instrument_anthropic",
    "instrument_async",
    "instrument_gemini",
    "instrument_openai",
    "is_instrumented",
    "make_metered_openai",
    "ready",
    "register_vendor",
    "uninstrument",
    "uninstrument_anthropic",
    "uninstrument_async",
    "uninstrument_gemini",
    "uninstrument_openai",
    "update_options",
]

FLUSH_S = 5.0
"""How long `uninstrument()` waits for emitters."""
EXIT_S = 2.0
"""How long the interpreter's exit waits for emitters."""

_log = logging.getLogger("aden.installation")
_lock = threading.RLock()
_seams: dict[int, Seam] = {}
"""By identity of the library's module: `httpx2.alias_httpx()` makes two names one module."""
_clients: WeakSet[Any] = WeakSet()
"""HTTP clients that have a meter of their own."""

LIBRARIES = ("httpx", "httpx2")
BRIDGED = "aiohttp"
GENAI = "google.genai._api_client"
WATCHED = frozenset({*LIBRARIES, BRIDGED, GENAI})

SDKS: Mapping[str, tuple[str, str]] = {
    # attribute of InstrumentResult: (importable module, distribution)
    "openai": ("openai", "openai"),
    "anthropic": ("anthropic", "anthropic"),
    "gemini": ("google.genai", "google-genai"),
    "mistral": ("mistralai", "mistralai"),
    "cohere": ("cohere", "cohere"),
    "groq": ("groq", "groq"),
    "together": ("together", "together"),
    "huggingface": ("huggingface_hub", "huggingface-hub"),
    "cerebras": ("cerebras.cloud.sdk", "cerebras-cloud-sdk"),
    "ollama": ("ollama", "ollama"),
    "litellm": ("litellm", "litellm"),
    "google_generativeai": ("google.generativeai", "google-generativeai"),
    "boto3": ("boto3", "boto3"),
    "aiobotocore": ("aiobotocore", "aiobotocore"),
}

UNSEEN: Mapping[str, tuple[str, str]] = {
    # as above: (what it sends with, what to use instead)
    "google_generativeai": ("gRPC", "its successor google-genai is"),
    "boto3": ("botocore", "Bedrock through anthropic[bedrock], openai or litellm is"),
    "aiobotocore": ("botocore over aiohttp", "Bedrock through anthropic[bedrock], openai or litellm is"),
}
"""SDKs whose transport is not metered, whatever their version."""


@dataclass(frozen=True, slots=True)
class SDKStatus:
    """How one SDK's traffic is seen."""

    name: str
    version: str
    http_library: str | None
    """`"httpx"`, `"httpx2"`, or what else it uses; None where it cannot be told."""
    seen: bool
    reason: str
    """Why it is seen or not."""

    def __bool__(self) -> bool:
        return self.seen


class InstrumentResult:
    """What `instrument()` sees: an attribute per SDK (`result.openai`), truthy where it is installed and
    its traffic is seen. `details` has the status of every installed SDK."""

    def __init__(self, only: str | None = None) -> None:
        self._only = only

    def __getattr__(self, name: str) -> SDKStatus | None:
        if name not in SDKS:
            raise AttributeError(name)
        return self.details.get(name)

    @property
    def details(self) -> Mapping[str, SDKStatus]:
        """Per installed SDK its version, its HTTP library, and whether its traffic is seen, and why."""
        names = SDKS if self._only is None else (self._only,)
        return {name: status for name in names if (status := _status(name)) is not None}

    def __bool__(self) -> bool:
        return True

    def __repr__(self) -> str:
        seen = ", ".join(f"{s.name} {s.version}" for s in self.details.values() if s.seen)
        return f"InstrumentResult({seen or 'no SDK installed; httpx and httpx2 are seen'})"


def _status(name: str) -> SDKStatus | None:
    from importlib import metadata

    module, distribution = SDKS[name]
    try:
        version = metadata.version(distribution)
        required = metadata.requires(distribution) or []
    except metadata.PackageNotFoundError:
        return None
    if not _installed(module):
        return None
    if name in UNSEEN:
        other, instead = UNSEEN[name]
        return SDKStatus(name, version, other, False, f"it uses {other}, which is not metered; {instead}")
    names = {_required_name(line) for line in required if "extra ==" not in line}
    library = next((lib for lib in ("httpx2", "httpx", "requests", "aiohttp") if lib in names), None)
    if library in LIBRARIES:
        return SDKStatus(name, version, library, True, f"its requests pass through {library}")
    reason = f"it uses {library or 'an HTTP library of its own'}, which is not metered; update the SDK"
    return SDKStatus(name, version, library, False, reason)


def _required_name(requirement: str) -> str:
    import re

    found = re.match(r"[A-Za-z0-9_.-]+", requirement)
    return found[0].lower().replace("_", "-") if found else ""


# -- the seams ------------------------------------------------------------------------------------


class _ImportWatch(importlib.abc.MetaPathFinder):
    """Puts the seam into a library when it is first imported, so that `instrument()` imports none."""

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if fullname not in WATCHED:
            return None
        for finder in sys.meta_path:
            if finder is self or not hasattr(finder, "find_spec"):
                continue
            spec = finder.find_spec(fullname, path, target)
            if spec is not None and spec.loader is not None:
                spec.loader = _PatchingLoader(spec.loader)
                return spec
        return None


class _PatchingLoader(importlib.abc.Loader):
    """The library's own loader, and our seam after it."""

    def __init__(self, loader: Any) -> None:
        self._loader = loader

    def create_module(self, spec: ModuleSpec) -> Any:
        return self._loader.create_module(spec)

    def exec_module(self, module: Any) -> None:
        # What reads a module's loader later (pkgutil, inspect) finds its own one.
        module.__spec__.loader = module.__loader__ = self._loader
        self._loader.exec_module(module)
        try:
            _put_seams()
        except Exception as exc:  # noqa: BLE001 - an import of the application must not fail for us
            internal_fault("seam", exc)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)


_watch = _ImportWatch()


def _put_seams() -> None:
    """Patch what is imported. Called without the lock: an adapter's import waits where another thread is
    importing its library, and that thread wants the lock at the import's end."""
    for name in LIBRARIES:
        module = sys.modules.get(name)
        if module is not None and hasattr(module, "AsyncClient"):
            # By the module's own name: aliased, `sys.modules["httpx"]` is httpx2.
            adapter = importlib.import_module(f".adapters.{module.__name__}", __package__)
            with _lock:
                if _wanted():
                    _seams.setdefault(id(module), Seam(adapter.FAMILY)).put()
    if hasattr(sys.modules.get(BRIDGED), "ClientSession"):
        bridge = importlib.import_module(".adapters.aiohttp", __package__)
        with _lock:
            if _wanted():
                bridge.put()
    if GENAI in sys.modules:
        genai = importlib.import_module(".adapters._genai", __package__)
        with _lock:
            if _wanted():
                genai.prefer_httpx()


def _wanted() -> bool:
    return state.everything is not None or bool(state.vendors) or bool(_clients)


def _update_seams() -> None:
    """Watch for imports, or take the patches out, as meters want it; `_put_seams` puts them in."""
    if _wanted():
        if _watch not in sys.meta_path:
            sys.meta_path.insert(0, _watch)
        return
    if _watch in sys.meta_path:
        sys.meta_path.remove(_watch)
    for seam in _seams.values():
        seam.remove()
    bridge = sys.modules.get(f"{__package__}.adapters.aiohttp")
    if bridge is not None:
        bridge.remove()


# -- everything -----------------------------------------------------------------------------------


def instrument(options: MeterOptions | None = None) -> InstrumentResult:
    """Meter every LLM call of this process, of clients made before and after.

    The same options again change nothing; other options replace the meter with one warning, and calls
    under way end under the old one. Works inside a running event loop as well.

    With an `api_key` a thread of ours keeps in step with the control server; nothing here waits for it, and
    `ready()` does.

    Raises: ConfigurationError where `options` is no MeterOptions.
    """
    meter = _instrument(options)
    if meter is not None and meter.agent is not None:
        meter.agent.start()
    return InstrumentResult()


def _instrument(options: MeterOptions | None) -> Meter | None:
    """The meter of `options`, which is now in force; None where it was before."""
    options = _checked(options)
    configure_from_environment()
    with _lock:
        old = state.everything
        if old is not None and old.options == options:
            return None
        state.everything = meter = Meter(options, old)
        _apply_preferences(options)
        _update_seams()
    _put_seams()
    look_for_pools()
    if meter.has_last_words:
        look_for_sigterm()
    _warm(meter)
    if old is not None:
        _log.warning("instrument() was called again with other options; they replace the former ones")
        old.flush(FLUSH_S)
    return meter


def _warm(meter: Meter) -> None:
    """Read the prices of the installed SDKs' vendors now, not inside the first call (10 to 20 ms)."""
    for vendor in VENDORS:
        module = SDKS.get(vendor.id, ("",))[0]
        if vendor.price_provider and module and _installed(module):
            meter.settings.prices.find(vendor.price_provider, "", at=0.0)


def _installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except (ModuleNotFoundError, ValueError):
        return False


async def instrument_async(options: MeterOptions | None = None) -> InstrumentResult:
    """`instrument()`, for programs that start inside an event loop, asyncio or trio: with an `api_key` a task
    of this loop keeps in step with the control server, and no thread is needed."""
    meter = _instrument(options)
    if meter is not None and meter.agent is not None and not meter.agent.start_here():
        meter.agent.start()
    return InstrumentResult()


def uninstrument() -> None:
    """Stop metering, of `instrument()`, the per-vendor forms and `make_metered_*`, and hand over all
    events so far. Transports made by hand go on.

    Streams that are open go on and end under the meter they began with.
    """
    for meter in _take_all():
        meter.close(FLUSH_S)


async def uninstrument_async() -> None:
    """`uninstrument()`, without holding up the loop while emitters finish."""
    for meter in _take_all():
        await meter.close_async(FLUSH_S)


def _take_all() -> list[Meter]:
    attempts.forget()
    with _lock:
        taken = [*state.vendors.values(), *(client.__dict__.pop(CLIENT_METER) for client in _clients)]
        _clients.clear()
        if state.everything is not None:
            taken.append(state.everything)
        state.everything = None
        state.vendors.clear()
        forget_sigterm()
        _apply_preferences(None)
        _update_seams()
    return taken


def _checked(options: Any) -> MeterOptions:
    if options is None:
        return MeterOptions().completed()
    if not isinstance(options, MeterOptions):
        raise ConfigurationError(f"instrument() takes MeterOptions(…), not {type(options).__name__}.")
    completed = options.completed()
    if options.server_url and not completed.api_key:
        _log.warning(
            "MeterOptions(server_url=…) without a key: the server's budgets hold no call; give api_key=…, or "
            "set ADEN_API_KEY"
        )
    return completed


def is_instrumented() -> bool:
    """Whether any meter of `instrument()` or a per-vendor form is in force."""
    return state.everything is not None or bool(state.vendors)


def get_instrumented_sdks() -> list[str]:
    """Installed SDKs whose calls are metered now: `["openai", "anthropic", …]`."""
    seen = InstrumentResult().details
    if state.everything is not None:
        return [name for name, status in seen.items() if status.seen]
    return [name for name in state.vendors if name in seen and seen[name].seen]


def get_budget_status(**attribution: Any) -> list[BudgetStatus]:
    """How much is left of the budgets that a call would meet, without making one.

    `attribution` is what `context(...)` takes (`customer="acme"`, …); what encloses this call counts too.
    Empty where there is no policy.

    Raises: LedgerUnavailable where the store of the sums does not answer.
    """
    meter = state.everything
    if meter is None or meter.budgets is None:
        return []
    given = {**(current_attributes() or {}), **normalized(attribution)}
    return meter.budgets.status(given)


def get_control_agent() -> ControlAgent | None:
    """The client of the control server, of `instrument()` with an `api_key`; None where there is none.

    `agent.status` says how it is, `agent.ready(timeout)` waits for the first policy.
    """
    return None if state.everything is None else state.everything.agent


def ready(timeout: float = FLUSH_S) -> bool:
    """Wait at most `timeout` seconds for the control server's first policy; whether there is one, or no
    server to wait for. Blocks this thread; in async code, calls wait by themselves."""
    agent = get_control_agent()
    return agent is None or agent.ready(timeout)


def get_options() -> MeterOptions | None:
    """The options of `instrument()`, or None."""
    return None if state.everything is None else state.everything.options


def update_options(**changes: Any) -> MeterOptions:
    """Replace some options of `instrument()`; returns all of them as they are now.

    Raises: ConfigurationError where nothing is instrumented, or an option cannot be used.
    """
    current = get_options()
    if current is None:
        raise ConfigurationError("update_options() changes what instrument() was given: call that first.")
    changed = current.replaced(**changes)
    if changed != current:
        with _lock:
            old = state.everything
            state.everything = meter = Meter(changed, old)
            _apply_preferences(changed)
        if meter.agent is not None:
            meter.agent.start()
        if old is not None:
            old.flush(FLUSH_S)
    return changed


def flush(timeout: float = FLUSH_S) -> bool:
    """Hand over all events so far, to emitters and to the control server, for at most `timeout` seconds;
    whether it was done. Blocks this thread: in async code use `flush_async()`."""
    deadline = time.monotonic() + timeout
    done = [meter.flush(max(0.0, deadline - time.monotonic())) for meter in meters.each()]
    brought = [meter.bring(max(0.0, deadline - time.monotonic())) for meter in meters.each()]
    return all(done) and all(brought)


async def flush_async(timeout: float = FLUSH_S) -> bool:
    """`flush()`, without holding up the loop."""
    from anyio import CapacityLimiter
    from anyio.to_thread import run_sync

    orphans.settle(0.0)
    # Its own limiter: the application may be using all threads of the default one.
    return await run_sync(flush, timeout, limiter=CapacityLimiter(1), abandon_on_cancel=True)


# -- one vendor, one client -----------------------------------------------------------------------


def _instrument_vendor(vendor: str, options: MeterOptions | None) -> InstrumentResult:
    options = _checked(options)
    with _lock:
        old = state.vendors.get(vendor)
        if old is None or old.options != options:
            state.vendors[vendor] = Meter(options, old)
        _update_seams()
    _put_seams()
    if old is not None and old.options != options:
        _log.warning("instrument_%s() was called again with other options; they replace the former", vendor)
        old.flush(FLUSH_S)
    return InstrumentResult(vendor)


def _uninstrument_vendor(vendor: str) -> None:
    with _lock:
        meter = state.vendors.pop(vendor, None)
        _update_seams()
    if meter is not None:
        meter.close(FLUSH_S)


def instrument_openai(options: MeterOptions | None = None) -> InstrumentResult:
    """Meter the OpenAI SDK's calls with `options`, beside those of `instrument()`."""
    return _instrument_vendor("openai", options)


def instrument_anthropic(options: MeterOptions | None = None) -> InstrumentResult:
    """Meter the Anthropic SDK's calls with `options`, beside those of `instrument()`."""
    return _instrument_vendor("anthropic", options)


def instrument_gemini(options: MeterOptions | None = None) -> InstrumentResult:
    """Meter the google-genai SDK's calls with `options`, beside those of `instrument()`."""
    return _instrument_vendor("gemini", options)


def uninstrument_openai() -> None:
    """End what `instrument_openai()` began."""
    _uninstrument_vendor("openai")


def uninstrument_anthropic() -> None:
    """End what `instrument_anthropic()` began."""
    _uninstrument_vendor("anthropic")


def uninstrument_gemini() -> None:
    """End what `instrument_gemini()` began."""
    _uninstrument_vendor("gemini")


def make_metered_openai(client: Any, options: MeterOptions | None = None) -> Any:
    """Meter this OpenAI client alone, and those made from it by `with_options`; returns the same client.

    Raises: ConfigurationError where `client` is no OpenAI client on httpx or httpx2.
    """
    http_client = getattr(client, "_client", None)
    if not hasattr(type(http_client), "_send_single_request"):
        raise ConfigurationError(
            f"make_metered_openai() takes an OpenAI or AsyncOpenAI client, not {type(client).__name__}."
        )
    with _lock:
        http_client.__dict__[CLIENT_METER] = Meter(_checked(options))
        _clients.add(http_client)
        _update_seams()
    _put_seams()
    return client


def register_vendor(
    vendor: str | Vendor,
    *,
    hosts: Iterable[str] = (),
    like: str = "openai",
    accepts_stream_options: bool = False,
    price_provider: str | None = None,
) -> Vendor:
    """Meter `hosts` as a vendor of that name which speaks the wire format of `like`, or add a table of one's
    own (`aden_transport.vendors.Vendor`), which says all of that itself.

    `hosts` are names with an optional port (`"llm.example.com"`, `"127.0.0.1:8000"`).
    `accepts_stream_options`: whether streams may be asked for their usage there.
    `price_provider`: whose price list counts; None: none, but that of `like` where the name is the same.

    Raises: ConfigurationError where `like` is unknown or `hosts` are no host names.
    """
    if not isinstance(vendor, str):
        return classifier.add(vendor)
    return classifier.register(
        vendor,
        hosts=hosts,
        like=like,
        accepts_stream_options=accepts_stream_options,
        price_provider=price_provider,
    )


def _apply_preferences(options: MeterOptions | None) -> None:
    wanted = options is not None and "gemini" in options.prefer_httpx
    importlib.import_module(".adapters._genai", __package__).prefer_httpx(wanted)


def _at_exit() -> None:
    """Every open call gets its event, and emitters a moment to take it."""
    orphans.settle(EXIT_S)
    for meter in meters.each():
        meter.end_open_calls()
        if meter.books is not None:
            meter.books.end(EXIT_S)
        if meter.agent is not None:
            meter.agent.stop(EXIT_S)
        meter.delivery.close(EXIT_S)
        meter.close_callbacks(EXIT_S)
        meter.close_ledgers()


at_process_end(_at_exit)
