"""Putting the patches in place and taking them out: the very objects come back, and precedence holds."""

from __future__ import annotations

import functools
import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import httpx
import httpx2
import pytest

from aden_transport import (
    MeterOptions,
    create_memory_emitter,
    instrument,
    instrument_openai,
    is_instrumented,
    uninstrument,
    uninstrument_openai,
)
from aden_transport.testing import FakeProvider, Reply

from .kit import BODY, CHAT, LIBRARIES, STREAM, VARIANTS, VERIFY, Caller, Metering, Variant, collect

CLASSES: list[Any] = [httpx.Client, httpx.AsyncClient, httpx2.Client, httpx2.AsyncClient]
METHOD = "_send_single_request"
OPENAI_AGENT = {"user-agent": "OpenAI/Python 3.54.0"}
SYNC_PATCHED = [v for v in VARIANTS if v.way == "patched" and v.is_sync]

pytestmark = pytest.mark.usefixtures("no_faults")


def methods() -> list[Any]:
    return [kind.__dict__[METHOD] for kind in CLASSES]


def dictionaries() -> list[dict[str, Any]]:
    return [dict(kind.__dict__) for kind in CLASSES]


def post(module: Any, url: str, body: Any = BODY, **arguments: Any) -> Any:
    with module.Client(trust_env=False, verify=VERIFY) as client:
        return client.post(url, json=body, **arguments)


@pytest.mark.parametrize("rounds", [1, 3])
def test_uninstrument_restores_the_very_objects(rounds: int) -> None:
    before, whole = methods(), dictionaries()
    for _ in range(rounds):
        instrument()
        assert is_instrumented()
        assert all(now is not then for now, then in zip(methods(), before, strict=True))
        uninstrument()
        assert not is_instrumented()
        assert all(now is then for now, then in zip(methods(), before, strict=True))
    for now, then in zip(dictionaries(), whole, strict=True):
        assert list(now) == list(then)
        assert all(now[name] is then[name] for name in then)


