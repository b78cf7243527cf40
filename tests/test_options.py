"""Options are checked at once, with messages that say what to change."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest

from aden_transport import ConfigurationError, ControlOptions, MeterOptions, Price
from aden_transport.options import LATER

NAMES = MeterOptions.__slots__


def made(**options: Any) -> MeterOptions:
    """Options of names that no type checker knows."""
    return MeterOptions(**options)


def hook(*_: Any) -> Any:
    """Any callable."""


WRONG: list[tuple[str, Any, str]] = [
    ("store_timeout_ms", 0, "must lie between"),
    ("api_key", 7, "must be a string"),
    *[("api_key", v, "must be the key alone") for v in ("a b", "a\nb", "schlüssel")],
    ("server_url", 7, "must be a string"),
    *[("server_url", v, "cannot be used: ") for v in ("http://aden.example.com", "ftp://127.0.0.1", "aden")],
    *[("control", v, "must be ControlOptions") for v in (7, {"timeout_ms": 5})],
    *[
        (n, 7, "must be callable, not int")
        for n in (
            "emit_metric",
            "before_request",
            "modify_params",
            "get_context_id",
            "on_alert",
            "on_blocked",
            "on_emit_error",
        )
    ],
    ("request_metadata", 7, "must be a mapping or a callable giving one, not int"),
    ("request_metadata", [("a", 1)], "must be a mapping or a callable giving one, not list"),
    ("agent_name", 7, "must be a string, not int"),
    *[
        (n, v, "must be True or False, not")
        for n in ("fail_open", "async_emit", "stream_usage", "shadow_mode")
        for v in (1, None, "no")
    ],
    *[
        ("hook_timeout_s", v, "must be a number from 0 to 600")
        for v in (None, "5", True, float("nan"), float("inf"))
    ],
    *[("hook_timeout_s", v, "must lie between 0 and 600") for v in (-1, 601)],
    *[("sample_rate", v, "must be a number from 0 to 1") for v in (None, "1", False, float("nan"))],
    *[("sample_rate", v, "must lie between 0 and 1") for v in (-0.1, 1.1, 50)],
    *[("enforce_fraction", v, "must be a number from 0 to 1") for v in (None, "1", True, float("inf"))],
    *[("enforce_fraction", v, "must lie between 0 and 1") for v in (-0.1, 1.1, 50)],
    *[
        ("forward_metadata", v, "must be one of native, always, never")
        for v in (None, True, "Native", "", list[str]())
    ],
    *[("policy", v, "must be a mapping, JSON text or the path") for v in (7, 1.5, {1})],
    *[("ledger", v, "must be a string") for v in (7, b"memory")],
    *[("spool_dir", v, "must be the path of a folder") for v in ("", 7, b"spool")],
    *[("on_unknown", v, "must be a mapping like") for v in ("block", 7)],
    *[("pacing", v, "must be True or") for v in (7, "fast", [0.95])],
    ("pacing", {"targets": 0.9}, "knows target and max_wait_ms, not 'targets'"),
    *[("pacing", {"target": v}, "must be a number from 0.1 to 1") for v in (None, "1", True, float("nan"))],
    *[("pacing", {"target": v}, "must lie between 0.1 and 1") for v in (0, 0.05, 1.01, -1, 95)],
    *[("pacing", {"max_wait_ms": v}, "must be a number from 0 to 600000") for v in ("20s", float("inf"))],
    *[("pacing", {"max_wait_ms": v}, "must lie between 0 and 600000") for v in (-1, 600_001)],
    *[("prices", v, "must be a mapping like") for v in (7, [("openai/gpt-4o", 1)], "openai/gpt-4o")],
    *[
        ("prefer_httpx", v, 'only "gemini" can be moved to httpx')
        for v in ("openai", ("gemini", "openai"), [7], (None,))
    ],
]


@pytest.mark.parametrize(("name", "value", "message"), WRONG)
def test_a_wrong_value_is_refused_with_what_to_give_instead(name: str, value: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message) as caught:
        MeterOptions(**{name: value})
    assert name in str(caught.value)
    assert str(caught.value).endswith(".")


@pytest.mark.parametrize("value", [7, None, True])
def test_sdks_to_move_that_are_none_are_refused(value: Any) -> None:
    with pytest.raises(ConfigurationError, match="prefer_httpx"):
        MeterOptions(prefer_httpx=value)


RIGHT: dict[str, Any] = {
    "api_key": "aden_key",
    "server_url": "https://aden.example.com",
    "control": ControlOptions(polling_interval_ms=500),
    "emit_metric": hook,
    "before_request": hook,
    "hook_timeout_s": 0,
    "request_metadata": {"tenant": "acme"},
    "get_context_id": hook,
    "on_alert": hook,
    "on_blocked": hook,
    "modify_params": hook,
    "shadow_mode": True,
    "enforce_fraction": 0.25,
    "on_emit_error": hook,
    "agent_name": "reporter",
    "fail_open": False,
    "prices": {"openai/gpt-4o": Price(1, 2)},
    "sample_rate": 0,
    "async_emit": False,
    "stream_usage": False,
    "forward_metadata": "never",
    "prefer_httpx": ("gemini",),
    "policy": {"type": "global", "limit": 1},
    "ledger": "memory",
    "on_unknown": {"price": "block"},
    "pacing": {"target": 0.9, "max_wait_ms": 5000},
    "spool_dir": Path("/spool"),
    "store_timeout_ms": 100.0,
}


def test_every_option_has_a_row_here_and_a_line_in_the_docstring() -> None:
    assert set(RIGHT) == set(NAMES)
    assert {name for name, _, _ in WRONG} == set(NAMES)
    parameters = inspect.signature(MeterOptions).parameters
    assert {name for name, p in parameters.items() if p.kind is p.KEYWORD_ONLY} == set(NAMES)
    for name in NAMES:
        assert f"{name}:" in (MeterOptions.__doc__ or "")


@pytest.mark.parametrize("name", NAMES)
def test_a_right_value_is_kept_and_told_apart(name: str) -> None:
    options = MeterOptions(**{name: RIGHT[name]})
    assert getattr(options, name) == RIGHT[name]
    assert options != MeterOptions()
    assert options == MeterOptions(**{name: RIGHT[name]})
    assert repr(options) == f"MeterOptions({name}=…)"


@pytest.mark.parametrize("name", NAMES)
def test_the_default_may_be_given(name: str) -> None:
    assert MeterOptions(**{name: getattr(MeterOptions(), name)}) == MeterOptions()


def test_pacing_has_defaults() -> None:
    assert MeterOptions(pacing=True) == MeterOptions(pacing={"target": 0.95, "max_wait_ms": 20_000})
    assert MeterOptions(pacing={"max_wait_ms": 1}).pacing == {"target": 0.95, "max_wait_ms": 1.0}
    assert MeterOptions(pacing={}).pacing == MeterOptions(pacing=True).pacing
    assert MeterOptions(pacing=False) == MeterOptions()


def test_options_are_keywords_and_no_keys() -> None:
    with pytest.raises(TypeError):
        MeterOptions(hook)  # type: ignore[call-arg, arg-type]
    with pytest.raises(TypeError):
        hash(MeterOptions())
    assert MeterOptions() != "MeterOptions()"
    assert repr(MeterOptions()) == "MeterOptions()"


def test_replaced_options_are_others() -> None:
    options = MeterOptions(agent_name="a", fail_open=False)
    other = options.replaced(agent_name="b")
    assert (options.agent_name, other.agent_name, other.fail_open) == ("a", "b", False)
    assert options.replaced() == options
    with pytest.raises(ConfigurationError, match="did you mean agent_name"):
        options.replaced(agent_nam="b")


def test_one_name_of_an_sdk_may_stand_alone() -> None:
    assert MeterOptions(prefer_httpx="gemini").prefer_httpx == ("gemini",)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("emit_metrics", "did you mean emit_metric?"),
        ("on_alerts", "did you mean on_alert?"),
        ("timeout", "did you mean hook_timeout_s?"),
        ("x", "options are agent_name, api_key, async_emit"),
    ],
)
def test_an_unknown_option_says_which_there_are(name: str, hint: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        made(**{name: 1})
    assert str(caught.value).startswith(f"MeterOptions has no option {name!r}; ")
    assert hint in str(caught.value)


@pytest.mark.parametrize("name", LATER)
def test_an_option_of_a_later_release_says_what_to_use_until_then(name: str) -> None:
    assert name not in NAMES
    with pytest.raises(ConfigurationError) as caught:
        made(**{name: None})
    message = str(caught.value)
    assert message == f"MeterOptions({name}=…): {LATER[name]}."
    assert (
        "use " in message or "leave it out" in message or "decide in" in message or "read them in" in message
    )


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"ADEN_API_KEY": "two words"}, "the environment's ADEN_API_KEY must be the key alone"),
        ({"ADEN_API_KEY": "k", "ADEN_API_URL": "aden"}, "the environment's ADEN_API_URL cannot be used"),
    ],
)
def test_what_the_environment_says_wrongly_is_told_by_its_name(
    variables: dict[str, str], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError, match=said):
        MeterOptions().completed()
