"""What lies below the client's own wrapper around a body, which hands on each piece as it is.

Our loop takes the place of the wrapper's then, rather than be one more: a level of generators costs a piece
more than all that is done with it. Everything else, `close` above all, still goes by way of the wrapper.
"""

from __future__ import annotations

from typing import Any

__all__ = ["below"]

WRAPPERS = frozenset(
    (f"{library}._client", f"{kind}.{method}")
    for library in ("httpx", "httpx2")
    for kind, method in (("BoundSyncStream", "__iter__"), ("BoundAsyncStream", "__aiter__"))
)
"""Modules and names of the methods with which the wrappers make an iterator."""
HANDS_ON = frozenset({"_stream", "__aiter__"})
"""Names that such a method uses where it hands on what `_stream` has, and does nothing else."""
CLOSES = frozenset({"isinstance", "AsyncGenerator", "aclose"})
"""Names that it uses beside them where it closes the iterator that it has read from."""


def below(stream: Any, method: str) -> tuple[Any, bool, bool]:
    """What to iterate over, to get the pieces that `stream` would give; whether that stands in for the
    wrapper's own loop, and whether the wrapper closes the iterator that it has read from.

    `method` is the one by which `stream` makes an iterator. What others have put in its place is kept to.
    """
    made_by = getattr(type(stream), method, None)
    replaces, closes = _known.get(made_by) or _look_into(made_by)
    return (stream._stream if replaces else stream), replaces, closes


_known: dict[Any, tuple[bool, bool]] = {}


def _look_into(method: Any) -> tuple[bool, bool]:
    """Whether a method is a wrapper's, and whether it closes what it has read."""
    known_by = getattr(method, "__module__", None), getattr(method, "__qualname__", None)
    code = getattr(method, "__code__", None)
    if known_by not in WRAPPERS or code is None:
        return False, False
    names = set(code.co_names)
    found = _known[method] = names <= HANDS_ON | CLOSES and "_stream" in names, "aclose" in names
    return found
