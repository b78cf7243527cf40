"""OpenAI's operations beyond chat: what each says of itself, and the closed list of what any may say."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aden_transport import vendors
from aden_transport.events import MetricEvent, NormalizedUsage
from aden_transport.pricing import Price, PriceBook
from aden_transport.vendors import VENDORS, Reading
from aden_transport.vendors import openai_objects as objects
from aden_transport.vendors import openai_shapes as shapes
from aden_transport.vendors.base import ReadBody
from aden_transport.vendors.details import DETAILS

from ..core.kit import AZURE, Bench, wire
from .documented import undocumented

PRICES = PriceBook({"openai/gpt-4o": Price(1, 2)})
OPERATIONS = {route.operation for vendor in VENDORS for route in vendor.routes}


def event_of(path: str, answer: Any, body: Any = None, *, method: str = "POST") -> MetricEvent:
    request = wire({} if body is None and method == "POST" else body, path, method=method)
    event = Bench(PRICES).answered(request, answer)
    assert undocumented(event) == {}
    return event


def reading_of(read: ReadBody, answer: Mapping[str, Any]) -> Reading:
    reading = Reading()
    read(answer, reading)
    return reading


# -- the closed list -------------------------------------------------------------------------------------


def test_every_detail_has_a_meaning_and_belongs_to_operations_that_there_are() -> None:
    for key, detail in DETAILS.items():
        assert detail.meaning, key
        assert set(detail.operations) <= {operation.name for operation in OPERATIONS}, key


def literal_details() -> Iterator[tuple[str, str]]:
    """Keys that vendors' readers name: file and key."""
    for path in sorted(Path(vendors.__file__).parent.glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute | ast.Name):
                name = node.func.attr if isinstance(node.func, ast.Attribute) else node.func.id
                first = node.args[0] if node.args else None
                if name in ("detail", "figure") and isinstance(first, ast.Constant):
                    yield path.name, str(first.value)


def test_readers_name_no_detail_that_is_not_listed() -> None:
    assert {(file, key) for file, key in literal_details() if key not in DETAILS} == set()


# -- embeddings, images, audio, moderation ----------------------------------------------------------------


def test_embeddings() -> None:
    answer = {"model": "text-embedding-3-small", "data": [{}, {}], "usage": {"prompt_tokens": 8}}
    asked = {"model": "text-embedding-3-small", "input": "x", "dimensions": 256, "encoding_format": "base64"}
    event = event_of("/v1/embeddings", answer, asked)
    assert event.operation_details == {"dimensions": 256, "encoding_format": "base64", "embeddings": 2}
    assert (event.input_tokens, event.output_tokens) == (8, 0)


def test_images_by_the_piece() -> None:
    asked = {
        "model": "dall-e-3",
        "prompt": "x",
        "n": 2,
        "size": "1024x1792",
        "quality": "hd",
        "style": "vivid",
    }
    answer = {"created": 1, "data": [{"url": "u", "revised_prompt": "a secret"}, {"url": "v"}]}
    event = event_of("/v1/images/generations", answer, asked)
    assert event.operation_details == {
        "n": 2,
        "size": "1024x1792",
        "quality": "hd",
        "style": "vivid",
        "images": 2,
        "revised_prompts": 1,
    }
    assert event.usage == NormalizedUsage(images=2)
    assert "secret" not in str(event.to_dict())


def test_images_of_a_form_have_numbers_as_text() -> None:
    form = {"model": "gpt-image-1", "prompt": "x", "n": "2", "size": "auto", "output_format": "webp"}
    usage = {
        "input_tokens": 432,
        "input_tokens_details": {"image_tokens": 388, "text_tokens": 44},
        "output_tokens": 4160,
    }
    answer = {"data": [{}, {}], "usage": usage, "background": "opaque", "quality": "high"}
    event = Bench(PRICES).answered(wire(None, "/v1/images/edits", form=form), answer)
    assert undocumented(event) == {}
    assert event.operation_details == {
        "n": 2,
        "size": "auto",
        "output_format": "webp",
        "background": "opaque",
        "quality": "high",
        "images": 2,
    }
    assert event.usage == NormalizedUsage(
        input_tokens=432, output_tokens=4160, image_input_tokens=388, image_output_tokens=4160, images=2
    )


