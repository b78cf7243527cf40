"""What a server is told by environment variables: secrets above all, which command lines would show."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields
from urllib.parse import unquote, urlsplit

from ...errors import ConfigurationError
from .app import Settings
from .deliveries import AlertSettings, Smtp
from .retention import LEAST_DAYS, Retention
from .safe_url import Allowed

__all__ = ["settings_from"]

SECRET = "ADEN_WEBHOOK_SECRET"  # noqa: S105 - a name
ALLOW = "ADEN_WEBHOOK_ALLOW"
SMTP = "ADEN_SMTP_URL"
SENDER = "ADEN_SMTP_FROM"
DAYS = "ADEN_RETENTION_DAYS"
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
    return Settings(
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
    days: dict[str, float] = {}
    for part in filter(None, [each.strip() for each in told.split(",")]):
        name, _, figure = part.partition("=")
        try:
            found = float(figure)
        except ValueError:
            found = math.nan
        if name not in known or not 0 <= found < math.inf:
            raise ConfigurationError(f"{DAYS}: give days like events=90, of {', '.join(sorted(known))}")
        days[name] = found
    if 0 < days.get("events", 0) < LEAST_DAYS:
        raise ConfigurationError(
            f"{DAYS}: keep events at least {LEAST_DAYS} days; one that is sent again is known by its row"
        )
    return Retention(**days)
