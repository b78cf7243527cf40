"""The calls that the demo makes, whoever makes them: a vendor's SDK, or httpx2 in its dialect."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any, NamedTuple, Protocol

from . import plain

__all__ = ["AnthropicCalls", "Driver", "GeminiCalls", "OpenAICalls", "open_driver"]


class OpenAICalls(Protocol):
    """Each returns what the application gets: text, names of tools, a status, or a count. `most`: tokens that
    the answer may have."""

    def chat(
        self, prompt: str, *, tools: list[Mapping[str, Any]] | None = None, most: int | None = None
    ) -> str: ...
    def chat_stream(self, prompt: str, *, leave_after: int | None = None) -> str: ...
    def chat_parsed(self, prompt: str) -> str: ...
    def respond(self, prompt: str) -> str: ...
    def respond_stream(self, prompt: str) -> str: ...
    def respond_in_background(self, prompt: str) -> str: ...
    def embed(self, texts: list[str]) -> int: ...
    def close(self) -> None: ...


class AnthropicCalls(Protocol):
    """`cached`: a text in front of the prompt that the vendor shall keep."""

    def message(self, prompt: str, *, cached: str | None = None) -> str: ...
    def message_stream(self, prompt: str) -> str: ...
    def close(self) -> None: ...


class GeminiCalls(Protocol):
    """The last one makes its call in an event loop of its own."""

    def generate(self, prompt: str) -> str: ...
    def generate_stream(self, prompt: str) -> str: ...
    def generate_async(self, prompt: str) -> str: ...
    def close(self) -> None: ...


class Driver(NamedTuple):
    """Who makes a vendor's calls."""

    calls: Any
    """An object with the vendor's calls."""
    name: str
    """`"openai 3.54.0"`, or `"httpx2"`."""
    note: str | None = None
    """What there is to know, where the SDK does not make all calls."""


class _Sdk(NamedTuple):
    distribution: str
    names: tuple[str, ...]
    """Of its modules: that one of these is not found says that it is not installed."""
    module: str
    """Beside this one; imports the SDK."""
    extra: str
    plain: Callable[[str], Any]


_SDKS = {
    "openai": _Sdk("openai", ("openai",), "openai_sdk", "openai", plain.OpenAI),
    "anthropic": _Sdk("anthropic", ("anthropic",), "anthropic_sdk", "anthropic", plain.Anthropic),
    "gemini": _Sdk("google-genai", ("google", "google.genai"), "gemini_sdk", "gemini", plain.Gemini),
}


def open_driver(vendor: str, url: str) -> Driver:
    """The vendor's SDK pointed at `url`, or httpx2 where the SDK cannot be imported."""
    sdk = _SDKS[vendor]
    try:
        driver: Driver = import_module(f".{sdk.module}", __package__).open_driver(url)
    except Exception as exc:  # noqa: BLE001 - whatever an unknown version does, the demo goes on without it
        # `from google import genai` raises a plain ImportError where the namespace is there.
        missing = isinstance(exc, ImportError) and exc.name in sdk.names
        state = "is not installed" if missing else f"cannot be used here ({type(exc).__name__}: {exc})"
    else:
        return driver
    note = f"{sdk.distribution} {state}: driven with httpx2 in its dialect; "
    return Driver(sdk.plain(url), "httpx2", note + f"pip install 'aden-transport[{sdk.extra}]'")
