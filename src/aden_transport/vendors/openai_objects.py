"""OpenAI's objects whose work goes on after the answer: runs, batches, training, stores, videos.

Each tells by its `status` whether the work is over, and is counted by its `id`.

Sources: https://platform.openai.com/docs/api-reference (assistants, batch, fine-tuning, vector stores,
videos), checked 2026-11-22.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .base import MAX_COUNT, Reading, count, malformed, text
from .openai_shapes import chat_usage, item_usage, read_error

__all__ = [
    "read_batch",
    "read_checkpoints",
    "read_run",
    "read_run_event",
    "read_training",
    "read_vector_store",
    "read_vector_store_file",
    "read_vector_store_search",
    "read_video",
    "read_video_job",
]


def _read_head(body: Mapping[str, Any], key: str | None, over: frozenset[str], reading: Reading) -> bool:
    """Id, model and status of an object; whether its work is over. `key`: the detail of its status."""
    reading.response_id = text(body.get("id"))
    reading.response_model = text(body.get("model"))
    reading.status = status = text(body.get("status"), 64)
    if key is not None:
        reading.detail(key, status)
    ended = status in over
    if ended and status is not None:
        reading.finish_reasons[0] = status
    reading.tell_of_work(body.get("id"), body.get("created_at"), over=ended)
    return ended


def figure(key: str, value: Any, reading: Reading) -> None:
    """Note a whole number that is one; others are left out, unlike counts that are billed."""
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_COUNT:
        reading.detail(key, value)


# -- runs of assistants ---------------------------------------------------------------------------------

RUN_OVER = frozenset({"completed", "failed", "cancelled", "expired", "incomplete"})


def read_run(body: Mapping[str, Any], reading: Reading) -> None:
    """`usage` is null until the run is over; then it is the sum of its steps."""
    ended = _read_head(body, "run_status", RUN_OVER, reading)
    usage: Any = body.get("usage")
    if isinstance(usage, Mapping):
        if ended:
            reading.usage = chat_usage(usage, reading) or reading.usage
    elif usage is not None:
        malformed(reading)
    for bound in ("max_prompt_tokens", "max_completion_tokens"):
        figure(bound, body.get(bound), reading)
    cut: Any = body.get("incomplete_details")
    if ended and isinstance(cut, Mapping) and (reason := text(cut.get("reason"), 64)):
        reading.finish_reasons[0] = reason
    if isinstance(body.get("last_error"), Mapping):
        read_error({"error": body["last_error"]}, reading)
    if reading.status == "requires_action":
        reading.finish_reasons[0] = "requires_action"
        _read_required(body.get("required_action"), reading)


def _read_required(action: Any, reading: Reading) -> None:
    """The functions that the application has to call before the run goes on."""
    outputs = action.get("submit_tool_outputs") if isinstance(action, Mapping) else None
    calls = outputs.get("tool_calls") if isinstance(outputs, Mapping) else None
    for position, call in enumerate(calls if isinstance(calls, list) else ()):
        function = call.get("function") if isinstance(call, Mapping) else None
        if isinstance(function, Mapping):
            key = text(call.get("id")) or position
            if not reading.tools or key not in reading.tools:
                arguments = function.get("arguments")
                reading.tool(key, id=call.get("id"), name=function.get("name"), arguments=arguments)


def read_run_event(name: str, event: Mapping[str, Any], reading: Reading) -> None:
    """Steps carry usage too, of which the run's is the sum: only the run's counts."""
    kind = event.get("object")
    if kind == "thread.run":
        read_run(event, reading)
    elif kind == "thread.run.step":
        if event.get("status") == "completed":
            _read_step(event, reading)
    elif name == "error" or "error" in event:
        read_error(event if "error" in event else {"error": event}, reading)


STEP_TOOLS = {"code_interpreter": "code_interpreter_calls", "file_search": "file_search_calls"}


def _read_step(step: Mapping[str, Any], reading: Reading) -> None:
    _add("run_steps", 1, reading)
    details: Any = step.get("step_details")
    calls = details.get("tool_calls") if isinstance(details, Mapping) else None
    for call in calls if isinstance(calls, list) else ():
        key = STEP_TOOLS.get(str(call.get("type"))) if isinstance(call, Mapping) else None
        if key is not None:
            _add(key, 1, reading)
            _add("server_tool_calls", 1, reading)


def _add(key: str, more: int, reading: Reading) -> None:
    reading.detail(key, (reading.details or {}).get(key, 0) + more)


# -- batches --------------------------------------------------------------------------------------------

BATCH_OVER = frozenset({"completed", "failed", "expired", "cancelled"})


def read_batch(body: Mapping[str, Any], reading: Reading) -> None:
    """`usage` is all zeros until the batch is over, and there only since September 2025."""
    ended = _read_head(body, "batch_status", BATCH_OVER, reading)
    reading.batch = True
    for key in ("output_file_id", "error_file_id"):
        reading.detail(key, text(body.get(key)))
    counts: Any = body.get("request_counts")
    if isinstance(counts, Mapping):
        for key in ("total", "completed", "failed"):
            figure(f"request_counts_{key}", counts.get(key), reading)
    usage: Any = body.get("usage")
    if ended and isinstance(usage, Mapping):
        used = item_usage(usage, reading)
        answered = (reading.details or {}).get("request_counts_completed")
        if used is not None and (used.total_tokens or not answered):
            reading.usage = used
    errors: Any = body.get("errors")
    first = errors.get("data") if isinstance(errors, Mapping) else None
    if reading.status == "failed" and isinstance(first, list) and first:
        read_error({"error": first[0]}, reading)


# -- training -------------------------------------------------------------------------------------------

TRAINING_OVER = frozenset({"succeeded", "failed", "cancelled"})


def read_training(body: Mapping[str, Any], reading: Reading) -> None:
    """`trained_tokens` are the billed ones: those of the file, times the epochs."""
    ended = _read_head(body, "training_status", TRAINING_OVER, reading)
    method: Any = body.get("method")
    kind = text(method.get("type"), 32) if isinstance(method, Mapping) else None
    reading.detail("training_method", kind)
    inner = method.get(kind) if isinstance(method, Mapping) and kind is not None else None
    for holder in (body, inner):
        parameters = holder.get("hyperparameters") if isinstance(holder, Mapping) else None
        if isinstance(parameters, Mapping):
            figure("epochs", parameters.get("n_epochs"), reading)
    if ended and body.get("trained_tokens") is not None:
        figure("trained_tokens", body["trained_tokens"], reading)
        reading.unit("trained_tokens", count(body["trained_tokens"], reading))
    if reading.status == "failed" and isinstance(body.get("error"), Mapping):
        read_error(body, reading)


METRICS = (
    "train_loss",
    "train_mean_token_accuracy",
    "valid_loss",
    "valid_mean_token_accuracy",
    "full_valid_loss",
    "full_valid_mean_token_accuracy",
)


def read_checkpoints(body: Mapping[str, Any], reading: Reading) -> None:
    """How well training went: the metrics of the newest checkpoint, which is listed first. Told once."""
    listed: Any = body.get("data")
    newest = listed[0] if isinstance(listed, list) and listed else None
    metrics = newest.get("metrics") if isinstance(newest, Mapping) else None
    if not isinstance(newest, Mapping) or not isinstance(metrics, Mapping):
        return
    reading.response_id = text(newest.get("fine_tuning_job_id"))
    reading.response_model = text(newest.get("fine_tuned_model_checkpoint"))
    figure("training_step", newest.get("step_number"), reading)
    for key in METRICS:
        value = metrics.get(key)
        if isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < MAX_COUNT:
            reading.detail(key, value)
    reading.tell_of_work(newest.get("id"), newest.get("created_at"), over=True)


# -- files in vector stores -----------------------------------------------------------------------------

FILES_OVER = frozenset({"completed", "failed", "cancelled", "expired"})


def read_vector_store(body: Mapping[str, Any], reading: Reading) -> None:
    """A store, or a batch of files for one. A store's size is told once, whenever it is another."""
    _read_head(body, None, FILES_OVER, reading)
    reading.finish_reasons.clear()
    counts: Any = body.get("file_counts")
    if isinstance(counts, Mapping):
        for key in ("total", "completed", "failed"):
            figure(f"file_counts_{key}", counts.get(key), reading)
    size = body.get("usage_bytes", body.get("bytes"))
    figure("vector_store_bytes", size, reading)
    if reading.work is not None and body.get("object") == "vector_store":
        reading.work = reading.work._replace(id=f"{reading.work.id}/{size}"[:256])


