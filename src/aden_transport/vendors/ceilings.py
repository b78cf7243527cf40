"""The most that vendors and models allow: windows, output, tokens of framing, of pictures in and out.

Windows and outputs of models stand in `ceilings.json`, which `scripts/build_ceilings.py` writes::

    {"source": "litellm 1.106.2, genai-prices 0.2.3", "as_of": "2026-11-22", "providers": {
      "openai": {"128000/16384": "gpt-4o gpt-4o-mini", "8192/": "gpt-4"}}}

The figures before and after the slash are the context window and the output; either may be missing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

__all__ = ["NOTHING", "Ceiling", "Ceilings", "Framing", "drawn_tokens", "framing", "image_tokens", "undated"]

_HELD_AT_MOST = 1024


class Ceiling(NamedTuple):
    """The most tokens of one model; None: not known."""

    context: int | None
    """Input and output together; of embeddings, one input."""
    output: int | None
    """Of one choice, reasoning included."""


NOTHING = Ceiling(None, None)
"""Of a model that nobody lists."""


class Ceilings:
    """Ceilings by provider and model. Safe for threads: dictionaries are only added to or cleared.

    `given` maps `"provider/model"` to what the user knows better.
    """

    __slots__ = ("_given", "_held", "_providers")

    def __init__(self, given: Mapping[str, Ceiling] | None = None) -> None:
        self._given = {name.lower(): ceiling for name, ceiling in (given or {}).items()}
        self._held: dict[tuple[str, str], Ceiling] = {}
        self._providers: Mapping[str, Mapping[str, str]] | None = None

    def find(self, provider: str, model: str | None) -> Ceiling:
        """The ceiling of `model`, `NOTHING` where it is not known. `provider` as in `PriceBook.find`.

        A name that nobody lists is that of the listed one that it dates: `gpt-4o-2024-08-06` is a `gpt-4o`,
        but `gpt-4o-turbo` is not.
        """
        if model is None:
            return NOTHING
        key = (provider, model)
        found = self._held.get(key)
        if found is None:
            found = self._resolve(provider.lower(), model.lower())
            if len(self._held) >= _HELD_AT_MOST:
                self._held.clear()
            self._held[key] = found
        return found

    def _resolve(self, provider: str, model: str) -> Ceiling:
        for name in _readings(model):
            if (given := self._given.get(f"{provider}/{name}")) is not None:
                return given
        if self._providers is None:
            self._providers = _read()
        for owner, name in _owners(provider, model):
            groups = self._providers.get(owner)
            if groups is not None and (found := _listed(groups, name)) is not None:
                return found
        return NOTHING


def _listed(groups: Mapping[str, str], model: str) -> Ceiling | None:
    for name in _readings(model):
        for figures, names in groups.items():
            if name in names and name in names.split():
                context, _, output = figures.partition("/")
                return Ceiling(int(context) if context else None, int(output) if output else None)
    return None


def _read() -> Mapping[str, Mapping[str, str]]:
    import pkgutil  # here, because importing aden_transport must stay cheap

    from .._json import loads

    data = pkgutil.get_data(__name__, "ceilings.json")
    if data is None:  # pragma: no cover - only a loader without get_data() answers None
        raise FileNotFoundError("ceilings.json")
    providers: Mapping[str, Mapping[str, str]] = loads(data)["providers"]
    return providers


# -- names -----------------------------------------------------------------------------------------------

_DATE = (
    r"(?:\d{4}-\d{2}-\d{2}|\d{8}|\d{6}|\d{4}|\d{3}|\d{2}-\d{4}"
    r"|(?:preview-)?\d{2}-\d{2}|preview|latest|default)"
)
_VERSION = re.compile(rf"(?:[-@]{_DATE})?(?:-v\d+(?::\d+)?(?::\d+k)?|:0)?$")
"""What may follow a model's name without making it another one: a date, a version, or both."""
_PATH = re.compile(
    r"^(?:models/|(?:projects/[^/]+/locations/[^/]+/)?publishers/[^/]+/models/|accounts/[^/]+/models/"
    r"|arn:aws[\w-]*:bedrock:[\w-]*:\d*:(?:inference-profile|foundation-model)/)"
)
_REGION = re.compile(r"^(?:us|us-gov|eu|apac|global|jp|au|ca|sa)\.(?=[a-z0-9]+\.)")
"""https://docs.aws.amazon.com/bedrock/latest/userguide/inference-profiles-support.html"""


def undated(model: str) -> str:
    """`model` in lower case without path, region, fine-tuning, date and version."""
    return _VERSION.sub("", _bare(model.lower()), count=1)


def _bare(model: str) -> str:
    if model.startswith("ft:"):  # https://platform.openai.com/docs/guides/fine-tuning: ft:model:org::id
        model = model.split(":")[1]
    return _REGION.sub("", _PATH.sub("", model))


def _readings(model: str) -> Iterator[str]:
    bare = _bare(model)
    yield bare
    base = _VERSION.sub("", bare, count=1)
    if base != bare:
        yield base


_RESELLS = {
    "azure": ("openai", "anthropic"),
    "google": ("anthropic",),
    "aws": ("anthropic",),
    "github-copilot": ("openai", "anthropic", "google"),
}
_AUTHORS = {"mistralai": "mistral", "amazon": "aws", "meta-llama": "meta", "z-ai": "zai"}


