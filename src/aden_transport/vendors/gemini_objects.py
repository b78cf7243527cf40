"""Google's objects whose work may go on after the answer: interactions, batches, videos.

Sources: https://ai.google.dev/api/interactions-api, https://ai.google.dev/api/batch-api,
https://ai.google.dev/gemini-api/docs/video, https://cloud.google.com/vertex-ai/generative-ai/docs/model-reference/veo-video-generation,
checked 2026-11-22.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..events import NormalizedUsage
from .base import Reading, arguments_text, count, malformed, text
from .gemini_usage import generate_usage, interaction_usage, objects_of
from .openai_shapes import read_error

__all__ = [
    "read_batch",
    "read_interaction",
    "read_interaction_event",
    "read_job",
    "read_operation",
    "read_video_request",
]


# -- interactions ----------------------------------------------------------------------------------------

ONGOING = frozenset({"queued", "in_progress", "requires_continuation"})


def read_interaction(body: Mapping[str, Any], reading: Reading) -> None:
    """An interaction; one that goes on in the background has no usage yet."""
    reading.response_id = text(body.get("id")) or reading.response_id
    # An agent has no model of its own in the answer.
    reading.response_model = text(body.get("model")) or text(body.get("agent")) or reading.response_model
    reading.service_tier = text(body.get("service_tier"), 64) or reading.service_tier
    status = text(body.get("status"), 64)
    reading.status = status
    if status is not None:
        reading.tell_of_work(body.get("id"), body.get("created"), over=status not in ONGOING)
        if status not in ONGOING:
            reading.finish_reasons[0] = status
            reading.incomplete = status in ("incomplete", "budget_exceeded")
    for position, step in enumerate(objects_of(body.get("steps"))):
        _read_step(step, position, reading)
    usage: Any = body.get("usage")
    if isinstance(usage, Mapping):
        reading.usage = interaction_usage(usage, reading) or reading.usage
    elif usage is not None:
        malformed(reading)
    if status == "failed" and (errors := objects_of(body.get("errors"))):
        read_error({"error": errors[0]}, reading)


def _read_step(step: Mapping[str, Any], key: Any, reading: Reading) -> None:
    if step.get("type") != "function_call":
        return
    sent = arguments_text(step.get("arguments"))
    reading.tool(key, id=step.get("id"), name=step.get("name"), arguments=sent)


def read_interaction_event(name: str, event: Mapping[str, Any], reading: Reading) -> None:
    kind = event.get("event_type") or name
    if kind == "step.delta":
        _read_delta(event, reading)
    elif kind == "step.start":
        step: Any = event.get("step")
        if isinstance(step, Mapping):
            _read_step(step, event.get("index"), reading)
    elif kind == "error" or "error" in event:
        read_error(event, reading)
    else:
        interaction: Any = event.get("interaction")
        if isinstance(interaction, Mapping):
            read_interaction(interaction, reading)
            if reading.work is not None and not reading.work.over:
                reading.work = None  # the stream goes on to its end, as a rule


def _read_delta(event: Mapping[str, Any], reading: Reading) -> None:
    delta: Any = event.get("delta")
    if not isinstance(delta, Mapping):
        return
    summary: Any = delta.get("content")  # of a `thought_summary`
    for holder in (delta, summary if isinstance(summary, Mapping) else {}):
        reading.add_text(holder.get("text"))
    if delta.get("type") == "arguments_delta" and isinstance(delta.get("arguments"), str):
        reading.add_text(delta["arguments"])
        index = event.get("index")
        if isinstance(index, int) and index in (reading.tools or ()):
            reading.tool(index, id=None, name=None, arguments=delta["arguments"])


# -- batches ---------------------------------------------------------------------------------------------


def _read_counts(total: Any, completed: Any, failed: Any, reading: Reading) -> None:
    for name, value in (("total", total), ("completed", completed), ("failed", failed)):
        if value is not None:
            reading.detail(f"request_counts_{name}", count(value, reading))


def read_batch(body: Mapping[str, Any], reading: Reading) -> None:
    """A batch of the Gemini API. Usage stands in its answers, where they are in line; those of a batch that
    was given as a file are in a file."""
    found: Any = body.get("metadata")
    metadata: Mapping[str, Any] = found if isinstance(found, Mapping) else {}
    state = text(metadata.get("state"), 64)
    over = body.get("done") is True
    reading.batch = True
    reading.response_id = text(body.get("name"))
    model = text(metadata.get("model"))
    reading.response_model = model.removeprefix("models/") if model is not None else None
    reading.detail("batch_status", state)
    if over and state is not None:
        reading.finish_reasons[0] = state
    reading.tell_of_work(body.get("name"), metadata.get("createTime"), over=over)
    stats: Any = metadata.get("batchStats")
    if isinstance(stats, Mapping):
        _read_counts(
            stats.get("requestCount"),
            stats.get("successfulRequestCount"),
            stats.get("failedRequestCount"),
            reading,
        )
    for output in (metadata.get("output"), body.get("response")):
        if isinstance(output, Mapping) and reading.usage is None:
            _read_answers(output, reading)
    if isinstance(body.get("error"), Mapping):
        read_error(body, reading)


def _read_answers(output: Mapping[str, Any], reading: Reading) -> None:
    """The sum of the answers' usage; None where none says any."""
    total = NormalizedUsage()
    found = False
    for member in ("inlinedResponses", "inlinedEmbedContentResponses"):
        held: Any = output.get(member)
        for answer in objects_of(held.get("inlinedResponses") if isinstance(held, Mapping) else None):
            response: Any = answer.get("response")
            if not isinstance(response, Mapping):
                continue
            metadata: Any = response.get("usageMetadata")
            usage = generate_usage(metadata, reading) if isinstance(metadata, Mapping) else None
            if usage is None and response.get("tokenCount") is not None:
                usage = NormalizedUsage(count(response["tokenCount"], reading))
            if usage is not None:
                found = True
                for name in usage.__slots__:
                    setattr(total, name, getattr(total, name) + getattr(usage, name))
    if found:
        reading.usage = total


