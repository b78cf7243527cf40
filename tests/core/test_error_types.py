"""The eleven error types."""

from __future__ import annotations

import pytest

from aden_transport.core.error_types import (
    BY_KIND,
    BY_STATUS,
    NEVER_SENT,
    error_type,
    transport_error_type,
    was_sent,
)


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
    ],
)
def test_an_error_has_one_of_the_eleven_types(
    status: int | None, code: str | None, kind: str | None, message: str | None, wanted: str | None
) -> None:
    assert error_type(status, code, kind, message) == wanted


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
