"""OpenAI's SDK where work goes on after the answer: runs, background, batches, training, stores, videos."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from typing import Any

import openai
import pytest

from aden_transport import MetricEvent, make_metered_openai
from aden_transport.options import MeterOptions
from aden_transport.testing import FakeProvider, Reply

from .support import Metered, Recorder, openai_async, openai_sync
from .test_openai_apis import azure

# The SDK still has both of them.
pytestmark = pytest.mark.filterwarnings("ignore:(The (Assistants|Sora) API|deprecated):DeprecationWarning")

CREATED = 1_790_000_000
RUN: Mapping[str, Any] = {
    "id": "run_1",
    "object": "thread.run",
    "created_at": CREATED,
    "assistant_id": "asst_1",
    "thread_id": "thread_1",
    "model": "gpt-4o",
    "status": "completed",
    "tools": [],
    "metadata": {},
    "instructions": "",
    "usage": {"prompt_tokens": 381, "completion_tokens": 88, "total_tokens": 469},
}
BATCH: Mapping[str, Any] = {
    "id": "batch_1",
    "object": "batch",
    "created_at": CREATED,
    "endpoint": "/v1/chat/completions",
    "completion_window": "24h",
    "input_file_id": "file-in",
    "model": "gpt-4o-2024-08-06",
    "status": "completed",
    "request_counts": {"total": 3, "completed": 3, "failed": 0},
    "usage": {"input_tokens": 1500, "output_tokens": 500, "total_tokens": 2000},
}
JOB: Mapping[str, Any] = {
    "id": "ftjob-1",
    "object": "fine_tuning.job",
    "created_at": CREATED,
    "model": "gpt-4o-2024-08-06",
    "status": "succeeded",
    "trained_tokens": 5768,
    "hyperparameters": {"n_epochs": 4},
}
STORE: Mapping[str, Any] = {
    "id": "vs_1",
    "object": "vector_store",
    "created_at": CREATED,
    "name": "x",
    "status": "completed",
    "usage_bytes": 123_456,
    "file_counts": {"in_progress": 0, "completed": 2, "failed": 0, "cancelled": 0, "total": 2},
}
VIDEO: Mapping[str, Any] = {
    "id": "video_1",
    "object": "video",
    "created_at": CREATED,
    "model": "sora-2",
    "status": "completed",
    "progress": 100,
    "seconds": "8",
    "size": "1280x720",
}


def answer(provider: FakeProvider, *objects: Mapping[str, Any]) -> None:
    """Answer the next requests with these."""
    provider.push(*(Reply(raw=json.dumps(one).encode()) for one in objects))


def unfinished(over: Mapping[str, Any], status: str) -> dict[str, Any]:
    return {**over, "status": status, "usage": None, "trained_tokens": None}


def run_stream(*runs: Mapping[str, Any]) -> Reply:
    step = {"id": "step_1", "object": "thread.run.step", "status": "completed", "usage": RUN["usage"]}
    events = [(f"thread.run.{run['status']}", run) for run in runs]
    events.insert(len(events) - 1, ("thread.run.step.completed", step))
    lines = [f"event: {name}\ndata: {json.dumps(data)}\n\n" for name, data in events]
    raw = "".join(lines) + "event: done\ndata: [DONE]\n\n"
    return Reply(raw=raw.encode(), headers={"content-type": "text/event-stream"})


def told(events: Recorder) -> list[tuple[str, str | None, int | None]]:
    return [(event.operation, event.usage_source, event.input_tokens) for event in events.events]


# -- runs -----------------------------------------------------------------------------------------------


def test_a_polled_run_is_counted_once(
    provider: FakeProvider, openai_client: openai.OpenAI, events: Recorder
) -> None:
    answer(provider, *(unfinished(RUN, status) for status in ("queued", "in_progress")), RUN, RUN, RUN)
    runs = openai_client.beta.threads.runs
    run = runs.create_and_poll(thread_id="thread_1", assistant_id="asst_1", poll_interval_ms=1)
    assert run.status == "completed"
    runs.retrieve("run_1", thread_id="thread_1")
    assert told(events) == [("run", None, None), ("run", "reported", 381)]
    ended = events.events[1]
    assert (ended.response_id, ended.response_model, ended.output_tokens) == ("run_1", "gpt-4o", 88)
    assert ended.cost_usd is not None


def test_a_streamed_run_is_counted_once(
    provider: FakeProvider, openai_client: openai.OpenAI, events: Recorder
) -> None:
    provider.push(run_stream(unfinished(RUN, "in_progress"), RUN))
    answer(provider, RUN)
    runs = openai_client.beta.threads.runs
    with runs.stream(thread_id="thread_1", assistant_id="asst_1") as stream:
        stream.until_done()
    runs.retrieve("run_1", thread_id="thread_1")
    event = events.only()
    assert (event.stream, event.usage_source, event.faults) == (True, "reported", ())
    assert (event.input_tokens, event.output_tokens) == (381, 88)
    assert event.operation_details == {"run_status": "completed", "run_steps": 1}


def test_a_run_goes_on_when_its_tools_have_answered(
    provider: FakeProvider, openai_client: openai.OpenAI, events: Recorder
) -> None:
    function = {"name": "look", "arguments": "{}"}
    calls = {"tool_calls": [{"id": "call_1", "type": "function", "function": function}]}
    waiting = unfinished(RUN, "requires_action") | {
        "required_action": {"type": "submit_tool_outputs", "submit_tool_outputs": calls}
    }
    answer(provider, waiting, unfinished(RUN, "queued"), RUN)
    runs = openai_client.beta.threads.runs
    runs.create(thread_id="thread_1", assistant_id="asst_1")
    runs.submit_tool_outputs_and_poll(
        run_id="run_1", thread_id="thread_1", tool_outputs=[{"tool_call_id": "call_1", "output": "x"}]
    )
    assert told(events) == [("run", None, None), ("run", None, None), ("run", "reported", 381)]
    assert [tool.name for tool in events.events[0].tool_calls or ()] == ["look"]


@pytest.mark.anyio
async def test_an_async_streamed_run_is_counted_once(provider: FakeProvider, events: Recorder) -> None:
    provider.push(run_stream(unfinished(RUN, "queued"), RUN))
    async with openai_async(provider) as client:
        runs = client.beta.threads.runs
        async with runs.stream(thread_id="thread_1", assistant_id="asst_1") as stream:
            await stream.until_done()
    assert told(events) == [("run", "reported", 381)]


# -- background -----------------------------------------------------------------------------------------


def test_background_work_is_counted_once_by_whichever_client_or_thread_polls_first(
    provider: FakeProvider, openai_client: openai.OpenAI, events: Recorder
) -> None:
    provider.push(Reply(input_tokens=23, output_tokens=11))
    run = openai_client.responses.create(model="gpt-4o", input="hello", background=True)
    openai_client.responses.retrieve(run.id)  # in progress
    start = threading.Barrier(4)

    def poll() -> None:
        with openai_sync(provider) as client:
            start.wait(10)
            client.responses.retrieve(run.id)

    threads = [threading.Thread(target=poll) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with openai_client.responses.retrieve(run.id, stream=True) as stream:
        list(stream)
    assert told(events) == [("responses", None, None), ("responses", "reported", 23)]


def test_background_work_is_counted_once_by_two_meters(
    provider: FakeProvider, openai_client: openai.OpenAI, events: Recorder
) -> None:
    by_hand = Recorder()
    run = openai_client.responses.create(model="gpt-4o", input="hello", background=True)
    with openai_sync(provider) as plain:
        client = make_metered_openai(plain, MeterOptions(emit_metric=by_hand))
        for _ in range(3):
            client.responses.retrieve(run.id)
    openai_client.responses.retrieve(run.id)
    assert [event.usage_source for event in events.events] == [None]
    assert [event.usage_source for event in by_hand.events] == ["reported"]


def test_a_new_meter_of_the_process_knows_what_was_counted(
    provider: FakeProvider, openai_client: openai.OpenAI, metered: Metered
) -> None:
    events = metered()
    run = openai_client.responses.create(model="gpt-4o", input="hello", background=True)
    for _ in range(2):
        openai_client.responses.retrieve(run.id)
    metered(agent_name="another")
    openai_client.responses.retrieve(run.id)
    assert [event.usage_source for event in events.events] == [None, "reported"]


def test_polls_are_not_asked_about(
    provider: FakeProvider, openai_client: openai.OpenAI, metered: Metered
) -> None:
    asked: list[str] = []

    def hook(_params: Any, context: Any) -> None:
        asked.append(context.operation)

    metered(before_request=hook)
    run = openai_client.responses.create(model="gpt-4o", input="hello", background=True)
    for _ in range(3):
        openai_client.responses.retrieve(run.id)
    assert asked == ["responses"]


# -- batches, training, stores, videos ------------------------------------------------------------------


def test_a_batch_is_counted_once_when_it_is_over(
    provider: FakeProvider, openai_client: openai.OpenAI, events: Recorder
) -> None:
    statuses = ("validating", "in_progress", "finalizing")
    answer(provider, *(unfinished(BATCH, status) for status in statuses), BATCH, BATCH)
    openai_client.batches.create(
        input_file_id="file-in", endpoint="/v1/chat/completions", completion_window="24h"
    )
    for _ in range(4):
        openai_client.batches.retrieve("batch_1")
    assert told(events) == [("batch", None, None), ("batch", "reported", 1500)]
    ended = events.events[1]
    assert ended.operation_details == {
        "batch_status": "completed",
        "request_counts_total": 3,
        "request_counts_completed": 3,
        "request_counts_failed": 0,
    }
    assert ended.event_id.startswith(f"{CREATED * 1000:012x}")


def test_azure_has_batches_too(provider: FakeProvider, events: Recorder) -> None:
    answer(provider, unfinished(BATCH, "validating"), BATCH, BATCH)
    with azure(provider) as client:
        client.batches.create(
            input_file_id="file-in", endpoint="/v1/chat/completions", completion_window="24h"
        )
        for _ in range(2):
            client.batches.retrieve("batch_1")
    assert told(events) == [("batch", None, None), ("batch", "reported", 1500)]
    assert {event.provider for event in events.events} == {"azure"}


def test_training_is_counted_once_and_its_checkpoint_tells_how_it_went(
    provider: FakeProvider, openai_client: openai.OpenAI, events: Recorder
) -> None:
    metrics = {"step": 88, "train_loss": 0.478, "valid_loss": 0.5}
    checkpoint = {
        "id": "ftckpt_1",
        "object": "fine_tuning.job.checkpoint",
        "created_at": CREATED,
        "fine_tuning_job_id": "ftjob-1",
        "fine_tuned_model_checkpoint": "ft:gpt-4o:x",
        "step_number": 88,
        "metrics": metrics,
    }
    nothing = {"object": "list", "data": [], "has_more": False}
    answer(provider, unfinished(JOB, "validating_files"), unfinished(JOB, "running"), JOB, JOB)
    answer(provider, {**nothing, "data": [checkpoint]}, nothing, {**nothing, "data": [JOB]})
    jobs = openai_client.fine_tuning.jobs
    jobs.create(model="gpt-4o-2024-08-06", training_file="file-1")
    for _ in range(3):
        jobs.retrieve("ftjob-1")
    list(jobs.checkpoints.list("ftjob-1"))
    list(jobs.list_events("ftjob-1"))
    list(jobs.list())
    begun, ended, quality = events.events
    assert (begun.request_model, begun.cost_usd) == ("gpt-4o-2024-08-06", None)
    assert ended.operation_details == {"training_status": "succeeded", "trained_tokens": 5768, "epochs": 4}
    assert quality.operation_details == {"training_step": 88, "train_loss": 0.478, "valid_loss": 0.5}


def test_vector_stores_tell_their_size_and_searches_what_came(
    provider: FakeProvider, openai_client: openai.OpenAI, events: Recorder
) -> None:
    file = {"id": "file-1", "object": "vector_store.file", "vector_store_id": "vs_1", "created_at": CREATED}
    answer(provider, {**STORE, "status": "in_progress", "usage_bytes": 0})
    answer(provider, {**file, "status": "in_progress", "usage_bytes": 0})
    answer(provider, {**file, "status": "completed", "usage_bytes": 999}, STORE, STORE)
    answer(provider, {"object": "vector_store.search_results.page", "data": [], "has_more": False})
    stores = openai_client.vector_stores
    stores.create(name="x")
    stores.files.create_and_poll("file-1", vector_store_id="vs_1", poll_interval_ms=1)
    stores.retrieve("vs_1")
    stores.retrieve("vs_1")
    list(stores.search("vs_1", query="x"))
    details = [(event.operation, event.operation_details or {}) for event in events.events]
    assert [operation for operation, _ in details] == [
        "vector_store",
        "vector_store_file",
        "vector_store_file",
        "vector_store",
        "vector_store_search",
    ]
    assert details[2][1] == {"usage_bytes": 999}
    assert details[3][1]["vector_store_bytes"] == 123_456
    assert details[3][1]["file_counts_completed"] == 2
    assert details[4][1] == {"search_results": 0}


def test_a_video_is_told_when_it_begins_and_when_it_is_there(
    provider: FakeProvider, openai_client: openai.OpenAI, events: Recorder
) -> None:
    answer(provider, unfinished(VIDEO, "queued"), unfinished(VIDEO, "in_progress"), VIDEO, VIDEO)
    openai_client.videos.create_and_poll(
        model="sora-2", prompt="x", seconds="8", size="1280x720", poll_interval_ms=1
    )
    openai_client.videos.retrieve("video_1")
    begun, ended = events.events
    assert (begun.request_model, begun.cost_usd) == ("sora-2", None)
    assert ended.operation_details == {
        "video_seconds": 8.0,
        "size": "1280x720",
        "video_status": "completed",
    }


def test_what_is_stored_makes_no_event(
    provider: FakeProvider, openai_client: openai.OpenAI, events: Recorder
) -> None:
    thing = {"id": "x", "object": "thread", "created_at": CREATED, "metadata": {}}
    answer(provider, *([thing] * 9))
    openai_client.beta.threads.create()
    openai_client.beta.threads.messages.create("thread_1", role="user", content="x")
    openai_client.beta.assistants.create(model="gpt-4o")
    openai_client.conversations.create()
    openai_client.containers.create(name="x")
    openai_client.files.create(file=("x.jsonl", b"{}"), purpose="batch")
    openai_client.realtime.client_secrets.create()
    openai_client.beta.threads.runs.update("run_1", thread_id="thread_1", metadata={})
    openai_client.vector_stores.delete("vs_1")
    assert events.events == []
    assert len(provider.requests) == 9


def test_metadata_of_objects_is_left_to_them(
    provider: FakeProvider, openai_client: openai.OpenAI, events: Recorder
) -> None:
    answer(provider, unfinished(BATCH, "validating"))
    openai_client.batches.create(
        input_file_id="file-in",
        endpoint="/v1/chat/completions",
        completion_window="24h",
        metadata={"project": "x"},
    )
    assert provider.requests[0].json()["metadata"] == {"project": "x"}
    only: MetricEvent = events.only()
    assert only.metadata == {"project": "x"}
