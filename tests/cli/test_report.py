"""`aden-transport report`."""

from __future__ import annotations

import io
import json
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import openai
import pytest

from aden_transport import RequestCancelledError, create_file_emitter, create_jsonl_emitter
from aden_transport.cli import main, report
from aden_transport.testing import Reply

from ..enforcement.kit import HELLO, LADDER, enforced


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What twenty calls in shadow mode and one blocked call wrote."""
    path = tmp_path_factory.mktemp("logs") / "calls.jsonl"
    write = create_jsonl_emitter(path)
    daily = create_file_emitter(path.parent / "daily")
    for policy, shadow_mode, calls in ((LADDER, True, 20), ({"type": "global", "limit": 0}, False, 1)):
        with enforced(policy, shadow_mode=shadow_mode) as run:
            run.provider.script(Reply(output_tokens=400))
            client = run.client()
            for _ in range(calls):
                with suppress(RequestCancelledError):
                    client.chat.completions.create(model="gpt-4o", messages=HELLO, max_tokens=500)
            for event in run.events:
                write(event)
                daily(event)
    return path


def as_json(capsys: pytest.CaptureFixture[str], *files: str) -> Any:
    code = main(["report", "--json", *files])
    return code, json.loads(capsys.readouterr().out)


def test_calls_and_what_a_policy_would_have_saved_are_shown(
    log: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    assert main(["report", str(log)]) == 0
    out = capsys.readouterr().out
    assert out.startswith("21 calls in 21 attempts, $0.0")
    assert "openai gpt-4o" in out
    assert "global: block" in out
    assert "would have been done" in out
    assert all(len(line) < 100 for line in out.splitlines())
    assert "\x1b" not in out


def test_as_json_it_is_one_document(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, found = as_json(capsys, str(log))
    assert code == 0
    assert found["total"]["calls"] == 21
    (done,) = [row for row in found["done"] if row["action"] == "block"]
    assert (done["by"], done["calls"]) == ("global", 1)
    would = {row["action"]: row for row in found["would"]}
    assert would["block"]["saved_nano_usd"] > would["degrade"]["saved_nano_usd"] > 0
    cost = found["total"]["cost_nano_usd"]
    assert would["block"]["saved_nano_usd"] + would["degrade"]["saved_nano_usd"] < cost


def test_what_budgets_took_and_nobody_confirmed_is_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One answer that came, one that was never seen: its budget was charged the whole hold."""
    monkeypatch.setenv("COLUMNS", "100")
    path = tmp_path / "calls.jsonl"
    with enforced({"type": "global", "limit": 1.0}) as run:
        run.provider.push(Reply(), Reply(disconnect_before_headers=True))
        client = run.client(max_retries=0)
        client.chat.completions.create(model="gpt-4o", messages=HELLO, max_tokens=500)
        with suppress(openai.APIConnectionError):
            client.chat.completions.create(model="gpt-4o", messages=HELLO, max_tokens=500)
        write = create_jsonl_emitter(path)
        for event in run.events:
            write(event)
        _, unseen = run.events
        spent = run.spent()
    assert (unseen.billing, unseen.cost_nano_usd) == ("unknown", None)
    _, found = as_json(capsys, str(path))
    total, rows = found["total"], {row["model"]: row for row in found["models"]}
    assert total["unconfirmed_nano_usd"] == unseen.charged_nano_usd == unseen.hold_nano_usd
    assert total["charged_nano_usd"] == spent == total["cost_nano_usd"] + total["unconfirmed_nano_usd"]
    assert [row["unconfirmed_nano_usd"] for row in rows.values()] == [0, unseen.charged_nano_usd]
    assert main(["report", str(path)]) == 0
    out = capsys.readouterr().out
    taken = f"${(unseen.charged_nano_usd or 0) / 1e9:.6f}"
    assert f"budgets took {taken} more, unconfirmed" in out.splitlines()[0]
    assert "unconfirmed" in out.splitlines()[3]
    assert any(line.endswith(f"  {taken}") for line in out.splitlines())


def test_a_directory_and_the_input_are_read(
    log: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = as_json(capsys, str(log))
    assert as_json(capsys, str(log.parent / "daily")) == expected
    # The same events twice are the same events.
    assert as_json(capsys, str(log), str(log.parent / "daily")) == expected

    class Input:
        buffer = io.BytesIO(log.read_bytes())

    monkeypatch.setattr(sys, "stdin", Input)
    assert as_json(capsys, "-") == expected


def test_bad_lines_are_counted_and_left_out(
    log: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report, "MAX_LINE", 100_000)
    path = tmp_path / "bad.jsonl"
    bad = [b"{", b"\xff\xfe", b"[]", b"x" * 250_000, b"", b'{"event_id": "\\u001b[31m"}']
    path.write_bytes(b"\n".join([*bad, log.read_bytes()]))
    code, found = as_json(capsys, str(path))
    assert (code, found["unreadable"], found["total"]["calls"]) == (1, 5, 21)
    path.write_bytes(b"x" * 250_000)
    assert main(["report", str(path)]) == 1
    assert "1 lines were no events" in capsys.readouterr().out


def test_names_cannot_reach_the_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "hostile.jsonl"
    line = {"event_id": "1", "provider": "\x1b[31mred", "model": "m\n", "timestamp": "\x1b]0;title\x07"}
    path.write_text(json.dumps(line))
    assert main(["report", str(path)]) == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "red m" in out


def test_a_file_that_is_not_there_is_wrong_usage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(tmp_path / "none.jsonl")]) == 2
    assert "No such file" in capsys.readouterr().err


def test_nothing_is_no_calls(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(tmp_path)]) == 0
    assert capsys.readouterr().out == "0 calls in 0 attempts, $0.000000\n"


def test_long_tables_are_cut(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "many.jsonl"
    rows = [{"event_id": str(n), "provider": "p", "model": f"m{n}", "timestamp": "t"} for n in range(30)]
    path.write_text("\n".join(map(json.dumps, rows)))
    assert main(["report", str(path)]) == 0
    assert "10 more, with --json" in capsys.readouterr().out
