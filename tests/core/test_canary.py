"""No credential and no prompt in an event, its representation or a log, whatever vendor and shape."""

from __future__ import annotations

import json
import logging

import pytest

from aden_transport.core.header_figures import AnswerHeaders
from aden_transport.core.redact import SECRET_HEADERS, SECRET_PARAMETERS
from aden_transport.events import MetricEvent
from aden_transport.vendors import VENDORS, Vendor

from .kit import CHAT, CLASSIFIER, EVENT_STREAM, JSON, Bench, pairs, sse, wire

PROMPT, ANSWER = "PROMPT-canary-7d1f", "ANSWER-canary-93ab"
TAIL = "cAnArY0123456789abcdef"
KEYS = {
    "openai": f"sk-proj-{TAIL}",
    "anthropic": f"sk-ant-api03-{TAIL}",
    "openrouter": f"sk-or-v1-{TAIL}",
    "groq": f"gsk_{TAIL}",
    "xai": f"xai-{TAIL}",
    "gemini": f"AIzaSy{TAIL}",
    "huggingface": f"hf_{TAIL}",
    "perplexity": f"pplx-{TAIL}",
    "cerebras": f"csk-{TAIL}",
    "fireworks": f"fw_{TAIL}",
    "replicate": f"r8_{TAIL}",
    "nvidia": f"nvapi-{TAIL}",
    "together": f"tgp_v1_{TAIL}",
    "aws": "AKIA" + TAIL.upper(),
    "aws session": "ASIA" + TAIL.upper(),
    "no shape of its own": TAIL,
}
IN_ANSWERS = (
    "set-cookie",
    "authorization",
    "x-api-key",
    "cookie",
    "x-amz-security-token",
    "www-authenticate",
)
PATHS = {"gemini": "/v1beta/models/m:generateContent", "anthropic": "/v1/messages"}


def everything(event: MetricEvent, log: str) -> str:
    return "\n".join(
        (json.dumps(event.to_dict(), default=str), repr(event), str(event), repr(event.usage), log)
    )


def chat_path(vendor: Vendor, host: str) -> str | None:
    """A path on the vendor's host that is a call."""
    paths = (
        *(path for id, path in PATHS.items() if id == vendor.id),
        *(CHAT, "/v1/chat", "/v2/chat", "/api/chat", "/v1/embeddings", "/serving-endpoints/chat/completions"),
        *("/api/v2/cortex/v1/chat/completions", "/ai/v1/chat/completions", "/api/v3/chat/completions"),
        *("/model/m/converse", "/v1/projects/p/locations/l/publishers/google/models/m:generateContent"),
    )
    return next((p for p in paths if CLASSIFIER.classify(wire({}, p, host=host)) is not None), None)


def hosts() -> list[tuple[str, str]]:
    found = []
    for vendor in VENDORS:
        host = next(iter((*vendor.hosts, *("x" + suffix for suffix in vendor.host_suffixes))), None)
        path = None if host is None else chat_path(vendor, host)
        if host is not None and path is not None:
            found.append((host, path))
    return found


HOSTS = hosts()
SECRET = {name.decode(): f"{name.decode()}-{TAIL}" for name in SECRET_HEADERS}


def test_there_are_the_hosts_of_most_vendors() -> None:
    assert len(HOSTS) > 0.8 * len(VENDORS)


@pytest.mark.parametrize(("host", "path"), HOSTS, ids=[host for host, _ in HOSTS])
@pytest.mark.parametrize("status", [200, 401])
def test_no_header_and_no_body_of_a_call_is_in_its_event(
    host: str, path: str, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    query = "&".join(f"{name}={name}{TAIL}" for name in sorted(SECRET_PARAMETERS))
    body = {
        "model": "m",
        "messages": [{"role": "user", "content": PROMPT}],
        "input": PROMPT,
        "prompt": PROMPT,
    }
    request = wire(body, f"{path}?{query}", host=host, names=SECRET)
    said = " ".join((*SECRET.values(), *(f"{name}{TAIL}" for name in SECRET_PARAMETERS)))
    answer = {
        "id": "c",
        "choices": [{"message": {"role": "assistant", "content": ANSWER}, "finish_reason": "stop"}],
        "error": {"message": f"refused: {said}", "type": "authentication_error"} if status >= 400 else None,
    }
    names = {"content-type": JSON, **{name: f"{name}={TAIL}" for name in IN_ANSWERS}}
    event = Bench().answered(request, answer, status, AnswerHeaders(pairs(names)))
    told = everything(event, caplog.text)
    assert (event.error is not None) == (status >= 400)
    for secret in (TAIL, PROMPT, ANSWER):
        assert secret not in told


@pytest.mark.parametrize("key", KEYS.values(), ids=KEYS.keys())
@pytest.mark.parametrize(
    "shape",
    [
        '{"error": {"message": "Incorrect API key provided: %s. See docs", "code": "invalid_api_key"}}',
        '{"error": "Incorrect API key provided: %s."}',
        '{"message": "invalid token \'%s\'"}',
        '{"detail": "Unauthorized (%s)"}',
        '{"detail": [{"loc": ["header"], "msg": "bad %s"}]}',
        '{"errors": [{"code": 10000, "message": "Authentication error: %s"}]}',
        '[{"error": {"code": 400, "message": "API key not valid: %s", "status": "INVALID_ARGUMENT"}}]',
    ],
)
def test_a_key_that_the_vendor_quotes_is_not_in_the_event(
    key: str, shape: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    for host, path, sent in (
        ("api.openai.com", CHAT, {"authorization": f"Bearer {key}"}),
        ("api.anthropic.com", "/v1/messages", {"x-api-key": key}),
        ("generativelanguage.googleapis.com", f"{PATHS['gemini']}?key={key}", {}),
    ):
        request = wire({"model": "m"}, path, host=host, names=sent)
        event = Bench().answered(request, (shape % key).encode(), 401)
        assert event.error is not None
        assert "[redacted]" in event.error
        assert key not in everything(event, caplog.text)


@pytest.mark.parametrize("key", [key for name, key in KEYS.items() if name != "no shape of its own"])
def test_a_key_that_was_not_the_requests_own_is_known_by_its_shape(key: str) -> None:
    """A gateway's own, for the vendor behind it."""
    answer = {"error": {"message": f"upstream refused {key}, which has expired"}}
    event = Bench().answered(wire({"model": "m"}), answer, 500)
    assert event.error == "upstream refused [redacted], which has expired"


def test_a_key_in_an_error_of_a_stream_or_an_exception_is_not_in_the_event(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    key = KEYS["groq"]
    request = wire({"model": "m", "stream": True}, names={"authorization": f"Bearer {key}"})
    stream = sse({"error": {"message": f"no {key}", "code": "invalid_api_key"}})
    names = AnswerHeaders(pairs({"content-type": EVENT_STREAM, "set-cookie": key}))
    event = Bench().answered(request, stream, 200, names)
    assert (event.error, event.error_type) == ("no [redacted]", "authentication_error")
    bench = Bench()
    bench.sent(request).fail(OSError(f"cannot reach https://h/x?key={key}"))
    for found in (event, bench.event):
        assert TAIL not in everything(found, caplog.text)