JOB_OVER = frozenset(
    {
        "JOB_STATE_SUCCEEDED",
        "JOB_STATE_PARTIALLY_SUCCEEDED",
        "JOB_STATE_FAILED",
        "JOB_STATE_CANCELLED",
        "JOB_STATE_EXPIRED",
    }
)


def read_job(body: Mapping[str, Any], reading: Reading) -> None:
    """A batch of Vertex AI, whose answers are written to a bucket or a table.

    https://cloud.google.com/vertex-ai/docs/reference/rest/v1/projects.locations.batchPredictionJobs
    """
    state = text(body.get("state"), 64)
    reading.batch = True
    reading.response_id = text(body.get("name"))
    model = text(body.get("model"))
    reading.response_model = model.rpartition("/")[2] if model is not None else None
    reading.detail("batch_status", state)
    over = state in JOB_OVER
    if over and state is not None:
        reading.finish_reasons[0] = state
    reading.tell_of_work(body.get("name"), body.get("createTime"), over=over)
    stats: Any = body.get("completionStats")
    if isinstance(stats, Mapping):
        _read_counts(None, stats.get("successfulCount"), stats.get("failedCount"), reading)
    if isinstance(body.get("error"), Mapping):
        read_error(body, reading)


# -- videos ----------------------------------------------------------------------------------------------


def read_video_request(body: Mapping[str, Any]) -> Mapping[str, Any]:
    """How many videos of which length are asked for; no answer says it."""
    parameters: Any = body.get("parameters")
    if not isinstance(parameters, Mapping):
        return {}
    found: dict[str, Any] = {}
    for member, key in (("sampleCount", "n"), ("durationSeconds", "video_seconds")):
        value = parameters.get(member)
        if isinstance(value, int) and not isinstance(value, bool) and 0 < value < 1 << 16:
            found[key] = value
    return found


def read_operation(body: Mapping[str, Any], reading: Reading) -> None:
    """A long-running operation that makes a video: `models/veo-…/operations/…`."""
    name = text(body.get("name"))
    reading.response_id = name
    if name is not None and "/operations/" in name:
        model = name.partition("/operations/")[0]
        reading.response_model = model.rpartition("/models/")[2].removeprefix("models/") or None
    over = body.get("done") is True
    failed = isinstance(body.get("error"), Mapping)
    reading.detail("video_status", ("failed" if failed else "completed") if over else "in_progress")
    if over:
        reading.finish_reasons[0] = "failed" if failed else "completed"
    reading.tell_of_work(name, None, over=over)
    if failed:
        read_error(body, reading)
