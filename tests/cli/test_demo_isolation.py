"""The demo keeps to itself: no setting comes in, nothing leaves, and everything is as before afterwards."""

from __future__ import annotations

import os
import socket
import warnings

import pytest

from aden_transport.cli.demo.isolation import isolated

from .support import HOSTILE


def test_settings_of_sdks_are_hidden_and_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in HOSTILE.items():
        monkeypatch.setenv(name, value)
    before = dict(os.environ)
    with isolated():
        assert HOSTILE.keys().isdisjoint(os.environ)
        assert os.environ["NO_PROXY"] == "*"
    assert dict(os.environ) == before


@pytest.mark.parametrize("host", ["198.51.100.7", "example.com", "2001:db8::1"])
def test_other_hosts_are_refused(host: str) -> None:
    with isolated(), pytest.raises(PermissionError, match=r"nothing but 127\.0\.0\.1"):
        socket.create_connection((host, 9), timeout=0.1)
    with (
        isolated(),
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sending,
        pytest.raises(PermissionError),
    ):
        sending.sendto(b"x", ("198.51.100.7", 9))


def test_this_machine_is_not_refused() -> None:
    with isolated(), socket.create_server(("127.0.0.1", 0)) as server:
        socket.create_connection(server.getsockname()).close()
        assert socket.getaddrinfo("localhost", 80)


def test_warnings_of_libraries_are_not_shown() -> None:
    with isolated():
        warnings.warn("old", DeprecationWarning, stacklevel=1)
    with pytest.raises(DeprecationWarning):
        warnings.warn("old", DeprecationWarning, stacklevel=1)
