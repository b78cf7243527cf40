"""The commands that ask a control server, run as their users run them, against a real one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from ..server.kit import free_port
from ..server.running import Running
from .support import NOWHERE, Finished, run

POLICY = """
[[budgets]]
limit = 100
[[budgets]]
type = "customer"
name = "acme"
limit = 10
thresholds = [{ percent = 50, action = "alert" }]
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with Running(tmp_path_factory.mktemp("server")) as running:
        yield running


def ask(server: Running, *words: str, use: str = "admin") -> Finished:
    return run(*words, ADEN_API_URL=server.url, ADEN_API_KEY=server.tokens[use], COLUMNS="120")


def test_a_policy_is_pushed_compared_and_pulled(server: Running, tmp_path: Path) -> None:
    file = tmp_path / "policy.toml"
    file.write_text(POLICY)
    before = ask(server, "policy", "diff", str(file))
    assert before.code == 1
    assert any(line.startswith("+") and "acme" in line for line in before.lines)
    pushed = ask(server, "policy", "push", str(file))
    assert (pushed.code, pushed.words) == (0, "policy default is version 1")
    assert (
        ask(server, "policy", "diff", str(file)).code,
        ask(server, "policy", "diff", str(file)).stdout,
    ) == (0, "")
    pulled = tmp_path / "pulled.json"
    assert ask(server, "policy", "pull", str(pulled)).code == 0
    assert [one["limit"] for one in json.loads(pulled.read_text())["budgets"]] == [100, 10]
    assert json.loads(ask(server, "policy", "pull").stdout) == json.loads(pulled.read_text())
    again = ask(server, "policy", "push", str(pulled), "--json")
    assert json.loads(again.stdout)["version"] == "2"
    file.write_text("[[budgets]]\nlimt = 5\n")
    refused = ask(server, "policy", "push", str(file))
    assert refused.code == 2
    assert "budgets[0]" in refused.stderr
    assert ask(server, "policy", "push").code == ask(server, "policy", "check").code == 2
    nowhere = ask(server, "policy", "pull", str(tmp_path / "nowhere" / "pulled.json"))
    assert (nowhere.code, "cannot be written" in nowhere.stderr) == (2, True)
    assert ask(server, "policy", "pull", "--policy", "x/../default").code == 2
    differs = json.loads(ask(server, "policy", "diff", str(pulled), "--json").stdout)
    assert (differs["differs"], differs["server"] == differs["file"]) == (False, True)
    assert ask(server, "agents", "--limit", "0").stderr.startswith(
        "aden-transport: the server cannot do that"
    )


def test_budgets_are_listed_and_changed(server: Running) -> None:
    server.ask("PUT", "/v1/control/policies/default", {"budgets": [{"limit": 100}]})
    assert "of $25.50" in ask(server, "budget", "set", "global", "25.5", "--reason", "test").words
    listed = ask(server, "budget", "list")
    assert [word for word in listed.lines[1].split() if "$" in word] == ["$0.00", "$0.00", "$25.50"]
    adjusted = json.loads(ask(server, "budget", "adjust", "global", "2", "--reason", "x", "--json").stdout)
    assert adjusted["spent"] == 2.0
    assert "$23.50 left" in ask(server, "budget", "show", "global").words
    assert "frozen" in ask(server, "budget", "freeze", "global").words
    assert "global (frozen)" in ask(server, "budget", "list").stdout
    assert "$23.50 left" in ask(server, "budget", "unfreeze", "global").words
    assert "spent $0.00" in ask(server, "budget", "reset", "global", "--reason", "month").words
    reasons = [entry.get("reason") for entry in server.ask("GET", "/v1/audit")["entries"]]
    assert reasons[:5] == ["month", None, None, "x", "test"]
    missing = ask(server, "budget", "show", "customer:nobody")
    assert missing.code == 2
    assert "customer:nobody" in missing.stderr


def test_a_budget_that_was_reset_stays_so_when_the_same_file_is_pushed(
    server: Running, tmp_path: Path
) -> None:
    file = tmp_path / "policy.toml"
    file.write_text(POLICY)
    for words in (("policy", "push", str(file)), ("budget", "adjust", "customer:acme", "4", "--reason", "x")):
        assert ask(server, *words).code == 0
    assert ask(server, "budget", "reset", "customer:acme").code == 0
    file.write_text(POLICY + '[[budgets]]\ntype = "tenant"\nname = "*"\nlimit = 5\n')
    assert ask(server, "policy", "push", str(file)).code == 0
    assert ask(server, "budget", "reset", "tenant:*").code == 0
    assert ask(server, "policy", "diff", str(file)).words == ""
    assert ask(server, "policy", "push", str(file)).code == 0
    assert "spent $0.00" in ask(server, "budget", "show", "customer:acme").words


