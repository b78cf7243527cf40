"""Recorded answers of the vendors, read as their own figures say, however the bytes are cut."""

from __future__ import annotations

import base64
import contextvars
import gzip
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from inline_snapshot import snapshot

from aden_transport.core import attempts
from aden_transport.core.header_figures import AnswerHeaders
from aden_transport.core.wire import WireRequest
from aden_transport.events import MetricEvent

from ..core.kit import CLASSIFIER, OPENAI, Bench, pairs
from .documented import undocumented
from .recorded import bedrock, compatible, google, huggingface, openai, own_formats

FOLDER = Path(__file__).parents[3] / "shared" / "traffic"
"""Beside the repository; none of it is part of it."""
FAMILIES = (openai, google, compatible, own_formats, huggingface, bedrock)
PROVIDERS = tuple(provider for family in FAMILIES for provider in family.PROVIDERS)
ANSWER_HEADERS = ("content-encoding", "content-length", "transfer-encoding")
SMALL = 4096
"""A body of fewer bytes is fed byte by byte, too."""


def of_all_families(name: str) -> dict[str, Any]:
    return {key: value for family in FAMILIES for key, value in getattr(family, name, {}).items()}


LISTED: Mapping[str, Mapping[str, str]] = of_all_families("LISTED")
REPEATED: Mapping[str, str] = of_all_families("REPEATED")
ADJUST: Mapping[str, Callable[[Mapping[str, Any], dict[str, int]], None]] = of_all_families("ADJUST")
NO_USE = {
    (provider, api): reason
    for family in FAMILIES
    for provider in family.PROVIDERS
    for api, reason in getattr(family, "NO_USE", {}).items()
}


def recordings() -> Iterator[dict[str, Any]]:
    for provider in PROVIDERS:
        for path in sorted(FOLDER.glob(f"{provider}.*.json")):
            recording = json.loads(path.read_bytes())
            if recording["provenance"].startswith("recorded"):
                yield recording


RECORDINGS = {recording["id"]: recording for recording in recordings()}
if not RECORDINGS:
    pytest.skip("no recorded traffic beside the repository", allow_module_level=True)


def request_of(recording: Mapping[str, Any]) -> WireRequest:
    """The request as recorded; gateways on unknown hosts speak OpenAI's format and stand for OpenAI here."""
    request = recording["request"]
    url = urlsplit(request["url"])
    host = OPENAI if recording["provider"] == "openai-compatible" else url.netloc
    target = f"{url.path}?{url.query}" if url.query else url.path
    headers = dict(request["headers"])
    body = request.get("body")
    raw = base64.b64decode(request["body_base64"]) if "body_base64" in request else (body or "").encode()
    form = form_of(raw) if "multipart" in str(headers).lower() else None
    return WireRequest(
        request["method"], host, target.encode(), pairs(headers), None if form is not None else raw, form
    )


def form_of(raw: bytes) -> dict[str, str]:
    found = re.findall(rb'name="([^"]+)"\r?\n(?:[\w-]+:[^\r\n]*\r?\n)*\r?\n([^\r\n]*)', raw)
    return {name.decode(): value.decode("utf-8", "replace") for name, value in found}


def body_of(recording: Mapping[str, Any]) -> bytes:
    response = recording["response"]
    if "body_base64" in response:
        return base64.b64decode(response["body_base64"])
    return (response.get("body_text") or "").encode()


def cuts_of(body: bytes) -> Iterator[tuple[str, Sequence[bytes]]]:
    yield "whole", [body]
    yield "by event", re.split(rb"(?<=\n\n)|(?<=\r\n\r\n)", body)
    yield "seven bytes", [body[at : at + 7] for at in range(0, len(body), 7)]
    if len(body) < SMALL:
        yield "byte by byte", [body[at : at + 1] for at in range(len(body))]


def metered(
    recording: Mapping[str, Any], pieces: Sequence[bytes], encoding: str | None = None
) -> MetricEvent | None:
    """The event of a recorded call; in a context of its own, so that none is another's repetition."""
    return contextvars.copy_context().run(_metered, recording, pieces, encoding)


