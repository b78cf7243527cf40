"""What an answer's headers say, and what they never do."""

from __future__ import annotations

import dataclasses

import pytest

from aden_transport.core import header_figures
from aden_transport.core.header_figures import (
    KEPT_NAMES,
    MAX_KEPT,
    MAX_KNOWN,
    AnswerHeaders,
    milliseconds,
    plain,
)
from aden_transport.vendors.anthropic import ANTHROPIC
from aden_transport.vendors.azure import AZURE
from aden_transport.vendors.gemini import GEMINI, VERTEX
from aden_transport.vendors.openai import OPENAI

from .kit import NOON, pairs


def test_only_listed_headers_are_kept() -> None:
    names = {
        "Content-Type": "application/json",
        "X-Request-Id": "r",
        "X-RateLimit-Limit-Requests": "5",
        "Set-Cookie": "secret=1",
        "Authorization": "secret",
        "X-Api-Key": "secret",
        "Server": "cloudflare",
        "Content-Encoding": "gzip",
    }
    answer = AnswerHeaders(pairs(names))
    assert (answer.content_type, answer.content_encoding) == (b"application/json", b"gzip")
    figures = answer.figures(OPENAI, NOON, None)
    assert figures["headers"] == {
        "content-type": "application/json",
        "x-request-id": "r",
        "x-ratelimit-limit-requests": "5",
    }


@pytest.mark.parametrize("names", [{}, {"Server": "x"}, {"Date": "now"}])
def test_few_headers_are_few(names: dict[str, str]) -> None:
    answer = AnswerHeaders(pairs(names))
    kept = {k.lower(): v for k, v in names.items() if k.lower().encode() in KEPT_NAMES}
    assert answer.figures(GEMINI, NOON, None)["headers"] == kept
    assert (answer.content_type, answer.content_encoding) == (b"", None)


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("X-RateLimit-Remaining-Requests-Day", True),
        ("ratelimit-remaining", True),
        ("llm_provider-x-ratelimit-limit-tokens", True),
        ("x-trial-endpoint-call-remaining", True),
        ("mistral-correlation-id", True),
        ("x-ratelimit-key", False),  # on Azure, whom the limit is for
        ("llm_provider-set-cookie", False),
        ("x-databricks-org-id", False),
        ("x-clerk-auth-message", False),
    ],
)
def test_a_vendors_own_header_is_kept_if_it_is_a_figure_or_names_the_request(name: str, kept: bool) -> None:
    headers = AnswerHeaders(pairs({name: "1"})).figures(OPENAI, NOON, None)["headers"]
    assert headers == ({name.lower(): "1"} if kept else {})


def test_of_a_header_sent_twice_the_last_counts() -> None:
    twice = [
        (b"Content-Type", b"content-type", b"text/html"),
        (b"content-type", b"content-type", b"text/plain"),
    ]
    answer = AnswerHeaders(twice)
    assert answer.content_type == b"text/plain"
    assert answer.figures(OPENAI, NOON, None)["headers"] == {"content-type": "text/plain"}


def test_each_vendor_reads_its_own() -> None:
    names = {
        "x-request-id": "x",
        "request-id": "anthropic's",
        "apim-request-id": "azure's",
        "x-goog-request-id": "google's",
        "openai-processing-ms": "12",
        "server-timing": "gfet4t7; dur=345.5",
        "x-ms-region": "Sweden Central",
        "openai-organization": "acme",
        "anthropic-organization-id": "org",
        "retry-after": "7",
    }
    answer = AnswerHeaders(pairs(names))
    found = {}
    for vendor in (OPENAI, AZURE, ANTHROPIC, GEMINI, VERTEX):
        figures = answer.figures(vendor, NOON, b"mine")
        assert figures.pop("client_request_id") == "mine"
        assert figures.pop("headers").keys() == names.keys()
        assert figures.pop("rate_limit").to_dict() == {"retry_after_s": 7}
        found[vendor.id] = figures
    assert found == {
        "openai": {"request_id": "x", "server_latency_ms": 12.0, "organization": "acme"},
        "azure": {"request_id": "azure's", "server_latency_ms": 12.0, "region": "Sweden Central"},
        "anthropic": {"request_id": "anthropic's", "organization": "org"},
        "gemini": {"request_id": "google's", "server_latency_ms": 345.5},
        "vertex": {"request_id": "google's"},
    }


def test_what_is_not_said_is_none() -> None:
    figures = AnswerHeaders(()).figures(AZURE, NOON, None)
    assert figures == {
        "headers": {},
        "request_id": None,
        "client_request_id": None,
        "rate_limit": None,
        "region": None,
    }
    assert AnswerHeaders(()).figures(ANTHROPIC, NOON, None)["organization"] is None


def test_a_vendor_without_rate_limits_has_none() -> None:
    answer = AnswerHeaders(pairs({"retry-after": "7"}))
    assert "rate_limit" not in answer.figures(dataclasses.replace(OPENAI, read_rate_limit=None), NOON, None)


def test_a_flood_of_headers_is_cut() -> None:
    names = {f"x-ratelimit-{number}": "1" for number in range(MAX_KEPT + 50)}
    assert len(AnswerHeaders(pairs(names)).figures(OPENAI, NOON, None)["headers"]) == MAX_KEPT


def test_what_is_known_of_names_is_bounded() -> None:
    for number in range(MAX_KNOWN + 10):
        AnswerHeaders(pairs({f"x-{number}": "1"}))
        assert len(header_figures._plans) <= MAX_KNOWN


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (b"plain", "plain"),
        (b"caf\xe9", "caf\xe9"),
        (b"a\r\nb\x00c\x1b[31m", "a??b?c?[31m"),
        (b"\x85\x9f", "??"),
        (b"\xa0", "\xa0"),
        (b"x" * 1000, "x" * 256),
        (b"", ""),
    ],
)
def test_values_are_text_without_control_characters(value: bytes, text: str) -> None:
    assert plain(value) == text


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (b"321", 321.0),
        (b"gfet4t7; dur=1606", 1606.0),
        (b"a;dur=0.5, b;dur=9", 0.5),
        (b"", None),
        (b"-1", None),
        (b"nan", None),
        (b"9999999999999", None),
        (b"dur=x", None),
        (b"1116.2", 1116.2),
        (b"1.5s", None),
        (b"1.5.1", None),
        (b"x" * 300 + b"dur=1", None),
    ],
)
def test_processing_time_is_milliseconds(value: bytes, wanted: float | None) -> None:
    assert milliseconds(value) == wanted
