"""Who and what a call belongs to: attribution carried by context variables, headers, options and bodies.

The channels in their order of trust: `context(...)`, `x-aden-*` headers, `request_metadata` and
`get_context_id` of the options, the body's `metadata`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from contextvars import ContextVar, Token, copy_context
from typing import Any, ParamSpec, TypeVar

from .errors import ConfigurationError

__all__ = [
    "ROUTING_KEYS",
    "EitherSpelling",
    "context",
    "current_attributes",
    "current_source",
    "from_headers",
    "normalized",
    "track_source",
]

P = ParamSpec("P")
R = TypeVar("R")

ROUTING_KEYS = frozenset({"agent", "tenant", "customer", "feature", "tags"})
"""What budgets match on; every other key is metadata that is only recorded."""

SPELLINGS = {"tenant_id": "tenant", "customer_id": "customer", "tag": "tags"}
"""Other names of the routing keys (the specification and the Aden control protocol use both)."""

NAMED = ROUTING_KEYS | {"context_id"}
NO_NAMES = (bool, dict, list, tuple, set, frozenset, bytes, bytearray, Mapping)
"""Their text would be long, deep, or that of a budget by chance."""
MAX_KEYS = 64
MAX_CHARS = 256
HEADER_PREFIX = b"x-aden-"

_attributes: ContextVar[Mapping[str, Any] | None] = ContextVar("aden_attributes", default=None)
_source: ContextVar[str | None] = ContextVar("aden_source", default=None)


current_attributes: Callable[[], Mapping[str, Any] | None] = _attributes.get
"""What the enclosing `context(...)` blocks say, or None outside of any."""

current_source: Callable[[], str | None] = _source.get
"""The innermost `track_source(...)`, or None."""


def normalized(values: Mapping[str, Any]) -> dict[str, Any]:
    """One spelling per routing key, `tags` a tuple, at most 64 keys, text cut to 256 characters."""
    out: dict[str, Any] = {}
    for raw_key, value in values.items():
        if value is None or len(out) >= MAX_KEYS:
            continue
        key = str(raw_key)[:MAX_CHARS]
        key = SPELLINGS.get(key, key)
        if key == "tags":
            out[key] = tuple(dict.fromkeys((*out.get(key, ()), *_tags(value))))
        elif key in NAMED:
            out[key] = value[:MAX_CHARS] if type(value) is str else _name(value)
        else:
            out[key] = value[:MAX_CHARS] if isinstance(value, str) else value
    return out


class EitherSpelling(dict[str, Any]):
    """Normalized attributes that are found under their other spellings, too: `metadata["tenant_id"]`."""

    def __missing__(self, key: str) -> Any:
        return self[SPELLINGS[key]]

    def __contains__(self, key: object) -> bool:
        return super().__contains__(key) or super().__contains__(SPELLINGS.get(str(key)))

    def get(self, key: str, default: Any = None) -> Any:
        known = super().get(key, default)
        return super().get(SPELLINGS.get(key, key), default) if known is default else known


def _tags(value: Any) -> tuple[str, ...]:
    values: Iterable[Any] = value if isinstance(value, (list, tuple, set, frozenset)) else (value,)
    return tuple(_name(tag) for tag in list(values)[:MAX_KEYS])


def _name(value: Any) -> str:
    """What budgets know `value` by. Ids come as numbers, UUIDs and members of enumerations; what is no name
    is one, too, so that it is bounded like any other: `"<dict>"`."""
    if isinstance(value, NO_NAMES):
        return f"<{type(value).__name__}>"
    try:
        return str(value)[:MAX_CHARS]
    except Exception:  # noqa: BLE001 - an object of the application
        return f"<{type(value).__name__}>"


def from_headers(headers: Mapping[bytes, bytes]) -> dict[str, Any]:
    """The attribution in `x-aden-*` headers (lower-case names): `x-aden-agent: writer`, …"""
    found = {
        name[len(HEADER_PREFIX) :].decode("ascii", "replace").replace("-", "_"): value.decode(
            "utf-8", "replace"
        )
        for name, value in headers.items()
        if name.startswith(HEADER_PREFIX)
    }
    if "tags" in found or "tag" in found:
        joined = ",".join(found.pop(key) for key in ("tags", "tag") if key in found)
        return normalized({**found, "tags": [t.strip() for t in joined.split(",") if t.strip()]})
    return normalized(found)


class context:
    """Attribute every call made inside the block, its tasks included.

    ``with context(agent="writer", tenant="acme", tags=["beta"], order=7): ...``

    Blocks nest; the inner one wins per key and adds its tags. Also a decorator, for functions and
    coroutine functions. Threads do not inherit it by themselves: hand them `context.wrap(fn)`.
    """

    def __init__(
        self,
        *,
        agent: str | None = None,
        tenant: str | None = None,
        customer: str | None = None,
        feature: str | None = None,
        tags: Iterable[str] | str | None = None,
        **more: Any,
    ) -> None:
        given = {"agent": agent, "tenant": tenant, "customer": customer, "feature": feature, **more}
        if tags is not None:
            given["tags"] = [tags] if isinstance(tags, str) else list(tags)
        self._values = normalized(given)
        self._tokens: list[Token[Mapping[str, Any] | None]] = []

    def __enter__(self) -> context:
        outer = _attributes.get()
        values = self._values
        if outer:
            values = {**outer, **values}
            if "tags" in outer and "tags" in self._values:
                values["tags"] = tuple(dict.fromkeys((*outer["tags"], *self._values["tags"])))
        self._tokens.append(_attributes.set(values))
        return self

    def __exit__(self, *_: object) -> None:
        _attributes.reset(self._tokens.pop())

    async def __aenter__(self) -> context:
        return self.__enter__()

    async def __aexit__(self, *_: object) -> None:
        self.__exit__()

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        return _entering(lambda: context(**self._values), function)

    @staticmethod
    def wrap(function: Callable[P, R]) -> Callable[P, R]:
        """`function` bound to the context variables of now, for `Thread(target=…)` and executors."""
        captured = copy_context()

        @functools.wraps(function)
        def run(*args: P.args, **kwargs: P.kwargs) -> R:
            # A context object can be entered once at a time; a copy lets threads run side by side.
            return captured.copy().run(function, *args, **kwargs)

        return run


class track_source:
    """Tag every call made inside the block with what triggered it (`event.source`)."""

    def __init__(self, name: str) -> None:
        if not isinstance(name, str) or not name:
            raise ConfigurationError("track_source() needs a name: pass a non-empty string.")
        self._name = name[:MAX_CHARS]
        self._tokens: list[Token[str | None]] = []

    def __enter__(self) -> track_source:
        self._tokens.append(_source.set(self._name))
        return self

    def __exit__(self, *_: object) -> None:
        _source.reset(self._tokens.pop())

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        return _entering(lambda: track_source(self._name), function)


def _entering(block: Callable[[], context | track_source], function: Callable[P, R]) -> Callable[P, R]:
    import inspect

    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def run_async(*args: P.args, **kwargs: P.kwargs) -> Any:
            with block():
                return await function(*args, **kwargs)

        return run_async  # type: ignore[return-value]

    @functools.wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        with block():
            return function(*args, **kwargs)

    return run
