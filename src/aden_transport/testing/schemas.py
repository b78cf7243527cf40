"""A value that fits a JSON schema."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["example"]

_DEPTH = 8


def example(schema: Mapping[str, Any]) -> Any:
    """The simplest value that `schema` allows, with every property filled in."""
    return _example(schema, schema, _DEPTH)


def _example(schema: Mapping[str, Any], root: Mapping[str, Any], depth: int) -> Any:
    schema = _resolve(schema, root)
    for key in ("const", "default"):
        if schema.get(key) is not None:
            return schema[key]
    if schema.get("enum"):
        return schema["enum"][0]
    for key in ("anyOf", "oneOf", "allOf"):
        if schema.get(key):
            return _example(schema[key][0], root, depth - 1)
    return _by_type(schema, root, depth)


def _by_type(schema: Mapping[str, Any], root: Mapping[str, Any], depth: int) -> Any:
    kind = schema.get("type", "object")
    if isinstance(kind, list):
        kind = kind[0]
    # Google writes the types in capitals.
    match str(kind).lower():
        case "object":
            properties = schema.get("properties", {}) if depth > 0 else {}
            return {name: _example(inner, root, depth - 1) for name, inner in properties.items()}
        case "array":
            items = schema.get("items")
            return [_example(items, root, depth - 1)] if items and depth > 0 else []
        case "integer":
            return int(schema.get("minimum", 1))
        case "number":
            return float(schema.get("minimum", 1.5))
        case "boolean":
            return True
        case "null":
            return None
        case _:
            return "text".ljust(int(schema.get("minLength", 0)), "t")


def _resolve(schema: Mapping[str, Any], root: Mapping[str, Any]) -> Mapping[str, Any]:
    """Follow a local `$ref`."""
    reference = schema.get("$ref")
    if not isinstance(reference, str):
        return schema
    found: Any = root
    for part in reference.removeprefix("#/").split("/"):
        found = found.get(part, {}) if isinstance(found, Mapping) else {}
    return found if isinstance(found, Mapping) else {}
