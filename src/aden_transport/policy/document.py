"""A policy document, read whole or rejected whole.

Aden's control protocol in its server and its legacy spelling, the ladder of Aden's README, and ours beside
them. One budget alone, or a list of budgets, is a document, too.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .. import _json
from ..errors import ConfigurationError
from .budgets import budget_from, unknown_from
from .fields import Faults, Fields, shown
from .rules import alert_from, block_from, degrade_from, throttle_from
from .values import NOT_SAID, Budget, OnUnknown, Policy, ThrottleRule

__all__ = ["load", "on_unknown", "parse"]

MAX_BYTES = 256 << 20
MAX_BUDGETS = 1_000_000
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
    if isinstance(source, bytes):
        return parse(_from_json(source, "The policy"))
    if isinstance(source, str) and source.lstrip("\ufeff \t\r\n")[:1] in ("{", "["):
        return parse(_from_json(source.lstrip("\ufeff"), "The policy"))
    if isinstance(source, (str, Path)):
        return _load_file(Path(source))
    return parse(source)


def parse(document: Any) -> Policy:
    """The policy that a mapping, or a list of budgets, describes.

    Raises: ConfigurationError, with the path of each fault.
    """
    faults = Faults()
    policy = _policy(_whole(document), faults)
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


def _whole(document: Any) -> Mapping[Any, Any]:
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
    for item, path in fields.objects("budgets", MAX_BUDGETS):
        budget = budget_from(item, path, fields.faults, terms)
        if budget is None:
            continue
        if budget.key in budgets:
            fields.faults.add(path, f"{shown(budget.key)} is there before; give each its own id")
        budgets[budget.key] = budget
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
    where = f"The policy file {str(path)[-200:]!r}"
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as exc:
        raise ConfigurationError(f"{where} cannot be read: {_why(exc)}") from exc
    if len(data) > MAX_BYTES:
        raise ConfigurationError(f"{where} is larger than {MAX_BYTES >> 20} MiB")
    return parse(_from_toml(data, where) if path.suffix.lower() == ".toml" else _from_json(data, where))


def _why(exc: Exception) -> str:
    return (exc.strerror if isinstance(exc, OSError) else None) or type(exc).__name__


def _from_json(data: bytes | str, where: str) -> Any:
    if len(data) > MAX_BYTES:
        raise ConfigurationError(f"{where} is larger than {MAX_BYTES >> 20} MiB")
    try:
        return _json.loads(data)
    except ValueError as exc:
        raise ConfigurationError(f"{where} is not JSON: {str(exc)[:200]}") from exc


def _from_toml(data: bytes, where: str) -> Any:
    try:
        return tomllib.loads(data.decode("utf-8"))
    except RecursionError as exc:
        raise ConfigurationError(f"{where} is nested too deeply") from exc
    except ValueError as exc:
        raise ConfigurationError(f"{where} is not TOML: {str(exc)[:200]}") from exc
