"""`aden-transport doctor`: what is installed, what is seen of it, and what to type."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from aden_transport import InstrumentResult, __version__
from aden_transport.cli.doctor import libraries, live, sdks, surroundings
from aden_transport.cli.doctor.examination import _fenced
from aden_transport.cli.doctor.findings import Finding
from aden_transport.pricing.snapshot import bundled

from .programs import Place
from .support import SECRETS, Finished, run


@pytest.fixture(scope="module")
def report() -> Finished:
    return run("doctor", "--json")


def document(done: Finished) -> Mapping[str, Any]:
    found: Mapping[str, Any] = json.loads(done.stdout)
    return found


def of(done: Finished, section: str) -> dict[str, Mapping[str, Any]]:
    """The findings of a section, by name without its version."""
    findings = document(done)["findings"]
    return {f["name"].partition(" ")[0]: f for f in findings if f["section"] == section}


def install(
    place: Place, name: str, version: str, *, requires: tuple[str, ...] = (), module: str = ""
) -> None:
    """A distribution as pip would leave it, in the place's directory."""
    lines = [f"Name: {name}", f"Version: {version}", *(f"Requires-Dist: {line}" for line in requires)]
    place.write(f"{name.replace('-', '_')}-{version}.dist-info/METADATA", "\n".join(lines) + "\n")
    if module:
        place.write(f"{module.replace('.', '/')}/__init__.py", "raise ImportError('not to be imported')")


def doctor(place: Place, *words: str, **more: str) -> Finished:
    return run("doctor", *words, **{"PYTHONPATH": place.variables()["PYTHONPATH"], **more})


# -- this environment -----------------------------------------------------------------------------


def test_all_is_well_here(report: Finished) -> None:
    assert (report.code, report.stderr, document(report)["ok"]) == (0, "", True)
    assert document(report)["version"] == __version__


def test_every_installed_sdk_is_there_with_its_library(report: Finished) -> None:
    found = of(report, "SDKs")
    for name in ("openai", "anthropic", "google-genai"):
        assert found[name]["level"] == "ok"
        assert found[name]["facts"]["seen"] is True
        assert found[name]["facts"]["http_library"] in ("httpx", "httpx2")


def test_every_library_has_the_names_that_we_rely_on(report: Finished) -> None:
    found = of(report, "HTTP libraries")
    assert {name: f["level"] for name, f in found.items()} == {"httpx": "ok", "httpx2": "ok", "aiohttp": "ok"}


def test_a_call_of_each_kind_is_one_event_and_everything_is_put_back(report: Finished) -> None:
    names = [f["name"] for f in document(report)["findings"] if f["section"] == live.SECTION]
    levels = [f["level"] for f in document(report)["findings"] if f["section"] == live.SECTION]
    assert names == [
        "httpx, sync",
        "httpx, async",
        "httpx2, sync",
        "httpx2, async",
        "aiohttp, async",
        "uninstrument()",
    ]
    assert levels == ["ok"] * 6


def test_the_text_says_the_same_without_colour_in_a_pipe(report: Finished) -> None:
    done = run("doctor", COLUMNS="200")
    assert (done.code, done.stderr) == (0, "")
    assert "\x1b" not in done.stdout
    for finding in document(report)["findings"]:
        assert f"{finding['name']}: " in done.stdout
    assert "All is well" in done.lines[-1]


def test_sdks_are_not_imported() -> None:
    before = (
        "import atexit\n"
        "bad = ('openai', 'anthropic', 'google.genai')\n"
        "atexit.register(lambda: print('imported:', [m for m in bad if m in sys.modules]))"
    )
    assert run("doctor", before=before).lines[-1] == "imported: []"


def test_no_value_of_the_environment_is_shown() -> None:
    secret = SECRETS[0]
    done = run(
        "doctor", ADEN_API_KEY=secret, HTTPS_PROXY=f"http://me:{secret}@198.51.100.7:9", OPENAI_API_KEY=secret
    )
    assert done.code == 0
    assert secret not in done.stdout + done.stderr
    assert "ADEN_API_KEY: is not read" in done.words
    assert "HTTPS_PROXY: calls that pass through a proxy are metered" in done.words


