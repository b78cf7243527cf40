"""The eleven error types."""

from __future__ import annotations

from typing import Any, get_args

import pytest

from aden_transport.core.error_types import (
    BY_CODE,
    BY_KIND,
    BY_STATUS,
    BY_WORD,
    NEVER_SENT,
    error_type,
    transport_error_type,
    was_sent,
)
from aden_transport.events import ErrorType

from .kit import CHAT, GENERATE, Bench, headers, wire

ELEVEN = set(get_args(ErrorType))


@pytest.mark.parametrize(
    ("status", "code", "kind", "message", "wanted"),
    [
        (None, None, None, None, None),
        (200, None, None, None, None),
        (200, "", "", "", None),
        *[(status, None, None, "no", wanted) for status, wanted in BY_STATUS.items()],
        (418, None, None, None, "invalid_request_error"),
        (500, None, None, None, "server_error"),
        (502, None, None, "bad gateway", "server_error"),
        (400, "context_length_exceeded", "invalid_request_error", "too long", "context_length_exceeded"),
        (400, None, "invalid_request_error", "prompt is too long: 9 > 8 maximum", "context_length_exceeded"),
        (400, None, None, "This model's maximum context length is 8", "context_length_exceeded"),
        (400, None, None, "exceeds the context window", "context_length_exceeded"),
        (400, "content_filter", None, "filtered", "content_filter_error"),
        (400, "content_policy_violation", None, "", "content_filter_error"),
        (400, None, None, "Azure OpenAI's content management policy", "content_filter_error"),
        (429, "insufficient_quota", None, "You exceeded your current quota", "insufficient_quota"),
        (429, "rate_limit_exceeded", None, "slow down", "rate_limit_error"),
        (400, None, None, "Your credit balance is too low", "insufficient_quota"),
        (403, "billing_hard_limit_reached", None, "", "insufficient_quota"),
        (500, None, "overloaded_error", "Overloaded", "service_unavailable"),
        (200, None, "overloaded_error", "Overloaded", "service_unavailable"),
        (200, "rate_limit_exceeded", None, "slow", "rate_limit_error"),
        (200, None, "api_error", "", "server_error"),
        (200, "odd", "authentication_error", "", "authentication_error"),
        (None, None, "not_found_error", None, "not_found_error"),
        (200, None, None, "something broke", "server_error"),
        *[(200, None, kind, None, wanted) for kind, wanted in BY_KIND.items()],
        *[(400, code, None, "no", wanted) for code, wanted in BY_CODE.items()],
        *[(None, None, kind.upper(), "no", wanted) for kind, wanted in BY_CODE.items()],
        *[(200, "429", None, "slow", "rate_limit_error"), (200, "502", None, "gateway", "server_error")],
        *[
            (200, "1300", None, "slow", "server_error"),
            (200, "0", None, "odd", "server_error"),
            (200, "\u2474\u00b9\u00b2", None, "odd", "server_error"),
        ],
        (400, None, "com.amazon.coral.service#ThrottlingException", "Too many", "rate_limit_error"),
        (400, "AccessDeniedException:http://internal.amazon.com/", None, "no", "permission_error"),
    ],
)
def test_an_error_has_one_of_the_eleven_types(
    status: int | None, code: str | None, kind: str | None, message: str | None, wanted: str | None
) -> None:
    assert error_type(status, code, kind, message) == wanted


def test_the_types_are_the_eleven() -> None:
    found = {*BY_CODE.values(), *BY_KIND.values(), *BY_STATUS.values(), *(kind for _, kind in BY_WORD)}
    assert found == ELEVEN
    assert all(name == name.lower() for name in (*BY_CODE, *BY_KIND, *(word for word, _ in BY_WORD)))


CONVERSE = "/model/m/converse"
HOSTS = {
    "openai": ("api.openai.com", CHAT),
    "azure": ("r.openai.azure.com", "/openai/deployments/d/chat/completions"),
    "anthropic": ("api.anthropic.com", "/v1/messages"),
    "gemini": ("generativelanguage.googleapis.com", GENERATE),
    "mistral": ("api.mistral.ai", CHAT),
    "cohere": ("api.cohere.com", "/v2/chat"),
    "bedrock": ("bedrock-runtime.us-east-1.amazonaws.com", CONVERSE),
    "huggingface": ("router.huggingface.co", CHAT),
    "ollama": ("localhost:11434", "/api/chat"),
    "groq": ("api.groq.com", "/openai/v1/chat/completions"),
    "deepseek": ("api.deepseek.com", "/chat/completions"),
    "xai": ("api.x.ai", CHAT),
    "openrouter": ("openrouter.ai", "/api/v1/chat/completions"),
    "perplexity": ("api.perplexity.ai", "/chat/completions"),
    "together": ("api.together.xyz", CHAT),
    "cloudflare": ("api.cloudflare.com", "/client/v4/accounts/a/ai/v1/chat/completions"),
    "vllm": ("gpu.example.com", CHAT),
}