def test_instrument_twice_patches_once() -> None:
    instrument()
    first = methods()
    instrument()
    assert all(now is then for now, then in zip(methods(), first, strict=True))


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_foreign_patch_on_top_stays_and_ours_becomes_inert(
    library: str, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    module: Any = LIBRARIES[library]
    emitter, calls = create_memory_emitter(), []
    instrument(MeterOptions(emit_metric=emitter))
    below = module.Client.__dict__[METHOD]

    @functools.wraps(below)
    def foreign(self: Any, request: Any) -> Any:
        calls.append(request)
        return below(self, request)

    with monkeypatch.context() as patch:
        patch.setattr(module.Client, METHOD, foreign)
        post(module, url)
        assert (len(calls), len(emitter.events)) == (1, 1)
        uninstrument()
        assert module.Client.__dict__[METHOD] is foreign
        post(module, url)
        assert (len(calls), len(emitter.events)) == (2, 1)
        instrument(MeterOptions(emit_metric=emitter))
        post(module, url)
        assert (len(calls), len(emitter.events)) == (3, 2)
        uninstrument()
    # The foreign patch took itself out, and put ours back: it does nothing, and a later round removes it.
    post(module, url)
    assert len(emitter.events) == 2
    instrument(MeterOptions(emit_metric=emitter))
    post(module, url)
    assert len(emitter.events) == 3
    uninstrument()
    assert module.Client.__dict__[METHOD] is not below


@pytest.mark.parametrize("variant", SYNC_PATCHED, ids=str)
def test_the_same_options_again_change_nothing_and_others_replace_the_meter(
    variant: Variant, url: str, caplog: pytest.LogCaptureFixture, provider: FakeProvider
) -> None:
    provider.script(Reply(events=3))
    first, second = create_memory_emitter(), create_memory_emitter()
    options = MeterOptions(emit_metric=first)
    instrument(options)
    caller = Caller(variant, variant.client())
    request = caller.client.build_request("POST", url, json=dict(STREAM))
    streaming = caller.client.send(request, stream=True)
    with caplog.at_level(logging.WARNING, "aden"):
        instrument(options)
        instrument(MeterOptions(emit_metric=first))
        assert caplog.records == []
        instrument(MeterOptions(emit_metric=second))
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    post(variant.module, url)
    streaming.read()
    caller.client.close()
    assert [event.stream for event in first.events] == [True]
    assert [event.stream for event in second.events] == [False]


def test_a_vendors_own_meter_counts_for_its_sdk(url: str) -> None:
    """Known by the user agent; everything else stays with the general one."""
    general, own = create_memory_emitter(), create_memory_emitter()
    instrument(MeterOptions(emit_metric=general))
    instrument_openai(MeterOptions(emit_metric=own))
    for module in LIBRARIES.values():
        post(module, url, headers=OPENAI_AGENT)
        post(module, url)
    assert (len(own.events), len(general.events)) == (2, 2)
    uninstrument_openai()
    post(httpx2, url, headers=OPENAI_AGENT)
    assert (len(own.events), len(general.events)) == (2, 3)


@pytest.mark.parametrize("variant", SYNC_PATCHED, ids=str)
def test_precedence_by_hand_before_client_before_vendor_before_everything(variant: Variant, url: str) -> None:
    from aden_transport.adapters._seam import CLIENT_METER
    from aden_transport.meter import Meter

    names = ["everything", "vendor", "client", "by hand"]
    emitters = {name: create_memory_emitter() for name in names}
    options = {name: MeterOptions(emit_metric=emitters[name], agent_name=name) for name in names}
    uses: list[str] = []

    def used(transport: Any = None, meter: Any = None, headers: Any = None) -> None:
        with variant.client(transport=transport) as client:
            if meter is not None:
                client.__dict__[CLIENT_METER] = meter
            client.post(url, json=BODY, headers=headers)
        [name] = [name for name in names if emitters[name].events]
        assert len(emitters[name].events) == 1
        emitters[name].clear()
        uses.append(name)

    instrument(options["everything"])
    used(headers=OPENAI_AGENT)
    instrument_openai(options["vendor"])
    used(headers=OPENAI_AGENT)
    used()
    meter = Meter(options["client"])
    used(meter=meter, headers=OPENAI_AGENT)
    used(variant.by_hand(options["by hand"], variant.transport()), meter, OPENAI_AGENT)
    used(variant.by_hand(None, variant.transport()), meter, OPENAI_AGENT)
    assert uses == ["everything", "vendor", "everything", "client", "by hand", "client"]


def test_without_instrument_a_transport_by_hand_meters_alone(metering: Metering, url: str) -> None:
    """No options, nothing in force: metered, emitted to nobody, and the call is as ever."""
    variant = metering.variant

    async def scenario() -> int:
        caller = Caller(variant, variant.client(transport=variant.by_hand(None, variant.transport())))
        response = await caller.post(url, json=BODY)
        await caller.end()
        status: int = response.status_code
        return status

    assert variant.run(scenario) == 200
    assert metering.events == []


def in_fresh_interpreter(code: str, *arguments: str) -> Any:
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


LATE = """
import json, sys
from aden_transport import MeterOptions, create_memory_emitter, instrument, uninstrument
memory = create_memory_emitter()
instrument(MeterOptions(emit_metric=memory))
early = [name for name in ("httpx", "httpx2") if name in sys.modules]
body = {"model": "gpt-4o", "messages": []}
loaders, originals = [], []
import importlib
for name in sys.argv[2:]:
    module = importlib.import_module(name)
    loaders.append(type(module.__spec__.loader).__name__)
    assert module.__loader__ is module.__spec__.loader
    with module.Client(trust_env=False) as client:
        assert client.post(sys.argv[1], json=body).status_code == 200
events = len(memory.events)
uninstrument()
modules = map(sys.modules.get, sys.argv[2:])
names = [module.Client.__dict__["_send_single_request"].__module__ for module in modules]
print(json.dumps([early, loaders, events, names]))
"""


@pytest.mark.parametrize("order", [["httpx", "httpx2"], ["httpx2", "httpx"]], ids=" ".join)
def test_libraries_imported_after_instrument_are_seen(url: str, order: list[str]) -> None:
    early, loaders, events, names = in_fresh_interpreter(LATE, url, *order)
    assert early == []
    assert loaders == ["SourceFileLoader"] * 2
    assert events == 2
    assert names == [f"{name}._client" for name in order]


ALIASED = """
import json, sys
from aden_transport import MeterOptions, create_memory_emitter, instrument, uninstrument
memory = create_memory_emitter()
if sys.argv[2] == "before":
    instrument(MeterOptions(emit_metric=memory))
import httpx2
httpx2.alias_httpx()
if sys.argv[2] == "after":
    instrument(MeterOptions(emit_metric=memory))
import httpx
original = httpx2.Client._send_single_request
assert httpx.Client is httpx2.Client
body = {"model": "gpt-4o", "messages": []}
for module in (httpx, httpx2):
    with module.Client(trust_env=False) as client:
        assert client.post(sys.argv[1], json=body).status_code == 200
events = len(memory.events)
uninstrument()
print(json.dumps([events, httpx.Client._send_single_request.__module__]))
"""


@pytest.mark.parametrize("when", ["before", "after"])
def test_aliased_libraries_are_one(url: str, when: str) -> None:
    events, module = in_fresh_interpreter(ALIASED, url, when)
    assert events == 2
    assert module == "httpx2._client"


ENDING = """
import json, os, sys
from aden_transport import MeterOptions, create_jsonl_emitter, instrument, uninstrument
import httpx, httpx2
instrument(MeterOptions(emit_metric=create_jsonl_emitter(sys.argv[2])))
body = {"model": "gpt-4o", "messages": [], "stream": True}
held = []
for module in (httpx, httpx2):
    client = module.Client(trust_env=False)
    response = client.send(client.build_request("POST", sys.argv[1], json=body), stream=True)
    held.append((client, response, next(response.iter_raw())))
if sys.argv[3] == "uninstrumented":
    uninstrument()
print(json.dumps(len(held)))
"""


@pytest.mark.parametrize("state", ["instrumented", "uninstrumented"])
def test_streams_open_at_the_end_of_the_program_are_events(
    provider: FakeProvider, tmp_path: Any, state: str
) -> None:
    provider.script(Reply(events=3, event_delay_ms=20))
    path = tmp_path / "events.jsonl"
    ran = subprocess.run(
        [sys.executable, "-c", ENDING, provider.url + CHAT, str(path), state],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    lines = path.read_text().splitlines() if path.exists() else []
    assert [json.loads(line)["status_code"] for line in lines] == [200, 200]


@pytest.fixture(autouse=True)
def untouched() -> Iterator[None]:
    """Whatever a test does, the libraries' methods are their own again."""
    before = methods()
    yield
    uninstrument()
    collect()
    assert all(now is then for now, then in zip(methods(), before, strict=True))