@pytest.mark.parametrize("n", ["two", "", "-1", "9" * 40, 0, -2, True, 1.5, None, [2]])
def test_an_unreadable_number_of_images_is_left_out(n: Any) -> None:
    event = event_of("/v1/images/generations", {"data": [{}]}, {"model": "dall-e-2", "n": n})
    assert event.operation_details == {"images": 1}


def test_verbose_transcriptions() -> None:
    answer = {
        "task": "transcribe",
        "language": "english",
        "duration": 8.47,
        "text": "a secret",
        "segments": [{}, {}, {}],
        "words": [{}] * 5,
    }
    form = {"model": "whisper-1", "response_format": "verbose_json"}
    event = Bench().answered(wire(None, "/v1/audio/transcriptions", form=form), answer)
    assert undocumented(event) == {}
    assert event.operation_details == {
        "audio_seconds": 8.47,
        "language": "english",
        "segments_count": 3,
        "words_count": 5,
    }
    assert event.usage == NormalizedUsage(audio_seconds=8.47)


MODERATED = {
    "id": "modr-1",
    "model": "omni-moderation-latest",
    "results": [
        {
            "flagged": True,
            "categories": {"violence": True, "violence/graphic": True, "hate": False},
            "category_scores": {"violence": 0.86, "violence/graphic": 0.37, "hate": 0.001},
            "category_applied_input_types": {
                "violence": ["image"],
                "violence/graphic": ["image"],
                "hate": [],
            },
        },
        {"flagged": True, "categories": {"harassment": True}, "category_scores": {"harassment": 0.9}},
    ],
}


def test_moderation_says_what_was_found_and_how_sure_it_is() -> None:
    event = event_of("/v1/moderations", MODERATED, {"input": ["x", "y"]})
    assert event.operation_details == {
        "flagged": True,
        "inputs": 2,
        "categories": ["harassment", "violence", "violence/graphic"],
        "categories_scores_max": 0.9,
        "category_applied_input_types": ["image"],
    }
    assert event.cost_nano_usd == 0


@pytest.mark.parametrize(
    ("results", "details"),
    [
        ([], {"flagged": False, "inputs": 0}),
        ([{}], {"flagged": False, "inputs": 1}),
        ([{"categories": {"pii": True}}], {"flagged": True, "inputs": 1, "categories": ["pii"]}),
        ([{"flagged": "yes", "categories": {"hate": "true"}}, 7], {"flagged": False, "inputs": 2}),
        ([{"category_scores": {"a": 2, "b": True, "c": "0.5", "d": -1}}], {"flagged": False, "inputs": 1}),
        ([{"category_scores": {"a": 0}}], {"flagged": False, "inputs": 1, "categories_scores_max": 0}),
    ],
)
def test_moderation_in_odd_forms(results: Any, details: Any) -> None:
    assert event_of("/v1/moderations", {"results": results}).operation_details == details


def test_names_of_categories_are_bounded() -> None:
    categories = {f"{n}" * 500: True for n in range(500)}
    found = reading_of(shapes.read_moderation, {"results": [{"categories": categories}]}).details
    assert found is not None
    assert len(found["categories"]) == 64
    assert max(map(len, found["categories"])) == 64


# -- tools that OpenAI runs -------------------------------------------------------------------------------


