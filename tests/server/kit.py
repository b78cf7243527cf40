"""A team on a control server, and how tests wait."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from aden_transport.control.server.access import ADMIN, Scope, create_key, create_team
from aden_transport.control.server.storage import Storage

__all__ = ["Team", "free_port", "new_team", "wait_for"]

DEADLINE_S = 60.0


@dataclass(frozen=True)
class Team:
    """A team and one key of its."""

    id: str
    key_id: str
    token: str

    @property
    def headers(self) -> Mapping[str, str]:
        return {"Authorization": f"Bearer {self.token}"}


def new_team(storage: Storage, scopes: tuple[Scope, ...] = ADMIN, *, name: str = "acme") -> Team:
    """A new team with a key of these scopes."""
    with storage.begin() as db:
        team_id = create_team(db, name, now=time.time())
        key_id, token = create_key(db, team_id, "test", scopes, now=time.time())
    return Team(team_id, key_id, token)


def wait_for(met: Callable[[], Any], *, deadline_s: float = DEADLINE_S) -> Any:
    """What `met` gives once it is true."""
    end = time.monotonic() + deadline_s
    while time.monotonic() < end:
        found = met()
        if found:
            return found
        time.sleep(0.02)
    raise AssertionError("it did not happen")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
