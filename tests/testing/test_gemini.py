"""Gemini and Vertex, through google-genai."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx2
import pytest
from google import genai
from google.genai import errors, types
from pydantic import BaseModel

from aden_transport.testing import NO_USAGE, FakeProvider, Reply

MODEL = "gemini-2.5-flash"
PATH = f"/v1beta/models/{MODEL}"
BODY = {"contents": [{"role": "user", "parts": [{"text": "hello"}]}]}
TOOL = types.Tool(
    function_declarations=[
        types.FunctionDeclaration(
            name="get_weather",
            parameters=types.Schema(
                type=types.Type.OBJECT, properties={"city": types.Schema(type=types.Type.STRING)}
            ),
        )
    ]
)


class Verdict(BaseModel):
    ok: bool


def test_the_answer_carries_text_and_usage(gemini_client: genai.Client) -> None:
    answer = gemini_client.models.generate_content(model=MODEL, contents="hello")
    assert answer.text
    assert answer.model_version == MODEL
    usage = answer.usage_metadata
    assert usage is not None
    assert (usage.prompt_token_count, usage.candidates_token_count, usage.total_token_count) == (8, 18, 26)
    assert usage.thoughts_token_count is None


def test_each_chunk_carries_the_usage_so_far(gemini_client: genai.Client) -> None:
    chunks = list(gemini_client.models.generate_content_stream(model=MODEL, contents="hello"))
    totals = [chunk.usage_metadata.total_token_count or 0 for chunk in chunks if chunk.usage_metadata]
    assert totals == sorted(totals)
    assert totals[-1] == 26
    assert len(chunks) == 12
    assert [bool(chunk.candidates and chunk.candidates[0].finish_reason) for chunk in chunks].index(
        True
    ) == 11


def test_thoughts_stand_outside_the_output(gemini_client: genai.Client) -> None:
    config = types.GenerateContentConfig(thinking_config=types.ThinkingConfig(include_thoughts=True))
    answer = gemini_client.models.generate_content(model=MODEL, contents="hello", config=config)
    usage = answer.usage_metadata
    assert usage is not None
    assert (usage.candidates_token_count, usage.thoughts_token_count) == (18, 13)
    assert usage.total_token_count == 8 + 18 + 13
    assert answer.candidates is not None
    assert answer.candidates[0].content is not None
    assert [part.thought for part in answer.candidates[0].content.parts or []] == [True, None]


@pytest.mark.parametrize("contents", ["use get_weather", "hello"])
def test_functions_are_called_where_the_prompt_or_the_mode_asks(
    gemini_client: genai.Client, contents: str
) -> None:
    mode = (
        types.FunctionCallingConfigMode.ANY if contents == "hello" else types.FunctionCallingConfigMode.AUTO
    )
    config = types.GenerateContentConfig(
        tools=[TOOL],
        tool_config=types.ToolConfig(function_calling_config=types.FunctionCallingConfig(mode=mode)),
        automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True),
    )
    answer = gemini_client.models.generate_content(model=MODEL, contents=contents, config=config)
    assert answer.function_calls is not None
    assert [(call.name, call.args) for call in answer.function_calls] == [("get_weather", {"city": "text"})]


def test_structured_output_fits_the_schema(gemini_client: genai.Client) -> None:
    config = types.GenerateContentConfig(response_mime_type="application/json", response_schema=Verdict)
    assert gemini_client.models.generate_content(model=MODEL, contents="x", config=config).parsed == Verdict(
        ok=True
    )


def test_without_alt_sse_the_stream_is_one_json_array(raw: httpx2.Client) -> None:
    answer = raw.post(f"{PATH}:streamGenerateContent", json=BODY)
    assert answer.headers["content-type"] == "application/json; charset=UTF-8"
    assert len(answer.json()) == 12


def test_events_end_with_carriage_returns(raw: httpx2.Client) -> None:
    answer = raw.post(f"{PATH}:streamGenerateContent?alt=sse", json=BODY)
    assert answer.content.count(b"\r\n\r\n") == 12


@pytest.mark.parametrize("extra", [{"metadata": {"a": "b"}}, {"stream_options": {}}, {"contents": None}])
def test_what_gemini_refuses_is_refused(raw: httpx2.Client, extra: Any) -> None:
    answer = raw.post(f"{PATH}:generateContent", json={**BODY, **extra})
    assert answer.status_code == 400
    assert answer.json()["error"]["status"] == "INVALID_ARGUMENT"


def test_counting_and_embeddings(gemini_client: genai.Client) -> None:
    assert gemini_client.models.count_tokens(model=MODEL, contents="hello").total_tokens == 8
    config = types.EmbedContentConfig(output_dimensionality=4)
    embedded = gemini_client.models.embed_content(
        model="gemini-embedding-001", contents=["a", "b"], config=config
    )
    assert [len(item.values or []) for item in embedded.embeddings or []] == [4, 4]
    assert next(model.name for model in gemini_client.models.list()) == "models/gemini-2.5-flash"


def test_single_embeddings_and_vertex_predictions(raw: httpx2.Client) -> None:
    one = raw.post(
        "/v1beta/models/gemini-embedding-001:embedContent", json={"content": {"parts": [{"text": "a"}]}}
    )
    assert len(one.json()["embedding"]["values"]) == 3072
    path = "/v1/projects/p/locations/l/publishers/google/models/text-embedding-005:predict"
    answer = raw.post(
        path, json={"instances": [{"content": "a b"}], "parameters": {"outputDimensionality": 2}}
    )
    assert answer.json()["metadata"] == {"billableCharacterCount": 2}
    assert len(answer.json()["predictions"][0]["embeddings"]["values"]) == 2


def test_vertex_tells_the_traffic_type(raw: httpx2.Client) -> None:
    path = f"/v1/projects/p/locations/l/publishers/google/models/{MODEL}:generateContent"
    answer = raw.post(path, json=BODY).json()
    assert answer["usageMetadata"]["trafficType"] == "ON_DEMAND"
    assert answer["createTime"] == "2027-01-15T08:00:00Z"


def test_limits_and_cached_tokens(provider: FakeProvider, raw: httpx2.Client) -> None:
    provider.push(Reply(cached_tokens=5, input_tokens=20), Reply(usage=NO_USAGE), Reply(events=0))
    usage = raw.post(f"{PATH}:generateContent", json=BODY).json()["usageMetadata"]
    assert (usage["cachedContentTokenCount"], usage["promptTokenCount"]) == (5, 20)
    assert "usageMetadata" not in raw.post(f"{PATH}:generateContent", json=BODY).json()
    [only] = raw.post(f"{PATH}:streamGenerateContent", json=BODY).json()
    assert only["candidates"][0]["finishReason"] == "STOP"
    cut = raw.post(
        f"{PATH}:generateContent", json={**BODY, "generationConfig": {"maxOutputTokens": 2}}
    ).json()
    assert cut["candidates"][0]["finishReason"] == "MAX_TOKENS"


def test_errors_have_googles_shape(provider: FakeProvider, gemini_client: genai.Client) -> None:
    provider.push(Reply(status=429, retry_after_s=2.5))
    with pytest.raises(errors.ClientError) as caught:
        gemini_client.models.generate_content(model=MODEL, contents="hello")
    assert caught.value.status == "RESOURCE_EXHAUSTED"
    assert "2.5s" in str(caught.value)


# google-genai subclasses a class of aiohttp's that is not made for it.
@pytest.mark.filterwarnings("ignore:Inheritance class:DeprecationWarning")
def test_async(provider: FakeProvider) -> None:
    async def answer() -> str | None:
        async with genai.Client(api_key="any", http_options={"base_url": provider.url}).aio as client:
            return (await client.models.generate_content(model=MODEL, contents="hello")).text

    assert asyncio.run(answer())
