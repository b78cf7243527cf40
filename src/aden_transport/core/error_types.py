"""The specification's eleven error types, from what vendors and transports say."""

from __future__ import annotations

from ..events import ErrorType

__all__ = ["error_type", "transport_error_type", "was_sent"]

BY_WORD: tuple[tuple[str, ErrorType], ...] = (
    ("context_length", "context_length_exceeded"),
    ("context window", "context_length_exceeded"),
    ("prompt is too long", "context_length_exceeded"),
    ("maximum context", "context_length_exceeded"),
    ("content_filter", "content_filter_error"),
    ("content_policy", "content_filter_error"),
    ("content management policy", "content_filter_error"),
    ("insufficient_quota", "insufficient_quota"),
    ("billing", "insufficient_quota"),
    ("credit balance", "insufficient_quota"),
    ("overloaded", "service_unavailable"),
)
"""Words in codes, types and messages that say more than the status."""

BY_STATUS: dict[int, ErrorType] = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "insufficient_quota",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    413: "invalid_request_error",
    422: "invalid_request_error",
    429: "rate_limit_error",
    503: "service_unavailable",
    504: "timeout_error",
    524: "timeout_error",
    529: "service_unavailable",
    599: "timeout_error",
}

BY_KIND: dict[str, ErrorType] = {
    "rate_limit_error": "rate_limit_error",
    "rate_limit_exceeded": "rate_limit_error",
    "invalid_request_error": "invalid_request_error",
    "authentication_error": "authentication_error",
    "permission_error": "permission_error",
    "not_found_error": "not_found_error",
    "overloaded_error": "service_unavailable",
    "api_error": "server_error",
    "server_error": "server_error",
    "timeout_error": "timeout_error",
}

NEVER_SENT = frozenset(
    {
        "ConnectError",
        "ConnectTimeout",
        "PoolTimeout",
        "ProxyError",
        "UnsupportedProtocol",
        "LocalProtocolError",
        "InvalidURL",
        "ClientConnectorError",
        "ClientConnectorDNSError",
        "ClientConnectorCertificateError",
        "ServerTimeoutError",
        "ConnectionTimeoutError",
    }
)
"""Exceptions of httpx, httpx2 and aiohttp that mean the vendor never had the request whole."""


def error_type(
    status: int | None, code: str | None, kind: str | None, message: str | None
) -> ErrorType | None:
    """One of the eleven, or None where the answer was no error.

    A status below 400 with a code, kind or message is an error inside a stream.
    """
    said = " ".join(part for part in (code, kind, message) if part).lower()
    if (status is None or status < 400) and not said:
        return None
    for word, found in BY_WORD:
        if word in said:
            return found
    if status is not None and status >= 400:
        return BY_STATUS.get(status) or ("server_error" if status >= 500 else "invalid_request_error")
    return BY_KIND.get(code or "") or BY_KIND.get(kind or "") or "server_error"


def transport_error_type(exc: BaseException) -> ErrorType | None:
    """`timeout_error` for time-outs of whatever HTTP library, None for what no vendor said."""
    names = {kind.__name__ for kind in type(exc).__mro__}
    return "timeout_error" if names & {"TimeoutException", "TimeoutError"} else None


def was_sent(exc: BaseException) -> bool:
    """Whether the vendor may have had the whole request when `exc` ended the attempt."""
    return NEVER_SENT.isdisjoint(kind.__name__ for kind in type(exc).__mro__)
