"""A policy document, read whole or rejected whole.

Aden's control protocol in its server and its legacy spelling, the ladder of Aden's README, and ours beside
them. One budget alone, or a list of budgets, is a document, too.
"""

from __future__ import annotations

import json
import tomllib
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import ConfigurationError
from .budgets import budget_from, unknown_from
from .fields import Faults, Fields, Repeated, shown
from .rules import alert_from, block_from, degrade_from, throttle_from
from .values import NOT_SAID, Budget, OnUnknown, Policy, ThrottleRule

__all__ = [
    "MAX_BYTES",
    "POLICY",
    "from_json",
    "load",
    "on_unknown",
    "parse",
    "path_of",
    "read",
    "unreadable",
    "whole",
]

MAX_BYTES = 256 << 20
MAX_BUDGETS = 1_000_000
MAX_SAME = 100
"""Budgets that one call may meet under one name, as each is asked."""
MAX_RULES = 1_000

POLICY = {
    "id": "id",
    "policy_id": "id",
    "name": "name",
    "version": "version",
    "budgets": "budgets",
    "throttles": "throttles",
    "blocks": "blocks",
    "degradations": "degradations",
    "alerts": "alerts",
    "on_unknown": "on_unknown",
}
POLICY_UNUSED = frozenset(
    {"created_at", "updated_at", "team_id", "description", "is_default", "pricing", "type", "_id", "__v"}
)
"""Members that Aden's server sends and nothing here depends on."""


def load(source: Any) -> Policy:
    """A policy from a mapping, a list of budgets, JSON text, or the path of a JSON or TOML file.

    Text that begins with `{` or `[` is JSON, any other is a path. A `Policy` is given back as it is.

    Raises: ConfigurationError, with the path of each fault in the document.
    """
    if isinstance(source, Policy):
        return source
    path = path_of(source)
    if path is not None:
        return _load_file(path)
    if isinstance(source, str):
        return parse(from_json(source.lstrip("\ufeff"), "The policy"))
    if isinstance(source, bytes):
        return parse(from_json(source, "The policy"))
    return parse(source)


def path_of(source: Any) -> Path | None:
    """The path that `load` takes `source` for; None where it is the document itself."""
    if isinstance(source, str) and source.lstrip("\ufeff \t\r\n")[:1] in ("{", "["):
        return None
    return Path(source) if isinstance(source, (str, Path)) else None


def read(data: bytes, path: Path) -> Policy:
    """The policy in a file's bytes: TOML where its name ends so, else JSON.

    Raises: ConfigurationError, with the path of each fault.
    """
    where = f"The policy file {str(path)[-200:]!r}"
    if len(data) > MAX_BYTES:
        raise ConfigurationError(f"{where} is larger than {MAX_BYTES >> 20} MiB")
    if not data.strip():
        # As TOML it would be a policy without limits, and it is how a file looks whose writing has begun.
        raise ConfigurationError(f"{where} is empty")
    return parse(_from_toml(data, where) if path.suffix.lower() == ".toml" else from_json(data, where))


def parse(document: Any) -> Policy:
    """The policy that a mapping, or a list of budgets, describes.

    Raises: ConfigurationError, with the path of each fault.
    """
    faults = Faults()
    policy = _policy(whole(document), faults)
    if faults:
        raise ConfigurationError(f"The policy cannot be used:\n{faults}")
    return policy


def on_unknown(value: Any) -> OnUnknown:
    """`MeterOptions(on_unknown=…)`: `"allow"`, `"block"` or dollars for `price`, `size`, `store`, `server`.

    Raises: ConfigurationError, with the path of each fault.
    """
    if isinstance(value, OnUnknown):
        return value
    faults = Faults()
    out = NOT_SAID if value is None else unknown_from(value, "on_unknown", faults)
    if faults:
        raise ConfigurationError(str(faults))
    return out


def whole(document: Any) -> Mapping[Any, Any]:
    """One budget and a list of budgets as documents."""
    if isinstance(document, (list, tuple)):
        return {"budgets": document}
    if not isinstance(document, Mapping):
        raise ConfigurationError(
            f'The policy cannot be used: give an object like {{"budgets": […]}}, not {shown(document)}'
        )
    if any(key in document for key in ("limit", "limit_usd", "limitUsd")):
        return {"budgets": [document]}
    return document


