"""Attribution by context, decorators, headers and mappings."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Generator
from contextvars import copy_context
from typing import Any
from uuid import UUID

import pytest

from aden_transport import ConfigurationError, context, track_source
from aden_transport.attributes import (
    MAX_CHARS,
    MAX_KEYS,
    EitherSpelling,
    current_attributes,
    current_source,
    from_headers,
    normalized,
)


class Unspeakable:
    def __str__(self) -> str:
        raise RuntimeError("no")


def deep() -> Any:
    value: Any = []
    for _ in range(100_000):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({}, {}),
        ({"agent": True, "customer": {"a": 1}, "feature": ["a"]}, ("<bool>", "<dict>", "<list>")),
        (
            {"agent": b"a", "customer": deep(), "feature": Unspeakable()},
            ("<bytes>", "<list>", "<Unspeakable>"),
        ),
        ({"agent": 1.5, "customer": UUID(int=0), "feature": ""}, ("1.5", str(UUID(int=0)), "")),
    ],
)
def test_what_is_no_name_is_never_the_name_of_something(given: dict[str, Any], found: Any) -> None:
    out = normalized(given)
    assert out == (found and dict(zip(("agent", "customer", "feature"), found, strict=True)))
    tags = normalized({"tags": list(given.values()), "context_id": given.get("agent")})
    assert all(isinstance(tag, str) for tag in tags["tags"])
    assert isinstance(tags.get("context_id", ""), str)


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({}, {}),
        ({"tenant_id": "t", "customer_id": "c", "agent": 7}, {"tenant": "t", "customer": "c", "agent": "7"}),
        ({"tags": ["a", "b", "a"]}, {"tags": ("a", "b")}),
        ({"tag": "a"}, {"tags": ("a",)}),
        ({"tag": "a", "tags": ("b", 7)}, {"tags": ("a", "b", "7")}),
        ({"feature": None, "order": 7, "note": "x" * 999}, {"order": 7, "note": "x" * MAX_CHARS}),
        ({"agent": "x" * 999}, {"agent": "x" * MAX_CHARS}),
        ({7: "seven"}, {"7": "seven"}),
        ({"tags": ["x" * 999]}, {"tags": ("x" * MAX_CHARS,)}),
    ],
)
def test_attributes_have_one_spelling_and_bounded_text(given: dict[Any, Any], found: dict[str, Any]) -> None:
    assert normalized(given) == found


def test_attributes_are_bounded() -> None:
    assert len(normalized({str(n): n for n in range(1000)})) == MAX_KEYS
    assert len(normalized({"tags": [str(n) for n in range(1000)]})["tags"]) == MAX_KEYS


@pytest.mark.parametrize(
    ("headers", "found"),
    [
        ({}, {}),
        ({b"accept": b"*/*"}, {}),
        ({b"x-aden-agent": b"writer", b"x-aden-tenant-id": b"acme"}, {"agent": "writer", "tenant": "acme"}),
        ({b"x-aden-tags": b" a, b ,,a"}, {"tags": ("a", "b")}),
        ({b"x-aden-tag": b"c", b"x-aden-tags": b"a,b"}, {"tags": ("a", "b", "c")}),
        ({b"x-aden-my-key": "ä".encode()}, {"my_key": "ä"}),
        ({b"x-aden-agent": b"\xff"}, {"agent": "\ufffd"}),
    ],
)
def test_attributes_in_headers(headers: dict[bytes, bytes], found: dict[str, Any]) -> None:
    assert from_headers(headers) == found


def test_blocks_nest_the_inner_one_wins_and_tags_add_up() -> None:
    assert current_attributes() is None
    with context(agent="a", tags=["x"], order=1):
        with context(agent="b", tenant="t", tags="y") as inner:
            assert current_attributes() == {"agent": "b", "tenant": "t", "order": 1, "tags": ("x", "y")}
            with inner:
                assert current_attributes() == {"agent": "b", "tenant": "t", "order": 1, "tags": ("x", "y")}
        with context(customer="c"):
            assert current_attributes() == {"agent": "a", "order": 1, "tags": ("x",), "customer": "c"}
        with context(feature="f"), pytest.raises(LookupError):
            raise LookupError
    assert current_attributes() is None


def test_blocks_are_async_too() -> None:
    async def run() -> Any:
        async with context(agent="a"):
            return await asyncio.create_task(told())

    async def told() -> Any:
        return current_attributes()

    assert asyncio.run(run()) == {"agent": "a"}


def test_a_function_and_a_coroutine_function_may_be_decorated() -> None:
    @context(agent="a")
    def plain(value: int) -> Any:
        """Says where it is."""
        return value, current_attributes()

    @track_source("nightly")
    async def later(value: int) -> Any:
        return value, current_source()

    assert plain.__doc__ == "Says where it is."
    assert plain(7) == (7, {"agent": "a"})
    assert asyncio.run(later(7)) == (7, "nightly")
    assert (current_attributes(), current_source()) == (None, None)


def test_threads_do_not_inherit_but_may_be_given_a_block() -> None:
    seen: list[Any] = []

    def look(word: str) -> None:
        seen.append((word, current_attributes()))

    with context(agent="a"):
        bound = context.wrap(look)
        for target in (look, bound, bound):
            thread = threading.Thread(target=target, args=("x",))
            thread.start()
            thread.join()
    assert seen == [("x", None), ("x", {"agent": "a"}), ("x", {"agent": "a"})]
    bound("later")
    assert seen[-1] == ("later", {"agent": "a"})


def test_sources_nest_and_have_a_name() -> None:
    assert current_source() is None
    with track_source("outer"), track_source("x" * 999):
        assert current_source() == "x" * MAX_CHARS
    assert current_source() is None


@pytest.mark.parametrize("name", ["", None, 7])
def test_a_source_without_a_name_is_refused(name: Any) -> None:
    with pytest.raises(ConfigurationError, match="pass a non-empty string"):
        track_source(name)


def test_attributes_are_found_under_either_spelling() -> None:
    given = EitherSpelling(normalized({"tenant_id": "acme", "customer": "c", "tag": "a", "team": "x"}))
    assert given == {"tenant": "acme", "customer": "c", "tags": ("a",), "team": "x"}
    assert (given["tenant_id"], given["tenant"], given["customer_id"]) == ("acme", "acme", "c")
    assert (given.get("tenant_id"), given.get("tag"), given.get("agent", 7)) == ("acme", ("a",), 7)
    assert "customer_id" in given
    assert "agent" not in given
    with pytest.raises(KeyError, match="agent"):
        given["agent"]
    with pytest.raises(KeyError, match="tenant"):
        EitherSpelling()["tenant_id"]


def test_a_generator_function_is_inside_while_it_works_and_not_between() -> None:
    @context(agent="a")
    @track_source("nightly")
    def steps() -> Generator[Any, Any, str]:
        given = yield current_attributes(), current_source()
        try:
            yield given, current_attributes()
        except KeyError:
            yield "thrown", current_source()
        return "over"

    running: Any = steps()
    assert next(running) == ({"agent": "a"}, "nightly")
    assert (current_attributes(), current_source()) == (None, None)
    with context(tenant="t"):
        assert running.send(7) == (7, {"tenant": "t", "agent": "a"})
    assert running.throw(KeyError()) == ("thrown", "nightly")
    with pytest.raises(StopIteration, match="over"):
        next(running)
    left: Any = steps()
    next(left)
    left.close()


def test_an_async_generator_function_is_too() -> None:
    @context(agent="a")
    async def steps() -> AsyncIterator[Any]:
        given = yield current_attributes()
        try:
            yield given, current_attributes()
        except KeyError:
            yield "thrown", current_attributes()

    async def main() -> None:
        running: Any = steps()
        assert await anext(running) == {"agent": "a"}
        assert current_attributes() is None
        assert await running.asend(7) == (7, {"agent": "a"})
        assert await running.athrow(KeyError()) == ("thrown", {"agent": "a"})
        assert [found async for found in running] == []
        async for _ in steps():
            break
        left: Any = steps()
        await anext(left)
        await left.aclose()

    asyncio.run(main())


def test_one_block_may_be_used_by_several_threads_and_left_elsewhere() -> None:
    block, both = context(agent="a"), threading.Barrier(2)
    seen: list[Any] = []

    def work() -> None:
        with block:
            both.wait()
            seen.append(current_attributes())
        both.wait()
        seen.append(current_attributes())

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [{"agent": "a"}] * 2 + [None] * 2
    copy_context().run(block.__enter__)
    block.__exit__()
    assert current_attributes() is None
    with context(agent="outer"), block, block:
        assert current_attributes() == {"agent": "a"}
    assert current_attributes() is None
