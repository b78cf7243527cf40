"""What all of the demo's calls ask for."""

from __future__ import annotations

__all__ = ["CHEAPER_GPT", "CLAUDE", "EMBEDDING", "GEMINI", "GPT", "KEY", "MAX_RETRIES", "MAX_TOKENS"]

GPT, CHEAPER_GPT, EMBEDDING = "gpt-4o", "gpt-4o-mini", "text-embedding-3-small"
CLAUDE = "claude-haiku-4-5"
GEMINI = "gemini-2.5-flash"
KEY = "demo"
"""The fakes take any key, and SDKs do not start without one."""
MAX_RETRIES = 1
MAX_TOKENS = 256
