"""A policy that changes while the program runs: by its file, and by `update_options`."""

from __future__ import annotations

import gc
import json
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from aden_transport import BudgetExceededError, context, get_budget_status, update_options
from aden_transport.errors import ConfigurationError, LedgerUnavailable
from aden_transport.ledger.memory import MemoryLedger
from aden_transport.meter import state
from aden_transport.testing import Reply

from .kit import HELLO, USD, Enforced, enforced

WAIT_S = 20.0
PRICE = 10_000
"""Nano-dollars of a token of output of gpt-4o."""


@pytest.fixture(autouse=True)
def look_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aden_transport.policy_watch.EVERY_S", 0.02)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "policy.json"


def customer(name: str, limit: float, **more: Any) -> dict[str, Any]:
    return {"type": "customer", "name": name, "limit": limit, "limitAction": "block", **more}


def write(path: Path, *budgets: dict[str, Any], **more: Any) -> None:
    replace(path, json.dumps({"budgets": budgets, **more}))


def replace(path: Path, text: str) -> None:
    """In one step, as editors do it."""
    new = path.with_suffix(".new")
    new.write_text(text)
    new.replace(path)


def until(fact: Callable[[], object]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not fact():
        assert time.monotonic() < deadline, "it never came to be"
        time.sleep(0.01)


def limit() -> float | None:
    found = get_budget_status(customer="acme")
    return float(found[0].limit_usd or 0) if found else None


def spent() -> int:
    return get_budget_status(customer="acme")[0].spent


def call(run: Enforced, tokens: int = 1000, **more: Any) -> None:
    run.provider.push(Reply(text="x", input_tokens=0, output_tokens=tokens))
    try:
        with context(customer="acme"):
            run.client().chat.completions.create(model="gpt-4o", messages=HELLO, max_tokens=tokens, **more)
    except BudgetExceededError:
        run.provider.reset()
        raise


def has_limit(nano: int) -> bool:
    return get_budget_status()[0].limit == nano


def watchers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "aden-policy"]


@pytest.fixture(autouse=True)
def no_thread_stays() -> Iterator[None]:
    yield
    until(lambda: not watchers())


# -- the file -------------------------------------------------------------------------------------


def test_a_raised_limit_is_in_force_without_a_restart_and_keeps_what_was_spent(
    path: Path, ledger: str
) -> None:
    name = f"acme-{os.urandom(4).hex()}"
    write(path, customer(name, 0.015))
    with enforced(str(path), ledger=ledger) as run, context(customer=name):
        run.provider.push(*[Reply(text="x", input_tokens=0, output_tokens=1000)] * 2)
        send = run.client().chat.completions.create
        send(model="gpt-4o", messages=HELLO, max_tokens=1000)
        with pytest.raises(BudgetExceededError):
            send(model="gpt-4o", messages=HELLO, max_tokens=1000)
        write(path, customer(name, 0.05))
        until(lambda: get_budget_status()[0].limit == 50_000_000)
        send(model="gpt-4o", messages=HELLO, max_tokens=1000)
        assert state.everything is not None
        state.everything.flush(5.0)
        assert get_budget_status()[0].spent == 2 * 1000 * PRICE
    assert [event.decision.action for event in run.events] == ["allow", "block", "allow"]


def test_another_ladder_keeps_what_was_spent(path: Path) -> None:
    write(path, customer("acme", 1))
    with enforced(str(path)) as run:
        call(run)
        write(
            path,
            customer(
                "acme", 1, thresholds=[{"percent": 0.5, "action": "degrade", "degradeTo": "gpt-4o-mini"}]
            ),
        )
        until(
            lambda: (
                state.everything
                and state.everything.budgets
                and _ladder(state.everything.budgets.index.policy)
            )
        )
        call(run)
        assert [event.decision.action for event in run.events] == ["allow", "degrade"]
        assert spent() == sum(event.charged_nano_usd or 0 for event in run.events)


def _ladder(policy: Any) -> Any:
    return policy.budgets[0].terms.thresholds


