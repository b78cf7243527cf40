"""OpenAI's other APIs: embeddings, images, audio, moderations, lists."""

from __future__ import annotations

import io
from typing import Any

import openai
import pytest

from aden_transport.testing import FakeProvider, Reply

SOUND = ("speech.wav", bytes(64_000))


def test_embeddings_are_the_same_in_floats_and_base64(openai_client: openai.OpenAI) -> None:
    # Without `encoding_format` the SDK asks for base64 and decodes it.
    decoded = openai_client.embeddings.create(model="text-embedding-3-small", input=["one", "two"])
    floats = openai_client.embeddings.create(
        model="text-embedding-3-small", input=["one", "two"], encoding_format="float"
    )
    assert [item.embedding for item in decoded.data] == [item.embedding for item in floats.data]
    assert len(floats.data[0].embedding) == 1536
    assert floats.usage.prompt_tokens == 2


@pytest.mark.parametrize(
    ("given", "count", "tokens"), [("one", 1, 1), ([1, 2, 3], 1, 3), ([[1], [2, 3]], 2, 3)]
)
def test_embeddings_take_text_and_token_numbers(
    openai_client: openai.OpenAI, given: Any, count: int, tokens: int
) -> None:
    answer = openai_client.embeddings.create(model="x", input=given, dimensions=4)
    assert [len(item.embedding) for item in answer.data] == [4] * count
    assert answer.usage.total_tokens == tokens


def test_images_carry_pictures_and_usage(openai_client: openai.OpenAI) -> None:
    made = openai_client.images.generate(model="gpt-image-1", prompt="a cat", n=2, quality="low")
    assert made.data is not None
    assert [bool(item.b64_json) for item in made.data] == [True, True]
    assert made.usage is not None
    assert made.usage.output_tokens == 544
    edited = openai_client.images.edit(model="gpt-image-1", prompt="a cat", image=("a.png", b"png"))
    assert edited.usage is not None
    assert edited.usage.input_tokens_details.image_tokens == 388


def test_images_stream(openai_client: openai.OpenAI) -> None:
    stream = openai_client.images.generate(model="gpt-image-1", prompt="a cat", stream=True, partial_images=1)
    events = list(stream)
    assert [event.type for event in events] == [
        "image_generation.partial_image",
        "image_generation.completed",
    ]
    assert events[-1].type == "image_generation.completed"
    assert events[-1].usage.total_tokens > 0


def test_dall_e_answers_with_an_address_and_no_usage(openai_client: openai.OpenAI) -> None:
    made = openai_client.images.generate(model="dall-e-2", prompt="a cat")
    assert made.data is not None
    assert made.data[0].url
    assert made.usage is None


def test_whisper_is_billed_by_the_second_and_later_models_by_the_token(openai_client: openai.OpenAI) -> None:
    whisper = openai_client.audio.transcriptions.create(model="whisper-1", file=SOUND)
    assert whisper.usage is not None
    assert whisper.usage.to_dict() == {"type": "duration", "seconds": 2}
    later = openai_client.audio.transcriptions.create(model="gpt-4o-transcribe", file=SOUND)
    assert later.usage is not None
    assert later.usage.type == "tokens"
    assert later.usage.input_tokens == 20


def test_transcriptions_stream(provider: FakeProvider, openai_client: openai.OpenAI) -> None:
    provider.push(Reply(text="good morning"))
    events = list(
        openai_client.audio.transcriptions.create(model="gpt-4o-transcribe", file=SOUND, stream=True)
    )
    assert [event.type for event in events] == ["transcript.text.delta"] * 2 + ["transcript.text.done"]


@pytest.mark.parametrize("shape", ["text", "srt", "vtt"])
def test_transcriptions_come_as_text(openai_client: openai.OpenAI, shape: Any) -> None:
    answer = openai_client.audio.transcriptions.create(model="whisper-1", file=SOUND, response_format=shape)
    assert "short sentence" in str(answer)


@pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")
def test_verbose_transcriptions_tell_the_duration(openai_client: openai.OpenAI) -> None:
    answer = openai_client.audio.transcriptions.create(
        model="whisper-1", file=SOUND, response_format="verbose_json"
    )
    assert float(answer.duration) == 2
    assert answer.segments is not None
    assert openai_client.audio.translations.create(model="whisper-1", file=SOUND).text == answer.text


def test_the_file_of_a_form_is_required(openai_client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError):
        openai_client.post("/audio/transcriptions", body={"model": "whisper-1"}, cast_to=object)


def test_speech_is_binary(openai_client: openai.OpenAI) -> None:
    with openai_client.audio.speech.with_streaming_response.create(
        model="tts-1", voice="alloy", input="two words"
    ) as response:
        assert response.headers["content-type"] == "audio/mpeg"
        assert len(list(response.iter_bytes())) == 2


def test_speech_events_end_with_usage(openai_client: openai.OpenAI) -> None:
    with openai_client.audio.speech.with_streaming_response.create(
        model="gpt-4o-mini-tts", voice="alloy", input="two words", stream_format="sse"
    ) as response:
        lines = [line for line in response.iter_lines() if line]
    assert '"speech.audio.done","usage":{"input_tokens":3' in lines[-1]


def test_moderations_flag_violence(openai_client: openai.OpenAI) -> None:
    answer = openai_client.moderations.create(input=["peace", "Violence"])
    assert [result.flagged for result in answer.results] == [False, True]
    assert answer.results[1].categories.violence


def test_lists(provider: FakeProvider, openai_client: openai.OpenAI) -> None:
    assert "gpt-4o" in [model.id for model in openai_client.models.list()]
    assert openai_client.models.retrieve("gpt-4o").id == "gpt-4o"
    assert list(openai_client.files.list()) == []
    assert [request.method for request in provider.requests] == ["GET"] * 3


def test_a_form_is_read_past_its_line_ends(openai_client: openai.OpenAI, provider: FakeProvider) -> None:
    sound = io.BytesIO(b"\r\n--not-the-boundary\r\n" * 2000)
    sound.name = "a.wav"
    answer = openai_client.audio.transcriptions.create(model="whisper-1", file=sound)
    assert answer.usage is not None
    assert answer.usage.to_dict()["seconds"] == 2
