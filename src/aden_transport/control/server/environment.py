"""What a server is told by environment variables: secrets above all, which command lines would show."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import fields
from urllib.parse import unquote, urlsplit

from ...errors import ConfigurationError
from ...ledger.grants import Bounds
from .app import SWEEP_S, Settings
from .deliveries import AlertSettings, Smtp
from .retention import LEAST_DAYS, Retention
from .safe_url import Allowed

__all__ = ["settings_from"]

SECRET = "ADEN_WEBHOOK_SECRET"  # noqa: S105 - a name
ALLOW = "ADEN_WEBHOOK_ALLOW"
SMTP = "ADEN_SMTP_URL"
SENDER = "ADEN_SMTP_FROM"
DAYS = "ADEN_RETENTION_DAYS"
LEASES = "ADEN_LEASE_SECONDS"
MOST_S = 366 * 86_400.0
LEAST_TTL_S = 1.0
"""Clients ask again in time for a lease that lasts so long, and no more than a few times a second."""
LEAST_CHARS = 16


def settings_from(environment: Mapping[str, str]) -> Settings:
    """Raises: ConfigurationError, which names the variable, and never shows a secret."""
    secret = environment.get(SECRET) or None
    if secret is not None and len(secret) < LEAST_CHARS:
        raise ConfigurationError(f"{SECRET}: give at least {LEAST_CHARS} characters")
    allow = tuple(filter(None, [each.strip() for each in environment.get(ALLOW, "").split(",")]))
    try:
        Allowed(allow)
    except ValueError as exc:
        raise ConfigurationError(f"{ALLOW}: {exc}") from exc
    smtp = _smtp(environment.get(SMTP, ""), environment.get(SENDER, ""))
    bounds, sweep_s = _leases(environment.get(LEASES, ""))
    return Settings(
        bounds=bounds,
        sweep_s=sweep_s,
        alerts=AlertSettings(webhook_secret=secret, allow=allow, smtp=smtp),
        retention=_retention(environment.get(DAYS, "")),
    )


def _smtp(url: str, sender: str) -> Smtp | None:
    """`smtp://user:password@host:587`; `smtp+plain://` without STARTTLS."""
    if not url:
        return None
    try:
        parts = urlsplit(url)
        port = parts.port or 587
    except ValueError:
        parts, port = urlsplit(""), 0
    if parts.scheme not in ("smtp", "smtp+plain") or not parts.hostname or not port:
        raise ConfigurationError(f"{SMTP}: give smtp://USER:PASSWORD@HOST:PORT")
    return Smtp(
        host=parts.hostname,
        port=port,
        sender=sender,
        user=None if parts.username is None else unquote(parts.username),
        password=None if parts.password is None else unquote(parts.password),
        starttls=parts.scheme == "smtp",
    )


def _retention(told: str) -> Retention:
    """`events=90,content=30`."""
    known = {field.name for field in fields(Retention)}
    days = _figures(told, known, math.inf, f"{DAYS}: give days like events=90")
    if 0 < days.get("events", 0) < LEAST_DAYS:
        raise ConfigurationError(
            f"{DAYS}: keep events at least {LEAST_DAYS} days; one that is sent again is known by its row"
        )
    return Retention(**days)


def _leases(told: str) -> tuple[Bounds, float]:
    """`ttl=60,longest=3600,dispute=86400,look=5`: of leases, and between two looks for what nobody ends."""
    known = ("ttl", "longest", "dispute", "look")
    given = _figures(told, known, MOST_S, f"{LEASES}: give seconds like longest=600")
    look_s = given.pop("look", SWEEP_S)
    if min(given.get("ttl", LEAST_TTL_S), look_s * 10) < LEAST_TTL_S:
        raise ConfigurationError(f"{LEASES}: give ttl={LEAST_TTL_S:g} or more, and look=0.1 or more")
    usual = Bounds()
    bounds = Bounds(
        ttl_s=given.get("ttl", usual.ttl_s),
        longest_s=given.get("longest", usual.longest_s),
        dispute_ttl_s=given.get("dispute", usual.dispute_ttl_s),
    )
    return bounds, look_s


def _figures(told: str, known: Collection[str], most: float, usage: str) -> dict[str, float]:
    """`name=figure,…`, from 0. Raises: ConfigurationError."""
    found: dict[str, float] = {}
    for part in filter(None, [each.strip() for each in told.split(",")]):
        name, _, text = part.partition("=")
        try:
            figure = float(text)
        except ValueError:
            figure = math.nan
        if name not in known or not 0 <= figure <= most or math.isinf(figure):
            raise ConfigurationError(f"{usage}, of {', '.join(sorted(known))}")
        found[name] = figure
    return found