def _metered(
    recording: Mapping[str, Any], pieces: Sequence[bytes], encoding: str | None
) -> MetricEvent | None:
    attempts.forget()
    bench = Bench(stream_usage=False)
    request = request_of(recording)
    if CLASSIFIER.classify(request) is None:
        return None
    exchange = bench.sent(request)
    response = recording["response"]
    kept = {name: value for name, value in response["headers"] if name.lower() not in ANSWER_HEADERS}
    if encoding is not None:
        kept["content-encoding"] = encoding
    exchange.receive_response(response["status"], AnswerHeaders(pairs(kept)))
    for piece in pieces:
        exchange.feed(piece)
    exchange.receive_eof()
    return bench.event if bench.events else None


TOKENS = (
    "cached_tokens",
    "reasoning_tokens",
    "cache_write_tokens",
    "audio_input_tokens",
    "audio_output_tokens",
    "image_input_tokens",
    "image_output_tokens",
    "accepted_prediction_tokens",
    "rejected_prediction_tokens",
)
"""Counts that mean the same in a recording's figures and in ours."""


def in_our_convention(recording: Mapping[str, Any]) -> dict[str, Any]:
    """What a recording says, as an event has to say it."""
    expected = recording["expected"]
    error = expected["error"]
    found = {
        "response_model": expected["model_answered"],
        "response_id": expected["response_id"],
        "request_model": expected["model_requested"],
        "finish_reasons": expected["finish_reasons"],
        "tools": expected["tool_call_names"],
        "service_tier": expected["service_tier"],
        "request_id": expected["request_id"],
        "stream": bool(expected["stream"]),
        "failed": error is not None,
        "error_code": None if error is None else error["code"] and str(error["code"]),
        "reported": expected["usage_raw"] is not None,
    }
    if found["reported"]:
        found |= usage_in_our_convention(recording["provider"], expected)
    return found


def usage_in_our_convention(provider: str, expected: Mapping[str, Any]) -> dict[str, int]:
    """`input_tokens` includes the cache, `output_tokens` includes reasoning."""
    figures = {name: expected[name] or 0 for name in TOKENS}
    figures["cache_write_1h_tokens"] = expected["cache_write_1h"] or 0
    figures |= {name: expected[name] or 0 for name in ("input_tokens", "output_tokens")}
    if provider in ADJUST:
        ADJUST[provider](expected, figures)
    return figures


def told(event: MetricEvent) -> dict[str, Any]:
    """The same of an event."""
    usage = event.usage
    found: dict[str, Any] = {
        "response_model": event.response_model,
        "response_id": event.response_id,
        "request_model": event.request_model,
        "finish_reasons": list(event.finish_reasons),
        "tools": [tool.name for tool in event.tool_calls or ()],
        "service_tier": event.service_tier,
        "request_id": event.request_id,
        "stream": event.stream,
        "failed": event.error is not None,
        "error_code": event.error_code,
        "reported": event.usage_source == "reported",
    }
    if found["reported"] and usage is not None:
        names = (*TOKENS, "cache_write_1h_tokens", "input_tokens", "output_tokens")
        found |= {name: getattr(usage, name) for name in names}
    return found


def differences(recording: Mapping[str, Any], event: MetricEvent) -> set[str]:
    """What an event says otherwise than the recording's figures; counts only where both have them."""
    found, wanted = told(event), in_our_convention(recording)
    return {name for name in found.keys() & wanted.keys() if found[name] != wanted[name]}


def reasons_for(recording_id: str) -> Mapping[str, str]:
    return {
        k: v
        for pattern, fields in LISTED.items()
        if fnmatch(recording_id, pattern)
        for k, v in fields.items()
    }


CALLS = [
    recording_id
    for recording_id, recording in RECORDINGS.items()
    if (recording["provider"], recording["api"]) not in NO_USE
]


