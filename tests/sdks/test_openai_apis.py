"""OpenAI's other APIs: responses, completions, embeddings, images, audio, moderations, lists."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import openai
import pytest

from aden_transport import MetricEvent, ToolCallMetric
from aden_transport.testing import FakeProvider, Reply, ToolCall

from .support import TLS, WEATHER_SCHEMA, Recorder, openai_async

# Two seconds of silence at 16 kHz, 16 bit.
AUDIO = ("speech.wav", bytes(64_000), "audio/wav")
PICTURE = ("picture.png", b"\x89PNG\r\n", "image/png")
WEATHER: Any = {"type": "function", "name": "get_weather", "parameters": WEATHER_SCHEMA, "strict": None}


# -- responses ----------------------------------------------------------------------------------


def test_the_responses_helper_makes_one_event(
    provider: FakeProvider, openai_client: openai.OpenAI, events: Recorder
) -> None:
    provider.push(Reply(text="One two.", input_tokens=23, output_tokens=11, reasoning_tokens=5))
    with openai_client.responses.stream(model="gpt-4o", input="hello") as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_response()
    assert kinds[-1] == "response.completed"
    event = events.only()
    assert (event.operation, event.stream, event.usage_source) == ("responses", True, "reported")
    assert (event.input_tokens, event.output_tokens, event.reasoning_tokens) == (23, 16, 5)
    assert event.response_id == final.id
    assert event.finish_reasons == ("completed",)


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
def test_function_calls_of_responses_are_figures(
    provider: FakeProvider, openai_client: openai.OpenAI, events: Recorder, streamed: bool
) -> None:
    call = ToolCall("get_weather", {"city": "Zürich"})
    provider.push(Reply(tool_calls=[call]))
    if streamed:
        with openai_client.responses.stream(model="gpt-4o", input="hello", tools=[WEATHER]) as stream:
            answer: Any = stream.get_final_response()
    else:
        answer = openai_client.responses.create(model="gpt-4o", input="hello", tools=[WEATHER])
    item = answer.output[0]
    assert events.only().tool_calls == [
        ToolCallMetric(item.call_id, "get_weather", 0, len(call.arguments_json.encode()))
    ]


def test_a_cut_short_response_says_why(
    provider: FakeProvider, openai_client: openai.OpenAI, events: Recorder
) -> None:
    provider.push(Reply(text="One two three four five six seven eight."))
    openai_client.responses.create(model="gpt-4o", input="hello", max_output_tokens=2)
    event = events.only()
    assert event.finish_reasons == ("max_output_tokens",)
    assert event.output_tokens == 2


def test_a_background_run_is_counted_once_when_a_poll_sees_its_end(
    provider: FakeProvider, openai_client: openai.OpenAI, events: Recorder
) -> None:
    provider.push(Reply(input_tokens=23, output_tokens=11))
    run = openai_client.responses.create(model="gpt-4o", input="hello", background=True)
    assert run.status == "queued"
    begun = events.only()
    assert (begun.usage, begun.usage_source, begun.cost_usd) == (None, None, None)
    statuses = [openai_client.responses.retrieve(run.id).status for _ in range(4)]
    assert statuses == ["in_progress", "completed", "completed", "completed"]
    assert len(events.events) == 2
    ended = events.events[1]
    assert (ended.response_id, ended.usage_source) == (run.id, "reported")
    assert (ended.input_tokens, ended.output_tokens) == (23, 11)


@pytest.mark.anyio
async def test_an_async_background_run_is_counted_once(provider: FakeProvider, events: Recorder) -> None:
    async with openai_async(provider) as client:
        run = await client.responses.create(model="gpt-4o", input="hello", background=True)
        for _ in range(3):
            await client.responses.retrieve(run.id)
    assert [event.usage_source for event in events.events] == [None, "reported"]


def test_retrieving_an_answer_that_was_counted_emits_nothing(
    provider: FakeProvider, openai_client: openai.OpenAI, events: Recorder
) -> None:
    answer = openai_client.responses.create(model="gpt-4o", input="hello")
    openai_client.responses.retrieve(answer.id)
    with openai_client.responses.retrieve(answer.id, stream=True) as stream:
        assert list(stream)[-1].type == "response.completed"
    assert events.only().response_id == answer.id


def test_cancelling_tells_the_end_once_and_counting_emits_nothing(
    provider: FakeProvider, openai_client: openai.OpenAI, events: Recorder
) -> None:
    run = openai_client.responses.create(model="gpt-4o", input="hello", background=True)
    events.clear()
    openai_client.responses.cancel(run.id)
    openai_client.responses.retrieve(run.id)
    openai_client.responses.input_tokens.count(model="gpt-4o", input="hello")
    openai_client.responses.delete(run.id)
    event = events.only()
    assert (event.finish_reasons, event.usage, event.cost_usd) == (("cancelled",), None, None)


# -- one row per API ----------------------------------------------------------------------------


class Api(NamedTuple):
    """A call, and what its event says."""

    name: str
    operation: str
    call: Callable[[Any], Any]
    expected: Mapping[str, Any] = {}
    usage: Mapping[str, Any] = {}
    details: Mapping[str, Any] = {}
    reply: Reply = Reply(input_tokens=23, output_tokens=11)


def _drain(stream: Any) -> list[Any]:
    with stream as opened:
        return list(opened)


APIS = (
    Api(
        "completions",
        "text_completion",
        lambda c: c.completions.create(model="davinci-002", prompt="Once"),
        expected={"response_model": "davinci:2023-07-21-v2", "finish_reasons": ("stop",)},
        usage={"input_tokens": 23, "output_tokens": 11},
    ),
    Api(
        "embeddings",
        "embeddings",
        lambda c: c.embeddings.create(model="text-embedding-3-small", input=["a", "b"], dimensions=8),
        usage={"input_tokens": 23, "output_tokens": 0},
        details={"dimensions": 8, "encoding_format": "base64", "embeddings": 2},
    ),
    Api(
        "images_generate",
        "image_generation",
        lambda c: c.images.generate(model="gpt-image-1", prompt="a cat", n=2, quality="low"),
        usage={"input_tokens": 23, "output_tokens": 11, "images": 2, "image_output_tokens": 11},
        details={"n": 2, "quality": "low", "size": "1024x1024", "images": 2},
    ),
    Api(
        "images_generate_dall_e",
        "image_generation",
        lambda c: c.images.generate(model="dall-e-3", prompt="a cat", size="1024x1792", style="vivid"),
        usage={"input_tokens": 0, "output_tokens": 0, "images": 1},
        details={"size": "1024x1792", "style": "vivid", "images": 1},
    ),
    Api(
        "images_generate_streamed",
        "image_generation",
        lambda c: _drain(
            c.images.generate(model="gpt-image-1", prompt="a cat", stream=True, partial_images=2)
        ),
        expected={"stream": True, "faults": ()},
        usage={"input_tokens": 23, "output_tokens": 11, "images": 1},
    ),
    Api(
        "images_edit",
        "image_generation",
        lambda c: c.images.edit(model="gpt-image-1", prompt="a cat", image=PICTURE),
        expected={"request_model": "gpt-image-1"},
        usage={"input_tokens": 23, "output_tokens": 11, "images": 1},
    ),
    Api(
        "transcriptions_tokens",
        "transcription",
        lambda c: c.audio.transcriptions.create(model="gpt-4o-transcribe", file=AUDIO),
        expected={"request_model": "gpt-4o-transcribe"},
        usage={"input_tokens": 23, "output_tokens": 11, "audio_input_tokens": 23},
    ),
    Api(
        "transcriptions_seconds",
        "transcription",
        lambda c: c.audio.transcriptions.create(model="whisper-1", file=AUDIO),
        expected={"request_model": "whisper-1"},
        usage={"audio_seconds": 2.0, "input_tokens": 0},
        details={"audio_seconds": 2.0},
    ),
    Api(
        "transcriptions_verbose",
        "transcription",
        lambda c: c.audio.transcriptions.create(
            model="whisper-1", file=AUDIO, response_format="verbose_json"
        ),
        usage={"audio_seconds": 2.0},
        details={"language": "english", "segments_count": 1},
    ),
    Api(
        "transcriptions_streamed",
        "transcription",
        lambda c: _drain(c.audio.transcriptions.create(model="gpt-4o-transcribe", file=AUDIO, stream=True)),
        expected={"stream": True, "faults": ()},
        usage={"input_tokens": 23, "output_tokens": 11},
    ),
    Api(
        "speech_characters",
        "speech",
        lambda c: c.audio.speech.create(model="tts-1", voice="alloy", input="Hello you").read(),
        expected={"request_model": "tts-1"},
        usage={"characters": 9},
        details={"characters": 9},
    ),
    Api(
        "speech_tokens",
        "speech",
        lambda c: c.audio.speech.create(
            model="gpt-4o-mini-tts", voice="alloy", input="Hello you", stream_format="sse"
        ).read(),
        usage={"input_tokens": 3, "output_tokens": 16, "audio_output_tokens": 16},
    ),
)


def check(event: MetricEvent, api: Api) -> None:
    assert (event.provider, event.operation, event.status_code) == ("openai", api.operation, 200)
    assert event.usage_source == "reported"
    assert {name: getattr(event, name) for name in api.expected} == api.expected
    assert {name: getattr(event.usage, name) for name in api.usage} == api.usage
    found = event.operation_details or {}
    assert {name: found.get(name) for name in api.details} == api.details


@pytest.mark.parametrize("api", APIS, ids=lambda api: api.name)
def test_an_api_makes_one_event_with_what_it_bills(
    api: Api, provider: FakeProvider, openai_client: openai.OpenAI, events: Recorder
) -> None:
    provider.push(api.reply)
    api.call(openai_client)
    check(events.only(), api)


@pytest.mark.anyio
@pytest.mark.parametrize(
    "name", ["completions", "embeddings", "images_edit", "transcriptions_tokens", "speech_characters"]
)
async def test_an_async_api_makes_one_event_with_what_it_bills(
    name: str, provider: FakeProvider, events: Recorder
) -> None:
    api = next(api for api in APIS if api.name == name)
    provider.push(api.reply)
    async with openai_async(provider) as client:
        answer = await api_call(api, client)
        if name == "speech_characters":
            assert answer
    check(events.only(), api)


async def api_call(api: Api, client: Any) -> Any:
    if api.name == "speech_characters":
        answer = await client.audio.speech.create(model="tts-1", voice="alloy", input="Hello you")
        return answer.read()
    return await api.call(client)


@pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")  # of the SDK's method
def test_translations_have_no_usage_to_report(
    provider: FakeProvider, openai_client: openai.OpenAI, events: Recorder
) -> None:
    openai_client.audio.translations.create(model="whisper-1", file=AUDIO)
    event = events.only()
    assert (event.operation, event.request_model, event.usage) == ("transcription", "whisper-1", None)


@pytest.mark.usefixtures("known_openai")
def test_streamed_completions_are_asked_for_usage_and_it_is_hidden(
    provider: FakeProvider, openai_client: openai.OpenAI, events: Recorder
) -> None:
    provider.push(Reply(text="One two.", input_tokens=23, output_tokens=11))
    stream = openai_client.completions.create(model="davinci-002", prompt="Once", stream=True)
    assert all(chunk.choices for chunk in _drain(stream))
    event = events.only()
    assert (event.usage_source, event.input_tokens, event.output_tokens) == ("reported", 23, 11)


@pytest.mark.parametrize(("text", "flagged"), [("peace", False), ("violence", True)])
def test_moderations_are_free(
    openai_client: openai.OpenAI, events: Recorder, text: str, flagged: bool
) -> None:
    openai_client.moderations.create(model="omni-moderation-latest", input=text)
    event = events.only()
    assert (event.operation, event.usage, event.cost) == ("moderation", None, 0)
    details = event.operation_details or {}
    assert (details["flagged"], details["inputs"]) == (flagged, 1)
    assert details.get("categories") == (["violence"] if flagged else None)
    assert 0 <= details["categories_scores_max"] <= 1


@pytest.mark.parametrize("known", [False, True], ids=["unknown_host", "known_host"])
def test_lists_and_objects_make_no_event(
    provider: FakeProvider,
    openai_client: openai.OpenAI,
    events: Recorder,
    request: pytest.FixtureRequest,
    known: bool,
) -> None:
    if known:
        request.getfixturevalue("known_openai")
    assert list(openai_client.models.list())
    openai_client.models.retrieve("gpt-4o")
    assert list(openai_client.files.list()) == []
    assert events.events == []
    assert len(provider.requests) == 3


def test_a_file_object_reaches_the_server_whole(
    provider: FakeProvider, openai_client: openai.OpenAI, events: Recorder
) -> None:
    openai_client.audio.transcriptions.create(model="whisper-1", file=("a.wav", io.BytesIO(bytes(64_000))))
    assert bytes(64_000) in provider.requests[0].body
    assert events.only().usage_source == "reported"


# -- Azure --------------------------------------------------------------------------------------


def azure(provider: FakeProvider, *, version: str = "2024-10-21") -> openai.AzureOpenAI:
    return openai.AzureOpenAI(
        azure_endpoint=provider.azure_endpoint,
        api_key="any",
        api_version=version,
        max_retries=0,
        http_client=openai.DefaultHttpxClient(verify=TLS, trust_env=False),
    )


def test_azure_has_the_deployment_in_its_path(provider: FakeProvider, events: Recorder) -> None:
    provider.push(Reply(input_tokens=23, output_tokens=11, model="gpt-4o-2024-08-06"))
    with azure(provider) as client:
        client.chat.completions.create(model="my-deployment", messages=[{"role": "user", "content": "hi"}])
    event = events.only()
    assert (event.provider, event.operation) == ("azure", "chat")
    assert (event.request_model, event.response_model) == ("my-deployment", "gpt-4o-2024-08-06")
    assert (event.input_tokens, event.output_tokens) == (23, 11)
    assert event.region == "West Europe"
    assert event.request_id == provider_request_id(event)
    assert event.cost_usd is not None


def provider_request_id(event: MetricEvent) -> str:
    assert event.headers is not None
    return event.headers["apim-request-id"]


@pytest.mark.parametrize(("version", "asked"), [("2024-10-21", True), ("2024-06-01", False)])
def test_azure_is_asked_for_usage_from_the_version_that_knows_it(
    provider: FakeProvider, events: Recorder, known_azure: None, version: str, asked: bool
) -> None:
    with azure(provider, version=version) as client:
        stream = client.chat.completions.create(
            model="my-deployment", messages=[{"role": "user", "content": "hi"}], stream=True
        )
        chunks = _drain(stream)
    assert ("stream_options" in provider.requests[0].json()) is asked
    # Azure's first chunk has no choices either, but the filter's results of the prompt.
    assert [len(chunk.choices) for chunk in chunks] == [0] + [1] * (len(chunks) - 1)
    assert events.only().usage_source == ("reported" if asked else "estimated")


# -- openai[aiohttp] ----------------------------------------------------------------------------


@pytest.mark.anyio
@pytest.mark.usefixtures("known_openai")
@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_the_aiohttp_client_of_openai_is_counted_once(
    provider: FakeProvider, events: Recorder, streamed: bool
) -> None:
    provider.push(Reply(text="One two.", input_tokens=23, output_tokens=11))
    async with openai.AsyncOpenAI(
        base_url=provider.openai_base_url,
        api_key="any",
        max_retries=0,
        http_client=openai.DefaultAioHttpClient(),
    ) as client:
        if streamed:
            stream = await client.chat.completions.create(
                model="gpt-4o", messages=[{"role": "user", "content": "hi"}], stream=True
            )
            assert all([chunk.choices async for chunk in stream])
        else:
            await client.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": "hi"}])
    event = events.only()
    assert (event.usage_source, event.input_tokens, event.output_tokens) == ("reported", 23, 11)
    assert event.stream is streamed
    assert len(provider.requests) == 1
