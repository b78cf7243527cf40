"""`aden-transport doctor` about ledgers: which, why, whose, where, and what it may forget."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from aden_transport.cli.doctor import budgets as examined
from aden_transport.cli.doctor.budgets import budgets
from aden_transport.cli.doctor.findings import Finding
from aden_transport.cli.doctor.redis import redis_server, verdicts
from aden_transport.ledger.base import Line
from aden_transport.ledger.sqlite import SqliteLedger

from ..ledger.redis_server import RedisServer, shared_server
from .support import run


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    state = tmp_path / "state"
    monkeypatch.setenv("XDG_STATE_HOME", str(state))
    return state / "aden-transport" / "budgets.sqlite3"


def only(policy: str | None = None, ledger: str | None = None) -> Finding:
    *_, found = budgets(policy, ledger)
    return found


def test_the_default_is_a_file_for_budgets_with_a_period(state: Path) -> None:
    found = {finding.name: finding for finding in budgets(None, None)}
    assert found[str(state)].level == "ok"
    assert (
        "for budgets with a period: a file that the processes of this machine share" in found[str(state)].text
    )
    assert any("where no budget has a period" in finding.text for finding in found.values())
    assert not state.exists()


def test_a_policy_says_which_ledger_is_taken_and_why(state: Path, tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    path.write_text('limit = 5\nperiod = "daily"\n')
    first, second = budgets(str(path), None)
    assert (first.level, first.text) == ("ok", "1 budget, some with a period")
    assert second.facts["path"] == str(state)
    path.write_text("limit = 5\n")
    assert "where no budget has a period" in only(str(path)).text
    path.write_text("limit = -5\n")
    found = only(str(path))
    assert found.level == "fault"
    assert "budgets[0].limit" in found.text


def test_a_file_is_told_with_its_rights_and_what_is_under_way(state: Path) -> None:
    ledger = SqliteLedger(state)
    ledger.reserve("a", [[Line("k", 5, 5)]], now=0.0, expires_at=1.0)
    ledger.reserve("b", [[Line("k", 7, 7)]], now=0.0, expires_at=9e9)
    ledger.sweep(2.0)
    found = next(iter(budgets(None, None)))
    assert (found.level, found.facts["open_holds"], found.facts["disputed_nano_usd"]) == ("ok", 1, 5)
    assert "rights 0600, 1 calls under way, $0.000000005 taken for calls whose end nobody saw" in found.text
    ledger.close()


def test_a_file_that_cannot_be_used_is_a_fault(state: Path, tmp_path: Path) -> None:
    state.parent.mkdir(parents=True)
    state.write_bytes(b"no database" * 100)
    state.chmod(0o600)
    assert next(iter(budgets(None, None))).level == "warning"
    assert only(ledger=f"sqlite:///{state}").level == "fault"
    assert only(ledger="postgres://x").level == "fault"


def test_without_a_place_to_write_memory_is_used_and_it_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setenv("XDG_STATE_HOME", str(blocked))
    monkeypatch.setattr("aden_transport.cli.doctor.budgets.open_ledger", lambda address, lasting: memory())
    found = next(iter(budgets(None, None)))
    assert (found.level, found.name) == ("warning", "memory")
    assert "no file can be written" in found.text
    assert found.next is not None


def memory() -> Any:
    from aden_transport.ledger.memory import MemoryLedger

    return MemoryLedger()


def test_a_file_on_a_network_is_warned_of(
    state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(
        "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n"
        f"23 22 0:40 / {tmp_path} rw,relatime shared:1 - nfs4 server:/export rw\n"
    )
    monkeypatch.setattr(examined, "MOUNTS", mounts)
    found = next(iter(budgets(None, None)))
    assert found.level == "warning"
    assert "lies on nfs4" in found.text
    monkeypatch.setattr(examined, "MOUNTS", tmp_path / "none")
    assert next(iter(budgets(None, None))).level == "ok"


# -- redis ----------------------------------------------------------------------------------------


def test_one_server_with_an_append_only_file_is_hard() -> None:
    (found,) = redis_server(shared_server().url)
    assert (found.level, found.facts["hard"], found.facts["appendonly"]) == ("ok", True, True)
    assert "limits are hard: one server with an append-only file" in found.text


def test_a_server_that_keeps_nothing_is_not(tmp_path: Path) -> None:
    options = ("--appendonly", "no", "--maxmemory", "64mb", "--maxmemory-policy", "allkeys-lru")
    with RedisServer(tmp_path, *options) as server:
        found = only(ledger=server.url)
        url = server.url
    assert (found.level, found.next) == ("warning", "redis-cli CONFIG SET appendonly yes")
    assert "without an append-only file" in found.text
    assert "evicts sums (maxmemory-policy allkeys-lru)" in found.text
    gone = only(ledger=url)
    assert gone.level == "fault"
    assert "does not answer" in gone.text


def test_what_a_server_says_of_itself_is_judged() -> None:
    hard = {"redis_version": "7.2.4", "aof_enabled": 1, "role": "master", "maxmemory_policy": "noeviction"}
    told: list[tuple[dict[str, Any], str, str]] = [
        ({"appendfsync": "always"}, "ok", "on the disk before it answers"),
        ({"appendfsync": "no"}, "ok", "half a minute"),
        ({"connected_slaves": 1}, "warning", "a failover"),
        ({"cluster_enabled": 1}, "warning", "a failover"),
        ({"role": "slave"}, "fault", "name the primary"),
        ({"redis_version": "5.0.7"}, "fault", "version 6 or newer is needed"),
        ({"maxmemory_policy": "allkeys-lru"}, "ok", "limits are hard"),
        ({"maxmemory_policy": "allkeys-lru", "maxmemory": 1}, "warning", "evicts sums"),
    ]
    for changes, level, words in told:
        (found,) = verdicts("redis://h", {**hard, **changes})
        assert (found.level, words in found.text) == (level, True), found


def test_no_password_is_shown() -> None:
    (found,) = redis_server("redis://me:secret@127.0.0.1:1/0")
    assert found.name == "redis://127.0.0.1:1/0"
    assert "secret" not in f"{found}"


def test_the_command_takes_a_policy_and_a_ledger(tmp_path: Path) -> None:
    path = tmp_path / "policy.json"
    path.write_text('{"limit": -1}')
    done = run("doctor", "--policy", str(path), XDG_STATE_HOME=str(tmp_path))
    assert done.code == 1
    assert "budgets[0].limit" in done.stdout