@pytest.mark.parametrize("suffix", [".json", ".toml"])
def test_what_cannot_be_used_is_one_warning_and_the_application_sees_nothing(
    tmp_path: Path, suffix: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / f"policy{suffix}"
    good = '[[budgets]]\ntype = "customer"\nname = "acme"\nlimit = 0.015\n'
    bad = '[[budgets]]\ntype = "custmer"\nname = "acme"\nlimit = nan\n\n[[blocks]]\nproviders = "x"\n'
    if suffix == ".json":
        good = '{"budgets": [{"type": "customer", "name": "acme", "limit": 0.015}]}'
        bad = (
            '{"budgets": [{"type": "custmer", "name": "acme", "limit": NaN}], "blocks": [{"providers": "x"}]}'
        )
    path.write_text(good)
    with enforced(str(path)) as run, caplog.at_level(logging.WARNING, "aden.policy"):
        call(run)
        replace(path, bad)
        until(lambda: caplog.records)
        with pytest.raises(BudgetExceededError):
            call(run)
        time.sleep(0.2)
        (record,) = caplog.records
        for fault in (
            "budgets[0].type: give one of",
            "budgets[0].limit: give dollars",
            'blocks[0]: "providers"',
        ):
            assert fault in record.getMessage()
        assert record.getMessage().endswith("The policy that was read before stays in force.")
        replace(path, good.replace("0.015", "0.5"))
        until(lambda: limit() == 0.5)
        call(run)
        assert len(caplog.records) == 1


def test_a_file_that_vanishes_keeps_the_policy(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(path, customer("acme", 0.015))
    with enforced(str(path)) as run, caplog.at_level(logging.WARNING, "aden.policy"):
        call(run)
        path.unlink()
        until(lambda: caplog.records)
        with pytest.raises(BudgetExceededError):
            call(run)
        assert "cannot be read: No such file" in caplog.text
        assert len(caplog.records) == 1


def test_the_first_call_is_judged_by_the_file_as_it_is_then(path: Path) -> None:
    write(path, customer("acme", 5))
    with enforced(str(path)) as run:
        write(path, customer("acme", 0))
        time.sleep(0.25)  # it lies still
        with pytest.raises(BudgetExceededError):
            call(run)


def test_new_floors_are_laid_once_and_say_nothing_about_later_windows(path: Path, ledger: str) -> None:
    name = f"acme-{os.urandom(4).hex()}"
    rolling = {"period": {"rolling": "1h"}}
    write(path, customer(name, 5, **rolling))
    with enforced(str(path), ledger=ledger) as run, context(customer=name):
        assert get_budget_status()[0].spent == 0
        write(path, customer(name, 5, spent=2, **rolling))
        until(lambda: get_budget_status()[0].spent == 2 * USD)
        assert state.everything is not None
        budgets = state.everything.budgets
        assert budgets is not None
        # The next of the sixty parts of the window: the floor is spending of the part in which it was read.
        later = time.time() + 61
        budgets._wall = lambda: later
        for limit in (4, 3):
            write(path, customer(name, limit, spent=2, **rolling))
            until(partial(has_limit, limit * USD))
        assert get_budget_status()[0].spent == 2 * USD
        del run


def test_a_call_under_way_ends_on_what_it_began_with(path: Path) -> None:
    write(path, customer("acme", 1))
    with enforced(str(path)) as run:
        run.provider.push(Reply(text="word " * 50, events=10, input_tokens=0, output_tokens=50))
        with context(customer="acme"):
            stream = run.client().chat.completions.create(
                model="gpt-4o", messages=HELLO, max_tokens=50, stream=True
            )
        write(path, customer("acme", 2), customer("other", 3))
        until(lambda: limit() == 2)
        assert get_budget_status(customer="acme")[0].held > 0
        for _ in stream:
            pass
        (event,) = run.events
        assert (spent(), run.ledger.open_holds()) == (event.charged_nano_usd, 0)
        assert spent() > 0


def test_a_ledger_that_does_not_answer_delays_the_change_and_loses_none_of_it(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    raise_to = MemoryLedger.raise_to

    def refuse_at_first(self: MemoryLedger, *words: Any, **more: Any) -> None:
        asked.append(words[0])
        if len(asked) == 1:
            raise LedgerUnavailable("not now")
        raise_to(self, *words, **more)

    write(path, customer("acme", 5))
    with enforced(str(path)) as run:
        call(run)
        monkeypatch.setattr(MemoryLedger, "raise_to", refuse_at_first)
        write(path, customer("acme", 6, spent=3))
        until(lambda: limit() == 6)
        assert spent() == 3 * USD


def test_names_beyond_a_templates_cap_get_no_room_by_a_change(path: Path) -> None:
    write(path, customer("*", 5))
    with enforced(str(path)) as run:
        call(run)
        index = state.everything.budgets.index  # type: ignore[union-attr]
        for table in index._tables.values():
            for _, names in table._seen.values():
                names.most = 1
        write(path, customer("*", 6), customer("one more", 1))
        until(lambda: limit() == 6)
        assert get_budget_status(customer="acme")[0].budget_id == "customer:acme"
        assert get_budget_status(customer="new")[0].budget_id == "customer:*overflow"


# -- the thread -----------------------------------------------------------------------------------


def test_no_thread_before_the_first_call_none_without_a_file_and_none_after_the_end(path: Path) -> None:
    write(path, customer("acme", 5))
    with enforced({"budgets": [customer("acme", 5)]}) as run:
        call(run)
        assert not watchers()
    with enforced(str(path)) as run:
        assert not watchers()
        call(run)
        call(run)
        assert len(watchers()) == 1
    until(lambda: not watchers())


def test_a_meter_that_is_replaced_reads_its_file_no_more(path: Path) -> None:
    write(path, customer("acme", 5))
    with enforced(str(path)) as run:
        call(run)
        for agent in ("a", "b", "c"):
            update_options(agent_name=agent)
            call(run)
        until(lambda: len(watchers()) == 1)
        write(path, customer("acme", 6))
        until(lambda: limit() == 6)


def test_a_thread_does_not_keep_a_meter_alive(path: Path) -> None:
    from aden_transport import MeterOptions
    from aden_transport.meter import Meter

    write(path, customer("acme", 5))
    meter = Meter(MeterOptions(policy=str(path), ledger="memory"))
    assert meter.budgets is not None
    meter.budgets.status({"customer": "acme"})
    assert len(watchers()) == 1
    del meter
    gc.collect()
    until(lambda: not watchers())


FORKED = """
import json, os, sys, time
import httpx2
from aden_transport import BudgetExceededError, MeterOptions, instrument
from aden_transport.testing import FakeProvider
import aden_transport.policy_watch as watch
watch.EVERY_S = 0.02
path, url, parent_calls = sys.argv[1], sys.argv[2], sys.argv[3] == "calls"
AGENT = {"user-agent": "OpenAI/Python 3"}
def write(limit):
    open(path + ".new", "w").write(json.dumps({"limit": limit}))
    os.replace(path + ".new", path)
def call():
    body = {"model": "gpt-4o", "messages": [], "max_tokens": 10}
    try:
        httpx2.post(url + "/chat/completions", json=body, headers=AGENT).raise_for_status()
    except BudgetExceededError:
        return "blocked"
    return "sent"
write(5)
instrument(MeterOptions(policy=path, ledger="memory"))
if parent_calls:
    assert call() == "sent"
def child():
    assert call() == "sent"
    write(0)
    deadline = time.monotonic() + 20
    while call() != "blocked":
        assert time.monotonic() < deadline
        time.sleep(0.02)
pid = os.fork()
if pid == 0:
    try:
        child()
    except BaseException as exc:
        print(exc, file=sys.stderr, flush=True)
        os._exit(1)
    os._exit(0)
print(os.waitpid(pid, 0)[1])
"""


@pytest.mark.parametrize("parent", ["calls", "forks only"])
def test_a_forked_child_follows_the_file(path: Path, parent: str) -> None:
    from aden_transport.testing import FakeProvider

    with FakeProvider() as provider:
        done = subprocess.run(
            [sys.executable, "-c", FORKED, str(path), provider.openai_base_url, parent],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
    assert (done.stdout, done.stderr) == ("0\n", "")


# -- options --------------------------------------------------------------------------------------


def test_other_options_keep_what_was_spent(ledger: str, path: Path) -> None:
    name = f"acme-{os.urandom(4).hex()}"
    write(path, customer(name, 0.5))
    with enforced({"budgets": [customer(name, 1)]}, ledger=ledger) as run, context(customer=name):
        run.provider.push(*[Reply(text="x", input_tokens=0, output_tokens=1000)] * 2)
        run.client().chat.completions.create(model="gpt-4o", messages=HELLO, max_tokens=1000)
        assert state.everything is not None
        state.everything.flush(5.0)
        for policy in ({"budgets": [customer(name, 0.015)]}, str(path), [customer(name, 0.7)]):
            update_options(policy=policy)
            assert get_budget_status()[0].spent == 1000 * PRICE
        update_options(policy=[customer(name, 0.015)], sample_rate=0.5)
        with pytest.raises(BudgetExceededError):
            run.client().chat.completions.create(model="gpt-4o", messages=HELLO, max_tokens=1000)


def test_a_policy_that_first_gets_a_period_keeps_what_was_spent(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    with enforced([customer("acme", 1)], ledger=None) as run:
        call(run)
        update_options(policy=[customer("acme", 1), {"limit": 5, "period": "monthly"}])
        assert [(one.budget_id, one.spent) for one in get_budget_status(customer="acme")] == [
            ("global", 0),
            ("customer:acme", 1000 * PRICE),
        ]


def test_a_broken_file_does_not_stand_in_the_way_of_other_options(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(path, customer("acme", 0.015))
    with enforced(str(path)) as run:
        call(run)
        path.write_text("{")
        update_options(agent_name="writer")
        assert "stays in force" in caplog.text
        with pytest.raises(BudgetExceededError):
            call(run)
        write(path, customer("acme", 6))
        until(lambda: limit() == 6)
        with pytest.raises(ConfigurationError):
            update_options(policy="/none.json")
        assert limit() == 6
