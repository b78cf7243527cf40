"""Multi, filtered, transform, memory and noop emitters, and what may be given as an emitter."""

from __future__ import annotations

import functools
import threading
from typing import TYPE_CHECKING, Any
from unittest.mock import AsyncMock

import pytest

import aden_transport.emitters as emitters
from aden_transport import _guard
from aden_transport.emitters import (
    Delivery,
    create_batch_emitter,
    create_console_emitter,
    create_filtered_emitter,
    create_memory_emitter,
    create_multi_emitter,
    create_noop_emitter,
    create_transform_emitter,
)
from aden_transport.emitters.base import BaseEmitter, Composite, Placement, is_async, placement
from aden_transport.emitters.transform import copy_event
from aden_transport.errors import ConfigurationError
from aden_transport.events import MetricEvent, NormalizedUsage, RateLimit, ToolCallMetric

if TYPE_CHECKING:
    from .conftest import MakeEvent


def fail(event: MetricEvent) -> None:
    raise ValueError("mine")


async def wait(event: MetricEvent) -> None:
    pass


def keep(event: MetricEvent) -> MetricEvent:
    return event


def test_public_names() -> None:
    for name in emitters.__all__:
        assert getattr(emitters, name).__doc__
        assert name in dir(emitters)
    with pytest.raises(AttributeError, match="create_nonsense"):
        _ = emitters.create_nonsense


def test_placements() -> None:
    memory, console = create_memory_emitter(), create_console_emitter()
    batch = create_batch_emitter(lambda events: None)

    class Later:
        async def __call__(self, event: MetricEvent) -> None: ...

    table: list[tuple[Any, Placement]] = [
        (memory, Placement.INLINE),
        (create_noop_emitter(), Placement.INLINE),
        (batch, Placement.INLINE),
        (create_multi_emitter([]), Placement.INLINE),
        (create_multi_emitter([memory, create_filtered_emitter(batch, bool)]), Placement.INLINE),
        (create_transform_emitter(memory, keep), Placement.INLINE),
        (console, Placement.THREAD),
        (print, Placement.THREAD),
        (create_multi_emitter([console, fail]), Placement.THREAD),
        (create_multi_emitter([console, memory]), Placement.MIXED),
        (create_filtered_emitter(create_multi_emitter([console, memory]), bool), Placement.MIXED),
        (wait, Placement.ASYNC),
        (Later(), Placement.ASYNC),
        (Later().__call__, Placement.ASYNC),
        (functools.partial(wait), Placement.ASYNC),
        (functools.partial(functools.partial(Later())), Placement.ASYNC),
        (AsyncMock(), Placement.ASYNC),
        (create_multi_emitter([wait, Later()]), Placement.ASYNC),
    ]
    for emitter, expected in table:
        assert placement(emitter) is expected, emitter
    assert not is_async(None)


def test_memory_keeps_the_first_and_counts_the_rest(make_event: MakeEvent) -> None:
    memory = create_memory_emitter(max_events=2)
    held = memory.events
    for n in range(5):
        memory(make_event(event_id=str(n)))
    assert [event.event_id for event in memory.events] == ["0", "1"]
    assert memory.dropped == 3
    memory.clear()
    assert held == []
    memory(make_event())
    assert len(held) == 1
    assert memory.dropped == 3


@pytest.mark.parametrize("most", [0, -1, None, 1.0, True])
def test_memory_wants_a_number(most: Any) -> None:
    with pytest.raises(ConfigurationError, match="give a whole number"):
        create_memory_emitter(max_events=most)


def test_one_bad_member_keeps_nothing_from_the_others(make_event: MakeEvent) -> None:
    first, last = create_memory_emitter(), create_memory_emitter()
    nothing = create_memory_emitter()
    emit = create_multi_emitter(
        [
            first,
            fail,
            create_filtered_emitter(nothing, fail),
            create_transform_emitter(nothing, fail),
            create_transform_emitter(nothing, lambda event: event.to_dict()),  # type: ignore[arg-type,return-value]
            last,
        ]
    )
    emit(make_event())
    assert (len(first.events), len(last.events), len(nothing.events)) == (1, 1, 0)
    assert _guard.fault_counts() == {"emit:ValueError": 3, "emit:TypeError": 1}
    told: list[str] = []
    delivery = Delivery(emit, lambda event, exc: told.append(str(exc)), async_emit=False)
    delivery.deliver(make_event())
    assert told[:3] == ["mine"] * 3
    assert "returned a dict" in told[3]
    assert len(last.events) == 2


