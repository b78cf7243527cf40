"""The specification's eleven error types, from what vendors and transports say."""

from __future__ import annotations

from ..events import ErrorType

__all__ = ["error_type", "transport_error_type", "was_sent"]

BY_CODE: dict[str, ErrorType] = {
    # OpenAI, Azure OpenAI: https://platform.openai.com/docs/guides/error-codes
    "context_length_exceeded": "context_length_exceeded",
    "content_filter": "content_filter_error",
    "content_policy_violation": "content_filter_error",
    "responsibleaipolicyviolation": "content_filter_error",
    "insufficient_quota": "insufficient_quota",
    "billing_not_active": "insufficient_quota",
    "billing_hard_limit_reached": "insufficient_quota",
    "rate_limit_exceeded": "rate_limit_error",  # on Groq with 413, too: more tokens than a minute allows
    "invalid_api_key": "authentication_error",
    "model_not_found": "not_found_error",
    "deploymentnotfound": "not_found_error",
    "unsupported_country_region_territory": "permission_error",
    # Anthropic: https://docs.anthropic.com/en/api/errors
    "billing_error": "insufficient_quota",
    "overloaded_error": "service_unavailable",
    # Google: https://ai.google.dev/gemini-api/docs/troubleshooting, google.rpc.Code
    "resource_exhausted": "rate_limit_error",
    "unauthenticated": "authentication_error",
    "api_key_invalid": "authentication_error",
    "permission_denied": "permission_error",
    "not_found": "not_found_error",
    "unavailable": "service_unavailable",
    "deadline_exceeded": "timeout_error",
    # Bedrock: https://docs.aws.amazon.com/bedrock/latest/APIReference/CommonErrors.html
    "throttlingexception": "rate_limit_error",
    "servicequotaexceededexception": "rate_limit_error",
    "toomanyrequestsexception": "rate_limit_error",
    "accessdeniedexception": "permission_error",
    "resourcenotfoundexception": "not_found_error",
    "unrecognizedclientexception": "authentication_error",
    "invalidsignatureexception": "authentication_error",
    "expiredtokenexception": "authentication_error",
    "missingauthenticationtokenexception": "authentication_error",
    "incompletesignatureexception": "authentication_error",
    "modelnotreadyexception": "service_unavailable",
    "serviceunavailableexception": "service_unavailable",
    "modeltimeoutexception": "timeout_error",
    "modelerrorexception": "server_error",
    "modelstreamerrorexception": "server_error",
    "internalserverexception": "server_error",
    # Mistral: https://docs.mistral.ai
    "rate_limited": "rate_limit_error",
    "service_tier_capacity_exceeded": "rate_limit_error",
    "invalid_model": "not_found_error",
    # Cerebras, Moonshot, Alibaba, llama.cpp
    "token_quota_exceeded": "rate_limit_error",
    "request_quota_exceeded": "rate_limit_error",
    "queue_exceeded": "service_unavailable",
    "exceeded_current_quota_error": "insufficient_quota",
    "rate_limit_reached_error": "rate_limit_error",
    "engine_overloaded_error": "service_unavailable",
    "arrearage": "insufficient_quota",
    "data_inspection_failed": "content_filter_error",
    "datainspectionfailed": "content_filter_error",
    "exceed_context_size_error": "context_length_exceeded",
}
"""Codes and types that say more than the status and the message do, in lower case."""

BY_WORD: tuple[tuple[str, ErrorType], ...] = (
    ("context_length", "context_length_exceeded"),
    ("context length", "context_length_exceeded"),
    ("context window", "context_length_exceeded"),
    ("context size", "context_length_exceeded"),
    ("maximum context", "context_length_exceeded"),
    ("prompt is too long", "context_length_exceeded"),
    ("input is too long", "context_length_exceeded"),
    ("too many input tokens", "context_length_exceeded"),
    ("exceeds the maximum number of tokens", "context_length_exceeded"),
    ("reduce the length of the messages", "context_length_exceeded"),
    ("content_filter", "content_filter_error"),
    ("content_policy", "content_filter_error"),
    ("content management policy", "content_filter_error"),
    ("content exists risk", "content_filter_error"),  # DeepSeek
    ("inappropriate content", "content_filter_error"),  # Alibaba
    ("sensitive content", "content_filter_error"),  # Z.ai
    ("input was flagged", "content_filter_error"),  # OpenRouter
    ("blocked input", "content_filter_error"),  # Cohere
    ("blocked output", "content_filter_error"),
    ("insufficient_quota", "insufficient_quota"),
    ("billing", "insufficient_quota"),
    ("credit balance", "insufficient_quota"),
    ("insufficient balance", "insufficient_quota"),  # DeepSeek
    ("insufficient credits", "insufficient_quota"),  # OpenRouter
    ("all available credits", "insufficient_quota"),  # xAI
    ("monthly included credits", "insufficient_quota"),  # Hugging Face
    ("spending limit", "insufficient_quota"),
    ("api key not valid", "authentication_error"),  # Google, with 400
    ("incorrect api key", "authentication_error"),  # xAI, with 400
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
    424: "server_error",
    429: "rate_limit_error",
    498: "service_unavailable",
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
    "invalid_argument": "invalid_request_error",
    "failed_precondition": "invalid_request_error",
    "validationexception": "invalid_request_error",
    "api_error": "server_error",
    "server_error": "server_error",
    "timeout_error": "timeout_error",
}
"""Codes and types that say no more than a status, for errors inside a stream, which have none."""

CONNECTING = frozenset({"wait_for_connection", "_connect"})
"""Functions of httpcore's pool and connections in which nothing of the request has left."""

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
    names = (bare(code), bare(kind))
    for name in names:
        if name in BY_CODE:
            return BY_CODE[name]
    for word, found in BY_WORD:
        if word in said:
            return found
    if status is None or status < 400:
        if code is None or not (code.isascii() and code.isdigit() and len(code) == 3 and code >= "400"):
            return BY_KIND.get(names[0]) or BY_KIND.get(names[1]) or "server_error"
        status = int(code)  # OpenRouter and Google put the status there that the answer could not have
    return BY_STATUS.get(status) or ("server_error" if status >= 500 else "invalid_request_error")


def bare(name: str | None) -> str:
    """A code without the namespace and address that AWS writes around it, in lower case.

    https://awslabs.github.io/smithy/2.0/aws/protocols/aws-restjson1-protocol.html#operation-error-serialization
    """
    return name.rpartition("#")[2].partition(":")[0].lower() if name else ""


def transport_error_type(exc: BaseException) -> ErrorType | None:
    """`timeout_error` for time-outs of whatever HTTP library, None for what no vendor said."""
    names = {kind.__name__ for kind in type(exc).__mro__}
    return "timeout_error" if names & {"TimeoutException", "TimeoutError"} else None


def was_sent(exc: BaseException) -> bool:
    """Whether the vendor may have had the whole request when `exc` ended the attempt."""
    return NEVER_SENT.isdisjoint(kind.__name__ for kind in type(exc).__mro__) and not _was_connecting(exc)


def _was_connecting(exc: BaseException) -> bool:
    """Whether what was cancelled still waited for a connection: where it waited stands in its traceback."""
    place = exc.__traceback__
    while place is not None:
        module = place.tb_frame.f_globals.get("__name__", "")
        if module == "aiohttp.connector" or (
            module.startswith(("httpcore.", "httpcore2.")) and place.tb_frame.f_code.co_name in CONNECTING
        ):
            return True
        place = place.tb_next
    return False