def test_tools_of_responses_are_counted_by_kind_and_searches_are_billed() -> None:
    output = [
        {"type": "web_search_call", "action": {"type": "search", "query": "a secret"}},
        {"type": "web_search_call", "action": {"type": "search"}},
        {"type": "web_search_call", "action": {"type": "open_page", "url": "u"}},
        {"type": "web_search_call", "action": {"type": "find_in_page"}},
        {"type": "web_search_call"},
        {"type": "file_search_call", "queries": ["a secret"]},
        {"type": "file_search_call"},
        {"type": "code_interpreter_call", "code": "a secret"},
        {"type": "image_generation_call", "result": "a secret"},
        {"type": "computer_call"},
        {"type": "shell_call"},
        {"type": "local_shell_call"},
        {"type": "tool_search_call"},
        {"type": "mcp_call", "name": "roll", "arguments": "{}"},
    ]
    answer = {
        "id": "r",
        "model": "gpt-4o",
        "status": "completed",
        "output": output,
        "usage": {"input_tokens": 10, "output_tokens": 1},
        "tool_usage": {"image_gen": {"input_tokens": 50, "output_tokens": 5000}},
    }
    event = event_of("/v1/responses", answer)
    assert event.operation_details == {
        "server_tool_calls": 13,
        "web_search_calls": 3,
        "file_search_calls": 2,
        "code_interpreter_calls": 1,
        "image_generation_calls": 1,
        "computer_calls": 1,
        "shell_calls": 2,
        "mcp_calls": 1,
    }
    assert event.usage == NormalizedUsage(input_tokens=10, output_tokens=1, server_tool_calls=3)
    assert reading_of(shapes.read_response, answer).units == {"file_searches": 2}
    assert "secret" not in str(event.to_dict())


# -- runs, batches, training --------------------------------------------------------------------------------


def test_a_run() -> None:
    run = {
        "id": "run_1",
        "object": "thread.run",
        "created_at": 1,
        "model": "gpt-4o",
        "instructions": "a secret",
        "status": "incomplete",
        "incomplete_details": {"reason": "max_completion_tokens"},
        "max_prompt_tokens": 256,
        "max_completion_tokens": 16,
        "usage": {
            "prompt_tokens": 381,
            "completion_tokens": 88,
            "total_tokens": 469,
            "prompt_token_details": {"cached_tokens": 128},
            "completion_tokens_details": {"reasoning_tokens": 30},
        },
    }
    event = event_of("/v1/threads/t/runs/run_1", run, method="GET")
    assert event.usage == NormalizedUsage(381, 88, reasoning_tokens=30, cached_tokens=128)
    assert (event.response_model, event.finish_reasons) == ("gpt-4o", ("max_completion_tokens",))
    assert event.operation_details == {
        "run_status": "incomplete",
        "max_prompt_tokens": 256,
        "max_completion_tokens": 16,
    }
    assert event.cost_nano_usd == 557_000
    assert "secret" not in str(event.to_dict())


def test_a_run_that_failed_says_why() -> None:
    error = {"code": "rate_limit_exceeded", "message": "You exceeded your current quota"}
    run = {"id": "run_1", "status": "failed", "last_error": error, "usage": None}
    event = event_of("/v1/threads/t/runs/run_1", run, method="GET")
    assert (event.error, event.error_type) == (error["message"], "rate_limit_error")


def test_usage_of_a_run_that_is_no_object_is_a_fault() -> None:
    reading = reading_of(objects.read_run, {"id": "run_1", "status": "completed", "usage": 7})
    assert (reading.usage, reading.faults) == (None, ["usage.malformed"])


@pytest.mark.parametrize(
    ("calls", "names"),
    [
        ([{"id": "a", "function": {"name": "look"}}, {"function": {"name": "run"}}], ["look", "run"]),
        ([{"id": "a", "function": {"name": "look"}}] * 2, ["look"]),
        ([7, {}, {"function": 7}, {"id": [], "function": {}}], [None]),
        (7, []),
    ],
)
def test_tools_that_a_run_waits_for(calls: Any, names: list[str | None]) -> None:
    action = {"submit_tool_outputs": {"tool_calls": calls}}
    run = {"id": "run_1", "status": "requires_action", "required_action": action}
    reading = Reading()
    for _ in range(2):  # a stream may say so twice
        objects.read_run(run, reading)
    assert [tool.name for tool in (reading.tools or {}).values()] == names
    assert reading.finish_reasons == {0: "requires_action"}


