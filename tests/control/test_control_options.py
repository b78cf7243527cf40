"""Where the server is, and how it is asked."""

from __future__ import annotations

from typing import Any

import pytest

from aden_transport import ConfigurationError, ControlOptions, MeterOptions
from aden_transport.control.messages import URL
from aden_transport.control.options import server_address


@pytest.mark.parametrize(
    ("given", "address"),
    [
        (None, URL),
        ("", URL),
        ("https://aden.example.com", "https://aden.example.com"),
        ("https://Aden.example.com:8443/base/", "https://aden.example.com:8443/base"),
        ("wss://aden.example.com", "https://aden.example.com"),
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000"),
        ("http://localhost:8000/", "http://localhost:8000"),
        ("ws://[::1]:8000", "http://[::1]:8000"),
        ("http://127.9.9.9", "http://127.9.9.9"),
    ],
)
def test_an_address_is_https_or_of_this_machine(given: str | None, address: str) -> None:
    assert server_address(given) == address


@pytest.mark.parametrize(
    "given",
    [
        "http://aden.example.com",
        "ws://aden.example.com",
        "http://0.0.0.0",
        "http://127.0.0.1.example.com",
        "http://localhost.example.com",
        "http://127.0.0.1@example.com",
        "https://user:secret@aden.example.com",
        "https://",
        "aden.example.com",
        "ftp://aden.example.com",
        "file:///etc/passwd",
        "https://aden.example.com:99999",
        "https://aden.example.com?key=1",
        "https://aden.example.com/\r\nx: y",
        "https://[::1",
    ],
)
def test_any_other_is_refused_and_the_message_shows_no_secret(given: str) -> None:
    with pytest.raises(ConfigurationError, match="cannot be used") as caught:
        MeterOptions(server_url=given)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("polling_interval_ms", 0),
        ("timeout_ms", "5"),
        ("timeout_ms", float("nan")),
        ("server_validation_timeout_ms", -1),
        ("server_validation_threshold", 101),
        ("sampling_base_rate", 1.1),
        ("sampling_enabled", 1),
        ("enable_hybrid_enforcement", "no"),
        ("heartbeat_interval_ms", True),
    ],
)
def test_a_wrong_value_says_what_to_give(name: str, value: Any) -> None:
    with pytest.raises(ConfigurationError, match=rf"ControlOptions\({name}.*must"):
        ControlOptions(**{name: value})


def test_defaults_are_adens() -> None:
    options = ControlOptions()
    assert (options.polling_interval_ms, options.heartbeat_interval_ms, options.timeout_ms) == (
        30e3,
        10e3,
        5e3,
    )
    assert (options.server_validation_threshold, options.server_validation_timeout_ms) == (5.0, 2000)
    assert (options.adaptive_min_remaining_usd, options.sampling_base_rate) == (5.0, 0.1)
    assert (options.sampling_full_validation_percent, options.max_expected_overspend_percent) == (95.0, 5.0)
    assert options.enable_hybrid_enforcement
    assert options.adaptive_threshold_enabled
    assert options.sampling_enabled


def test_the_environment_stands_in_for_what_is_not_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADEN_API_KEY", "from-env")
    monkeypatch.setenv("ADEN_API_URL", "https://env.example.com")
    found = MeterOptions().completed()
    assert (found.api_key, found.server_url) == ("from-env", "https://env.example.com")
    own = MeterOptions(api_key="own", server_url="https://own.example.com").completed()
    assert (own.api_key, own.server_url) == ("own", "https://own.example.com")
    assert MeterOptions(api_key="").completed().api_key == ""
    monkeypatch.setenv("ADEN_API_URL", "http://env.example.com")
    with pytest.raises(ConfigurationError, match="use https"):
        MeterOptions().completed()
    monkeypatch.delenv("ADEN_API_KEY")
    assert MeterOptions().completed() == MeterOptions()


def test_a_key_is_never_shown() -> None:
    assert "CANARY" not in repr(MeterOptions(api_key="CANARY"))