def _owners(provider: str, model: str) -> Iterator[tuple[str, str]]:
    """Who may list the model, and its name there."""
    yield provider, model
    bare = _bare(model)
    for owner in _RESELLS.get(provider, ()):
        yield owner, bare.removeprefix(f"{owner}.")
    author, slash, rest = bare.partition("/")
    if slash:  # a router's or a host's name of it: openai/gpt-4o
        yield _AUTHORS.get(author, author), rest.partition(":")[0]


# -- what vendors add to the text of a request -----------------------------------------------------------


class Framing(NamedTuple):
    """The most tokens that a vendor adds to what a request says."""

    call: int
    """Its own system prompt, and the opening of the answer."""
    message: int
    tool: int
    """One tool that the request describes."""
    tools: int
    """Instructions that come with any tools."""
    own_tool: int
    """One tool of the vendor's own that the caller runs (a shell, an editor, a screen)."""


_USUAL = Framing(call=128, message=8, tool=64, tools=1024, own_tool=2048)
"""OpenAI counts 3 or 4 a message:
https://cookbook.openai.com/examples/how_to_count_tokens_with_tiktoken_models. Templates of open models put
100 to 400 tokens of instructions before tools. Claude has 264 to 804 of them, 245 to 735 for a tool of its
own and 499 for the screen:
https://docs.anthropic.com/en/docs/agents-and-tools/tool-use/overview#pricing."""
_FRAMING = {
    # Grok 4 has a system prompt of some 700 tokens, and routers pass it on.
    "xai": _USUAL._replace(call=1024),
    "openrouter": _USUAL._replace(call=1024),
    "vercel": _USUAL._replace(call=1024),
}


def framing(vendor: str) -> Framing:
    """What the vendor with this id adds."""
    return _FRAMING.get(vendor, _USUAL)


# -- pictures in a request -------------------------------------------------------------------------------

_OPENAI_IMAGES = {
    # Tiles of 512 pixels after scaling to 2048 x 768, which are eight at most; patches of 32 pixels, 1536 at
    # most, times a factor: https://platform.openai.com/docs/guides/images-vision#calculating-costs
    "gpt-4o": 85 + 8 * 170,
    "gpt-4.5": 85 + 8 * 170,
    "gpt-4-turbo": 85 + 8 * 170,
    "gpt-4-vision": 85 + 8 * 170,
    "gpt-4o-mini": 2833 + 8 * 5667,
    "gpt-4.1": 1536,
    "gpt-4.1-mini": 2489,
    "gpt-4.1-nano": 3779,
    "o1": 75 + 8 * 150,
    "o1-pro": 75 + 8 * 150,
    "o3": 75 + 8 * 150,
    "o4-mini": 2642,
    "gpt-5": 70 + 8 * 140,
    "gpt-5-chat": 70 + 8 * 140,
    "gpt-5-mini": 2489,
    "gpt-5-nano": 3779,
    "computer-use": 65 + 8 * 129,
}
_CLAUDE_IMAGE = 4800
"""https://platform.claude.com/docs/en/build-with-claude/vision: 4784 at high resolution, 1600 before."""
_GEMINI_IMAGE = 2580
"""https://ai.google.dev/gemini-api/docs/media-resolution: 2240 at ultra high resolution; Gemini 2.5 has 256
for the picture and about 2048 for its sections."""
_GROK_IMAGE = 1792
"""https://docs.x.ai/docs/guides/image-understanding: six tiles at most and one more, of 256 each."""


def image_tokens(vendor: str, model: str) -> int | None:
    """The most input tokens that one picture costs, whatever its size; None where nobody says.

    Newer models of OpenAI's take pictures as they are, so that their size is not bounded by the model.
    """
    name = undated(model)
    if "claude" in name:
        return _CLAUDE_IMAGE
    if vendor in ("gemini", "vertex") and name.startswith("gemini"):
        return _GEMINI_IMAGE
    if vendor == "xai":
        return _GROK_IMAGE
    if vendor in ("openai", "azure"):
        return _OPENAI_IMAGES.get(name)
    return None


# -- pictures that are drawn -----------------------------------------------------------------------------

_DRAWN = {
    # https://platform.openai.com/docs/guides/image-generation#cost-and-latency
    ("low", "1024x1024"): 272,
    ("low", "1024x1536"): 408,
    ("low", "1536x1024"): 400,
    ("medium", "1024x1024"): 1056,
    ("medium", "1024x1536"): 1584,
    ("medium", "1536x1024"): 1568,
    ("high", "1024x1024"): 4160,
    ("high", "1024x1536"): 6240,
    ("high", "1536x1024"): 6208,
}
_DRAWING = frozenset({"gpt-image-1", "gpt-image-1-mini", "gpt-image-1.5"})


def drawn_tokens(model: str, size: str | None, quality: str | None) -> int | None:
    """The most output tokens of one picture that a model draws; None where nobody says, 0 for a model whose
    pictures are billed by the piece.

    A size or quality that the request leaves to the model is the dearest.
    """
    name = undated(model)
    if "gpt-image" not in name and "chatgpt-image" not in name:
        return 0
    if name not in _DRAWING:
        return None
    fitting = [
        tokens
        for (listed_quality, listed_size), tokens in _DRAWN.items()
        if quality in (listed_quality, None, "auto") and size in (listed_size, None, "auto")
    ]
    return max(fitting, default=None)
