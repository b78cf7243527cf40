"""The vendors' calls in their own dialects on httpx2, for SDKs that are not installed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Mapping
from typing import Any

import httpx2

from .isolation import TLS
from .models import CLAUDE, EMBEDDING, GEMINI, GPT, KEY, MAX_TOKENS

__all__ = ["CITY_FORMAT", "Anthropic", "Gemini", "OpenAI", "cached_system"]

CITY_SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}
CITY_FORMAT = {
    "type": "json_schema",
    "json_schema": {"name": "City", "strict": True, "schema": CITY_SCHEMA},
}


def cached_system(text: str) -> list[dict[str, Any]]:
    """Anthropic's system prompt, marked to be kept."""
    return [{"type": "text", "text": text, "cache_control": {"type": "ephemeral"}}]


class _Http:
    """JSON over HTTP, tried once more where the vendor asks for it."""

    def __init__(self, url: str, headers: Mapping[str, str]) -> None:
        self.client = httpx2.Client(base_url=url, headers=dict(headers), verify=TLS, trust_env=False)

    def post(self, path: str, body: Mapping[str, Any]) -> Any:
        answer = self.client.post(path, json=dict(body))
        if answer.status_code == 429:
            answer = self.client.post(path, json=dict(body))
        return answer.raise_for_status().json()

    def get(self, path: str) -> Any:
        return self.client.get(path).raise_for_status().json()

    def events(self, path: str, body: Mapping[str, Any]) -> Iterator[Any]:
        """The JSON of a stream's events."""
        with self.client.stream("POST", path, json=dict(body)) as answer:
            answer.raise_for_status()
            for line in answer.iter_lines():
                if line.startswith("data:") and line != "data: [DONE]":
                    yield json.loads(line[len("data:") :])

    def close(self) -> None:
        self.client.close()


class OpenAI:
    """https://platform.openai.com/docs/api-reference"""

    def __init__(self, url: str) -> None:
        self._http = _Http(f"{url}/v1", {"authorization": f"Bearer {KEY}"})
        self.close = self._http.close

    def chat(
        self, prompt: str, *, tools: list[Mapping[str, Any]] | None = None, most: int | None = None
    ) -> str:
        more = {"tools": tools, "max_completion_tokens": most}
        given = {name: value for name, value in more.items() if value is not None}
        answer = self._http.post("/chat/completions", _chat(prompt, **given))
        message = answer["choices"][0]["message"]
        names = [call["function"]["name"] for call in message.get("tool_calls") or ()]
        return " ".join(names) or message["content"]

    def chat_stream(self, prompt: str, *, leave_after: int | None = None) -> str:
        text = ""
        chunks = self._http.events("/chat/completions", _chat(prompt, stream=True))
        for number, chunk in enumerate(chunks, start=1):
            text += chunk["choices"][0]["delta"].get("content") or ""
            if number == leave_after:
                break
        chunks.close()  # type: ignore[attr-defined]
        return text

    def chat_parsed(self, prompt: str) -> str:
        answer = self._http.post("/chat/completions", _chat(prompt, response_format=CITY_FORMAT))
        city: str = json.loads(answer["choices"][0]["message"]["content"])["city"]
        return city

    def respond(self, prompt: str) -> str:
        answer = self._http.post("/responses", _respond(prompt))
        text: str = answer["output"][-1]["content"][0]["text"]
        return text

    def respond_stream(self, prompt: str) -> str:
        events = self._http.events("/responses", _respond(prompt, stream=True))
        return "".join(event["delta"] for event in events if event["type"] == "response.output_text.delta")

    def respond_in_background(self, prompt: str) -> str:
        run = self._http.post("/responses", _respond(prompt, background=True))
        while run["status"] in ("queued", "in_progress"):
            run = self._http.get(f"/responses/{run['id']}")
        status: str = run["status"]
        return status

    def embed(self, texts: list[str]) -> int:
        return len(self._http.post("/embeddings", {"model": EMBEDDING, "input": texts})["data"])


def _chat(prompt: str, **more: Any) -> dict[str, Any]:
    return {"model": GPT, "messages": [{"role": "user", "content": prompt}], **more}


def _respond(prompt: str, **more: Any) -> dict[str, Any]:
    return {"model": GPT, "input": prompt, **more}


class Anthropic:
    """https://docs.anthropic.com/en/api/messages"""

    def __init__(self, url: str) -> None:
        self._http = _Http(url, {"x-api-key": KEY, "anthropic-version": "2023-06-01"})
        self.close = self._http.close

    def message(self, prompt: str, *, cached: str | None = None) -> str:
        more = {"system": cached_system(cached)} if cached else {}
        text: str = self._http.post("/v1/messages", _message(prompt, **more))["content"][0]["text"]
        return text

    def message_stream(self, prompt: str) -> str:
        events = self._http.events("/v1/messages", _message(prompt, stream=True))
        return "".join(event["delta"].get("text", "") for event in events if "text" in event.get("delta", {}))


def _message(prompt: str, **more: Any) -> dict[str, Any]:
    return {
        "model": CLAUDE,
        "max_tokens": MAX_TOKENS,
        "messages": [{"role": "user", "content": prompt}],
        **more,
    }


class Gemini:
    """https://ai.google.dev/api/generate-content"""

    def __init__(self, url: str) -> None:
        self._url = url
        self._headers = {"x-goog-api-key": KEY}
        self._http = _Http(url, self._headers)
        self.close = self._http.close

    def generate(self, prompt: str) -> str:
        return _text(self._http.post(_path("generateContent"), _contents(prompt)))

    def generate_stream(self, prompt: str) -> str:
        chunks = self._http.events(_path("streamGenerateContent?alt=sse"), _contents(prompt))
        return "".join(_text(chunk) for chunk in chunks)

    def generate_async(self, prompt: str) -> str:
        return asyncio.run(self._generate(prompt))

    async def _generate(self, prompt: str) -> str:
        async with httpx2.AsyncClient(
            base_url=self._url, headers=self._headers, verify=TLS, trust_env=False
        ) as client:
            answer = await client.post(_path("generateContent"), json=_contents(prompt))
            return _text(answer.raise_for_status().json())


def _path(method: str) -> str:
    return f"/v1beta/models/{GEMINI}:{method}"


def _contents(prompt: str) -> dict[str, Any]:
    return {"contents": [{"role": "user", "parts": [{"text": prompt}]}]}


def _text(answer: Any) -> str:
    parts = answer["candidates"][0].get("content", {}).get("parts", ())
    return "".join(part.get("text", "") for part in parts)
