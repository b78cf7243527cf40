"""Every emitter in a sync, an asyncio and a trio program: the event is delivered, exactly once."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

from aden_transport.emitters import (
    Delivery,
    Emitter,
    create_batch_emitter,
    create_console_emitter,
    create_file_emitter,
    create_filtered_emitter,
    create_jsonl_emitter,
    create_memory_emitter,
    create_multi_emitter,
    create_noop_emitter,
    create_transform_emitter,
)
from aden_transport.emitters.base import BaseEmitter
from aden_transport.events import MetricEvent


class Case:
    """An emitter and a way to read which events came out of it, by their ids."""

    def __init__(self, tmp_path: Path, capsys: pytest.CaptureFixture[str], log: list[str]) -> None:
        self.tmp_path = tmp_path
        self.capsys = capsys
        self.log = log
        self.ids: list[str] = []

    def note(self, event: MetricEvent) -> None:
        self.ids.append(event.event_id)

    async def note_async(self, event: MetricEvent) -> None:
        await anyio.sleep(0)
        self.ids.append(event.event_id)

    def note_batch(self, events: list[MetricEvent]) -> None:
        self.ids += [event.event_id for event in events]

    async def note_batch_async(self, events: list[MetricEvent]) -> None:
        await anyio.sleep(0)
        self.note_batch(events)


class NoteObject:
    """A callable object whose call is async."""

    def __init__(self, case: Case) -> None:
        self.case = case

    async def __call__(self, event: MetricEvent) -> None:
        await self.case.note_async(event)


Made = tuple[Any, Callable[[], int]]


def console(case: Case, **kwargs: bool) -> Made:
    return create_console_emitter(**kwargs), lambda: case.capsys.readouterr().out.count("[a1b2c3d4]")


def logged(case: Case) -> Made:
    return create_console_emitter(use_logging=True), lambda: sum("[a1b2c3d4]" in line for line in case.log)


def memory(case: Case) -> Made:
    emitter = create_memory_emitter()
    return emitter, lambda: len(emitter.events)


def lines(case: Case) -> int:
    return sum(len(path.read_text().splitlines()) for path in case.tmp_path.rglob("*.jsonl"))


def noted(emitter: Callable[[Case], Emitter]) -> Callable[[Case], Made]:
    return lambda case: (emitter(case), lambda: len(case.ids))


def nested(case: Case) -> Emitter:
    """Async and plain members, three deep; the innermost plain one is what is read."""
    return create_multi_emitter(
        [
            create_noop_emitter(),
            create_filtered_emitter(
                create_transform_emitter(
                    create_multi_emitter([create_memory_emitter(), case.note]), lambda event: event
                ),
                lambda event: event.usage and event.usage.total_tokens > 100,
            ),
        ]
    )


CASES: dict[str, Callable[[Case], Made]] = {
    "console": console,
    "console pretty": lambda case: console(case, pretty=True),
    "console logging": logged,
    "memory": memory,
    "file": lambda case: (create_file_emitter(case.tmp_path / "logs"), lambda: lines(case)),
    "jsonl": lambda case: (create_jsonl_emitter(case.tmp_path / "events.jsonl"), lambda: lines(case)),
    "noop": lambda case: (create_noop_emitter(), lambda: 1),
    "batch": noted(lambda case: create_batch_emitter(case.note_batch, 10, 60)),
    "batch async": noted(lambda case: create_batch_emitter(case.note_batch_async, 10, 60)),
    "multi plain": noted(lambda case: create_multi_emitter([create_noop_emitter(), case.note])),
    "multi async": noted(lambda case: create_multi_emitter([create_noop_emitter(), case.note_async])),
    "multi batch": noted(lambda case: create_multi_emitter([create_batch_emitter(case.note_batch, 9, 9)])),
    "multi file": lambda case: (
        create_multi_emitter([create_jsonl_emitter(case.tmp_path / "m.jsonl")]),
        lambda: lines(case),
    ),
    "filtered": noted(lambda case: create_filtered_emitter(case.note, lambda event: True)),
    "filtered async": noted(lambda case: create_filtered_emitter(case.note_async, lambda event: True)),
    "transform": noted(lambda case: create_transform_emitter(case.note, lambda event: event)),
    "transform async": noted(lambda case: create_transform_emitter(case.note_async, lambda event: event)),
    "nested": noted(nested),
    "plain function": noted(lambda case: case.note),
    "async function": noted(lambda case: case.note_async),
    "async object": noted(NoteObject),
    "plain function that returns a coroutine": noted(lambda case: lambda event: case.note_async(event)),
}


@pytest.fixture
def case(tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> Case:
    caplog.set_level(logging.DEBUG, "aden.metrics")
    return Case(tmp_path, capsys, caplog.messages)


@pytest.fixture(params=CASES)
def made(request: pytest.FixtureRequest, case: Case, caplog: pytest.LogCaptureFixture) -> Made:
    emitter, read = CASES[request.param](case)
    if request.param == "console logging":
        return emitter, lambda: sum("[a1b2c3d4]" in message for message in caplog.messages)
    return emitter, read


@pytest.mark.parametrize("async_emit", [True, False])
def test_delivered_in_a_sync_program(made: Made, event: MetricEvent, async_emit: bool) -> None:
    emitter, read = made
    delivery = Delivery(emitter, async_emit=async_emit)
    delivery.deliver(event)
    assert delivery.close(30)
    assert read() == 1
    assert delivery.dropped == 0


@pytest.mark.anyio
@pytest.mark.parametrize("async_emit", [True, False])
async def test_delivered_in_an_async_program(made: Made, event: MetricEvent, async_emit: bool) -> None:
    emitter, read = made
    delivery = Delivery(emitter, async_emit=async_emit)
    delivery.deliver(event)
    assert await delivery.flush_async(30)
    assert read() == 1
    assert delivery.dropped == 0
    delivery.close(30)


def test_delivered_when_called_by_hand(made: Made, event: MetricEvent) -> None:
    emitter, read = made
    if not isinstance(emitter, BaseEmitter):
        emitter = create_multi_emitter([emitter])
    emitter(event)
    assert emitter.close(30)
    assert read() == 1


@pytest.mark.anyio
async def test_delivered_when_called_by_hand_in_an_async_program(made: Made, event: MetricEvent) -> None:
    emitter, read = made
    if not isinstance(emitter, BaseEmitter):
        emitter = create_multi_emitter([emitter])
    emitter(event)
    assert await anyio.to_thread.run_sync(emitter.flush, 30)
    assert read() == 1
    emitter.close(30)