def oai(message: str, code: Any = None, kind: str | None = None) -> dict[str, Any]:
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


@pytest.mark.parametrize(
    ("vendor", "status", "body", "wanted"),
    [
        ("openai", 401, oai("Incorrect API key provided", "invalid_api_key"), "authentication_error"),
        ("openai", 429, oai("Rate limit reached", "rate_limit_exceeded", "tokens"), "rate_limit_error"),
        (
            "openai",
            429,
            oai("exceeded your current quota, check billing", "insufficient_quota"),
            "insufficient_quota",
        ),
        (
            "openai",
            400,
            oai("maximum context length is 8192", "context_length_exceeded"),
            "context_length_exceeded",
        ),
        ("openai", 404, oai("does not exist", "model_not_found"), "not_found_error"),
        ("openai", 500, None, "server_error"),
        ("azure", 400, oai("content management policy", "content_filter"), "content_filter_error"),
        ("azure", 404, oai("no deployment", "DeploymentNotFound"), "not_found_error"),
        (
            "azure",
            401,
            {"statusCode": 401, "message": "Access denied due to invalid subscription key"},
            "authentication_error",
        ),
        (
            "anthropic",
            400,
            oai("prompt is too long: 9 > 8", None, "invalid_request_error"),
            "context_length_exceeded",
        ),
        ("anthropic", 402, oai("no funds", None, "billing_error"), "insufficient_quota"),
        ("anthropic", 413, oai("too large", None, "request_too_large"), "invalid_request_error"),
        ("anthropic", 529, oai("Overloaded", None, "overloaded_error"), "service_unavailable"),
        ("anthropic", 504, oai("took too long", None, "timeout_error"), "timeout_error"),
        (
            "gemini",
            429,
            {
                "error": {
                    "code": 429,
                    "message": "exceeded your current quota, check billing",
                    "status": "RESOURCE_EXHAUSTED",
                }
            },
            "rate_limit_error",
        ),
        (
            "gemini",
            400,
            {"error": {"code": 400, "message": "API key not valid.", "status": "INVALID_ARGUMENT"}},
            "authentication_error",
        ),
        (
            "gemini",
            400,
            {
                "error": {
                    "code": 400,
                    "message": "input token count exceeds the maximum number of tokens allowed",
                    "status": "INVALID_ARGUMENT",
                }
            },
            "context_length_exceeded",
        ),
        (
            "gemini",
            400,
            [{"error": {"code": 400, "message": "no", "status": "INVALID_ARGUMENT"}}],
            "invalid_request_error",
        ),
        (
            "gemini",
            403,
            {"error": {"code": 403, "message": "no", "status": "PERMISSION_DENIED"}},
            "permission_error",
        ),
        (
            "gemini",
            503,
            {"error": {"code": 503, "message": "overloaded", "status": "UNAVAILABLE"}},
            "service_unavailable",
        ),
        (
            "gemini",
            504,
            {"error": {"code": 504, "message": "late", "status": "DEADLINE_EXCEEDED"}},
            "timeout_error",
        ),
        ("mistral", 401, {"detail": "Invalid API Key"}, "authentication_error"),
        (
            "mistral",
            422,
            {"detail": [{"loc": ["body"], "msg": "Field required", "input": "x"}]},
            "invalid_request_error",
        ),
        (
            "mistral",
            429,
            {"object": "error", "message": "Rate limit exceeded", "type": "rate_limited", "code": "1300"},
            "rate_limit_error",
        ),
        (
            "mistral",
            400,
            {"object": "error", "message": "Invalid model: x", "type": "invalid_model", "code": "1500"},
            "not_found_error",
        ),
        ("cohere", 401, {"message": "invalid api token"}, "authentication_error"),
        (
            "cohere",
            429,
            {"message": "You are using a Trial key, which is limited to 10 calls a minute"},
            "rate_limit_error",
        ),
        (
            "cohere",
            400,
            {"message": "too many tokens: the prompt exceeds the context length"},
            "context_length_exceeded",
        ),
        ("cohere", 498, {"message": "blocked input"}, "content_filter_error"),
        (
            "bedrock",
            400,
            {"__type": "com.amazon.coral.validate#ValidationException", "message": "no"},
            "invalid_request_error",
        ),
        ("bedrock", 400, {"message": "Input is too long for requested model."}, "context_length_exceeded"),
        ("bedrock", 403, {"message": "You don't have access to the model"}, "permission_error"),
        (
            "bedrock",
            429,
            {"message": "Too many tokens, please wait before trying again."},
            "rate_limit_error",
        ),
        ("bedrock", 424, {"message": "the model failed"}, "server_error"),
        (
            "huggingface",
            503,
            {"error": "Model is currently loading", "estimated_time": 20.0},
            "service_unavailable",
        ),
        (
            "huggingface",
            402,
            {"error": "You have exceeded your monthly included credits"},
            "insufficient_quota",
        ),
        (
            "huggingface",
            422,
            {"error": "Input validation error", "error_type": "validation"},
            "invalid_request_error",
        ),
        ("ollama", 404, {"error": "model 'x' not found"}, "not_found_error"),
        (
            "groq",
            413,
            oai("Request too large: tokens per minute", "rate_limit_exceeded", "tokens"),
            "rate_limit_error",
        ),
        ("groq", 498, oai("flex tier capacity exceeded", "capacity_exceeded"), "service_unavailable"),
        (
            "groq",
            400,
            oai("Please reduce the length of the messages", None, "invalid_request_error"),
            "context_length_exceeded",
        ),
        ("deepseek", 402, oai("Insufficient Balance", "invalid_request_error"), "insufficient_quota"),
        ("deepseek", 400, oai("Content Exists Risk", "invalid_request_error"), "content_filter_error"),
        (
            "xai",
            400,
            {"code": "Client specified an invalid argument", "error": "Incorrect API key provided: x"},
            "authentication_error",
        ),
        (
            "xai",
            403,
            {"code": "The caller does not have permission", "error": "used all available credits"},
            "insufficient_quota",
        ),
        (
            "openrouter",
            402,
            {"error": {"code": 402, "message": "Insufficient credits"}},
            "insufficient_quota",
        ),
        (
            "openrouter",
            403,
            {"error": {"code": 403, "message": "Your input was flagged"}},
            "content_filter_error",
        ),
        ("openrouter", 408, {"error": {"code": 408, "message": "timed out"}}, "timeout_error"),
        ("perplexity", 401, oai("Invalid API key", 401, "invalid_api_key"), "authentication_error"),
        ("together", 429, oai("slow down", None, "rate_limit"), "rate_limit_error"),
        (
            "cloudflare",
            403,
            {"success": False, "errors": [{"code": 10000, "message": "Authentication error"}]},
            "permission_error",
        ),
        (
            "vllm",
            400,
            {"object": "error", "message": "maximum context length", "type": "BadRequestError", "code": 400},
            "context_length_exceeded",
        ),
        ("vllm", 502, "<html>Bad Gateway</html>", "server_error"),
    ],
)
def test_each_vendors_errors_have_their_type(vendor: str, status: int, body: Any, wanted: str) -> None:
    host, path = HOSTS[vendor]
    data = b"" if body is None else body.encode() if isinstance(body, str) else body
    event = Bench().answered(wire({"model": "m"}, path, host=host), data, status, headers())
    assert (event.error_type, event.status_code) == (wanted, status)
    assert event.error


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("ThrottlingException", "rate_limit_error"),
        ("UnrecognizedClientException:http://internal.amazon.com/coral/", "authentication_error"),
        ("ModelTimeoutException", "timeout_error"),
        ("ModelNotReadyException", "service_unavailable"),
    ],
)
def test_bedrock_names_its_errors_in_a_header(name: str, wanted: str) -> None:
    host, path = HOSTS["bedrock"]
    answer = headers(x_amzn_errortype=name)
    event = Bench().answered(wire({}, path, host=host), {"message": "no"}, 400, answer)
    assert event.error_type == wanted


class TimeoutException(Exception):
    """As httpx's."""


class ReadTimeout(TimeoutException):
    pass


class ConnectError(Exception):
    """As httpx's."""


class CertificateError(ConnectError):
    pass


@pytest.mark.parametrize(
    ("exc", "wanted"),
    [
        (ReadTimeout(), "timeout_error"),
        (TimeoutError(), "timeout_error"),
        (ConnectError(), None),
        (KeyboardInterrupt(), None),
        (OSError(), None),
    ],
)
def test_only_a_time_out_of_the_transport_has_a_type(exc: BaseException, wanted: str | None) -> None:
    assert transport_error_type(exc) == wanted


@pytest.mark.parametrize(
    ("exc", "sent"),
    [
        (ConnectError(), False),
        (CertificateError(), False),
        (ReadTimeout(), True),
        (ConnectionResetError(), True),
    ],
)
def test_the_vendor_may_have_had_what_was_not_refused_before(exc: BaseException, sent: bool) -> None:
    assert was_sent(exc) is sent


@pytest.mark.parametrize("name", sorted(NEVER_SENT))
def test_every_exception_of_that_kind_is_known_by_its_name(name: str) -> None:
    assert was_sent(type(name, (Exception,), {})()) is False