@pytest.mark.parametrize("listed", [None, [], [7], [{}], [{"id": "c", "metrics": 7}]])
def test_a_list_without_checkpoints_tells_nothing(listed: Any) -> None:
    reading = reading_of(objects.read_checkpoints, {"data": listed})
    assert (reading.work, reading.details) == (None, None)


def test_steps_of_a_run_are_counted_with_the_tools_that_they_used() -> None:
    reading = Reading()
    tools = [{"type": "code_interpreter"}, {"type": "file_search"}, {"type": "function"}, 7]
    steps: list[Any] = [
        {"object": "thread.run.step", "status": "in_progress"},
        {"object": "thread.run.step", "status": "completed", "step_details": {"tool_calls": tools}},
        {"object": "thread.run.step", "status": "completed", "step_details": {"message_creation": {}}},
        {"object": "thread.run.step", "status": "completed", "step_details": 7},
    ]
    for step in steps:
        objects.read_run_event("", step, reading)
    assert reading.details == {
        "run_steps": 3,
        "code_interpreter_calls": 1,
        "file_search_calls": 1,
        "server_tool_calls": 2,
    }


def test_a_batch() -> None:
    batch = {
        "id": "batch_1",
        "created_at": 1,
        "model": "gpt-4o",
        "status": "completed",
        "output_file_id": "file-out",
        "error_file_id": "file-err",
        "request_counts": {"total": 100, "completed": 95, "failed": 5},
        "usage": {
            "input_tokens": 1500,
            "input_tokens_details": {"cached_tokens": 1024},
            "output_tokens": 500,
            "output_tokens_details": {"reasoning_tokens": 300},
            "total_tokens": 2000,
        },
    }
    event = event_of("/v1/batches/batch_1", batch, method="GET")
    assert event.usage == NormalizedUsage(1500, 500, reasoning_tokens=300, cached_tokens=1024)
    assert event.operation_details == {
        "batch_status": "completed",
        "output_file_id": "file-out",
        "error_file_id": "file-err",
        "request_counts_total": 100,
        "request_counts_completed": 95,
        "request_counts_failed": 5,
    }
    assert reading_of(objects.read_batch, batch).batch is True


def test_a_batch_that_failed_says_why() -> None:
    errors = {"object": "list", "data": [{"code": "invalid_json_line", "message": "Line 3 is no JSON"}]}
    batch = {"id": "batch_1", "status": "failed", "errors": errors}
    event = event_of("/v1/batches/batch_1", batch, method="GET")
    assert (event.error, event.error_code) == ("Line 3 is no JSON", "invalid_json_line")


@pytest.mark.parametrize(
    ("answered", "known"), [(7, False), (0, True), (None, True)], ids=["answers", "none", "nobody says"]
)
def test_zeros_of_a_batch_that_has_answers_are_not_known(answered: int | None, known: bool) -> None:
    """Batches before September 2025 have no usage of their own."""
    usage = {"input_tokens": 0, "output_tokens": 0, "total_tokens": 0}
    batch = {"id": "b", "status": "completed", "request_counts": {"completed": answered}, "usage": usage}
    assert (reading_of(objects.read_batch, batch).usage is not None) is known


@pytest.mark.parametrize(
    ("parameters", "epochs"),
    [
        ({"hyperparameters": {"n_epochs": 4}}, 4),
        ({"method": {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 3}}}}, 3),
        ({"method": {"type": "dpo", "dpo": {"hyperparameters": {"n_epochs": 2}}}}, 2),
        ({"hyperparameters": {"n_epochs": "auto"}}, None),
        ({"hyperparameters": 7, "method": 7}, None),
        ({"method": {"type": ["dpo"]}}, None),
    ],
)
def test_a_training(parameters: Any, epochs: int | None) -> None:
    job = {"id": "ftjob-1", "model": "gpt-4o", "status": "succeeded", "trained_tokens": 5768, **parameters}
    event = event_of("/v1/fine_tuning/jobs/ftjob-1", job, method="GET")
    details = event.operation_details or {}
    assert (details["training_status"], details["trained_tokens"]) == ("succeeded", 5768)
    assert details.get("epochs") == epochs
    assert reading_of(objects.read_training, job).units == {"trained_tokens": 5768}
    assert event.usage is None


