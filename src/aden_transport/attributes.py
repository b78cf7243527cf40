"""Who and what a call belongs to: attribution carried by context variables, headers, options and bodies.

The channels in their order of trust: `context(...)`, `x-aden-*` headers, `request_metadata` and
`get_context_id` of the options, the body's `metadata`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from contextvars import ContextVar, copy_context
from typing import Any, ParamSpec, TypeVar, cast

from .errors import ConfigurationError

__all__ = [
    "ROUTING_KEYS",
    "EitherSpelling",
    "context",
    "current_attributes",
    "current_source",
    "entering",
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
_entered: ContextVar[tuple[tuple[object, ContextVar[Any], Any], ...]] = ContextVar("aden_blocks", default=())
"""The blocks that enclose this code: each with what it has set, and what was there before."""


current_attributes: Callable[[], Mapping[str, Any] | None] = _attributes.get
"""What the enclosing `context(...)` blocks say, or None outside of any."""

current_source: Callable[[], str | None] = _source.get
"""The innermost `track_source(...)`, or None."""


def normalized(values: Mapping[str, Any]) -> dict[str, Any]:
    """One spelling per routing key, `tags` a tuple, text cut to 256 characters, at most 64 other keys."""
    out: dict[str, Any] = {}
    for raw_key, value in values.items():
        if value is None:
            continue
        key = str(raw_key)[:MAX_CHARS]
        key = SPELLINGS.get(key, key)
        if len(out) >= MAX_KEYS and key not in ROUTING_KEYS:
            continue
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

    Blocks nest; the inner one wins per key and adds its tags. Also a decorator, for functions, coroutine
    functions and generator functions. Threads do not inherit it by themselves: hand them `context.wrap(fn)`.
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

    def __enter__(self) -> context:
        outer = _attributes.get()
        values = self._values
        if outer:
            values = {**outer, **values}
            if "tags" in outer and "tags" in self._values:
                values["tags"] = tuple(dict.fromkeys((*outer["tags"], *self._values["tags"])))
        _enter(self, _attributes, values)
        return self

    def __exit__(self, *_: object) -> None:
        _leave(self)

    async def __aenter__(self) -> context:
        return self.__enter__()

    async def __aexit__(self, *_: object) -> None:
        self.__exit__()

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        return entering(lambda: context(**self._values), function)

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

    def __enter__(self) -> track_source:
        _enter(self, _source, self._name)
        return self

    def __exit__(self, *_: object) -> None:
        _leave(self)

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        return entering(lambda: track_source(self._name), function)


def _enter(block: object, variable: ContextVar[Any], value: Any) -> None:
    _entered.set((*_entered.get(), (block, variable, variable.get())))
    variable.set(value)


def _leave(block: object) -> None:
    """Undo the last `_enter` of a block in this context.

    Several threads and tasks may be in one block; one entered in another context is not in force here.
    """
    entered = _entered.get()
    for place in range(len(entered) - 1, -1, -1):
        if entered[place][0] is block:
            _, variable, before = entered[place]
            variable.set(before)
            _entered.set((*entered[:place], *entered[place + 1 :]))
            return


def entering(block: Callable[[], AbstractContextManager[Any]], function: Callable[P, R]) -> Callable[P, R]:
    """`function` with each call of it inside a new block: of a generator, each of its steps inside one."""
    import inspect

    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def run_async(*args: P.args, **kwargs: P.kwargs) -> Any:
            with block():
                return await function(*args, **kwargs)

        return run_async  # type: ignore[return-value]

    if inspect.isgeneratorfunction(function):

        @functools.wraps(function)
        def generate(*args: P.args, **kwargs: P.kwargs) -> Any:
            own = _begun(block)
            inner: Any = function(*args, **kwargs)
            step, given = inner.send, None
            while True:
                try:
                    with own:
                        value = step(given)
                except StopIteration as end:
                    return end.value
                try:
                    given, step = (yield value), inner.send
                except GeneratorExit:
                    with own:
                        inner.close()
                    raise
                except BaseException as exc:  # noqa: BLE001 - thrown in, for the function to take
                    given, step = exc, inner.throw

        return cast(Callable[P, R], generate)

    if inspect.isasyncgenfunction(function):

        @functools.wraps(function)
        async def generate_async(*args: P.args, **kwargs: P.kwargs) -> Any:
            own = _begun(block)
            inner: Any = function(*args, **kwargs)
            step, given = inner.asend, None
            while True:
                try:
                    with own:
                        value = await step(given)
                except StopAsyncIteration:
                    return
                try:
                    given, step = (yield value), inner.asend
                except GeneratorExit:
                    with own:
                        await inner.aclose()
                    raise
                except BaseException as exc:  # noqa: BLE001 - thrown in, for the function to take
                    given, step = exc, inner.athrow

        return cast(Callable[P, R], generate_async)

    @functools.wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        with block():
            return function(*args, **kwargs)

    return run


def _begun(block: Callable[[], AbstractContextManager[Any]]) -> AbstractContextManager[Any]:
    """A block that has begun and is in force nowhere yet: entering it again goes on with it."""
    own = block()
    copy_context().run(own.__enter__)
    return own
