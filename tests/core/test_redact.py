"""No credential in an error text."""

from __future__ import annotations

import pytest

from aden_transport.core.redact import (
    SECRET_HEADERS,
    SECRET_PARAMETERS,
    has_secret,
    redacted,
    without_secrets,
)

CANARY = "canary-4f1d9c72a8"
FORMS = [
    "sk-proj-abcDEF123456",
    "sk-ant-api03-abcdef",
    "gsk_abcdef123456",
    "xai-abcdef123456",
    "hf_abcdef123456",
    "rk_live_abcdef",
    "AIzaSyA1234567890",
    "AKIAIOSFODNN7EXAMPLE",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIi.c2ln",
    "Bearer abcdef123456",
    "basic dXNlcjpwYXNz",
    "sk-pro***************7890",
    "sk-or-v1-abcdef123456",
    "pplx-abcdef123456",
    "csk-abcdef123456",
    "fw_abcdef123456",
    "r8_abcdef123456",
    "nvapi-abcdef123456",
    "tgp_v1_abcdef123456",
    "ghp_abcdef123456",
    "github_pat_11ABCDEFG0",
    "ASIAIOSFODNN7EXAMPLE",
    "ABSKQmVkcm9ja0FQSUtleS1hYmM=",
    "AQ.Ab8RN6Jabcdefghijklmnopq",
    "ya29.a0AfH6SMBabcdef",
    "dapi0123456789abcdef0123456789abcdef",
    "pa-abcdefghijklmnopqrstuvwxyz",
    "Signature=0123456789abcdef",
    "aden_0123456789ab_abcdefghijklmnopqrstuvwxyz",
]


@pytest.mark.parametrize("name", SECRET_HEADERS)
@pytest.mark.parametrize("scheme", ["", "Bearer ", "Token "])
def test_a_credential_of_the_request_is_taken_out(name: bytes, scheme: str) -> None:
    value = (scheme + CANARY).encode()
    for message in (f"no access with {CANARY}", f"'{scheme}{CANARY}'", f"{CANARY}{CANARY} twice"):
        found = redacted(message, {name: value}, b"/v1/x")
        assert CANARY not in found
        assert "[redacted]" in found


@pytest.mark.parametrize("name", sorted(SECRET_PARAMETERS))
def test_a_credential_of_the_query_is_taken_out(name: str) -> None:
    target = f"/v1/x?alt=sse&{name.upper()}={CANARY}&b".encode()
    assert redacted(f"bad {CANARY}", {}, target) == "bad [redacted]"
    assert redacted(f"GET https://h/x?{name}=short&n=1", {}, target) == "GET https://h/x?[redacted]&n=1"


def test_a_credential_of_the_query_is_taken_out_as_it_reads_without_escapes() -> None:
    assert redacted("bad a/b+canary", {}, b"/v1?key=a%2Fb%2Bcanary") == "bad [redacted]"


@pytest.mark.parametrize("secret", FORMS)
def test_anything_of_a_keys_shape_is_taken_out(secret: str) -> None:
    found = redacted(f"Incorrect API key provided: {secret}. See docs", {}, b"")
    assert secret not in found
    assert found.startswith("Incorrect API key provided: [redacted]")


@pytest.mark.parametrize(
    "message",
    [
        "",
        "model gpt-4o not found",
        "the task-force",
        "bearer of news",
        "basic it",
        "max_tokens=5",
        "key too short",
        "no model in asia-southeast1 or ASIA",
        "pa-th not found",
        "signature=x",
        "the AQ.12 unit",
    ],
)
def test_other_text_stays(message: str) -> None:
    headers = {b"authorization": b"Bearer x", b"x-api-key": b"model", b"accept": b"not found"}
    assert redacted(message, headers, b"/v1?key=gpt") == message


def test_a_value_of_an_unlisted_header_or_parameter_is_no_secret() -> None:
    assert (
        redacted("organisation acme-corp", {b"x-org": b"acme-corp"}, b"/x?org=acme-corp")
        == "organisation acme-corp"
    )


@pytest.mark.parametrize("control", ["\n", "\r\n", "\x1b[31m", "\x00", "\u202e", "\u2028", "\x85", "\u200b"])
def test_control_characters_become_a_space(control: str) -> None:
    found = redacted(f"a{control}b", {}, b"")
    assert found.startswith("a ")
    assert found.endswith("b")
    assert "\x1b" not in found


def test_the_text_is_cut() -> None:
    assert redacted("x" * 10_000, {}, b"") == "x" * 500
    assert redacted("x" * 10_000, {}, b"", limit=7) == "x" * 7


def test_a_credential_at_the_cut_is_taken_out_before_it() -> None:
    assert CANARY[:4] not in redacted("x" * 495 + CANARY, {b"api-key": CANARY.encode()}, b"")


def test_a_credential_beyond_ascii_is_taken_out() -> None:
    assert redacted("bad schlüssel-9", {b"api-key": "schlüssel-9".encode("latin-1")}, b"") == "bad [redacted]"


@pytest.mark.parametrize(
    "form", [*FORMS, *[f"https://h/x?{name}=abcdef" for name in sorted(SECRET_PARAMETERS)]]
)
def test_a_credential_is_found_and_taken_out_wherever_it_stands(form: str) -> None:
    for text in (form, f'{{"error":"no access with {form} today"}}', form.swapcase() + " " + form):
        assert has_secret(text)
        assert not has_secret(without_secrets(text))


@pytest.mark.parametrize(
    "text", ["", "input_tokens", "task_id", "aden_transport 1.0", "2026-11-20T10:00:00Z"]
)
def test_what_is_no_credential_stays(text: str) -> None:
    assert not has_secret(text)
    assert without_secrets(text) == text