def test_run_itself_is_no_obstacle(place: Place) -> None:
    done = place.run("--log", "log", "-m", "aden_transport", "doctor", "--json")
    assert (done.code, document(done)["ok"]) == (0, True)
    assert of(done, "Log")[str(place.log)]["level"] == "ok"
    assert not place.log.exists()


# -- what is not metered --------------------------------------------------------------------------

NOT_SEEN = [
    ("huggingface-hub", "0.36.0", "huggingface_hub", ("requests",), "requests", "'huggingface_hub>=1'"),
    ("together", "1.5.0", "together", ("requests", "aiohttp"), "requests", "'together>=3'"),
    ("google-generativeai", "0.8.6", "google.generativeai", ("google-api-core",), "gRPC", "google-genai"),
]


@pytest.mark.parametrize(
    ("name", "version", "module", "requires", "library", "upgrade"),
    NOT_SEEN,
    ids=[row[0] for row in NOT_SEEN],
)
def test_an_sdk_that_is_not_seen_is_exit_code_1_and_what_to_type(
    place: Place,
    name: str,
    version: str,
    module: str,
    requires: tuple[str, ...],
    library: str,
    upgrade: str,
) -> None:
    install(place, name, version, requires=requires, module=module)
    done = doctor(place, "--json")
    found = of(done, "SDKs")[name]
    assert (done.code, found["level"], found["facts"]["http_library"]) == (1, "fault", library)
    assert found["next"] == f"pip install --upgrade {upgrade}"
    text = doctor(place, COLUMNS="200")
    assert text.code == 1
    assert f"Not all is metered: {name} {version}" in text.stdout
    assert text.lines[-1] == f"  pip install --upgrade {upgrade}"


def test_what_has_many_purposes_is_a_warning(place: Place) -> None:
    install(place, "boto3", "1.40.0", requires=("botocore",), module="boto3")
    done = doctor(place, "--json")
    assert (done.code, of(done, "SDKs")["boto3"]["level"]) == (0, "warning")


def test_frameworks_are_told_by_what_they_send_through(place: Place) -> None:
    install(place, "langchain-openai", "99.0", requires=("openai<4", "tiktoken"))
    install(place, "langchain-google-vertexai", "2.0", requires=("google-cloud-aiplatform",))
    install(place, "dspy", "3.4.1", requires=("openai",))
    install(place, "instructor", "1.2", requires=("tenacity",))
    done = doctor(place, "--json")
    found = of(done, "Frameworks")
    assert (found["langchain-openai"]["level"], found["langchain-openai"]["text"]) == (
        "ok",
        "sends through openai",
    )
    assert found["langchain-google-vertexai"]["level"] == "warning"
    assert (found["dspy"]["level"], found["dspy"]["next"]) == ("fault", "dspy.LM(…, engine='litellm')")
    assert found["instructor"]["text"] == "sends through the SDKs above"
    assert done.code == 1


def test_without_any_sdk_it_says_what_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sdks, "version_of", lambda name: None)
    monkeypatch.setattr(InstrumentResult, "details", {})
    assert [f.name for f in sdks.sdks()] == ["none"]


@pytest.mark.parametrize(
    ("missing", "level"),
    [("_request", "fault"), ("_build_url", "fault"), ("nothing", "ok")],
)
def test_a_library_without_a_name_that_we_need_is_a_fault(missing: str, level: str) -> None:
    session = type("ClientSession", (), {n: 1 for n in ("_request", "_build_url") if n != missing})
    reader = type("StreamReader", (), {"_read_nowait_chunk": 1})
    sys.modules["fakehttp"] = module = type(sys)("fakehttp")
    module.__dict__.update(ClientSession=session, StreamReader=reader)
    try:
        found = libraries._library("fakehttp", "1.0", libraries.AIOHTTP)
    finally:
        del sys.modules["fakehttp"]
    assert found.level == level
    assert (found.next is None) == (level == "ok")


