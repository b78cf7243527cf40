"""What is around the calls: Python, other patches, the start-up hook, servers, prices, settings."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, date, datetime
from itertools import product
from pathlib import Path

from ... import __version__
from ...adapters._seam import METHOD
from ...emitters import create_file_emitter
from ...emitters._append import append_record
from ...errors import ConfigurationError
from ...framing._brotli import find_brotli
from ...framing._zstd import find_zstd
from ...logs import LEVEL_VARIABLE, configure_from_environment
from ...options import MeterOptions
from ...pricing.snapshot import bundled
from ..run.launch import environment as run_environment
from ..run.settings import OPTIONS, TOTALS, Settings, read_settings
from .findings import Finding, version_of

__all__ = [
    "conflicts",
    "decoders",
    "environment",
    "log",
    "prices",
    "proxies",
    "python",
    "start_up",
    "workers",
]

OLD_DAYS = 90
UPGRADE = "pip install --upgrade aden-transport"

ALSO_PATCH_HTTPX = (
    "ddtrace",
    "elastic-apm",
    "logfire",
    "newrelic",
    "opentelemetry-instrumentation-httpx",
    "sentry-sdk",
)
"""Distributions that patch httpx's clients once they are started."""

PROXY_VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")


def python() -> Iterator[Finding]:
    facts = {
        "python": platform.python_version(),
        "implementation": platform.python_implementation(),
        "platform": platform.platform(),
        "executable": sys.executable,
    }
    text = f"{facts['implementation']} {facts['python']}, {sys.executable}, {facts['platform']}"
    yield Finding("Python", f"aden-transport {__version__}", "ok", text, None, facts)


def conflicts() -> Iterator[Finding]:
    """Who else patches httpx: what is in place in this process, and what is only installed."""
    section = "Patches of others"
    for library in ("httpx", "httpx2"):
        patched = {}
        for client, method in product(("Client", "AsyncClient"), ("send", METHOD)):
            owner = _patched_by(library, client, method)
            if owner is not None:
                patched[f"{client}.{method}"] = owner
        if patched:
            text = f"{', '.join(patched)} patched by {', '.join(sorted({*patched.values()}))}"
            yield Finding(section, library, "note", f"{text}; the calls above went through that as well")
    for distribution in ALSO_PATCH_HTTPX:
        version = version_of(distribution)
        if version is not None:
            text = "patches httpx too, once started; start doctor with it to see the calls above through both"
            yield Finding(section, f"{distribution} {version}", "note", text)


def _patched_by(library: str, client: str, method: str) -> str | None:
    module = sys.modules.get(library)
    found = getattr(getattr(module, client, None), method, None)
    # A wrapper of wrapt shows the module of what it wraps.
    wrapper = getattr(found, "_self_wrapper", None)
    owner = getattr(found if wrapper is None else wrapper, "__module__", None)
    if owner is not None and owner.partition(".")[0] not in ("httpx", "httpx2"):
        return str(owner)
    return "somebody" if hasattr(found, "__wrapped__") else None


def decoders() -> Iterator[Finding]:
    for name, found in (("br", find_brotli()), ("zstd", find_zstd())):
        text = "read" if found else "no decoder; clients ask for it only where they have one themselves"
        yield Finding("Content encodings", name, "ok" if found else "note", text)


def start_up() -> Iterator[Finding]:
    """Whether a Python started by `run` finds the hook; tried, because much may stand in its way."""
    settings = Settings(quiet=True)
    variables = run_environment(settings, {**os.environ, TOTALS: ""})
    code = "import sys; sys.exit('aden_run_hook' not in sys.modules)"
    done = subprocess.run(  # noqa: S603 - this very Python
        [sys.executable, "-c", code], env=variables, capture_output=True, check=False, timeout=30
    )
    if done.returncode == 0:
        text = "meters programs of this Python; not those started with its options -I, -E or -S"
        yield Finding("aden-transport run", "start-up hook", "ok", text)
    else:
        text = "does not run in this Python; call instrument() in the program"
        yield Finding("aden-transport run", "start-up hook", "fault", text)


