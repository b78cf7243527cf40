"""Which vendor and operation a request is, by host, path and user agent."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable
from urllib.parse import unquote

from ..errors import ConfigurationError
from ..vendors import VENDORS, Operation, Vendor
from .wire import WireRequest

__all__ = ["Call", "Classifier"]

MAX_HOSTS = 4096
MAX_TARGETS = 1024

CALL_TAILS = (
    "/chat/completions",
    "/completions",
    "/responses",
    "/embeddings",
    "/moderations",
    "/images/generations",
    "/images/edits",
    "/images/variations",
    "/audio/transcriptions",
    "/audio/translations",
    "/audio/speech",
    "/v1/messages",
    "/v1/complete",
    ":generateContent",
    ":streamGenerateContent",
    ":embedContent",
    ":batchEmbedContents",
    ":predict",
    ":rawPredict",
    ":streamRawPredict",
    ":predictLongRunning",
    ":fetchPredictOperation",
    ":batchGenerateContent",
    ":asyncBatchEmbedContent",
    "/interactions",
    "/invoke",
    "/invoke-with-response-stream",
    "/converse",
    "/converse-stream",
    "/api/chat",
    "/api/generate",
    "/api/embed",
    "/api/embeddings",
    "/v1/chat",
    "/v2/chat",
    "/embed",
    "/rerank",
    "/generate",
    "/generate_stream",
    "/conversations",
    "/classifications",
    "/ocr",
)
"""Ends of paths that may be a call to a model on a host that nobody has heard of."""


class Call:
    """A request, classified."""

    __slots__ = ("known_host", "model", "operation", "region", "vendor")

    def __init__(self, vendor: Vendor, operation: Operation, model: str | None, known_host: bool) -> None:
        self.vendor = vendor
        self.operation = operation
        self.model = model
        """The model named in the path, if it is."""
        self.known_host = known_host
        """Whether the host is one of the vendor's, so that its quirks may be relied on."""
        self.region: str | None = None
        """The region that the host names, if it does."""


