"""The ledger over HTTP: calls that are held by it, and what it says of a server that does not answer."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest

from aden_transport import (
    MeterOptions,
    create_memory_emitter,
    get_control_agent,
    instrument,
    uninstrument,
)
from aden_transport.errors import BudgetExceededError, ConfigurationError, LedgerUnavailable
from aden_transport.ledger.http import HttpLedger
from aden_transport.ledger.opened import choose, open_ledger
from aden_transport.meter import state
from aden_transport.testing import FakeProvider, Reply

from ..server.kit import free_port, new_team, wait_for
from .control_server import ledgers, live_server
from .kit import LATER, NOON, PATIENT, hard, line, sums

SOON_S = 10.0
"""Far more than any `timeout_s` here, however busy the machine."""


@contextmanager
def answering(answer: Callable[[socket.socket], object]) -> Iterator[str]:
    """A server that does with each connection what `answer` does."""
    listening = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            with connection:
                try:
                    answer(connection)
                except OSError:
                    pass

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    listening.shutdown(socket.SHUT_RDWR)
    listening.close()
    thread.join()


def saying(text: str) -> Callable[[socket.socket], object]:
    def answer(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(text.encode())

    return answer


def ok(body: str) -> str:
    return f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n{body}"


def status(code: int) -> str:
    return f"HTTP/1.1 {code} X\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno"


def hang(connection: socket.socket) -> None:
    connection.settimeout(30)
    while connection.recv(65536):
        pass


def trickle(connection: socket.socket) -> None:
    connection.recv(65536)
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
    for _ in range(1000):
        connection.sendall(b" ")
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (hang, "no answer in 0.2 s"),
        (trickle, "no answer in 0.2 s"),
        (lambda connection: None, "cannot be reached"),
        (saying("garbage\r\n\r\n"), "cannot be reached"),
        (saying(ok("not json")), "cannot be read"),
        (saying(ok('{"kind": "held"}')), "cannot be read"),
        (saying(status(401)), "refuses the API key"),
        (saying(status(403)), "refuses the API key"),
        (saying(status(404)), "keeps no ledger"),
        (saying(status(503)), "status 503"),
        (saying(status(302)), "status 302"),
    ],
)
def test_a_server_that_does_not_answer_is_unavailable(
    answer: Callable[[socket.socket], object], says: str
) -> None:
    with answering(answer) as url:
        ledger = HttpLedger(url, "key", timeout_s=0.2 if answer in (hang, trickle) else PATIENT)
        begun = time.monotonic()
        with pytest.raises(LedgerUnavailable, match=says):
            ledger.reserve("1", [[line()]], now=NOON, expires_at=LATER)
        assert time.monotonic() - begun < SOON_S
        ledger.close()


def test_nobody_there_is_unavailable() -> None:
    ledger = HttpLedger(f"http://127.0.0.1:{free_port()}", "key")
    with pytest.raises(LedgerUnavailable, match="cannot be reached"):
        ledger.settle("1", {"usd": 1})


def test_what_the_server_cannot_read_is_not_asked_again() -> None:
    with answering(saying(status(400))) as url, pytest.raises(ValueError, match="cannot read"):
        HttpLedger(url, "key", timeout_s=PATIENT).release("1")


def test_more_than_is_sensible_is_not_read() -> None:
    body = ok("x" * (5 << 20))
    with answering(saying(body)) as url, pytest.raises(LedgerUnavailable, match="4 MiB"):
        HttpLedger(url, "key", timeout_s=PATIENT).open_holds()


def test_a_connection_that_was_closed_meanwhile_is_made_anew() -> None:
    served = []

    def once(connection: socket.socket) -> None:
        connection.recv(65536)
        served.append(1)
        body = '{"done": true}'
        connection.sendall(f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())

    with answering(once) as url:
        ledger = HttpLedger(url, "key", timeout_s=PATIENT)
        assert [ledger.release(str(n)) for n in range(5)] == [True] * 5
        assert len(served) == 5
        ledger.close()


def test_it_shows_its_address_and_not_its_key() -> None:
    assert repr(HttpLedger("http://127.0.0.1:1/x/", "secret")) == "HttpLedger('http://127.0.0.1:1/x')"


@pytest.mark.parametrize(
    "url", ["http://example.com", "https://user:pass@example.com", "https://", "http://"]
)
def test_an_address_that_would_show_the_key_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError):
        choose(url, lasting=False)


def test_it_is_opened_by_its_address_and_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ADEN_API_KEY", raising=False)
    with pytest.raises(ConfigurationError, match="api_key"):
        open_ledger("https://control.example", lasting=False)
    monkeypatch.setenv("ADEN_API_KEY", "of the environment")
    for given in (None, "given"):
        ledger = open_ledger("https://control.example", lasting=False, api_key=given)
        assert isinstance(ledger, HttpLedger)
        assert (ledger.url, ledger._key) == ("https://control.example", given or "of the environment")
    assert choose("https://control.example", lasting=True).shared
    options = MeterOptions(ledger="http://127.0.0.1:9", api_key="k").completed()
    assert options.server_url == "http://127.0.0.1:9"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing forks here")
def test_a_forked_child_has_connections_of_its_own() -> None:
    team = new_team(ledgers("sqlite").storage)
    ledger = HttpLedger(live_server().url, team.token, timeout_s=PATIENT)
    ledger.reserve("parent", [[line("a", 10)]], now=NOON, expires_at=LATER)
    child = os.fork()
    if child == 0:
        done = ledger.settle("parent", {"usd": 3}) and ledger.mark_once("a", "child")
        os._exit(0 if done else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert sums(ledger, "a") == [(3, 0, 0)]
    assert not ledger.mark_once("a", "child")
    ledger.close()


# -- calls ------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))


@pytest.mark.usefixtures("folder")
def test_calls_are_held_at_the_server_and_its_budget_stops_them() -> None:
    """The policy is the server's, its sums are exact, and nothing but the calls is metered."""
    served = live_server()
    team = new_team(ledgers("sqlite").storage)
    document = {"budgets": [{"id": "all", "type": "global", "limit": 0.01}]}
    api = httpx2.Client(base_url=served.url, headers=dict(team.headers), trust_env=False)
    with api:
        api.put("/v1/control/policies/default", json=document).raise_for_status()
        check_calls(api, served.url, team.token)