def workers() -> Iterator[Finding]:
    """Servers that fork, as far as they are installed or set up in the environment."""
    section = "Servers and workers"
    arguments = os.environ.get("GUNICORN_CMD_ARGS", "")
    if arguments or version_of("gunicorn"):
        text = "workers are metered, with and without --preload; each has its own emitters"
        yield Finding(section, f"gunicorn {version_of('gunicorn') or ''}".strip(), "ok", text)
    if version_of("celery"):
        text = "prefork workers are metered; `aden-transport run -- celery …` emits within the call"
        yield Finding(section, f"celery {version_of('celery')}", "ok", text)
    if version_of("uwsgi") or any(name.startswith("UWSGI_") for name in os.environ):
        yield _uwsgi(section)


def _uwsgi(section: str) -> Finding:
    # https://uwsgi-docs.readthedocs.io/en/latest/ThingsToKnow.html: without it the GIL is not
    # initialised, and threads of the application never run.
    if os.environ.get("UWSGI_ENABLE_THREADS", "") in ("1", "true") or "UWSGI_THREADS" in os.environ:
        return Finding(section, "uWSGI", "ok", "its workers may have threads, which emitters need")
    text = "without --enable-threads no thread runs in its workers, and emitters run on one"
    return Finding(section, "uWSGI", "warning", text, "uwsgi --enable-threads …")


def prices() -> Iterator[Finding]:
    snapshot = bundled()
    age = (datetime.now(UTC).date() - date.fromisoformat(snapshot.as_of)).days
    facts = {"source": snapshot.source, "as_of": snapshot.as_of, "age_days": age}
    text = f"{snapshot.source}, of {snapshot.as_of}"
    if age > OLD_DAYS:
        yield Finding("Prices", "price data", "warning", f"{text}: {age} days old", UPGRADE, facts)
    else:
        yield Finding("Prices", "price data", "ok", text, None, facts)


def log(directory: str | None) -> Iterator[Finding]:
    """Whether a line can be written to the directory, which is left as it was."""
    settings = read_settings()
    directory = directory or (settings.log if settings is not None else None)
    if directory is None:
        return
    path = Path(directory).expanduser().absolute()
    made = not path.exists()
    probe = path / f".aden-doctor-{os.getpid()}"
    try:
        create_file_emitter(path)
        append_record(probe, b"{}")
    except (OSError, ConfigurationError) as exc:
        text = f"cannot be written to: {exc}"
        yield Finding(
            "Log", str(path), "fault", text, f"aden-transport run --log {Path.home() / 'aden-logs'} …"
        )
    else:
        yield Finding("Log", str(path), "ok", "can be written to")
    finally:
        with suppress(OSError):
            probe.unlink()
        if made:
            with suppress(OSError):
                path.rmdir()


def environment() -> Iterator[Finding]:
    """The variables that begin with `ADEN_`; values of those that we do not read are not shown."""
    for name in sorted(name for name in os.environ if name.startswith("ADEN_")):
        if name == LEVEL_VARIABLE:
            yield _level(os.environ[name])
        elif name.startswith(OPTIONS):
            yield Finding("Environment", name, "note", "this is run by `aden-transport run`")
        else:
            options = ", ".join(MeterOptions.__slots__[:3])
            text = f"is not read; options are given to MeterOptions({options}, …)"
            yield Finding("Environment", name, "warning", text, f"unset {name}")


def _level(value: str) -> Finding:
    try:
        configure_from_environment()
    except ConfigurationError as exc:
        return Finding("Environment", LEVEL_VARIABLE, "fault", str(exc), f"unset {LEVEL_VARIABLE}")
    return Finding("Environment", LEVEL_VARIABLE, "ok", value)


def proxies() -> Iterator[Finding]:
    """By name alone: their values may hold passwords."""
    found = [name for name in os.environ if name.upper() in PROXY_VARIABLES]
    if found:
        text = "calls that pass through a proxy are metered; MeterTransport as transport=… goes past it"
        yield Finding("Proxies", ", ".join(sorted(found)), "note", text)
