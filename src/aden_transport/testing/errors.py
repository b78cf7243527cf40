"""Failures in each vendor's words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

__all__ = ["KINDS", "VENDORS", "error_body", "error_headers", "kind_of_status", "status_of"]

VENDORS = ("openai", "anthropic", "gemini", "cohere", "mistral", "ollama", "bedrock")


class Kind(NamedTuple):
    """One failure: status and words per vendor (`openai`: type and code)."""

    status: int
    message: str
    openai: tuple[str, str | None]
    anthropic: str
    google: str


KINDS: Mapping[str, Kind] = {
    "invalid_request": Kind(
        400,
        "The request is not valid.",
        ("invalid_request_error", None),
        "invalid_request_error",
        "INVALID_ARGUMENT",
    ),
    "context_length_exceeded": Kind(
        400,
        "This model's maximum context length is 8192 tokens; the prompt is longer.",
        ("invalid_request_error", "context_length_exceeded"),
        "invalid_request_error",
        "INVALID_ARGUMENT",
    ),
    "content_filter": Kind(
        400,
        "The prompt was refused by the content policy.",
        ("invalid_request_error", "content_policy_violation"),
        "invalid_request_error",
        "INVALID_ARGUMENT",
    ),
    "authentication": Kind(
        401,
        "The API key is not valid.",
        ("invalid_request_error", "invalid_api_key"),
        "authentication_error",
        "UNAUTHENTICATED",
    ),
    "permission": Kind(
        403,
        "This key may not do that.",
        ("invalid_request_error", "permission_denied"),
        "permission_error",
        "PERMISSION_DENIED",
    ),
    "not_found": Kind(
        404,
        "The model does not exist or you do not have access to it.",
        ("invalid_request_error", "model_not_found"),
        "not_found_error",
        "NOT_FOUND",
    ),
    "timeout": Kind(
        408, "The request took too long.", ("timeout", None), "timeout_error", "DEADLINE_EXCEEDED"
    ),
    "conflict": Kind(409, "The request conflicts.", ("conflict", None), "invalid_request_error", "ABORTED"),
    "too_large": Kind(
        413,
        "The request is too large.",
        ("invalid_request_error", None),
        "request_too_large",
        "INVALID_ARGUMENT",
    ),
    "unprocessable": Kind(
        422,
        "The request cannot be processed.",
        ("invalid_request_error", None),
        "invalid_request_error",
        "INVALID_ARGUMENT",
    ),
    "rate_limit": Kind(
        429,
        "Rate limit reached; try again later.",
        ("requests", "rate_limit_exceeded"),
        "rate_limit_error",
        "RESOURCE_EXHAUSTED",
    ),
    "insufficient_quota": Kind(
        429,
        "You exceeded your current quota; check your plan and billing details.",
        ("insufficient_quota", "insufficient_quota"),
        "rate_limit_error",
        "RESOURCE_EXHAUSTED",
    ),
    "server_error": Kind(500, "The server had an error.", ("server_error", None), "api_error", "INTERNAL"),
    "overloaded": Kind(
        503,
        "The engine is overloaded; try again later.",
        ("service_unavailable_error", None),
        "overloaded_error",
        "UNAVAILABLE",
    ),
}


def status_of(kind: str, vendor: str) -> int:
    """The HTTP status; Anthropic says "overloaded" with 529."""
    return 529 if kind == "overloaded" and vendor == "anthropic" else KINDS[kind].status


def kind_of_status(status: int) -> str:
    """The kind that fits a bare status."""
    if status == 529:
        return "overloaded"
    fitting = (name for name, kind in KINDS.items() if kind.status == status)
    return next(fitting, "server_error" if status >= 500 else "invalid_request")


def error_body(
    vendor: str,
    kind: str,
    *,
    status: int,
    message: str = "",
    param: str | None = None,
    code: str | None = None,
    request_id: str = "",
    retry_after_s: float | None = None,
) -> dict[str, Any]:
    """The error object as `vendor` writes it."""
    words = KINDS[kind]
    message = message or words.message
    if vendor == "anthropic":
        body: dict[str, Any] = {"type": "error", "error": {"type": words.anthropic, "message": message}}
        return body | ({"request_id": request_id} if request_id else {})
    if vendor == "gemini":
        error: dict[str, Any] = {"code": status, "message": message, "status": words.google}
        if retry_after_s is not None:
            # Google tells the wait in the body, not in a header.
            kind_url = "type.googleapis.com/google.rpc.RetryInfo"
            error["details"] = [{"@type": kind_url, "retryDelay": f"{retry_after_s:g}s"}]
        return {"error": error}
    if vendor in ("cohere", "bedrock"):
        return {"message": message}
    if vendor == "ollama":
        return {"error": message}
    if vendor == "mistral" and status in (401, 422):
        return {
            "detail": message if status == 401 else [{"type": "missing", "loc": ["body"], "msg": message}]
        }
    openai_type, openai_code = words.openai
    if vendor == "mistral":
        return {"object": "error", "message": message, "type": openai_type, "param": None, "code": code}
    return {"error": {"message": message, "type": openai_type, "param": param, "code": code or openai_code}}


BEDROCK_NAMES = {
    401: "UnrecognizedClientException",
    403: "AccessDeniedException",
    404: "ResourceNotFoundException",
    408: "ModelTimeoutException",
    429: "ThrottlingException",
    500: "InternalServerException",
    503: "ServiceUnavailableException",
}


def error_headers(vendor: str, kind: str, status: int) -> tuple[tuple[str, str], ...]:
    """What a vendor says of a failure in headers."""
    if vendor == "anthropic":  # its client asks this before it retries
        return (("x-should-retry", str(status in {408, 409, 429} or status >= 500).lower()),)
    if vendor == "bedrock":
        quota = kind == "insufficient_quota"
        name = "ServiceQuotaExceededException" if quota else BEDROCK_NAMES.get(status, "ValidationException")
        return (("x-amzn-errortype", f"{name}:http://internal.amazon.com/coral/com.amazon.bedrock/"),)
    return ()
