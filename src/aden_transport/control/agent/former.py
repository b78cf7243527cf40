"""Files that this host has kept under other keys of the same team, as before a key was changed for a new one.

What waits there is brought with the key of now: a server of ours tells the team of a key beside its policy,
and that is kept with the last good policy. So no key has to be kept, and no file of another team is touched.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ...ledger.private import host_file
from .kept import PREFIX, Kept

__all__ = ["Former", "former_keys", "team_name"]

MOST = 100


@dataclass(frozen=True, slots=True)
class Former:
    """What was kept under one key."""

    name: str
    """As `name_of` gives it: of the files, and where events say that they go."""
    path: Path
    """Of sums, holds, leases and events; need not be there."""


def team_name(url: str, team: str) -> str:
    """What a team of a server is called in files."""
    digest = hashlib.blake2b(f"{url}\0{team}".encode(), digest_size=12, person=b"aden.team")
    return digest.hexdigest()


def former_keys(name: str, team: str, folder: Path | None) -> list[Former]:
    """Those whose files lie beside those of `name`. Reads files; raises nothing."""
    with suppress(OSError):
        return list(_found(host_file(name, folder).parent, name, team))
    return []


def _found(folder: Path, name: str, team: str) -> Iterator[Former]:
    for path in sorted(folder.glob(f"{PREFIX}*.json"))[:MOST]:
        if path.stem != name and Kept(path).read().get("team") == team:
            with suppress(OSError):
                yield Former(path.stem, host_file(path.stem, folder))
