"""What a server is told by environment variables."""

from __future__ import annotations

import pytest

from aden_transport.control.server.deliveries import AlertSettings, Smtp
from aden_transport.control.server.environment import settings_from
from aden_transport.control.server.retention import Retention
from aden_transport.errors import ConfigurationError
from aden_transport.ledger.grants import Bounds

SECRET = "a-secret-of-the-operator"


def test_nothing_said_is_the_default() -> None:
    found = settings_from({})
    assert (found.alerts, found.retention) == (AlertSettings(), Retention())
    assert (found.bounds, found.sweep_s) == (Bounds(), 5.0)


def test_all_of_it_is_read() -> None:
    found = settings_from(
        {
            "ADEN_WEBHOOK_SECRET": SECRET,
            "ADEN_WEBHOOK_ALLOW": "hooks.corp, 10.0.0.0/8",
            "ADEN_SMTP_URL": "smtp://me%40corp:p%2Fw@mail.corp:2525",
            "ADEN_SMTP_FROM": "aden@corp",
            "ADEN_RETENTION_DAYS": "events=30, content=0",
            "ADEN_LEASE_SECONDS": "ttl=30, longest=600, dispute=3600, look=1",
        }
    )
    smtp = Smtp(host="mail.corp", port=2525, sender="aden@corp", user="me@corp", password="p/w")
    assert found.alerts == AlertSettings(webhook_secret=SECRET, allow=("hooks.corp", "10.0.0.0/8"), smtp=smtp)
    assert found.retention == Retention(events=30, content=0)
    assert found.bounds == Bounds(ttl_s=30, longest_s=600, dispute_ttl_s=3600)
    assert found.sweep_s == 1
    plain = settings_from({"ADEN_SMTP_URL": "smtp+plain://localhost"}).alerts.smtp
    assert plain == Smtp(host="localhost", starttls=False)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ADEN_WEBHOOK_SECRET", "short"),
        ("ADEN_WEBHOOK_ALLOW", "a b"),
        ("ADEN_SMTP_URL", "http://user:hidden-word@host"),
        ("ADEN_SMTP_URL", "smtp://"),
        ("ADEN_SMTP_URL", "smtp://user:hidden-word@host:99999"),
        ("ADEN_RETENTION_DAYS", "events"),
        ("ADEN_RETENTION_DAYS", "events=nan"),
        ("ADEN_RETENTION_DAYS", "money=1"),
        ("ADEN_RETENTION_DAYS", "events=7"),
        ("ADEN_RETENTION_DAYS", "events=inf"),
        ("ADEN_LEASE_SECONDS", "ttl=0"),
        ("ADEN_LEASE_SECONDS", "look=0"),
        ("ADEN_LEASE_SECONDS", "skew=1"),
        ("ADEN_LEASE_SECONDS", "longest=-1"),
        ("ADEN_LEASE_SECONDS", "dispute=inf"),
    ],
)
def test_what_cannot_be_used_is_said_without_its_secret(name: str, value: str) -> None:
    with pytest.raises(ConfigurationError, match=name) as caught:
        settings_from({name: value})
    assert "hidden-word" not in str(caught.value)
