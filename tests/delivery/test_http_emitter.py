"""Events to any HTTP collector."""

from __future__ import annotations

import gzip
import json
import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from aden_transport import ConfigurationError, MetricEvent, create_http_emitter
from aden_transport._guard import reset_faults

from .fleet import eventually


class Collector:
    """Answers what it is told to, and keeps what it has taken."""

    def __init__(self) -> None:
        self.answers: list[tuple[int, dict[str, str]]] = []
        self.bad = ""
        self.taken: list[dict[str, Any]] = []
        self.requests: list[tuple[dict[str, str], bytes]] = []
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                collector.requests.append(({k.lower(): v for k, v in self.headers.items()}, body))
                status, headers = collector.answer(self.headers.get("content-encoding"), body)
                self.send_response(status)
                for name, value in {**headers, "content-length": "0"}.items():
                    self.send_header(name, value)
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                """Nothing."""

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}/v1/logs"

    def answer(self, encoding: str | None, body: bytes) -> tuple[int, dict[str, str]]:
        if self.answers:
            return self.answers.pop(0)
        text = (gzip.decompress(body) if encoding == "gzip" else body).decode()
        events = (
            json.loads(text) if text.startswith("[") else [json.loads(line) for line in text.splitlines()]
        )
        if self.bad and any(event["event_id"] == self.bad for event in events):
            return 422, {}
        self.taken += events
        return 202, {}

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    @property
    def ids(self) -> list[str]:
        return [event["event_id"] for event in self.taken if "event_id" in event]


@pytest.fixture
def collector() -> Iterator[Collector]:
    each = Collector()
    yield each
    each.close()
    reset_faults()


def event(name: str) -> MetricEvent:
    return MetricEvent(name, "t", "s", "openai", "chat", "gpt-4o", False, 1.0)


def test_events_arrive_as_other_emitters_write_them(collector: Collector) -> None:
    emit = create_http_emitter(collector.url, headers={"authorization": "Bearer own"}, flush_interval=60)
    for name in ("a", "b"):
        emit(event(name))
    assert emit.flush(10)
    assert collector.taken == [event("a").to_dict(), event("b").to_dict()]
    ((headers, _),) = collector.requests
    assert (headers["authorization"], headers["content-type"]) == ("Bearer own", "application/json")
    assert emit.close()
    assert (emit.sent, emit.waiting) == (2, 0)
    emit(event("c"))
    assert emit.close(10)
    assert collector.ids == ["a", "b", "c"]


def test_a_batch_goes_out_when_it_is_full_or_old(collector: Collector) -> None:
    emit = create_http_emitter(collector.url, batch_size=3, flush_interval=60)
    emit(event("0"))
    eventually(lambda: len(collector.ids) + emit.waiting == 1)
    for number in range(1, 4):
        emit(event(str(number)))
    eventually(lambda: len(collector.ids) >= 3)
    emit.close()
    soon = create_http_emitter(collector.url, flush_interval=0.05)
    soon(event("soon"))
    eventually(lambda: "soon" in collector.ids)
    soon.close()


def test_lines_and_compression(collector: Collector) -> None:
    emit = create_http_emitter(
        collector.url, format="ndjson", compress=True, batch_size=50, flush_interval=60
    )
    for number in range(20):
        emit(event(str(number)))
    assert emit.close(10)
    assert sorted(collector.ids, key=int) == [str(number) for number in range(20)]
    assert all(headers["content-type"] == "application/x-ndjson" for headers, _ in collector.requests)
    assert any(headers.get("content-encoding") == "gzip" for headers, _ in collector.requests)


def test_what_is_not_taken_is_sent_again(collector: Collector) -> None:
    collector.answers = [(503, {}), (429, {"retry-after": "0"}), (302, {"location": "http://127.0.0.1:9/"})]
    emit = create_http_emitter(collector.url, flush_interval=0.01)
    emit(event("a"))
    eventually(lambda: collector.ids == ["a"])
    assert emit.close(10)


def test_a_bad_event_is_given_up_alone_and_counted(collector: Collector) -> None:
    collector.bad = "3"
    emit = create_http_emitter(collector.url, flush_interval=60)
    for number in range(8):
        emit(event(str(number)))
    assert emit.flush(10)
    eventually(lambda: len(collector.taken) >= 7)
    emit(event("after"))
    assert emit.close(10)
    lost = [each["lost"] for each in collector.taken if each.get("code") == "events_lost"]
    assert lost == [{"crowded": 0, "aged": 0, "damaged": 0, "refused": 1}]
    names = {name for name in collector.ids if len(name) < 10}
    assert names == {*(str(number) for number in range(8)), "after"} - {"3"}


def test_a_collector_that_is_away_holds_nobody_up() -> None:
    emit = create_http_emitter("http://127.0.0.1:9/", max_events=5, timeout=0.2)
    for number in range(10):
        emit(event(str(number)))
    assert not emit.flush(0.05)
    assert emit.waiting <= 6
    assert not emit.close(0.05)
    reset_faults()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_child_sends_its_own_events_only(collector: Collector) -> None:
    emit = create_http_emitter(collector.url, flush_interval=60)
    emit(event("parent"))
    child = os.fork()
    if child == 0:
        emit(event("child"))
        os._exit(0 if emit.flush(10) else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert emit.close(10)
    assert sorted(collector.ids) == ["child", "parent"]


@pytest.mark.parametrize(
    "given",
    [
        {"url": "ftp://x"},
        {"url": "x"},
        {"url": 3},
        {"format": "xml"},
        {"batch_size": 0},
        {"max_events": True},
        {"flush_interval": 0},
        {"timeout": float("inf")},
    ],
)
def test_what_cannot_be_used_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match="create_http_emitter"):
        create_http_emitter(**{"url": "http://127.0.0.1:9/", **given})
