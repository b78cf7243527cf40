"""The vendors' tables."""

from __future__ import annotations

from .anthropic import ANTHROPIC
from .azure import AZURE
from .base import Operation, Reading, Route, StreamShape, Vendor, Work, route
from .bedrock import BEDROCK
from .cohere import COHERE
from .compatible import COMPATIBLE
from .gemini import GEMINI, VERTEX
from .groq import GROQ
from .huggingface import HUGGINGFACE
from .mistral import MISTRAL
from .ollama import OLLAMA
from .openai import OPENAI
from .openrouter import OPENROUTER
from .perplexity import PERPLEXITY
from .together import TOGETHER
from .voyage import VOYAGE
from .writer import WRITER
from .xai import XAI

__all__ = ["VENDORS", "Operation", "Reading", "Route", "StreamShape", "Vendor", "Work", "route"]

VENDORS: tuple[Vendor, ...] = (
    OPENAI,
    AZURE,
    ANTHROPIC,
    GEMINI,
    VERTEX,
    BEDROCK,
    MISTRAL,
    COHERE,
    OLLAMA,
    VOYAGE,
    HUGGINGFACE,
    GROQ,
    TOGETHER,
    OPENROUTER,
    XAI,
    PERPLEXITY,
    WRITER,
    *COMPATIBLE,
)
"""Order matters only for paths on hosts that nobody has heard of: the first strong match wins."""
