"""A fake LLM provider: a real HTTP server on 127.0.0.1 that answers as the vendors do."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from types import TracebackType

from .answers import Answer, Memory
from .dialects import respond
from .errors import VENDORS
from .limits import RateLimit
from .received import ReceivedRequest, RequestLog
from .reply import Reply
from .server import Server

__all__ = ["FakeProvider", "Match"]

Match = str | Callable[[ReceivedRequest], bool]
"""Which requests: a part of the path and query, or a predicate."""

BASE_PATHS: Mapping[str, str] = {
    "anthropic": "",
    "azure": "",
    "bedrock": "",
    "cerebras": "/cerebras",
    "cohere": "",
    "deepseek": "/deepseek/v1",
    "fireworks": "/fireworks/inference/v1",
    "gemini": "",
    "groq": "/groq",
    "huggingface": "/huggingface/v1",
    "mistral": "/mistral",
    "ollama": "",
    "openai": "/v1",
    "openrouter": "/openrouter/api/v1",
    "perplexity": "/perplexity",
    "together": "/together/v1",
    "vertex": "",
    "voyage": "/voyage/v1",
    "xai": "/xai/v1",
}
"""Where each vendor's SDK, or OpenAI's for those that have none, takes its API to begin."""

_MIB = 1024 * 1024


class FakeProvider:
    """All vendors' dialects in one server; the path tells which.

    ::

        with FakeProvider() as provider:
            client = OpenAI(base_url=provider.openai_base_url, api_key="any")
            provider.push(Reply(status=429, retry_after_s=0.1), Reply(text="Hello."))

    What a request is answered with, first that applies: its `x-fake-…` headers (which change one field
    each), the oldest matching `push`, the latest matching `script`, the default reply.
    """

    def __init__(
        self,
        *,
        reply: Reply | None = None,
        port: int = 0,
        clock: Callable[[], float] = time.time,
        limit_requests: int = 10_000,
        limit_tokens: int = 2_000_000,
        limit_window_s: float = 60.0,
        limit_burst: int | None = None,
        enforce_limits: bool = False,
        max_requests: int = 10_000,
        max_recorded_mib: int = 64,
    ) -> None:
        """`port` 0 takes a free one. `clock`: seconds since the epoch, for the times in answers.

        `limit_…`: a minute's allowance in the rate-limit headers, per vendor. `enforce_limits`: whether what
        comes above it, or above `limit_burst` at once, is answered with 429 and `retry-after`; what was used
        comes back over `limit_window_s`. `max_…`: how much `requests` keeps; the oldest go first.
        """
        self.default = Reply() if reply is None else reply
        self.clock = clock
        self.memory = Memory()
        self.limits = {
            vendor: RateLimit(
                requests=limit_requests,
                tokens=limit_tokens,
                enforced=enforce_limits,
                window_s=limit_window_s,
                burst=limit_burst,
            )
            for vendor in VENDORS
        }
        self._log = RequestLog(max_requests=max_requests, max_bytes=max_recorded_mib * _MIB)
        self._server = Server(self._answer, log=self._log, port=port)
        self._lock = threading.Lock()
        self._pushed: list[tuple[Match | None, Reply]] = []
        self._scripts: list[tuple[Match | None, Reply | Callable[[ReceivedRequest], Reply | None]]] = []

    # Life

    def start(self) -> FakeProvider:
        """Listen; returns itself, ready for requests.

        Raises: OSError where the port is taken; RuntimeError where it runs already.
        """
        self._server.start()
        return self

    def stop(self) -> None:
        """Drop all connections and end the thread. May be called twice."""
        self._server.stop()

    def __enter__(self) -> FakeProvider:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    # Addresses

    @property
    def port(self) -> int:
        return self._server.port

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def openai_base_url(self) -> str:
        return f"{self.url}/v1"

    @property
    def anthropic_base_url(self) -> str:
        return self.url

    @property
    def gemini_base_url(self) -> str:
        return self.url

    @property
    def azure_endpoint(self) -> str:
        return self.url

    def base_url(self, vendor: str) -> str:
        """The base URL that an SDK is given to talk to `vendor`, one of `BASE_PATHS`.

        Raises: ValueError for another name.
        """
        if vendor not in BASE_PATHS:
            raise ValueError(f"no dialect {vendor!r}: use one of {', '.join(BASE_PATHS)}")
        return self.url + BASE_PATHS[vendor]

    # What to answer

    def push(self, *replies: Reply, match: Match | None = None) -> None:
        """Answer the next matching requests with these, in order, each `times` times."""
        with self._lock:
            self._pushed += [(match, reply) for reply in replies if reply.times > 0]

    def script(
        self, reply: Reply | Callable[[ReceivedRequest], Reply | None], *, match: Match | None = None
    ) -> None:
        """Answer every matching request so, until `reset`.

        A callable runs in the server's thread; None from it leaves the request to the next rule.
        """
        with self._lock:
            self._scripts.insert(0, (match, reply))

    def reset(self) -> None:
        """Forget pushed replies, scripts and recorded requests."""
        with self._lock:
            self._pushed.clear()
            self._scripts.clear()
        self._log.clear()

    @property
    def pending(self) -> int:
        """How many requests the pushed replies still wait for."""
        with self._lock:
            return sum(reply.times for _, reply in self._pushed)

    # What arrived

    @property
    def requests(self) -> list[ReceivedRequest]:
        """The requests so far, oldest first."""
        return self._log.snapshot()

    def wait_for_requests(self, count: int, timeout: float = 5.0) -> list[ReceivedRequest]:
        """The requests, once `count` of them have arrived; `timeout` in seconds.

        Raises: TimeoutError.
        """
        return self._log.wait(lambda kept: len(kept) >= count, timeout, f"{count} requests")

    def wait_for_disconnect(self, timeout: float = 5.0) -> ReceivedRequest:
        """The first request whose client left early; `timeout` in seconds.

        Raises: TimeoutError.
        """
        kept = self._log.wait(lambda kept: any(r.disconnected for r in kept), timeout, "a disconnect")
        return next(request for request in kept if request.disconnected)

    @property
    def connections_open(self) -> int:
        return self._server.connections_open

    @property
    def connections_made(self) -> int:
        """Connections since the start, closed ones included."""
        return self._server.connections_made

    @property
    def bytes_received(self) -> int:
        """Bytes of requests read off sockets since the start."""
        return self._server.bytes_received

    # Called in the server's thread

    def _answer(self, request: ReceivedRequest) -> tuple[Answer, Reply]:
        reply = self._choose(request)
        return respond(request, reply, now=self.clock(), memory=self.memory, limits=self.limits)

    def _choose(self, request: ReceivedRequest) -> Reply:
        with self._lock:
            for place, (match, reply) in enumerate(self._pushed):
                if _matches(match, request):
                    self._use(place)
                    return reply
            scripts = list(self._scripts)
        for match, script in scripts:
            if _matches(match, request):
                chosen = script if isinstance(script, Reply) else script(request)
                if chosen is not None:
                    return chosen
        return self.default

    def _use(self, place: int) -> None:
        match, reply = self._pushed[place]
        if reply.times > 1:
            self._pushed[place] = (match, replace(reply, times=reply.times - 1))
        else:
            del self._pushed[place]


def _matches(match: Match | None, request: ReceivedRequest) -> bool:
    if match is None:
        return True
    return match in request.target if isinstance(match, str) else match(request)