def test_agents_and_events_are_shown_without_what_moves_the_cursor(server: Running) -> None:
    stamp = {"timestamp": "2026-11-22T00:00:00Z", "sdk_instance_id": "i1", "agent_name": "wri\x1b[2Jter"}
    events = [
        {"event_type": "heartbeat", "status": "healthy", **stamp},
        {"event_type": "error", "event_id": "e1", "message": "lost\x1b[31m", **stamp},
    ]
    server.ask("POST", "/v1/control/events", {"events": events})
    agents = ask(server, "agents")
    assert agents.code == 0
    assert "wri" in agents.stdout
    shown = ask(server, "events", "tail", "--all", "--count", "1")
    assert "error" in shown.stdout
    assert "\x1b" not in agents.stdout + shown.stdout
    whole = ask(server, "events", "tail", "--all", "--count", "1", "--json")
    assert whole.documents[0]["event_id"] == "e1"
    assert json.loads(ask(server, "agents", "--json").stdout)["agents"][0]["instance_id"] == "i1"


@pytest.mark.parametrize("command", ["doctor", "demo"])
def test_calls_of_a_fake_provider_spend_no_budget_of_the_server(command: str, server: Running) -> None:
    before = [server.ask("GET", f"/v1/control/{what}") for what in ("agents", "budgets")]
    variables = {"ADEN_API_URL": server.url, "ADEN_API_KEY": server.tokens["agents"]}
    done = run(command, hidden=["openai", "anthropic", "google.genai"], **variables)
    assert "gpt-4o" in done.stdout or "one event" in done.stdout
    assert [server.ask("GET", f"/v1/control/{what}") for what in ("agents", "budgets")] == before


def test_who_may_not_is_told_so(server: Running) -> None:
    refused = ask(server, "budget", "freeze", "global", use="agents")
    assert refused.code == 1
    assert 'scope "policy"' in refused.stderr
    wrong = run("budget", "list", "--server", server.url, "--api-key", "aden_0_0")
    assert wrong.code == 1
    assert "API key" in wrong.stderr


def test_no_server_and_no_key_are_said(server: Running) -> None:
    no_key = run("agents", "--server", server.url)
    assert (no_key.code, no_key.stdout) == (2, "")
    assert "--api-key" in no_key.stderr
    nobody = run("agents", "--server", "http://127.0.0.1:9", "--api-key", "x")
    assert nobody.code == 1
    assert "does not answer" in nobody.stderr
    for finished in (no_key, nobody):
        assert "Traceback" not in finished.stderr


def test_a_fleet_can_be_watched(tmp_path: Path) -> None:
    done = run("serve", "--demo", "--port", str(free_port()), "--seconds", "0", TMPDIR=str(tmp_path))
    assert (done.code, done.stderr) == (0, "")
    assert "customer:*" in done.stdout
    assert "writer" in done.lines[-2]
    assert list(tmp_path.iterdir()) == []


def test_the_server_needs_its_extra() -> None:
    done = run("serve", hidden=["fastapi", "uvicorn"])
    assert done.code == 2
    assert "aden-transport[server]" in done.stderr


def test_commands_need_no_server_library(server: Running) -> None:
    hidden = ["fastapi", "sqlalchemy", "uvicorn", "alembic"]
    variables = {"ADEN_API_URL": server.url, "ADEN_API_KEY": server.tokens["admin"]}
    assert run("budget", "list", hidden=hidden, **variables).code == 0
    assert run("policy", "pull", hidden=hidden, **variables).code == 0
    assert httpx2.get(f"{server.url}/health").is_success
    assert NOWHERE not in server.err


def test_the_ledger_is_compared_with_the_events(server: Running) -> None:
    budgets = [{"id": "all", "type": "global", "limit": 100}, {"type": "customer", "name": "*", "limit": 50}]
    server.ask("PUT", "/v1/control/policies/default", {"budgets": budgets})
    nothing = ask(server, "reconcile")
    assert (nothing.code, "agree" in nothing.words) == (0, True)
    line = {"key": "-|all", "hold": 10**9, "expected": 1}
    for op_id, cost in (("r1", 250_000_000), ("r2", 1)):
        held = {"op_id": op_id, "candidates": [[line]], "ttl_s": 60}
        assert server.ask("POST", "/v1/ledger/reserve", held)["kind"] == "held"
        server.ask("POST", "/v1/ledger/settle", {"op_id": op_id, "amounts": {"usd": cost}})
        off = ask(server, "reconcile")
        assert (off.code, "1 of 1 budgets differ" in off.words) == (1, True)
        event = {"event_id": op_id, "provider": "openai", "model": "gpt-4o", "cost_nano_usd": cost}
        server.ask("POST", "/v1/control/events", {"events": [event | {"settled": True}]})
    narrow = run("reconcile", ADEN_API_URL=server.url, ADEN_API_KEY=server.tokens["admin"], COLUMNS="60")
    assert "-|all" in [line.split()[0] for line in narrow.lines if line]
    exact = ask(server, "reconcile", "--since", "2026-01-01", "--wait", "5")
    assert exact.code == 0
    by_model, of_budget = (next(each for each in exact.lines if name in each) for name in ("gpt-4o", "-|all"))
    assert by_model.split()[1:] == ["openai/gpt-4o", "2", "$0.250000001", "$0.250000001", "$0.00"]
    assert of_budget.split()[1:] == ["$0.250000001", "$0.00", "$0.250000001", "$0.00", "$0.00"]
    told = json.loads(ask(server, "reconcile", "--json", "--at", "2026-01-01").stdout)
    assert (told["exact"], "models" in told) == (True, False)
    assert ask(server, "reconcile", "--since", "yesterday").code == 2