def read_vector_store_file(body: Mapping[str, Any], reading: Reading) -> None:
    """One file may be in several stores, so both ids tell the work."""
    _read_head(body, None, FILES_OVER, reading)
    reading.finish_reasons.clear()
    for key in ("usage_bytes", "chunk_count"):
        figure(key, body.get(key), reading)
    if reading.work is not None:
        store = text(body.get("vector_store_id"))
        reading.work = reading.work._replace(id=f"{store}/{reading.work.id}"[:512])
    if isinstance(body.get("last_error"), Mapping):
        read_error({"error": body["last_error"]}, reading)


def read_vector_store_search(body: Mapping[str, Any], reading: Reading) -> None:
    found: Any = body.get("data")
    if isinstance(found, list):
        reading.detail("search_results", len(found))


# -- videos ---------------------------------------------------------------------------------------------

VIDEO_OVER = frozenset({"completed", "failed"})


def read_video(body: Mapping[str, Any], reading: Reading) -> None:
    """Billed by the second, by model and size. https://platform.openai.com/docs/pricing"""
    _read_head(body, "video_status", VIDEO_OVER, reading)
    reading.detail("size", text(body.get("size"), 32))
    length = video_seconds(body.get("seconds"))
    reading.detail("video_seconds", length)
    if reading.status == "completed" and length is not None:
        reading.unit("video_seconds", length)
    if isinstance(body.get("error"), Mapping):
        read_error(body, reading)


VIDEO_JOB_OVER = frozenset({"succeeded", "failed", "cancelled"})


def read_video_job(body: Mapping[str, Any], reading: Reading) -> None:
    """Azure's jobs of the first Sora, which make several videos of one length; those that came are billed.
    https://learn.microsoft.com/azure/ai-foundry/openai/concepts/video-generation"""
    _read_head(body, "video_status", VIDEO_JOB_OVER, reading)
    figure("n", body.get("n_variants"), reading)
    width, height = body.get("width"), body.get("height")
    if all(isinstance(pixels, int) and 0 < pixels < 1 << 16 for pixels in (width, height)):
        reading.detail("size", f"{width}x{height}")
    length = video_seconds(body.get("n_seconds"))
    reading.detail("video_seconds", length)
    made: Any = body.get("generations")
    if reading.status == "succeeded" and isinstance(made, list) and length is not None:
        reading.unit("video_seconds", length * len(made))
    if reading.status == "failed" and (reason := text(body.get("failure_reason"), 128)):
        read_error({"error": {"message": reason, "code": reason}}, reading)


def video_seconds(value: Any) -> float | None:
    """A length of at most a day; OpenAI writes it as text."""
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if 0 <= number <= 86400 else None
