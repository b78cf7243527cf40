"""All that is examined, in the order in which it is shown."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from ..demo.isolation import isolated
from ..run.settings import Settings, read_settings
from .budgets import budgets
from .findings import Finding
from .libraries import libraries
from .live import live
from .sdks import frameworks, sdks
from .surroundings import conflicts, decoders, environment, log, prices, proxies, python, start_up, workers

__all__ = ["examine"]


def examine(log_dir: str | None, *, policy: str | None = None, ledger: str | None = None) -> list[Finding]:
    """Everything; a part that fails is a finding itself."""
    parts: Sequence[tuple[str, Callable[[], Iterator[Finding]]]] = (
        ("Python", python),
        ("SDKs", sdks),
        ("Frameworks", frameworks),
        ("HTTP libraries", libraries),
        ("A call of each kind", _live),
        ("Patches of others", conflicts),
        ("aden-transport run", start_up),
        ("Servers and workers", workers),
        ("Content encodings", decoders),
        ("Prices", prices),
        ("Budgets", lambda: _budgets(policy, ledger)),
        ("Log", lambda: log(log_dir)),
        ("Environment", environment),
        ("Proxies", proxies),
    )
    return [finding for name, part in parts for finding in _fenced(name, part)]


def _budgets(policy: str | None, ledger: str | None) -> Iterator[Finding]:
    run = read_settings() or Settings()
    return budgets(policy or run.policy, ledger or run.ledger)


def _live() -> Iterator[Finding]:
    with isolated():
        yield from live()


def _fenced(name: str, part: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    try:
        yield from part()
    except Exception as exc:  # noqa: BLE001 - one broken installation must not hide the rest
        yield Finding(name, name, "fault", f"cannot be examined: {type(exc).__name__}: {exc}")
