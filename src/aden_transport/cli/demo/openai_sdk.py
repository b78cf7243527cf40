"""OpenAI's calls, made by the OpenAI SDK."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import openai

from .calls import Driver
from .isolation import TLS
from .models import EMBEDDING, GPT, KEY, MAX_RETRIES
from .plain import CITY_FORMAT
from .plain import OpenAI as PlainOpenAI

__all__ = ["open_driver"]


def open_driver(url: str) -> Driver:
    """The SDK, pointed at `url`."""
    client = openai.OpenAI(
        base_url=f"{url}/v1",
        api_key=KEY,
        max_retries=MAX_RETRIES,
        http_client=openai.DefaultHttpxClient(verify=TLS, trust_env=False),
    )
    name = f"openai {openai.__version__}"
    if hasattr(client, "responses"):
        return Driver(_Calls(client), name)
    note = f"{name} does not know the Responses API: driven with httpx2 in its dialect"
    return Driver(_CallsBeforeResponses(client, url), name, note)


class _Calls:
    """What the application gets, call by call."""

    def __init__(self, client: openai.OpenAI) -> None:
        # Any: SDKs of several major versions pass here.
        self.client: Any = client

    def chat(
        self, prompt: str, *, tools: list[Mapping[str, Any]] | None = None, most: int | None = None
    ) -> str:
        more: dict[str, Any] = {"tools": tools} if tools else {}
        if most is not None:
            more["max_tokens"] = most  # known to every version of the SDK
        answer = self.client.chat.completions.create(model=GPT, messages=_messages(prompt), **more)
        message = answer.choices[0].message
        return " ".join(call.function.name for call in message.tool_calls or ()) or message.content

    def chat_stream(self, prompt: str, *, leave_after: int | None = None) -> str:
        text = ""
        create = self.client.chat.completions.create
        with create(model=GPT, messages=_messages(prompt), stream=True) as stream:
            for number, chunk in enumerate(stream, start=1):
                text += chunk.choices[0].delta.content or ""
                if number == leave_after:
                    break
        return text

    def chat_parsed(self, prompt: str) -> str:
        from pydantic import BaseModel

        class City(BaseModel):
            city: str

        parse = _parse_method(self.client)
        if parse is None:
            create = self.client.chat.completions.create
            answer = create(model=GPT, messages=_messages(prompt), response_format=CITY_FORMAT)
            return City.model_validate_json(answer.choices[0].message.content).city
        answer = parse(model=GPT, messages=_messages(prompt), response_format=City)
        city: str = answer.choices[0].message.parsed.city
        return city

    def respond(self, prompt: str) -> str:
        text: str = self.client.responses.create(model=GPT, input=prompt).output_text
        return text

    def respond_stream(self, prompt: str) -> str:
        with self.client.responses.create(model=GPT, input=prompt, stream=True) as stream:
            return "".join(event.delta for event in stream if event.type == "response.output_text.delta")

    def respond_in_background(self, prompt: str) -> str:
        run = self.client.responses.create(model=GPT, input=prompt, extra_body={"background": True})
        while run.status in ("queued", "in_progress"):
            run = self.client.responses.retrieve(run.id)
        status: str = run.status
        return status

    def embed(self, texts: list[str]) -> int:
        return len(self.client.embeddings.create(model=EMBEDDING, input=texts).data)

    def close(self) -> None:
        self.client.close()


class _CallsBeforeResponses(_Calls):
    """An SDK older than the Responses API."""

    def __init__(self, client: openai.OpenAI, url: str) -> None:
        super().__init__(client)
        self._plain = PlainOpenAI(url)

    def respond(self, prompt: str) -> str:
        return self._plain.respond(prompt)

    def respond_stream(self, prompt: str) -> str:
        return self._plain.respond_stream(prompt)

    def respond_in_background(self, prompt: str) -> str:
        return self._plain.respond_in_background(prompt)

    def close(self) -> None:
        super().close()
        self._plain.close()


def _parse_method(client: Any) -> Any:
    """Of chat completions; in older versions it was a beta, and before that there was none."""
    for home in (client, client.beta):
        completions = getattr(getattr(home, "chat", None), "completions", None)
        parse = getattr(completions, "parse", None)
        if parse is not None:
            return parse
    return None


def _messages(prompt: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": prompt}]