def test_a_checkpoint_tells_how_training_went_once() -> None:
    metrics = {
        "step": 88,
        "train_loss": 0.478,
        "train_mean_token_accuracy": 0.924,
        "valid_loss": float("nan"),
    }
    checkpoint = {
        "id": "ftckpt_1",
        "created_at": 1,
        "fine_tuning_job_id": "ftjob-1",
        "fine_tuned_model_checkpoint": "ft:gpt-4o:org::x",
        "step_number": 88,
        "metrics": {**metrics, "full_valid_loss": 0.567, "full_valid_mean_token_accuracy": True},
    }
    listed = {"object": "list", "data": [checkpoint, {**checkpoint, "id": "older"}]}
    bench = Bench(PRICES)
    path = "/v1/fine_tuning/jobs/ftjob-1/checkpoints"
    event = bench.answered(wire(None, path, method="GET"), listed)
    assert undocumented(event) == {}
    assert event.operation_details == {
        "training_step": 88,
        "train_loss": 0.478,
        "train_mean_token_accuracy": 0.924,
        "full_valid_loss": 0.567,
    }
    assert (event.usage, event.response_model) == (None, "ft:gpt-4o:org::x")
    bench.answered(wire(None, path, method="GET"), listed)
    assert len(bench.events) == 1


# -- vector stores and videos -------------------------------------------------------------------------------

COUNTS = {"in_progress": 0, "completed": 3, "failed": 1, "cancelled": 0, "total": 4}
STORE = {
    "id": "vs_1",
    "object": "vector_store",
    "created_at": 1,
    "name": "a secret",
    "status": "completed",
    "usage_bytes": 123_456,
    "file_counts": COUNTS,
}


def test_a_vector_store_tells_each_size_once() -> None:
    bench = Bench()
    path = "/v1/vector_stores/vs_1"
    first = bench.answered(
        wire({}, "/v1/vector_stores"), {**STORE, "status": "in_progress", "usage_bytes": 0}
    )
    bench.answered(wire(None, path, method="GET"), {**STORE, "status": "in_progress", "usage_bytes": 0})
    event = bench.answered(wire(None, path, method="GET"), STORE)
    bench.answered(wire(None, path, method="GET"), STORE)
    larger = bench.answered(wire(None, path, method="GET"), {**STORE, "usage_bytes": 200_000})
    assert bench.events == [first, event, larger]
    assert undocumented(event) == {}
    assert event.operation_details == {
        "vector_store_bytes": 123_456,
        "file_counts_total": 4,
        "file_counts_completed": 3,
        "file_counts_failed": 1,
    }
    assert event.event_id != larger.event_id
    assert (event.usage, event.cost_nano_usd, event.finish_reasons) == (None, None, ())
    assert "secret" not in str(event.to_dict())


def test_a_file_in_a_vector_store() -> None:
    file = {"id": "file-1", "object": "vector_store.file", "vector_store_id": "vs_1", "status": "completed"}
    bench = Bench()
    for store in ("vs_1", "vs_1", "vs_2"):
        answer = {**file, "vector_store_id": store, "usage_bytes": 99, "chunk_count": 7}
        event = bench.answered(wire(None, f"/v1/vector_stores/{store}/files/file-1", method="GET"), answer)
        assert undocumented(event) == {}
        assert event.operation_details == {"usage_bytes": 99, "chunk_count": 7}
    assert len(bench.events) == 2
    failed = {**file, "id": "f", "status": "failed", "last_error": {"code": "server_error", "message": "no"}}
    assert event_of("/v1/vector_stores/vs_1/files/f", failed, method="GET").error == "no"


