"""Keeping credentials out of error texts: vendors quote the key they refuse, exceptions quote URLs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import unquote

__all__ = ["has_secret", "redacted", "without_secrets"]

SECRET_HEADERS = (
    b"authorization",
    b"x-api-key",
    b"api-key",
    b"x-goog-api-key",
    b"proxy-authorization",
    b"cookie",
    b"x-amz-security-token",
    b"ocp-apim-subscription-key",  # Azure API Management
    b"cf-aig-authorization",
    b"helicone-auth",
    b"x-portkey-api-key",
    b"x-portkey-virtual-key",
    b"x-litellm-api-key",
    b"x-auth-token",
)
SECRET_PARAMETERS = frozenset(
    {
        "key",
        "api_key",
        "api-key",
        "apikey",
        "token",
        "access_token",
        "subscription-key",
        "sig",
        "signature",
        "x-amz-credential",
        "x-amz-security-token",
        "x-amz-signature",
    }
)
MIN_SECRET = 8
_SHAPES = re.compile(
    r"(?i)\b(?:bearer|basic)\s+[\w.~+/=-]{6,}"
    # OpenAI, Anthropic, OpenRouter, DeepSeek, Stripe-like; Groq, xAI, Hugging Face, Perplexity, Cerebras,
    # Fireworks, Replicate, NVIDIA, Together, Vercel, GitHub
    r"|\b(?:sk|pk|rk|gsk|xai|hf|key|pplx|csk|fw|r8|nvapi|tgp|vck|gh[opsu]|github_pat)[-_][\w*.-]{6,}"
    r"|\bAIza[\w-]{6,}|\bAQ\.[\w-]{20,}|\bya29\.[\w.-]{6,}"  # Google
    r"|\b(?-i:A[KS]IA[A-Z0-9]{8,}|ABSK[\w+/=]{16,})"  # AWS
    r"|\bdapi[0-9a-f]{16,}|\bpa-[\w-]{20,}"  # Databricks, Voyage
    r"|\baden_[0-9a-f]{6,32}_[\w-]{20,}"  # of the control server
    r"|\beyJ[\w-]{8,}\.[\w.-]+"
    rf"|(?<=[?&])(?:{'|'.join(sorted(SECRET_PARAMETERS))})=[^&\s\"']+"
    r"|\bsignature=[^&\s\"',]{6,}"  # in an Authorization header of AWS
)
_BEGINNINGS = (
    *("=", "bearer", "basic", "aden_", "k-", "k_", "xai", "hf", "key", "plx", "fw", "r8", "nvapi", "tgp"),
    *("gh", "git", "aiza", "aq.", "ya29.", "akia", "asia", "absk", "dapi", "pa-", "eyj"),
)
"""One of these stands in all that `_SHAPES` matches, in lower case; to ask for them takes a twentieth."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069]+")


def redacted(message: str, headers: Mapping[bytes, bytes], target: bytes, *, limit: int = 500) -> str:
    """`message` without the request's own credentials, anything of a key's shape and control characters."""
    for name in SECRET_HEADERS:
        value = headers.get(name)
        if value is None:
            continue
        for secret in {value, value.rpartition(b" ")[2]}:
            if len(secret) >= MIN_SECRET:
                message = message.replace(secret.decode("latin-1"), "[redacted]")
    query = target.partition(b"?")[2].decode("ascii", "replace")
    for pair in query.split("&"):
        key, _, given = pair.partition("=")
        if len(given) >= MIN_SECRET and key.lower() in SECRET_PARAMETERS:
            message = message.replace(given, "[redacted]").replace(unquote(given), "[redacted]")
    message = _SHAPES.sub("[redacted]", message[: limit * 4])
    return _CONTROL.sub(" ", message)[:limit]


def has_secret(text: str) -> bool:
    """Whether anything in `text` has a credential's shape."""
    lower = text.lower()
    for beginning in _BEGINNINGS:
        if beginning in lower:
            return _SHAPES.search(text) is not None
    return False


def without_secrets(text: str) -> str:
    """`text` without anything of a credential's shape."""
    return _SHAPES.sub("[redacted]", text)