def test_a_library_without_a_name_that_only_helps_is_a_warning() -> None:
    names = {**libraries.HTTPX, "Gone._away": (lambda module: module.Gone, "some µs more")}
    found = libraries._library("httpx", "9.0", names)
    assert (found.level, found.text) == ("warning", "has no Gone._away: some µs more")


@pytest.mark.parametrize(
    ("events", "complaint"),
    [
        ([], "makes 0 events, not one"),
        ([1, 2], "makes 2 events, not one"),
    ],
)
def test_a_call_that_is_not_one_event_is_a_fault(events: list[Any], complaint: str) -> None:
    assert live._complaint(events) == complaint


def test_a_call_that_fails_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    import httpx2

    def broken(self: Any, request: Any) -> Any:
        raise AttributeError("changed")

    monkeypatch.setattr(httpx2.Client, "_send_single_request", broken)
    found = {finding.name: finding for finding in live.live()}
    assert found["httpx2, sync"].level == "fault"
    assert "AttributeError: changed" in found["httpx2, sync"].text
    assert found["httpx2, async"].level == "ok"


def test_a_patch_of_another_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import httpx

    def send(client: Any, request: Any) -> Any: ...

    monkeypatch.setattr(httpx.Client, "send", send)
    (found,) = [finding for finding in surroundings.conflicts() if finding.name == "httpx"]
    assert found.text == f"Client.send patched by {__name__}; the calls above went through that as well"


# -- surroundings ---------------------------------------------------------------------------------


def test_old_prices_are_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [f.level for f in surroundings.prices()] == ["ok" if _is_fresh() else "warning"]
    monkeypatch.setattr(bundled(), "as_of", "2024-01-01")
    (found,) = surroundings.prices()
    assert (found.level, found.next) == ("warning", "pip install --upgrade aden-transport")


def _is_fresh() -> bool:
    (found,) = surroundings.prices()
    return bool(found.facts["age_days"] <= surroundings.OLD_DAYS)


def test_a_log_directory_is_tried_and_left_as_it_was(tmp_path: Path) -> None:
    new = tmp_path / "new"
    (found,) = surroundings.log(str(new))
    assert (found.level, new.exists()) == ("ok", False)
    (found,) = surroundings.log(str(tmp_path))
    assert (found.level, list(tmp_path.iterdir())) == ("ok", [])


def test_a_log_directory_that_everybody_may_write_to_is_a_fault(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    done = run("doctor", "--json", "--log", str(tmp_path))
    found = of(done, "Log")[str(tmp_path)]
    assert (done.code, found["level"]) == (1, "fault")
    assert "everybody may write to it" in found["text"]
    assert found["next"].startswith("aden-transport run --log ")


def test_uwsgi_without_threads_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "uWSGI" not in [f.name for f in surroundings.workers()]
    monkeypatch.setenv("UWSGI_MASTER", "1")
    found = {f.name: f for f in surroundings.workers()}["uWSGI"]
    assert (found.level, found.next) == ("warning", "uwsgi --enable-threads …")
    monkeypatch.setenv("UWSGI_ENABLE_THREADS", "true")
    assert {f.name: f for f in surroundings.workers()}["uWSGI"].level == "ok"


def test_a_log_level_that_does_not_exist_is_a_fault() -> None:
    done = run("doctor", "--json", ADEN_LOG_LEVEL="loud")
    found = of(done, "Environment")["ADEN_LOG_LEVEL"]
    assert (done.code, found["next"]) == (1, "unset ADEN_LOG_LEVEL")


def test_a_start_up_hook_that_cannot_run_is_a_fault(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (found,) = surroundings.start_up()
    assert found.level == "ok"
    script = tmp_path / "python"
    script.write_text(f'#!/bin/sh\nexec {sys.executable} -I "$@"\n')
    script.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(script))
    (found,) = surroundings.start_up()
    assert found.level == "fault"


def test_a_part_that_fails_is_a_finding() -> None:
    def broken() -> Any:
        yield Finding("Part", "a", "ok", "fine")
        raise OSError(os.strerror(5))

    first, second = _fenced("Part", broken)
    assert (first.level, second.level) == ("ok", "fault")
    assert second.text == "cannot be examined: OSError: Input/output error"