def test_a_batch_of_files_and_a_search() -> None:
    files = {
        "id": "vsfb_1",
        "object": "vector_store.file_batch",
        "status": "completed",
        "file_counts": COUNTS,
    }
    event = event_of("/v1/vector_stores/vs_1/file_batches/vsfb_1", files, method="GET")
    assert event.operation_details == {
        "file_counts_total": 4,
        "file_counts_completed": 3,
        "file_counts_failed": 1,
    }
    found = {"object": "vector_store.search_results.page", "data": [{"content": "a secret"}] * 3}
    search = event_of("/v1/vector_stores/vs_1/search", found, {"query": "a secret"})
    assert search.operation_details == {"search_results": 3}
    assert "secret" not in str(search.to_dict())


def test_a_video_is_billed_by_its_seconds_when_it_is_there() -> None:
    video = {"id": "video_1", "object": "video", "model": "sora-2", "seconds": "8", "size": "1280x720"}
    asked = {"model": "sora-2", "prompt": "a secret", "seconds": "8", "size": "1280x720"}
    bench = Bench()
    begun = bench.answered(wire(None, "/v1/videos", form=asked), {**video, "status": "queued"})
    assert undocumented(begun) == {}
    assert begun.operation_details == {"size": "1280x720", "video_seconds": 8.0, "video_status": "queued"}
    assert begun.cost_nano_usd is None
    assert reading_of(objects.read_video, {**video, "status": "in_progress"}).units is None
    assert reading_of(objects.read_video, {**video, "status": "failed"}).units is None
    assert reading_of(objects.read_video, {**video, "status": "completed"}).units == {"video_seconds": 8.0}
    error = {"code": "moderation_blocked", "message": "blocked"}
    failed = event_of("/v1/videos/video_1", {**video, "status": "failed", "error": error}, method="GET")
    assert (failed.error, failed.error_code) == ("blocked", "moderation_blocked")


def test_a_video_job_of_azure_is_billed_by_what_came() -> None:
    job = {
        "object": "video.generation.job",
        "id": "task_1",
        "created_at": 1,
        "model": "sora",
        "prompt": "a secret",
        "n_variants": 2,
        "n_seconds": 5,
        "width": 854,
        "height": 480,
    }
    bench = Bench()
    path = "/openai/v1/video/generations/jobs"
    asked = {"model": "sora", "prompt": "a secret", "n_seconds": 5, "width": 854, "height": 480}
    begun = bench.answered(wire(asked, path, host=AZURE), {**job, "status": "queued", "generations": []})
    over = {**job, "status": "succeeded", "generations": [{}, {}]}
    poll = wire(None, f"{path}/task_1", method="GET", host=AZURE)
    ended = bench.answered(poll, over)
    bench.answered(poll, over)
    assert bench.events == [begun, ended]
    assert undocumented(ended) == {}
    assert ended.operation_details == {
        "video_status": "succeeded",
        "n": 2,
        "size": "854x480",
        "video_seconds": 5.0,
    }
    assert reading_of(objects.read_video_job, over).units == {"video_seconds": 10.0}
    failed = {**job, "status": "failed", "failure_reason": "input_moderation"}
    assert reading_of(objects.read_video_job, failed).error == "input_moderation"


@pytest.mark.parametrize("seconds", [None, "", "long", -1, "1e400", float("nan"), [], 10**400, 90_000])
def test_a_video_of_unreadable_length_is_not_priced(seconds: Any) -> None:
    reading = reading_of(objects.read_video, {"id": "v", "status": "completed", "seconds": seconds})
    assert reading.units is None
    assert "video_seconds" not in (reading.details or {})


# -- what is billed otherwise than by tokens --------------------------------------------------------------

RATES = Price(1, 2, trained_per_mtok="25", per_file_search="0.0025", per_video_second="0.1")
UNITS: tuple[tuple[str, str, dict[str, Any], int], ...] = (
    ("GET", "/v1/fine_tuning/jobs/j", {"status": "succeeded", "trained_tokens": 5768}, 144_200_000),
    ("GET", "/v1/fine_tuning/jobs/j", {"status": "cancelled", "trained_tokens": 1000}, 25_000_000),
    ("GET", "/v1/videos/v", {"status": "completed", "seconds": "8"}, 800_000_000),
    (
        "POST",
        "/v1/responses",
        {
            "status": "completed",
            "output": [{"type": "file_search_call"}] * 2,
            "usage": {"input_tokens": 1000, "output_tokens": 100},
        },
        1_200_000 + 5_000_000,
    ),
)