def without_times(event: MetricEvent) -> dict[str, Any]:
    found = event.to_dict()
    for name in ("latency_ms", "time_to_first_chunk_ms"):
        found.pop(name, None)
    return found


def nearly_equal(told: dict[str, Any], as_whole: dict[str, Any]) -> bool:
    """Whether two estimates are within 5 %; takes them out. Of a long stream, what is kept to infer the
    rest from depends on where it was cut."""
    costs = [event.pop("cost_usd", None) for event in (told, as_whole)]
    for event in (told, as_whole):
        event.pop("cost_nano_usd", None)
    tokens = [event.pop("usage")["output_tokens"] for event in (told, as_whole)]
    return abs(tokens[0] - tokens[1]) <= 0.05 * tokens[1] and (costs[0] is None) == (costs[1] is None)


@pytest.mark.parametrize(
    "recording_id", [recording_id for recording_id in CALLS if recording_id not in REPEATED]
)
def test_a_recorded_answer_is_read_as_its_figures_say(recording_id: str) -> None:
    recording = RECORDINGS[recording_id]
    event = metered(recording, [body_of(recording)])
    assert event is not None
    assert differences(recording, event) <= reasons_for(recording_id).keys()
    if recording["expected"]["error"] is not None:
        assert event.error is not None
        assert event.error_type is not None
        message = recording["expected"]["error"]["message"]
        assert event.error[:40] == (message[:40] if message else f"HTTP {event.status_code}")
    assert "body.malformed" not in event.faults
    assert "stream.truncated" not in event.faults
    assert undocumented(event) == {}


@pytest.mark.parametrize("recording_id", CALLS)
def test_a_recorded_answer_is_read_alike_however_it_is_cut_and_encoded(recording_id: str) -> None:
    recording = RECORDINGS[recording_id]
    body = body_of(recording)
    whole = metered(recording, [body])
    packed = gzip.compress(body, mtime=0)
    for name, pieces, encoding in (
        *((name, pieces, None) for name, pieces in cuts_of(body)),
        ("gzip", [packed], "gzip"),
        ("gzip in pieces", [packed[at : at + 97] for at in range(0, len(packed), 97)], "gzip"),
    ):
        event = metered(recording, pieces, encoding)
        assert (event is None) == (whole is None), name
        if event is not None and whole is not None:
            told, as_whole = without_times(event), without_times(whole)
            if event.usage_source == "estimated":
                assert nearly_equal(told, as_whole), name
            assert told == as_whole, name


@pytest.mark.parametrize("recording_id", REPEATED)
def test_a_recorded_poll_before_the_end_is_no_event(recording_id: str) -> None:
    assert metered(RECORDINGS[recording_id], [body_of(RECORDINGS[recording_id])]) is None


def test_what_is_recorded_of_other_apis_is_no_metered_call() -> None:
    others = [
        recording for recording in RECORDINGS.values() if (recording["provider"], recording["api"]) in NO_USE
    ]
    assert {r["id"] for r in others if CLASSIFIER.classify(request_of(r)) is not None} == set()
    named = {api for _, api in NO_USE}
    assert {r["api"] for r in others} == named


def test_every_disagreement_that_is_listed_is_one_and_all_recordings_are_counted() -> None:
    seen: set[tuple[str, str]] = set()
    agreed = 0
    for recording_id in CALLS:
        recording = RECORDINGS[recording_id]
        event = metered(recording, [body_of(recording)])
        if event is None:
            continue
        differing = differences(recording, event)
        agreed += not differing
        seen |= {
            (pattern, name)
            for pattern, fields in LISTED.items()
            if fnmatch(recording_id, pattern)
            for name in differing & fields.keys()
        }
    assert seen == {(pattern, name) for pattern, fields in LISTED.items() for name in fields}
    counts = {
        "recordings": len(RECORDINGS),
        "calls": len(CALLS),
        "agreed": agreed,
        "listed": len(CALLS) - agreed,
    }
    assert counts == snapshot({"recordings": 687, "calls": 616, "agreed": 498, "listed": 118})
