"""Anthropic's calls, made by the Anthropic SDK."""

from __future__ import annotations

from typing import Any

import anthropic

from .calls import Driver
from .isolation import TLS
from .models import CLAUDE, KEY, MAX_RETRIES, MAX_TOKENS
from .plain import cached_system

__all__ = ["open_driver"]


def open_driver(url: str) -> Driver:
    """The SDK, pointed at `url`."""
    client = anthropic.Anthropic(
        base_url=url,
        api_key=KEY,
        max_retries=MAX_RETRIES,
        http_client=anthropic.DefaultHttpxClient(verify=TLS, trust_env=False),
    )
    return Driver(_Calls(client), f"anthropic {anthropic.__version__}")


class _Calls:
    """What the application gets, call by call."""

    def __init__(self, client: anthropic.Anthropic) -> None:
        # Any: SDKs of several major versions pass here.
        self.client: Any = client

    def message(self, prompt: str, *, cached: str | None = None) -> str:
        more = {"system": cached_system(cached)} if cached else {}
        answer = self.client.messages.create(
            model=CLAUDE, max_tokens=MAX_TOKENS, messages=_messages(prompt), **more
        )
        text: str = answer.content[0].text
        return text

    def message_stream(self, prompt: str) -> str:
        with self.client.messages.stream(
            model=CLAUDE, max_tokens=MAX_TOKENS, messages=_messages(prompt)
        ) as stream:
            return "".join(stream.text_stream)

    def close(self) -> None:
        self.client.close()


def _messages(prompt: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": prompt}]
