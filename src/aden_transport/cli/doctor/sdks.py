"""SDKs and frameworks: what is installed, which HTTP library it sends with, and whether that is seen."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from importlib import metadata

from ...installation import SDKS, UNSEEN, InstrumentResult, SDKStatus
from .findings import Finding, Level, version_of

__all__ = ["frameworks", "sdks"]

REPLACED: Mapping[str, str] = {
    "google_generativeai": "pip install --upgrade google-genai",
    "huggingface": "pip install --upgrade 'huggingface_hub>=1'",
    "together": "pip install --upgrade 'together>=3'",
    "gemini": "pip install --upgrade google-genai",
}
"""What to type where an SDK is not seen and the plain upgrade is not the answer."""

MANY_PURPOSES = ("boto3", "aiobotocore")
"""What most programs use for something else than LLM calls."""

FRAMEWORKS = (
    "autogen-ext",
    "claude-agent-sdk",
    "crewai",
    "dspy",
    "google-adk",
    "haystack-ai",
    "instructor",
    "langchain-anthropic",
    "langchain-aws",
    "langchain-cohere",
    "langchain-google-genai",
    "langchain-google-vertexai",
    "langchain-groq",
    "langchain-huggingface",
    "langchain-mistralai",
    "langchain-ollama",
    "langchain-openai",
    "langchain-together",
    "livekit-agents",
    "livekit-plugins-anthropic",
    "livekit-plugins-google",
    "livekit-plugins-openai",
    "llama-index-llms-anthropic",
    "llama-index-llms-openai",
    "openai-agents",
    "pydantic-ai",
    "pydantic-ai-slim",
    "smolagents",
)

GRPC = ("google-ai-generativelanguage", "google-cloud-aiplatform", "grpcio")

OWN_WAYS: Mapping[str, tuple[tuple[int, ...], str, str]] = {
    # from which version on, how it sends, what to do
    "dspy": ((3, 4), "sockets of its own (its default engine)", "dspy.LM(…, engine='litellm')"),
    "claude-agent-sdk": ((0,), "a program of its own, which it starts", "anthropic's SDK"),
}
"""Frameworks that pass by every HTTP library."""


def sdks() -> Iterator[Finding]:
    """Every installed SDK."""
    found = InstrumentResult().details
    for name, status in found.items():
        distribution = SDKS[name][1]
        level: Level = "ok" if status.seen else "warning" if name in MANY_PURPOSES else "fault"
        facts = {
            "sdk": name,
            "version": status.version,
            "http_library": status.http_library,
            "seen": status.seen,
        }
        yield Finding(
            "SDKs",
            f"{distribution} {status.version}",
            level,
            "; ".join([status.reason, *_additions(status)]),
            None if status.seen else REPLACED.get(name, _upgrade(name, distribution)),
            facts,
        )
    if not found:
        yield Finding(
            "SDKs", "none", "note", "calls made with httpx, httpx2 or aiohttp are seen all the same"
        )
    if version_of("websockets") is not None:
        text = "realtime and live sessions (WebSocket) are not metered; the HTTP calls of the same SDKs are"
        yield Finding("SDKs", "websockets", "note", text)


def _upgrade(name: str, distribution: str) -> str | None:
    return None if name in UNSEEN else f"pip install --upgrade {distribution}"


def _additions(status: SDKStatus) -> Iterator[str]:
    if status.name == "gemini" and version_of("aiohttp") is not None:
        yield "its async calls through aiohttp, which is seen too"
    if status.name == "litellm":
        yield "its async calls through aiohttp, which is seen too"


def frameworks() -> Iterator[Finding]:
    """Every installed framework, by what it sends through."""
    known = {distribution: name for name, (_, distribution) in SDKS.items()}
    details = InstrumentResult().details
    for framework in FRAMEWORKS:
        version = version_of(framework)
        if version is None:
            continue
        name = f"{framework} {version}"
        own = OWN_WAYS.get(framework)
        if own is not None and _numbers(version) >= own[0]:
            text = f"sends through {own[1]}, which is not metered"
            yield Finding("Frameworks", name, "fault", text, own[2], {"version": version, "seen": False})
            continue
        required = _required(framework)
        through = [dist for dist in known if dist in required and known[dist] in details]
        unseen = [dist for dist in through if not details[known[dist]].seen]
        unseen += [dist for dist in GRPC if dist in required]
        direct = [library for library in ("httpx2", "httpx") if library in required]
        names = ", ".join([*through, *(dist for dist in unseen if dist not in through)] or direct)
        text = f"sends through {names or 'the SDKs above'}"
        if unseen:
            text += f"; not metered: {', '.join(unseen)}"
        level: Level = "warning" if unseen else "ok"
        yield Finding("Frameworks", name, level, text, None, {"version": version, "seen": not unseen})


def _required(distribution: str) -> set[str]:
    lines = metadata.requires(distribution) or []
    names = (re.match(r"[A-Za-z0-9_.-]+", line) for line in lines if "extra ==" not in line)
    return {re.sub(r"[-_.]+", "-", found[0].lower()) for found in names if found}


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version)[:3])