class Classifier:
    """Verdicts by host and target, remembered. A host that is no vendor's costs one look-up.

    Safe for threads: dictionaries are only added to or cleared.
    """

    def __init__(self, vendors: Iterable[Vendor] = VENDORS) -> None:
        self._vendors = list(vendors)
        self._hosts: dict[str, Vendor | None] = {}
        self._targets: dict[tuple[str, str, str], Call | None] = {}
        """By host, method and path, where the host is a vendor's."""
        self._guesses: dict[tuple[str, str, str, bytes | None], Call | None] = {}
        """By the user agent as well, where it is not."""
        self._remember_hosts()

    def _remember_hosts(self) -> None:
        self._hosts = {host: vendor for vendor in self._vendors for host in vendor.hosts}
        self._targets.clear()
        self._guesses.clear()

    @property
    def vendors(self) -> tuple[Vendor, ...]:
        """All tables, the registered ones included."""
        return tuple(self._vendors)

    def register(
        self,
        name: str,
        *,
        hosts: Iterable[str],
        like: str = "openai",
        accepts_stream_options: bool = False,
        price_provider: str | None = None,
    ) -> Vendor:
        """Add hosts (`"llm.example.com"`, `"127.0.0.1:8000"`) that speak a known vendor's format.

        Raises: ConfigurationError where `like` is no vendor or no host is given.
        """
        base = next((v for v in self._vendors if v.id == like), None)
        if base is None:
            known = ", ".join(v.id for v in self._vendors)
            raise ConfigurationError(f"register_vendor(like={like!r}): use one of {known}.")
        names = tuple(hosts)
        if not names or not all(isinstance(h, str) and h and "/" not in h for h in names):
            raise ConfigurationError(
                'register_vendor(hosts=…) needs host names without scheme or path, like "llm.example.com".'
            )
        vendor = dataclasses.replace(
            base,
            id=name,
            hosts=names,
            host_suffixes=(),
            host_pattern=None,
            user_agents=(),
            accepts_stream_options=accepts_stream_options,
            price_provider=price_provider or (base.price_provider if name == like else None),
        )
        return self.add(vendor)

    def add(self, vendor: Vendor) -> Vendor:
        """Add a table."""
        self._vendors.append(vendor)
        self._remember_hosts()
        return vendor

    def unregister(self, vendor: Vendor) -> None:
        """Take back what `register` added."""
        self._vendors = [v for v in self._vendors if v is not vendor]
        self._remember_hosts()

    def may_be_call(self, host: str, path: str) -> bool:
        """The gate: False for what is certainly no call to a model. Headers are not needed for it."""
        try:
            vendor = self._hosts[host]
        except KeyError:
            vendor = self._vendor_of_new_host(host)
        return (
            vendor is not None
            or path.endswith(CALL_TAILS)
            # Work that goes on after its answer, and is asked for at addresses of its own.
            or "/responses/" in path
            or "/threads/" in path
            or "/batches" in path
            or "/fine_tuning/" in path
            or "/vector_stores" in path
            or "/videos" in path
        )

    def _vendor_of_new_host(self, host: str) -> Vendor | None:
        name = host.lower().rstrip(".")
        bare = name.rpartition(":")[0] if name.count(":") == 1 else name
        found = next((v for v in self._vendors if name in v.hosts or bare in v.hosts), None)
        if found is None:
            found = next(
                (
                    v
                    for v in self._vendors
                    if v.host_suffixes and (bare.endswith(v.host_suffixes) or name.endswith(v.host_suffixes))
                ),
                None,
            )
        if found is None:
            found = next(
                (v for v in self._vendors if v.host_pattern and v.host_pattern.fullmatch(bare)), None
            )
        if len(self._hosts) >= MAX_HOSTS:
            self._remember_hosts()
        self._hosts[host] = found
        return found

    def classify(self, wire: WireRequest) -> Call | None:
        """The call that this request is, or None where it is none that is metered."""
        host, method, path = wire.host, wire.method, wire.path
        key = (host, method, path)
        try:
            return self._targets[key]
        except KeyError:
            pass
        vendor = self._hosts[host] if host in self._hosts else self._vendor_of_new_host(host)
        if vendor is None:
            return self._guess(host, method, path, wire.user_agent)
        call = match(vendor, method, path, known_host=True)
        if call is not None and vendor.host_pattern is not None:
            call.region = region_of(host, vendor.host_pattern)
        if len(self._targets) >= MAX_TARGETS:
            self._targets.clear()
        self._targets[key] = call
        return call

    def _guess(self, host: str, method: str, path: str, agent: bytes | None) -> Call | None:
        key = (host, method, path, agent)
        try:
            return self._guesses[key]
        except KeyError:
            pass
        call = self._on_unknown_host(method, path, agent or b"")
        if len(self._guesses) >= MAX_TARGETS:
            self._guesses.clear()
        self._guesses[key] = call
        return call

    def _on_unknown_host(self, method: str, path: str, agent: bytes) -> Call | None:
        """The SDK says whose format it speaks; without an SDK only an unmistakable path counts."""
        for vendor in self._vendors:
            if vendor.user_agents and (
                agent.startswith(vendor.user_agents)
                or (
                    vendor.id in ("gemini", "huggingface")
                    and any(name in agent for name in vendor.user_agents)
                )
            ):
                return match(vendor, method, path, known_host=False)
        for vendor in self._vendors:
            call = match(vendor, method, path, known_host=False, strong_only=True)
            if call is not None:
                return call
        return None


def region_of(host: str, pattern: re.Pattern[str]) -> str | None:
    """The region that stands in a host's name, None where it names none."""
    found = pattern.fullmatch(host.lower().rstrip(".").partition(":")[0])
    return found.groupdict().get("region") if found is not None else None


def match(
    vendor: Vendor, method: str, path: str, *, known_host: bool, strong_only: bool = False
) -> Call | None:
    """The first route of `vendor` that fits, as a call; None where none does or it is no use of a model."""
    for entry in vendor.routes:
        if entry.method != method or (strong_only and not entry.strong):
            continue
        found = entry.pattern.search(path)
        if found is None:
            continue
        if not entry.operation.metered:
            return None
        model = unquote(found["model"]) if entry.rewrite_path else None
        return Call(vendor, entry.operation, model, known_host)
    return None
