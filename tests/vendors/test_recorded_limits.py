"""The rate limits of recorded answers, against a reading of their headers that knows no dialect."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import pytest

from aden_transport.events import RateLimit

from .test_recordings import CALLS, RECORDINGS, REPEATED, body_of, metered

MEANT = 1 << 62
"""A count beyond it is none."""
REQUESTS, TOKENS = "requests|req|call", "tokens"
UNITS = {"d": 86400, "h": 3600, "m": 60, "s": 1, "ms": 0.001}
OTHER = ("input", "output", "usage_based", "project", "audio", "cost")
"""Words in the names of what is counted apart."""


def least(names: Mapping[str, str], figure: str, what: str) -> int | None:
    """The smallest of all counts of a kind, whatever the window; a proxy's own come first."""
    own = {name: value for name, value in names.items() if not name.startswith("llm_provider-")}
    for some in (own, names):
        found = [int(v) for n, v in some.items() if is_of(n, figure, what) and v.isdigit() and int(v) < MEANT]
        if found:
            return min(found)
    return None


def is_of(name: str, figure: str, what: str) -> bool:
    if figure not in name.split("-") or any(word in name for word in OTHER):
        return False
    bare = name in (f"x-ratelimit-{figure}", f"ratelimit-{figure}")
    return what == REQUESTS if bare else re.search(rf"\b({what})\b", name) is not None


def limits_of(recording: Mapping[str, Any]) -> dict[str, int]:
    names = recording["expected"]["rate_limit_headers"] or {}
    found = {
        "remaining_requests": least(names, "remaining", REQUESTS),
        "remaining_tokens": least(names, "remaining", TOKENS),
        "limit_requests": least(names, "limit", REQUESTS),
        "limit_tokens": least(names, "limit", TOKENS),
    }
    return {name: value for name, value in found.items() if value is not None}


LIMITED = [
    recording_id
    for recording_id in CALLS
    if recording_id not in REPEATED and limits_of(RECORDINGS[recording_id])
]


@pytest.mark.parametrize("recording_id", LIMITED)
def test_what_a_recorded_answer_leaves_is_on_the_event(recording_id: str) -> None:
    recording = RECORDINGS[recording_id]
    event = metered(recording, [body_of(recording)])
    assert event is not None
    assert event.rate_limit is not None
    wanted = limits_of(recording)
    assert {name: getattr(event.rate_limit, name) for name in wanted} == wanted


@pytest.mark.parametrize(
    "recording_id",
    [i for i in CALLS if i not in REPEATED and "retry-after" in dict(RECORDINGS[i]["response"]["headers"])],
)
def test_when_to_come_back_is_on_the_event_of_a_success_too(recording_id: str) -> None:
    recording = RECORDINGS[recording_id]
    event = metered(recording, [body_of(recording)])
    assert event is not None
    assert isinstance(event.rate_limit, RateLimit)
    assert event.rate_limit.retry_after_s == float(dict(recording["response"]["headers"])["retry-after"])


def test_resets_are_what_their_units_say() -> None:
    for recording_id in CALLS:
        names = RECORDINGS[recording_id]["expected"]["rate_limit_headers"] or {}
        reset = names.get("x-ratelimit-reset-requests", "")
        if not re.fullmatch(r"(\d+(\.\d+)?(ms|[dhms]))+", reset):
            continue
        recording = RECORDINGS[recording_id]
        event = metered(recording, [body_of(recording)])
        assert event is not None
        assert event.rate_limit is not None
        wanted = sum(float(n) * UNITS[unit] for n, unit in re.findall(r"(\d+(?:\.\d+)?)(ms|[dhms])", reset))
        assert event.rate_limit.reset_requests_s == pytest.approx(wanted)
