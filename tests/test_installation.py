"""What `instrument()` and its kin promise about themselves; what they see is tested in adapters and sdks."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Iterator
from typing import Any, cast

import httpx
import httpx2
import openai
import pytest

import aden_transport as aden
from aden_transport import MeterOptions
from aden_transport.errors import ConfigurationError
from aden_transport.testing import FakeProvider

CHAT: Any = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hello"}]}


@pytest.fixture(autouse=True)
def _uninstrumented() -> Iterator[None]:
    yield
    aden.uninstrument()


@pytest.fixture(scope="module")
def provider() -> Iterator[FakeProvider]:
    with FakeProvider() as running:
        yield running


def client(provider: FakeProvider) -> openai.OpenAI:
    return openai.OpenAI(base_url=provider.openai_base_url, api_key="any", max_retries=0)


def test_the_result_says_what_is_seen_of_each_sdk() -> None:
    result = aden.instrument(MeterOptions())
    assert result
    assert result.openai
    assert result.openai.http_library in ("httpx", "httpx2")
    assert result.anthropic
    assert result.gemini
    assert set(result.details) >= {"openai", "anthropic", "gemini"}
    assert result.details["openai"].version == openai.__version__
    assert "pass through" in result.details["openai"].reason
    with pytest.raises(AttributeError):
        _ = result.no_such_sdk
    assert "openai" in repr(result)
    assert aden.get_instrumented_sdks() == [n for n, s in result.details.items() if s.seen]


def test_an_sdk_that_is_not_installed_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    from aden_transport import installation

    monkeypatch.setitem(
        cast("dict[str, Any]", installation.SDKS), "mistral", ("no_such_module", "no-such-dist")
    )
    result = aden.instrument(MeterOptions())
    assert result.mistral is None


def test_status_follows_instrument_and_uninstrument() -> None:
    assert not aden.is_instrumented()
    assert aden.get_options() is None
    options = MeterOptions(agent_name="a")
    aden.instrument(options)
    assert aden.is_instrumented()
    assert aden.get_options() is options
    aden.uninstrument()
    assert not aden.is_instrumented()
    assert aden.get_instrumented_sdks() == []


def test_the_same_options_again_are_a_no_op(caplog: pytest.LogCaptureFixture) -> None:
    from aden_transport.meter import state

    emit = aden.create_noop_emitter()
    aden.instrument(MeterOptions(emit_metric=emit))
    meter = state.everything
    aden.instrument(MeterOptions(emit_metric=emit))
    assert state.everything is meter
    assert not caplog.records


def test_other_options_replace_the_meter_with_one_warning(caplog: pytest.LogCaptureFixture) -> None:
    aden.instrument(MeterOptions(agent_name="a"))
    with caplog.at_level(logging.WARNING, logger="aden"):
        aden.instrument(MeterOptions(agent_name="b"))
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    options = aden.get_options()
    assert options is not None
    assert options.agent_name == "b"


def test_update_options_changes_some_and_keeps_the_rest() -> None:
    memory = aden.create_memory_emitter()
    aden.instrument(MeterOptions(emit_metric=memory, agent_name="a"))
    changed = aden.update_options(agent_name="b")
    assert (changed.agent_name, changed.emit_metric) == ("b", memory)
    with pytest.raises(ConfigurationError, match="did you mean agent_name"):
        aden.update_options(agent_nam="c")
    aden.uninstrument()
    with pytest.raises(ConfigurationError, match="call that first"):
        aden.update_options(agent_name="c")


def test_what_is_no_options_object_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="takes MeterOptions"):
        aden.instrument(cast("Any", {"emit_metric": print}))


@pytest.mark.anyio
async def test_the_async_forms_do_the_same() -> None:
    await aden.instrument_async(MeterOptions())
    assert aden.is_instrumented()
    await aden.uninstrument_async()
    assert not aden.is_instrumented()


def test_one_sdk_can_have_a_meter_of_its_own(provider: FakeProvider) -> None:
    own, general = aden.create_memory_emitter(), aden.create_memory_emitter()
    aden.instrument(MeterOptions(emit_metric=general))
    assert aden.instrument_openai(MeterOptions(emit_metric=own)).openai
    client(provider).chat.completions.create(**CHAT)
    with httpx2.Client() as plain:
        plain.post(f"{provider.openai_base_url}/chat/completions", json=CHAT)
    aden.uninstrument_openai()
    client(provider).chat.completions.create(**CHAT)
    assert (len(own.events), len(general.events)) == (1, 2)


def test_one_client_can_have_a_meter_of_its_own(provider: FakeProvider) -> None:
    memory = aden.create_memory_emitter()
    metered = client(provider)
    assert aden.make_metered_openai(metered, MeterOptions(emit_metric=memory)) is metered
    metered.chat.completions.create(**CHAT)
    metered.with_options(timeout=30).chat.completions.create(**CHAT)
    client(provider).chat.completions.create(**CHAT)
    assert len(memory.events) == 2
    with pytest.raises(ConfigurationError, match="takes an OpenAI"):
        aden.make_metered_openai(object(), MeterOptions())


def test_vendors_are_registered_by_host(provider: FakeProvider) -> None:
    from aden_transport.meter import classifier

    memory = aden.create_memory_emitter()
    aden.instrument(MeterOptions(emit_metric=memory))
    vendor = aden.register_vendor("house", hosts=[f"127.0.0.1:{provider.port}"], like="openai")
    try:
        client(provider).chat.completions.create(**CHAT)
    finally:
        classifier.unregister(vendor)
    event = memory.events[0]
    assert (event.provider, event.cost_usd) == ("house", None)
    with pytest.raises(ConfigurationError, match="use one of"):
        aden.register_vendor("x", hosts=["h"], like="nobody")
    with pytest.raises(ConfigurationError, match="host names"):
        aden.register_vendor("x", hosts=["https://h/v1"])


IMPORT_LATER = """
import sys
from aden_transport import MeterOptions, create_memory_emitter, instrument, uninstrument
memory = create_memory_emitter()
instrument(MeterOptions(emit_metric=memory))
assert not {"httpx", "httpx2", "openai", "aiohttp"} & set(sys.modules), sorted(sys.modules)
import httpx, httpx2
assert httpx.__spec__.loader.__class__.__name__ == "SourceFileLoader", httpx.__spec__.loader
for library in (httpx, httpx2):
    mock = library.MockTransport(lambda request: library.Response(200, json={"id": "x"}))
    with library.Client(transport=mock) as c:
        c.post("https://api.openai.com/v1/chat/completions", json={"model": "gpt-4o"})
