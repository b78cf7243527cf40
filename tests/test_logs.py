"""Loggers: what is set, when, and that the host comes first."""

from __future__ import annotations

import io
import logging
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from aden_transport import logs
from aden_transport.errors import ConfigurationError
from aden_transport.logs import configure_from_environment, configure_logging

ADEN = logging.getLogger("aden")
METRICS = logging.getLogger("aden.metrics")


@pytest.fixture(autouse=True)
def untouched(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("ADEN_LOG_LEVEL", raising=False)
    before = (ADEN.level, METRICS.level, list(ADEN.handlers))
    yield
    ADEN.setLevel(before[0])
    METRICS.setLevel(before[1])
    ADEN.handlers[:] = before[2]


def bare_program(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """The stderr of a program whose root logger has no handlers.

    No fixture, because pytest sets both anew between a test's set-up and its call.
    """
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    return stream


def test_importing_configures_nothing() -> None:
    program = (
        "import logging, aden_transport.logs\n"
        "for name in ('aden', 'aden.metrics'): assert logging.getLogger(name).level == logging.NOTSET\n"
        "assert [type(h) for h in logging.getLogger('aden').handlers] == [logging.NullHandler]\n"
        "assert not logging.getLogger().handlers\n"
        "logging.getLogger('aden.part').error('unseen')\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize(
    ("level", "metrics_level", "expected"),
    [
        (None, None, (logging.INFO, logging.DEBUG)),
        ("debug", None, (logging.DEBUG, logging.DEBUG)),
        ("INFO", None, (logging.INFO, logging.INFO)),
        ("Warning ", None, (logging.WARNING, logging.WARNING)),
        ("warn", "debug", (logging.WARNING, logging.DEBUG)),
        ("error", None, (logging.ERROR, logging.ERROR)),
        ("critical", "15", (logging.CRITICAL, 15)),
        (logging.DEBUG, 0, (logging.DEBUG, 0)),
        (None, "error", (logging.INFO, logging.ERROR)),
    ],
)
def test_levels(level: Any, metrics_level: Any, expected: tuple[int, int]) -> None:
    configure_logging(level, metrics_level)
    assert (ADEN.level, METRICS.level) == expected


def test_the_environment_decides_where_the_program_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADEN_LOG_LEVEL", " warning ")
    configure_logging()
    assert (ADEN.level, METRICS.level) == (logging.WARNING, logging.WARNING)
    configure_logging("error")
    assert ADEN.level == logging.ERROR
    monkeypatch.setenv("ADEN_LOG_LEVEL", "  ")
    configure_logging()
    assert ADEN.level == logging.INFO


def test_instrument_follows_the_environment_only(monkeypatch: pytest.MonkeyPatch) -> None:
    handlers = list(ADEN.handlers)
    assert not configure_from_environment()
    assert ADEN.handlers == handlers
    monkeypatch.setenv("ADEN_LOG_LEVEL", "debug")
    assert configure_from_environment()
    assert ADEN.level == logging.DEBUG


@pytest.mark.parametrize("level", ["loud", "", True, -1, 1.5, ["debug"], "\uff11\uff10"])
@pytest.mark.parametrize("which", ["level", "metrics_level"])
def test_wrong_levels_change_nothing(level: Any, which: str) -> None:
    before = (ADEN.level, METRICS.level, list(ADEN.handlers))
    with pytest.raises(ConfigurationError, match=f"{which}=.* use debug, info"):
        configure_logging(**{which: level})
    assert (ADEN.level, METRICS.level, list(ADEN.handlers)) == before


def test_a_wrong_level_in_the_environment_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADEN_LOG_LEVEL", "verbose")
    for configure in (configure_logging, configure_from_environment):
        with pytest.raises(ConfigurationError, match="ADEN_LOG_LEVEL='verbose'"):
            configure()


@pytest.mark.parametrize("text", ["%(nope", "plain", 3])
def test_wrong_formats(text: Any) -> None:
    with pytest.raises(ConfigurationError, match="format="):
        configure_logging(format=text)


def test_twice_prints_once(monkeypatch: pytest.MonkeyPatch) -> None:
    stderr = bare_program(monkeypatch)
    configure_logging("info")
    configure_logging("info", format="%(name)s|%(message)s")
    logging.getLogger("aden.part").info("hello")
    METRICS.debug("quiet")
    assert stderr.getvalue() == "aden.part|hello\n"


def test_stderr_is_that_of_the_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    stderr = bare_program(monkeypatch)
    configure_logging("info")
    monkeypatch.setattr(sys, "stderr", None)
    ADEN.info("nowhere")
    monkeypatch.setattr(sys, "stderr", stderr)
    ADEN.info("here")
    assert stderr.getvalue().count("\n") == 1
    assert "INFO aden: here" in stderr.getvalue()


def test_the_hosts_handlers_come_first(monkeypatch: pytest.MonkeyPatch) -> None:
    stderr = bare_program(monkeypatch)
    host = io.StringIO()
    monkeypatch.setattr(logging.getLogger(), "handlers", [logging.StreamHandler(host)])
    configure_logging("info")
    ADEN.info("once")
    assert (host.getvalue(), stderr.getvalue()) == ("once\n", "")
    configure_logging("info", format="%(message)s")
    ADEN.info("both")
    assert (host.getvalue(), stderr.getvalue()) == ("once\nboth\n", "both\n")


def test_the_name_of_the_variable() -> None:
    assert logs.LEVEL_VARIABLE == "ADEN_LOG_LEVEL"