def metrics(api: httpx2.Client) -> list[str]:
    listed = api.get("/v1/control/events?limit=100").json()["events"]
    return [each["event_type"] for each in listed if each["event_type"] == "metric"]


def check_calls(api: httpx2.Client, url: str, token: str) -> None:
    memory = create_memory_emitter()
    instrument(
        MeterOptions(
            emit_metric=memory,
            async_emit=False,
            api_key=token,
            ledger=url,
            store_timeout_ms=30_000,
        )
    )
    try:
        with (
            FakeProvider() as provider,
            httpx2.Client(base_url=provider.openai_base_url, timeout=60) as client,
        ):
            body = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 200}
            provider.script(Reply(output_tokens=150))
            # A call that comes before the policy is not held; what it costs is counted by its event.
            client.post("/chat/completions", json=body).raise_for_status()
            agent = get_control_agent()
            assert agent is not None
            assert agent.ready(PATIENT)
            sent = 1
            with pytest.raises(BudgetExceededError):
                for _ in range(50):
                    client.post("/chat/completions", json=body).raise_for_status()
                    sent += 1
            assert len(provider.requests) == sent > 2
        meter = state.everything
        assert meter is not None
        meter.flush(SOON_S)
    finally:
        uninstrument()
    assert len(memory.events) == sent + 1
    cost = sum(event.cost_nano_usd or 0 for event in memory.events)
    told = {"lines": [{"key": "-|all", "hold": 0, "expected": 0}]}
    # The events come, and those of calls that were held are not charged a second time.
    wait_for(lambda: len(metrics(api)) == sent + 1)
    assert api.post("/v1/ledger/totals", json=told).json()["totals"] == [[cost, 0, 0]]
    assert 0 < cost <= 10_000_000


# -- servers ----------------------------------------------------------------------------------------


def test_two_servers_on_one_database_give_exact_totals() -> None:
    """Eight threads at two server processes and one hot budget of PostgreSQL."""
    with live_pair() as (urls, token):
        clients = [HttpLedger(url, token, timeout_s=PATIENT) for url in urls]
        spent = [0] * 8
        limit = 4_000

        def run(number: int) -> None:
            ledger, other = clients[number % 2], clients[1 - number % 2]
            for call in range(25):
                op_id = f"{number} {call}"
                lines = [hard("-|hot", 40, limit), line(f"-|own {number}", 40)]
                if ledger.reserve(op_id, [lines], now=NOON, expires_at=LATER).kind != "held":
                    continue
                # Another server may be asked to end it, and both may be told twice.
                amount = (number * 7 + call) % 41
                ends = [other.settle(op_id, {"usd": amount}), ledger.settle(op_id, {"usd": amount})]
                assert ends == [True, False]
                spent[number] += amount

        threads = [threading.Thread(target=run, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for ledger in clients:
            assert sums(ledger, "-|hot") == [(sum(spent), 0, 0)]
            assert sums(ledger, *[f"-|own {n}" for n in range(8)]) == [(each, 0, 0) for each in spent]
            assert ledger.open_holds() == 0
            ledger.close()
        assert 0 < sum(spent) <= limit


@contextmanager
def live_pair() -> Iterator[tuple[list[str], str]]:
    from .served import Served

    found = ledgers("postgresql")
    address = found.storage.url.render_as_string(hide_password=False)
    pair = [Served(address, now=NOON, wait=False), Served(address, now=NOON, wait=False)]
    try:
        for each in pair:
            each.wait()
        yield [each.url for each in pair], new_team(found.storage).token
    finally:
        for each in pair:
            each.close()
