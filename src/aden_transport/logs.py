"""The loggers: `aden`, `aden.metrics` and `aden.<part>`.

The host application owns handlers and levels: importing this sets neither, and only gives `aden` a
`NullHandler` so that a library's warning is not printed where nobody asked for logs.
"""

from __future__ import annotations

import logging
import os
import sys

from .errors import ConfigurationError

__all__ = ["LEVEL_VARIABLE", "configure_from_environment", "configure_logging"]

LEVEL_VARIABLE = "ADEN_LOG_LEVEL"
"""The environment variable that names the level of `aden` where the program does not."""

_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
_LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "warn": logging.WARNING,
    "error": logging.ERROR,
    "critical": logging.CRITICAL,
}
_aden = logging.getLogger("aden")
_metrics = logging.getLogger("aden.metrics")
_aden.addHandler(logging.NullHandler())


class _StderrHandler(logging.StreamHandler):  # type: ignore[type-arg]  # generic in the stubs only
    """Writes to the `sys.stderr` of the moment, and stands aside where the host logs itself."""

    always = False
    """Print although the root logger has handlers (which then print the record once more)."""

    def emit(self, record: logging.LogRecord) -> None:
        if sys.stderr is None or (logging.getLogger().handlers and not self.always):
            return
        self.stream = sys.stderr
        super().emit(record)


_handler = _StderrHandler(sys.stderr)


def configure_logging(
    level: str | int | None = None,
    metrics_level: str | int | None = None,
    format: str | None = None,
) -> None:
    """Show aden's logs on stderr, for programs that do not configure logging themselves.

    `level` is that of `aden` and, unless `metrics_level` says otherwise, of `aden.metrics`:
    `"debug"`, `"info"`, `"warning"`, `"error"`, `"critical"` or a number of `logging`. Where it is
    None, `ADEN_LOG_LEVEL` decides; where that is unset too, `aden` shows INFO and `aden.metrics`
    DEBUG. `format` is a format of `logging`, `%`-style; giving it also prints where the root logger
    has handlers of its own, else those print the records and nothing is shown twice.
    Calling it again replaces what was set before.

    Raises: ConfigurationError for a level or format that does not exist; nothing is changed then.
    """
    chosen: str | int | None = level
    name = "level"
    if chosen is None and (chosen := os.environ.get(LEVEL_VARIABLE, "").strip() or None) is not None:
        name = LEVEL_VARIABLE
    general = logging.INFO if chosen is None else _number(chosen, name)
    if metrics_level is not None:
        metrics = _number(metrics_level, "metrics_level")
    else:
        metrics = logging.DEBUG if chosen is None else general
    formatter = _formatter(format)
    _handler.setFormatter(formatter)
    _handler.always = format is not None
    if _handler not in _aden.handlers:
        _aden.addHandler(_handler)
    _aden.setLevel(general)
    _metrics.setLevel(metrics)


def configure_from_environment() -> bool:
    """What `instrument()` does: `configure_logging()` where `ADEN_LOG_LEVEL` is set, else nothing.

    Returns whether it was set. Raises: ConfigurationError for a level that does not exist.
    """
    if not os.environ.get(LEVEL_VARIABLE, "").strip():
        return False
    configure_logging()
    return True


def _number(value: object, name: str) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    if isinstance(value, str):
        text = value.strip().lower()
        if text in _LEVELS:
            return _LEVELS[text]
        if text.isascii() and text.isdigit():
            return int(text)
    raise ConfigurationError(
        f"{name}={str(value)[:64]!r} is no log level: use debug, info, warning, error or critical"
    )


def _formatter(text: str | None) -> logging.Formatter:
    try:
        return logging.Formatter(_FORMAT if text is None else text)
    except (TypeError, ValueError) as exc:
        raise ConfigurationError(
            f"format={str(text)[:64]!r} is no logging format: use one like {_FORMAT!r}"
        ) from exc