assert len(memory.events) == 2, memory.events
uninstrument()
assert httpx.Client._send_single_request.__module__ == "httpx._client"
assert httpx2.Client._send_single_request.__module__ == "httpx2._client"
print("ok")
"""


def test_libraries_imported_after_instrument_are_seen() -> None:
    run = subprocess.run([sys.executable, "-c", IMPORT_LATER], capture_output=True, text=True, check=False)
    assert (run.stdout, run.stderr) == ("ok\n", "")


AT_EXIT = """
import httpx2
from aden_transport import MeterOptions, instrument
def show(event):
    print(event.operation, event.stream, event.usage_source, flush=True)
instrument(MeterOptions(emit_metric=show))
sse = [b'data: {"id":"c","choices":[{"index":0,"delta":{"content":"some text"}}]}\\n\\n'] * 3
class Stream(httpx2.SyncByteStream):
    def __iter__(self):
        yield from sse
client = httpx2.Client(transport=httpx2.MockTransport(
    lambda r: httpx2.Response(200, headers={"content-type": "text/event-stream"}, stream=Stream())))
response = client.send(client.build_request("POST", "https://api.openai.com/v1/chat/completions",
    json={"model": "gpt-4o", "stream": True}), stream=True)
next(response.iter_raw())
"""


def test_a_stream_that_is_open_at_exit_gets_its_event() -> None:
    run = subprocess.run([sys.executable, "-c", AT_EXIT], capture_output=True, text=True, check=False)
    assert (run.stdout, run.stderr) == ("chat True estimated\n", "")


def test_a_library_without_the_method_is_left_alone(caplog: pytest.LogCaptureFixture) -> None:
    from types import SimpleNamespace

    from aden_transport.adapters._seam import Seam

    class Client:
        pass

    module = SimpleNamespace(__name__="elsewhere", Client=Client, AsyncClient=Client)
    seam = Seam(cast("Any", SimpleNamespace(module=module)))
    seam.put()
    assert not seam.in_place
    assert "not metered" in caplog.text


def test_both_libraries_get_their_own_objects_back() -> None:
    methods = [
        (c, c.__dict__["_send_single_request"]) for m in (httpx, httpx2) for c in (m.Client, m.AsyncClient)
    ]
    for _ in range(3):
        aden.instrument(MeterOptions())
        assert all(c.__dict__["_send_single_request"] is not original for c, original in methods)
        aden.uninstrument()
        assert all(c.__dict__["_send_single_request"] is original for c, original in methods)


def test_a_server_without_a_key_is_told_of(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ADEN_API_KEY", raising=False)
    aden.instrument(aden.MeterOptions())
    assert caplog.text == ""
    aden.instrument(aden.MeterOptions(server_url="https://aden.example.com"))
    assert "without a key" in caplog.text