def _policy(document: Mapping[Any, Any], faults: Faults) -> Policy:
    fields = Fields(document, "", faults, known=POLICY, unused=POLICY_UNUSED)
    unknown = fields.raw("on_unknown")
    return Policy(
        budgets=_budgets(fields),
        throttles=_throttles(fields),
        blocks=tuple([block_from(item, path, faults) for item, path in fields.objects("blocks", MAX_RULES)]),
        degradations=tuple(
            [degrade_from(item, path, faults) for item, path in fields.objects("degradations", MAX_RULES)]
        ),
        alerts=tuple([alert_from(item, path, faults) for item, path in fields.objects("alerts", MAX_RULES)]),
        on_unknown=NOT_SAID if unknown is None else unknown_from(unknown, fields.at("on_unknown"), faults),
        id=fields.text("id"),
        name=fields.text("name"),
        version=_version(fields),
    )


def _version(fields: Fields) -> str | None:
    """Servers number their versions, or name them."""
    if isinstance(fields.raw("version"), str):
        return fields.text("version")
    number = fields.whole("version", None, high=1 << 53)
    return None if number is None else str(number)


def _budgets(fields: Fields) -> tuple[Budget, ...]:
    budgets: dict[str, Budget] = {}
    terms: dict[Any, Any] = {}
    same: Counter[tuple[str, str]] = Counter()
    for item, path in fields.objects("budgets", MAX_BUDGETS):
        budget = budget_from(item, path, fields.faults, terms)
        if budget is None:
            continue
        if budget.key in budgets:
            fields.faults.add(path, f"{shown(budget.key)} is there before; give each its own id")
        budgets[budget.key] = budget
        for name in budget.names if budget.type != "global" else ("",):
            same[budget.type, name] += 1
            if same[budget.type, name] > MAX_SAME:
                fields.faults.add(
                    path, f"over {MAX_SAME} budgets are for the same calls: {budget.type} {name}"
                )
                break
    return tuple(budgets.values())


def _throttles(fields: Fields) -> tuple[ThrottleRule, ...]:
    rules: dict[str, ThrottleRule] = {}
    for item, path in fields.objects("throttles", MAX_RULES):
        rule = throttle_from(item, path, fields.faults)
        if rule.key in rules:
            fields.faults.add(path, "a rule for the same calls is there before; give each its own id")
        rules[rule.key] = rule
    return tuple(rules.values())


def _load_file(path: Path) -> Policy:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as exc:
        raise ConfigurationError(unreadable(path, exc)) from exc
    return read(data, path)


def unreadable(path: Path, exc: Exception) -> str:
    """Why a policy file cannot be read, for people."""
    why = (exc.strerror if isinstance(exc, OSError) else None) or type(exc).__name__
    return f"The policy file {str(path)[-200:]!r} cannot be read: {why}"


def from_json(data: bytes | str, where: str) -> Any:
    """A document, in which an object that has a member twice says so.

    Raises: ConfigurationError, where it is no JSON.
    """
    if len(data) > MAX_BYTES:
        raise ConfigurationError(f"{where} is larger than {MAX_BYTES >> 20} MiB")
    try:
        return json.loads(data, object_pairs_hook=_object)
    except RecursionError as exc:
        raise ConfigurationError(f"{where} is not JSON that can be read: it is nested too deeply") from exc
    except ValueError as exc:
        raise ConfigurationError(f"{where} is not JSON: {str(exc)[:200]}") from exc


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    return found if len(found) == len(pairs) else Repeated(pairs)


def _from_toml(data: bytes, where: str) -> Any:
    try:
        # Editors of Windows put a byte-order mark in front.
        return tomllib.loads(data.decode("utf-8-sig"))
    except RecursionError as exc:
        raise ConfigurationError(f"{where} is nested too deeply") from exc
    except ValueError as exc:
        raise ConfigurationError(f"{where} is not TOML: {str(exc)[:200]}") from exc
