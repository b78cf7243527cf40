"""The ways in which one model's name is written: with a date in another form, behind a path or a provider."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from .clauses import dashed_date

__all__ = ["readings", "routed"]

# https://ai.google.dev/api/models (`models/…`),
# https://cloud.google.com/vertex-ai/docs/reference/rest/v1/projects.locations.publishers.models,
# https://docs.fireworks.ai (`accounts/fireworks/models/…`; other accounts' models are their own),
# https://docs.aws.amazon.com/bedrock/latest/userguide/security_iam_service-with-iam.html (ARNs).
_PATH = re.compile(
    r"^(?:models/"
    r"|(?:projects/[^/]+/locations/[^/]+/)?publishers/[^/]+/models/"
    r"|accounts/fireworks/models/"
    r"|arn:aws[\w-]*:bedrock:[\w-]*:\d*:(?:inference-profile|foundation-model)/)"
)


def readings(name: str, is_provider: Callable[[str], bool]) -> Iterator[str]:
    """`name`, which is lower-case, then what else it may mean; the closest reading first.

    `is_provider` says whether a prefix such as `"openai"` of `"openai/gpt-4o"` is only the provider's name.
    """
    yield from _dated(name)
    bare = _PATH.sub("", name)
    if bare != name:
        yield from _dated(bare)
    owner, slash, rest = bare.partition("/")
    if slash and rest and is_provider(owner):
        yield from _dated(rest)


def _dated(name: str) -> Iterator[str]:
    yield name
    dashed = dashed_date(name)
    if dashed != name:
        yield dashed


def routed(provider: str, name: str, answering: str | None = None) -> tuple[str, str]:
    """The provider that answers, and the model's name there, both lower-case.

    Hugging Face's router takes `org/model:together`, or a policy such as `:cheapest`, and says who has
    answered. https://huggingface.co/docs/inference-providers
    """
    provider, name = provider.lower().strip(), name.lower()
    model, _, asked = name.partition(":")
    if provider == "huggingface" and (answering or asked):
        return f"huggingface_{answering or asked}", model
    return provider, name