def test_filter_takes_the_specifications_lambda(make_event: MakeEvent) -> None:
    memory = create_memory_emitter()
    emit = create_filtered_emitter(memory, lambda event: event.usage and event.usage.total_tokens > 100)
    emit(make_event(event_id="large"))
    emit(make_event(usage=NormalizedUsage(input_tokens=1)))
    emit(make_event(usage=None))
    assert [event.event_id for event in memory.events] == ["large"]


def test_a_transform_does_not_reach_its_siblings(make_event: MakeEvent) -> None:
    lock = threading.Lock()
    event = make_event(
        metadata={"secret": 1, "nested": {"list": [1, {"deep": 2}]}, "lock": lock},
        rate_limit=RateLimit(remaining_requests=5),
        tool_calls=[ToolCallMetric("id", "name", 0, 2)],
        headers={"a": "b"},
        operation_details={"n": 1},
        content={"messages": []},
    )
    before = copy_event(event)
    assert before == event

    def change(event: MetricEvent) -> MetricEvent:
        event.provider = "changed"
        metadata: Any = event.metadata
        del metadata["secret"]
        metadata["nested"]["list"][1]["deep"] = 3
        assert metadata["lock"] is lock
        assert event.usage is not None
        assert event.rate_limit is not None
        assert event.tool_calls is not None
        event.usage.input_tokens = 0
        event.rate_limit.remaining_requests = 0
        event.tool_calls[0].name = "changed"
        event.tool_calls.clear()
        for mapping in (event.headers, event.operation_details, event.content):
            mapping.clear()  # type: ignore[union-attr]
        return event

    changed, sibling = create_memory_emitter(), create_memory_emitter()
    create_multi_emitter([create_transform_emitter(changed, change), sibling])(event)
    assert changed.events[0].provider == "changed"
    assert sibling.events == [before]


def test_a_transform_that_returns_none_drops(event: MetricEvent) -> None:
    memory = create_memory_emitter()
    create_transform_emitter(memory, lambda event: None)(event)
    assert memory.events == []
    assert _guard.fault_counts() == {}


def test_members_may_come_from_a_generator(event: MetricEvent) -> None:
    memory = create_memory_emitter()
    create_multi_emitter(member for member in [memory, memory])(event)
    assert len(memory.events) == 2


def generator(event: MetricEvent) -> Any:
    yield event


async def async_generator(event: MetricEvent) -> Any:
    yield event


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: create_multi_emitter(print), "one list of emitters"),  # type: ignore[arg-type]
        (lambda: create_multi_emitter("ab"), "one list of emitters"),  # type: ignore[arg-type]
        (lambda: create_multi_emitter([print, {}]), "member 1 is a dict: give a function"),  # type: ignore[list-item]
        (lambda: create_multi_emitter([create_noop_emitter]), "call it"),  # type: ignore[list-item]
        (lambda: create_multi_emitter([generator]), "take out its yield"),
        (lambda: create_multi_emitter([async_generator]), "take out its yield"),
        (lambda: create_filtered_emitter(None, bool), "emitter is a NoneType"),  # type: ignore[arg-type]
        (lambda: create_filtered_emitter(print, None), "filter_fn is a NoneType"),  # type: ignore[arg-type]
        (lambda: create_filtered_emitter(print, wait), "filter_fn is async"),
        (lambda: create_transform_emitter(1, keep), "emitter is a int"),  # type: ignore[arg-type]
        (lambda: create_transform_emitter(print, wait), "transform_fn is async"),  # type: ignore[arg-type]
    ],
)
def test_wrong_arguments(make: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        make()


def test_an_emitter_of_ours_must_emit(event: MetricEvent) -> None:
    with pytest.raises(NotImplementedError):
        BaseEmitter()(event)
    with pytest.raises(NotImplementedError):
        Composite(())(event)