@pytest.mark.parametrize(("method", "path", "answer", "cost"), UNITS)
def test_units_beside_tokens_are_priced(method: str, path: str, answer: dict[str, Any], cost: int) -> None:
    request = wire({} if method == "POST" else None, path, method=method)
    prices = PriceBook({"openai/gpt-4o": RATES})
    event = Bench(prices).answered(request, {"id": "x", "model": "gpt-4o", **answer})
    assert (event.cost_nano_usd, event.faults) == (cost, ())


@pytest.mark.parametrize(
    ("path", "answer"),
    [
        ("/v1/fine_tuning/jobs/j", {"status": "failed", "trained_tokens": None}),
        ("/v1/videos/v", {"status": "failed", "seconds": "8"}),
        ("/v1/vector_stores/v", {"status": "completed", "usage_bytes": 5}),
    ],
)
def test_what_was_not_billed_or_nobody_knows_has_no_cost(path: str, answer: dict[str, Any]) -> None:
    prices = PriceBook({"openai/gpt-4o": RATES})
    answer = {"id": "x", "model": "gpt-4o", **answer}
    event = Bench(prices).answered(wire(None, path, method="GET"), answer)
    assert event.cost_nano_usd is None


# -- any JSON ------------------------------------------------------------------------------------------------

MEMBERS = st.sampled_from(
    [
        *(
            "id",
            "object",
            "status",
            "usage",
            "created_at",
            "model",
            "background",
            "output",
            "data",
            "results",
        ),
        *("error", "errors", "last_error", "incomplete_details", "required_action", "submit_tool_outputs"),
        *("tool_calls", "function", "step_details", "request_counts", "total", "completed", "failed"),
        *("trained_tokens", "method", "type", "hyperparameters", "n_epochs", "metrics", "train_loss"),
        *("usage_bytes", "file_counts", "vector_store_id", "seconds", "size", "categories", "flagged"),
        *("category_scores", "category_applied_input_types", "hate", "action", "max_prompt_tokens"),
        *("prompt_tokens", "input_tokens", "output_tokens", "completion_tokens", "prompt_token_details"),
    ]
)
WORDS = st.sampled_from(
    ["completed", "failed", "thread.run", "thread.run.step", "vector_store", "dpo", "requires_action"]
)
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), WORDS, st.text(max_size=8), st.just(10**400)
)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(MEMBERS, inner, max_size=6),
    max_leaves=24,
)
READ: tuple[ReadBody, ...] = (
    objects.read_run,
    objects.read_batch,
    objects.read_training,
    objects.read_checkpoints,
    objects.read_vector_store,
    objects.read_vector_store_file,
    objects.read_vector_store_search,
    objects.read_video,
    objects.read_video_job,
    shapes.read_response,
    shapes.read_images,
    shapes.read_transcription,
    shapes.read_moderation,
)


@given(body=st.dictionaries(MEMBERS, JSON, max_size=10))
def test_any_object_can_be_read(body: dict[str, Any]) -> None:
    for read in READ:
        reading = reading_of(read, body)
        for key, value in (reading.details or {}).items():
            assert isinstance(value, DETAILS[key].kind), key
        assert all(amount >= 0 for amount in (reading.units or {}).values())


@given(name=WORDS, events=st.lists(st.dictionaries(MEMBERS, JSON, max_size=10), max_size=4))
def test_any_event_of_a_run_can_be_read(name: str, events: list[dict[str, Any]]) -> None:
    reading = Reading()
    for event in events:
        objects.read_run_event(name, event, reading)
    assert reading.details is None or reading.details.keys() <= DETAILS.keys()
