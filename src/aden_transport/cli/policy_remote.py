"""`aden-transport policy push|pull|diff`: a file, and the policy of a control server."""

from __future__ import annotations

import argparse
import difflib
import json
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ..control.server.documents import RULES, accepted, told
from ..errors import ConfigurationError
from ..policy.document import from_json
from .screen import Line, Screen
from .server import Server

__all__ = ["as_read", "run"]

DIFFERS = 1
RESETS = {"generation", "resets"}
KNOWN_BY_SERVER = ("id", "version", "updated_at")


def run(arguments: argparse.Namespace) -> int:
    """Push, pull or compare; returns the exit code."""
    if arguments.what != "pull" and not arguments.file:
        raise ConfigurationError(f"`policy {arguments.what}` needs a FILE")
    address = f"/v1/control/policies/{quote(arguments.policy, safe='')}"
    with Server(arguments) as server:
        if arguments.what == "push":
            return _push(server, address, arguments)
        remote = _plain(server.get(address))
    if arguments.what == "pull":
        return _pull(remote, arguments)
    return _diff(remote, arguments)


def _push(server: Server, address: str, arguments: argparse.Namespace) -> int:
    document = {**{name: [] for name in RULES}, **_local(arguments.file)[0]}
    after = server.ask("PUT", address, document)
    if arguments.json:
        print(json.dumps(after))
    else:
        Screen().show(f"policy {after['id']} is version {after['version']}")
    return 0


def _pull(remote: Mapping[str, Any], arguments: argparse.Namespace) -> int:
    text = f"{json.dumps(remote, indent=2, ensure_ascii=False)}\n"
    if not arguments.file:
        print(text if _can_be_shown(text) else f"{json.dumps(remote, indent=2)}\n", end="")
        return 0
    path = Path(arguments.file)
    if path.suffix.lower() == ".toml":
        raise ConfigurationError("a policy is pulled as JSON: give a file that does not end in .toml")
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as exc:
        raise ConfigurationError(f"the file {arguments.file!r} cannot be written: {exc.strerror}") from exc
    return 0


def _can_be_shown(text: str) -> bool:
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _diff(remote: Mapping[str, Any], arguments: argparse.Namespace) -> int:
    """What a push would change."""
    local = _as_reset(as_read(arguments.file), remote)
    before, after = (
        json.dumps(one, indent=2, sort_keys=True, ensure_ascii=False).splitlines() for one in (remote, local)
    )
    lines = list(difflib.unified_diff(before, after, "server", arguments.file, lineterm=""))
    styles = {"+": "green", "-": "red"}
    if arguments.json:
        print(json.dumps({"differs": bool(lines), "server": remote, "file": local}))
    else:
        Screen().show(*(Line(line, styles.get(line[:1], "")) for line in lines))
    return DIFFERS if lines else 0


def _as_reset(local: dict[str, Any], remote: Mapping[str, Any]) -> dict[str, Any]:
    """A push leaves what was reset as it is, where the file says nothing of it."""
    known = {_name(one): one["generation"] for one in remote["budgets"] if one.get("generation")}
    reset = [
        {**one, "generation": known[_name(one)]} if _name(one) in known and not RESETS & one.keys() else one
        for one in local["budgets"]
    ]
    return {**local, "budgets": reset}


def _name(budget: Mapping[str, Any]) -> tuple[Any, ...]:
    """Templates are told without an id."""
    return (budget["id"],) if "id" in budget else (budget.get("type"), budget.get("name"))


def as_read(file: str) -> dict[str, Any]:
    """The document of a file as a server would tell it. Raises: ConfigurationError."""
    document, policy = _local(file)
    return _plain(told(document, policy, {}, policy_id="", version=0, updated_at=0.0))


def _local(file: str) -> tuple[dict[str, Any], Any]:
    """The document of a file and the policy in it, checked. Raises: ConfigurationError."""
    path = Path(file)
    try:
        data = path.read_bytes()
        if path.suffix.lower() == ".toml":
            return accepted(tomllib.loads(data.decode("utf-8-sig")))
        return accepted(from_json(data, f"The policy file {file!r}"))
    except (OSError, ValueError) as exc:
        raise ConfigurationError(f"the policy file {file!r} cannot be read: {exc}") from exc


def _plain(document: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in document.items() if name not in KNOWN_BY_SERVER}
