"""Gemini's calls, made by the google-genai SDK."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

from google import genai

from .calls import Driver
from .isolation import TLS
from .models import GEMINI, KEY

__all__ = ["open_driver"]


def open_driver(url: str) -> Driver:
    """The SDK, pointed at `url`."""
    return Driver(_Calls(url), f"google-genai {genai.__version__}")


class _Calls:
    """What the application gets, call by call."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.client = self._open()

    def _open(self) -> Any:
        # Any: SDKs of several major versions pass here.
        options: Any = {"base_url": self._url, "client_args": {"verify": TLS, "trust_env": False}}
        return genai.Client(api_key=KEY, vertexai=False, http_options=options)

    def generate(self, prompt: str) -> str:
        text: str = self.client.models.generate_content(model=GEMINI, contents=prompt).text
        return text

    def generate_stream(self, prompt: str) -> str:
        chunks = self.client.models.generate_content_stream(model=GEMINI, contents=prompt)
        return "".join(chunk.text or "" for chunk in chunks)

    def generate_async(self, prompt: str) -> str:
        return asyncio.run(self._generate(prompt))

    async def _generate(self, prompt: str) -> str:
        client = self._open()
        try:
            text: str = (await client.aio.models.generate_content(model=GEMINI, contents=prompt)).text
        finally:
            # Not in all versions.
            with suppress(AttributeError):
                await client.aio.aclose()
            with suppress(AttributeError):
                client.close()
        return text

    def close(self) -> None:
        with suppress(AttributeError):
            self.client.close()
