"""Mistakes at the command line: one sentence that says what to do, and never a traceback."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from aden_transport.cli import main

from .support import command, environment, run

POLICY = '{"budgets": [{"type": "customer", "name": "Zürich", "limit": 1}]}'


@pytest.fixture
def policy(tmp_path: Path) -> str:
    file = tmp_path / "policy.json"
    file.write_text(POLICY, encoding="utf-8")
    return str(file)


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """What is said of wrong usage, with exit code 2."""
    try:
        code: object = main(words)
    except SystemExit as exc:
        code = exc.code
    told = capsys.readouterr()
    assert (code, told.out) == (2, "")
    return told.err


@pytest.mark.parametrize("option", ["--spent", "--input", "--output"])
@pytest.mark.parametrize("value", ["nan", "inf", "-1", "x"])
def test_what_is_no_amount_is_refused(
    option: str, value: str, policy: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "0 or more" in refused(capsys, "policy", "explain", policy, f"{option}={value}")


@pytest.mark.parametrize("what", ["set", "adjust"])
@pytest.mark.parametrize("value", ["nan", "inf", "x"])
def test_what_are_no_dollars_is_sent_to_no_server(
    what: str, value: str, capsys: pytest.CaptureFixture[str]
) -> None:
    said = refused(capsys, "budget", what, "global", value, "--reason", "x", "--api-key", "x")
    assert "give dollars" in said


@pytest.mark.parametrize("words", [("reconcile", "--wait"), ("serve", "--demo", "--seconds")])
def test_what_are_no_seconds_is_refused(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert "give seconds" in refused(capsys, *words, "nan")


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("http://aden.example.com", "http would show the key"),
        ("aden.example.com", "scheme and host"),
        ("127.0.0.1:8787", "scheme and host"),
        ("https://user:secret-word@aden.example.com", "not within the address"),
    ],
)
@pytest.mark.parametrize("by", ["option", "environment"])
def test_a_key_goes_to_no_server_past_everybody_on_the_way(
    address: str, said: str, by: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ADEN_API_URL", address if by == "environment" else "https://elsewhere.example.com")
    words = ("--server", address) if by == "option" else ()
    told = refused(capsys, "agents", "--api-key", "x", *words)
    assert said in told
    assert "--server (or ADEN_API_URL)" in told
    assert "secret-word" not in told


@pytest.mark.parametrize("key", ["two words", "line\nline", "schlüssel"])
def test_a_key_that_cannot_be_one_is_not_sent(key: str, capsys: pytest.CaptureFixture[str]) -> None:
    told = refused(capsys, "agents", "--server", "http://127.0.0.1:9", "--api-key", key)
    assert "the key alone" in told
    assert key not in told


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--seconds", "1"), "--demo"),
        (("--portable",), "--backup"),
        (("--new-team", " "), "name of the team"),
        (("--port", "0"), "--port"),
        (("--tls-cert", "nothing.pem", "--tls-key", "nothing.pem"), "cannot be read: No such file"),
    ],
)
def test_an_option_of_serve_that_would_mean_nothing_is_refused(
    words: tuple[str, ...], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert said in refused(capsys, "serve", "--data", str(tmp_path / "data"), *words)
    assert list(tmp_path.iterdir()) == []


def test_a_certificate_that_is_none_is_said_before_a_team_is_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "c.pem"
    file.write_text("no certificate")
    data = str(tmp_path / "data")
    told = refused(capsys, "serve", "--data", data, "--tls-cert", str(file), "--tls-key", str(file))
    assert "no certificate and its private key" in told


def test_there_is_no_copy_of_what_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    copy = tmp_path / "copy.sqlite3"
    told = refused(capsys, "serve", "--data", str(tmp_path / "data"), "--backup", str(copy))
    assert "nothing to copy" in told
    assert not copy.exists()


def test_why_a_database_cannot_be_used_is_said_without_its_password(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "some.sqlite3"
    file.write_text("This is a text, and no database, for all of its length. " * 9)
    file.chmod(0o600)
    told = refused(capsys, "serve", "--database", f"sqlite:///{file}", "--new-team", "x")
    assert "file is not a database" in told
    told = refused(capsys, "serve", "--database", "postgresql://u:secret-word@127.0.0.1:1/x")
    assert "it does not answer: is it running" in told
    assert "secret-word" not in told


def test_a_directory_without_logs_is_said_to_be_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", "--json", str(tmp_path)]) == 0
    told = capsys.readouterr()
    assert json.loads(told.out)["total"]["calls"] == 0
    assert f"{tmp_path} has no metrics-*.jsonl" in told.err


def test_a_policy_that_was_checked_is_told_as_json(policy: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["policy", "check", policy, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["ok"] is True
    assert [one["limit"] for one in told["policy"]["budgets"]] == [1]


@pytest.mark.parametrize("words", [("run", "--help"), ("prices", "no-such-model"), ("policy", "check")])
def test_a_terminal_without_unicode_is_written_to(words: tuple[str, ...], policy: str) -> None:
    given = (*words, policy) if words[0] == "policy" else words
    done = run(*given, LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0", PYTHONIOENCODING="ascii")
    assert "Traceback" not in done.stderr
    assert done.stdout.isascii()
    assert done.stdout


@pytest.mark.skipif(sys.platform != "linux", reason="/dev/full is Linux's")
@pytest.mark.parametrize("words", [("prices",), ("prices", "gpt-4o", "--json")])
def test_a_full_disk_is_said(words: tuple[str, ...]) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            command(words), env=environment(), stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
    assert "No space left on device" in done.stderr


@pytest.mark.skipif(os.name != "posix", reason="descriptors are closed otherwise there")
def test_an_output_that_is_closed_is_nobodys() -> None:
    words = command(["prices", "gpt-4o"])
    done = subprocess.run(
        ["/bin/sh", "-c", 'exec "$@" >&-', "sh", *words],
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    "words", [("--provider", "openai"), ("--batch",), ("--tier", "flex"), ("--at", "2026-11-22")]
)
def test_an_option_of_a_price_needs_its_model(
    words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert "name the MODEL" in refused(capsys, "prices", *words)


def test_of_batch_and_tier_there_is_one_price(capsys: pytest.CaptureFixture[str]) -> None:
    assert "not allowed with" in refused(capsys, "prices", "gpt-4o", "--batch", "--tier", "flex")


def test_a_compressed_log_is_said_to_be_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "old.jsonl.gz"
    file.write_bytes(gzip.compress(b"{}"))
    assert f"zcat {file} | aden-transport report -" in refused(capsys, "report", str(file))
