"""Servers with workers under one limit, ended in order, told to reload and killed amid their calls.

Nothing is spent beyond the limit; every call that reached the provider is one event, of its process or,
where that was killed, of one that came after it. `ADEN_WORKERS_LONG=1` (scripts/workers) tries every server
in every way and for longer; what is printed (`-s`) is the money that nobody could tell of.
"""

from __future__ import annotations

import http.client
import importlib.util
import itertools
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from aden_transport.ledger.base import Line
from aden_transport.ledger.sqlite import SqliteLedger
from aden_transport.testing import FakeProvider, Reply

HERE = Path(__file__).parent
LONG = bool(os.environ.get("ADEN_WORKERS_LONG"))
COST = 517_500
"""Nano-dollars of one call at least: 7 tokens of input and 50 of output of gpt-4o."""
CALLERS = 6
READY_S = 60.0
STALLED_S = 3.0
KEY = "-|global"

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork"),
    pytest.mark.timeout(300),
]


class Site:
    """A server, its provider, and where its processes write."""

    def __init__(self, provider: FakeProvider, limit_usd: float) -> None:
        # Short: sockets lie there, whose names may have 107 characters.
        self.folder = Path(tempfile.mkdtemp(prefix="aden-"))
        self.provider = provider
        self.socket = self.folder / "socket"
        self.events_file = self.folder / "events.jsonl"
        self.log = self.folder / "log"
        self.limit = round(limit_usd * 1e9)
        source = [part for part in os.environ.get("PYTHONPATH", "").split(os.pathsep) if part]
        self.environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(HERE), *source]),
            "PROVIDER": provider.openai_base_url,
            "EVENTS": str(self.events_file),
            "LIMIT": str(limit_usd),
            "BROKER": str(self.folder / "broker"),
            "TMPDIR": str(self.folder),
            "HOME": str(self.folder),
        }
        self.environment.pop("XDG_RUNTIME_DIR", None)
        self.answers: Counter[str] = Counter()
        self._numbers = itertools.count()
        self._ends = threading.Event()

    def close(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    @contextmanager
    def run(self, *command: str, **more: str) -> Iterator[subprocess.Popen[bytes]]:
        """A process group, killed as a whole at the end."""
        with (
            self.log.open("ab") as log,
            subprocess.Popen(
                [sys.executable, *command],
                cwd=self.folder,
                env={**self.environment, **more},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            ) as process,
        ):
            try:
                yield process
            finally:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()

    # -- load ---------------------------------------------------------------------------------------

    def ask(self, number: int) -> str | None:
        """The server's answer; None where there was none."""
        connection = _UnixConnection(self.socket)
        try:
            connection.request("GET", f"/{number}")
            response = connection.getresponse()
            body = response.read().decode()
            return body if response.status == 200 else None
        except (OSError, http.client.HTTPException):
            return None
        finally:
            connection.close()

    def wait_until_ready(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + READY_S
        while self.ask(next(self._numbers)) is None:
            assert process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.05)

    @contextmanager
    def load(self) -> Iterator[None]:
        callers = [threading.Thread(target=self._call) for _ in range(CALLERS)]
        for caller in callers:
            caller.start()
        try:
            yield
        finally:
            self._ends.set()
            for caller in callers:
                caller.join()

    def _call(self) -> None:
        while not self._ends.is_set():
            answer = self.ask(next(self._numbers))
            self.answers[answer or "none"] += 1
            if answer != "sent":
                time.sleep(0.02)

    def reached(self, count: int) -> None:
        """Wait until so many calls have reached the provider, or no more come: at the limit, which what is
        held by killed workers brings nearer."""
        seen, since = 0, time.monotonic()
        while (now := len(self.provider.requests)) < count:
            if time.monotonic() - since > (STALLED_S if seen else READY_S):
                break
            if now > seen:
                seen, since = now, time.monotonic()
            time.sleep(0.02)
        assert now, self.log.read_text()

    # -- what came of it ----------------------------------------------------------------------------

    def ledger(self) -> SqliteLedger:
        (file,) = (self.folder / f"aden-transport-{os.geteuid()}").glob("run-*.sqlite3")
        return SqliteLedger(file, timeout_s=30.0)

    def check(self) -> None:
        """One limit, and one event for each call that reached the provider."""
        # A request without its body is of a process that was killed while it sent it.
        seen = Counter(_number_of(request.json()) for request in self.provider.requests if request.body)
        assert set(seen.values()) <= {1}
        ledger = self.ledger()
        subprocess.run(
            [sys.executable, str(HERE / "recoverer.py")], env=self.environment, check=True, timeout=100
        )
        (totals,) = ledger.totals([Line(KEY, 0, 0)])
        disputed = ledger.disputed().get(KEY, 0)
        ledger.close()
        assert len(seen) * COST <= self.limit
        assert totals.held == 0
        assert len(seen) * COST <= totals.spent <= self.limit
        events: dict[str, dict[str, Any]] = {}
        repeated = 0
        for line in self.events_file.read_text().splitlines():
            event = json.loads(line)
            repeated += event["event_id"] in events
            # Of one that was emitted before its process was killed, but not yet settled, there are two.
            if "usage" in event or event["event_id"] not in events:
                events[event["event_id"]] = event
        calls = [event for event in events.values() if event["decision"]["action"] != "block"]
        told = Counter(event["metadata"]["customer"] for event in calls)
        assert set(told.values()) <= {1}
        assert set(seen) <= set(told), sorted(set(seen) - set(told))
        unknown = [event for event in calls if event.get("billing") == "unknown"]
        # A worker may be told to end while its call waits for a connection.
        not_sent = [event for event in calls if "error" in event and event.get("charged_usd") == 0]
        for event in calls:
            # What was held when its process was killed may not have been sent yet.
            assert event["metadata"]["customer"] in seen or event in unknown or event in not_sent, event
        for event in unknown:
            assert event["charged_usd"] == event["hold_usd"] > 0
            assert "usage" not in event
        assert sum(round(event["charged_usd"] * 1e9) for event in calls) <= totals.spent
        print(
            f"\n{len(seen)} calls of {len(told)} held, {self.answers['blocked']} blocked; "
            f"${totals.spent / 1e9:.4f} of ${self.limit / 1e9:.4f}; events recovered: {len(unknown)}, "
            f"repeated: {repeated}; stranded: ${disputed / 1e9:.4f} ({disputed / self.limit:.1%})"
        )


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("here", timeout=30)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(30)
        self.sock.connect(str(self._path))


def _number_of(body: Any) -> str:
    return str(body["messages"][0]["content"])


@pytest.fixture
def site() -> Iterator[Site]:
    with FakeProvider(reply=Reply(output_tokens=50, delay_ms=10)) as provider:
        each = Site(provider, (2000 if LONG else 120) * COST / 1e9)
        try:
            yield each
        finally:
            each.close()


def workers(parent: int) -> list[int]:
    """The processes below a server that hold no other processes: those that make calls."""
    found = subprocess.run(["ps", "-e", "-o", "pid=,ppid=,args="], capture_output=True, text=True, check=True)
    rows = [line.split(None, 2) for line in found.stdout.splitlines()]
    return [
        int(pid)
        for pid, above, args in rows
        if int(above) == parent and "resource_tracker" not in args and "<defunct>" not in args
    ]


def end_one(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    children = workers(process.pid)
    if children:
        with suppress(ProcessLookupError):
            os.kill(random.choice(children), number)


def gunicorn(*options: str) -> tuple[str, ...]:
    log = ("--log-level", "warning", "--graceful-timeout", "10", "--no-control-socket")
    return ("-m", "gunicorn", "served:wsgi", "-w", "3", "-b", "unix:socket", *log, *options)


def uwsgi(*options: str) -> tuple[str, ...]:
    start = "import sys, pyuwsgi; pyuwsgi.run(sys.argv[1:])"
    told = ("--http-socket", "socket", "--master", "--processes", "3", "--module", "served:wsgi")
    return ("-c", start, *told, "--enable-threads", "--need-app", "--die-on-term", "--chmod-socket", *options)


SERVERS: dict[str, tuple[str, ...]] = {
    "gunicorn": gunicorn(),
    "gunicorn, preloaded": gunicorn("--preload"),
    "gunicorn with threads": gunicorn("-k", "gthread", "--threads", "4"),
    "gunicorn with threads, preloaded": gunicorn("-k", "gthread", "--threads", "4", "--preload"),
    "uvicorn": ("-m", "uvicorn", "served:asgi", "--workers", "3", "--uds", "socket", "--log-level", "error"),
    "hypercorn": ("-m", "hypercorn", "served:asgi", "--workers", "3", "--bind", "unix:socket"),
    "uWSGI": uwsgi(),
    "uWSGI, loaded in each worker": uwsgi("--lazy-apps"),
}
SHORT = ("gunicorn", "gunicorn with threads, preloaded", "uvicorn", "uWSGI")
RELOADS = ("gunicorn", "gunicorn with threads", "uWSGI")
"""What takes HUP for a reload."""


@pytest.mark.parametrize("name", SERVERS if LONG else SHORT)
def test_workers_that_end_in_every_way_share_one_limit(site: Site, name: str) -> None:
    package = "pyuwsgi" if "uWSGI" in name else name.partition(" ")[0].rstrip(",")
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed: pip install {package}, or scripts/workers")
    steps = _steps(name)
    with site.run(*SERVERS[name]) as process:
        site.wait_until_ready(process)
        with site.load():
            for place, step in enumerate(steps, 1):
                site.reached(site.limit // COST * place // (len(steps) + 2))
                step(process)
                time.sleep(0.1)
            site.reached(site.limit // COST)
            # The parent, and with it, amid their calls, those that it does not end any more.
            process.kill()
            for child in workers(process.pid):
                with suppress(ProcessLookupError):
                    os.kill(child, signal.SIGKILL)
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    site.check()


def _steps(name: str) -> Sequence[Any]:
    once = [
        lambda process: end_one(process, signal.SIGKILL),
        lambda process: end_one(process, signal.SIGTERM),
        lambda process: end_one(process, signal.SIGKILL),
    ]
    if name in RELOADS:
        once.append(lambda process: process.send_signal(signal.SIGHUP))
    return once * (4 if LONG else 1)


@pytest.mark.parametrize("name", SERVERS if LONG else ("gunicorn, preloaded",))
def test_a_server_that_ends_in_order_leaves_nothing(site: Site, name: str) -> None:
    """No hold, no event and, where its parent has the meter, no file."""
    package = "pyuwsgi" if "uWSGI" in name else name.partition(" ")[0].rstrip(",")
    pytest.importorskip(package)
    with site.run(*SERVERS[name]) as process:
        site.wait_until_ready(process)
        with site.load():
            site.reached(60)
        process.terminate()
        assert process.wait(60) in (0, -signal.SIGTERM), site.log.read_text()
    files = list((site.folder / f"aden-transport-{os.geteuid()}").glob("run-*"))
    if files:
        ledger = site.ledger()
        assert ledger.open_holds() == 0
        ledger.close()
        site.check()
    told = [json.loads(line)["metadata"]["customer"] for line in site.events_file.read_text().splitlines()]
    assert sorted(told) == sorted(_number_of(request.json()) for request in site.provider.requests)


@pytest.mark.parametrize("where", ["in the parent", "in each worker"] if LONG else ["in the parent"])
def test_workers_of_celery_share_one_limit(site: Site, where: str) -> None:
    if importlib.util.find_spec("celery") is None:
        pytest.skip("celery is not installed: pip install celery, or scripts/workers")
    (site.folder / "broker").mkdir()
    count = site.limit // COST + 50
    send = f"import tasked\nfor number in range({count}): tasked.call.delay(str(number))"
    subprocess.run([sys.executable, "-c", send], env=site.environment, check=True, timeout=100)
    command = ("-m", "celery", "-A", "tasked", "worker", "-c", "3", "-l", "ERROR", "--without-mingle")
    with site.run(*command, "--without-gossip", METER=where) as process:
        for place in (1, 2, 3):
            site.reached(site.limit // COST * place // 5)
            end_one(process, signal.SIGKILL if place != 2 else signal.SIGTERM)
        site.reached(site.limit // COST * 4 // 5)
        # A warm end waits for tasks of workers that were killed, which never end.
        process.send_signal(signal.SIGQUIT)
        with suppress(subprocess.TimeoutExpired):
            process.wait(5)
    site.check()
