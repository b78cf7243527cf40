"""What a model is for and who makes it, as far as its name tells: for changing one model for another.

Sources are the vendors' lists of models; a name that says nothing is said to be unknown, not guessed.
"""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["CLOSED", "FREELY_NAMED", "GENERATING", "MAKERS", "SINGLE", "kind_of", "maker_of"]

GENERATING = frozenset(
    {
        "chat",
        "text_completion",
        "responses",
        "generate_content",
        "interactions",
        "inference",
        "conversation",
        "run",
    }
)
"""Operations in which the model of the request writes the answer."""
SINGLE = frozenset(
    {
        "embeddings",
        "image_generation",
        "transcription",
        "speech",
        "rerank",
        "moderation",
        "classification",
        "video",
        "ocr",
    }
)
"""Operations for which there are models of their own. Of all others (batches, training, files, stores) the
model of the request is not the one that answers, and is never changed."""

KINDS: Mapping[str, str] = {
    "embed": "embeddings",
    "voyage-": "embeddings",
    "bge-": "embeddings",
    "gte-": "embeddings",
    "e5-": "embeddings",
    "rerank": "rerank",
    "moderation": "moderation",
    "transcribe": "transcription",
    "whisper": "transcription",
    "tts": "speech",
    "dall-e": "image_generation",
    "imagen": "image_generation",
    "-image": "image_generation",
    "flux": "image_generation",
    "stable-diffusion": "image_generation",
    "stable-image": "image_generation",
    "nova-canvas": "image_generation",
    "sora": "video",
    "veo-": "video",
    "nova-reel": "video",
    "-ocr": "ocr",
    "realtime": "realtime",
    # https://platform.openai.com/docs/api-reference/completions: chat models answer there with an error.
    "gpt-3.5-turbo-instruct": "completion",
    "davinci-00": "completion",
    "babbage-00": "completion",
}
"""By a part of the name, the first that fits."""

PREFIXES: Mapping[str, str] = {  # the first that fits
    "gpt-oss": "open weights",
    "gpt-": "openai",
    "chatgpt-": "openai",
    "o1": "openai",
    "o3": "openai",
    "o4": "openai",
    "text-embedding-3": "openai",
    "claude": "anthropic",
    "anthropic.": "anthropic",
    "gemini": "google",
    "mistral": "mistral",
    "codestral": "mistral",
    "ministral": "mistral",
    "jamba": "ai21",
    "command-": "cohere",
    "cohere.": "cohere",
    "amazon.": "amazon",
    "meta.": "meta",
    "ai21.": "ai21",
    "deepseek": "deepseek",
    "grok-": "x-ai",
}

MAKERS = ("openai", "anthropic", "google", "mistral", "cohere", "x-ai", "deepseek", "perplexity", "voyageai")
"""Ids, in the price book, of those who serve models of their own and no others."""

CLOSED = frozenset({"openai", "anthropic", "google"})
"""Makers whose models other hosts have only where their price lists say so; of all others the weights are
given away, and anybody may serve them."""

FREELY_NAMED = frozenset({"azure", "openrouter", "ollama", "huggingface", "github-copilot", "cloudflare"})
"""Vendors whose customers name their deployments, or that pass calls on: any model may be there."""

REGIONS = ("us.", "eu.", "apac.", "jp.", "au.", "ca.", "us-gov.", "global.")
"""Before a model's id in Bedrock's inference profiles."""


def kind_of(model: str) -> str | None:
    """The operation that a model is for; None where its name does not say, as that of a chat model."""
    name = model.lower()
    return next((kind for part, kind in KINDS.items() if part in name), None)


def maker_of(model: str) -> str | None:
    """Whose model it is, by the beginning of its name; None where that does not say."""
    name = model.lower()
    for region in REGIONS:
        name = name.removeprefix(region)
    return next((maker for prefix, maker in PREFIXES.items() if name.startswith(prefix)), None)
