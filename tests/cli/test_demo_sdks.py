"""The demo where SDKs are missing or cannot be used."""

from __future__ import annotations

import pytest

from .support import MODULES, Finished, run

DISTRIBUTIONS = {"openai": "openai", "anthropic": "anthropic", "gemini": "google-genai"}
SAME = (
    "provider",
    "operation",
    "request_model",
    "response_model",
    "stream",
    "status_code",
    "error_type",
    "usage",
)


def note(vendor: str) -> str:
    return (
        f"{DISTRIBUTIONS[vendor]} is not installed: driven with httpx2 in its dialect; "
        f"pip install 'aden-transport[{vendor}]'"
    )


def test_a_missing_sdk_is_named_and_httpx2_makes_its_calls(without_one: tuple[str, Finished]) -> None:
    vendor, done = without_one
    assert (done.code, done.stderr) == (0, "")
    assert done.summary["notes"] == [note(vendor)]
    drivers = dict(zip(MODULES, done.summary["drivers"], strict=True))
    assert drivers.pop(vendor) == "httpx2"
    assert "httpx2" not in drivers.values()


def test_a_missing_sdk_changes_no_figure(without_one: tuple[str, Finished], documents: Finished) -> None:
    _, done = without_one
    for with_http, with_sdk in zip(done.events, documents.events, strict=True):
        # What an abandoned stream is estimated at depends on how much had arrived.
        names = [name for name in SAME if (name, with_sdk["scenario"]) != ("usage", "abandoned")]
        assert {n: with_http.get(n) for n in names} == {n: with_sdk.get(n) for n in names}


@pytest.mark.parametrize("vendor", MODULES)
def test_without_any_sdk_each_is_named(vendor: str, bare: Finished) -> None:
    assert bare.words.count(note(vendor)) == 1
    assert "22 of 22 scenarios went as promised" in bare.words


def test_an_sdk_that_cannot_be_used_is_named_with_the_reason() -> None:
    # openai is there, but what it needs is not.
    done = run("demo", "--json", hidden=["openai.resources", "anthropic", "google.genai"])
    assert (done.code, done.stderr) == (0, "")
    assert done.summary["notes"][0].startswith("openai cannot be used here (ModuleNotFoundError: No module")
    assert done.summary["drivers"] == ["httpx2"] * 3


def test_an_sdk_before_the_responses_api_is_helped_out() -> None:
    before = "import openai; del openai.OpenAI.responses"
    done = run("demo", "--json", hidden=["anthropic", "google.genai"], before=before)
    assert (done.code, done.stderr) == (0, "")
    assert done.summary["drivers"][0].startswith("openai ")
    assert "does not know the Responses API: driven with httpx2" in done.summary["notes"][0]
    assert done.summary["ok"] is True
