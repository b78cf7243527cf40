"""Compile the most that models take and answer into `src/aden_transport/vendors/ceilings.json`.

    python scripts/build_ceilings.py --litellm PATH           write the file
    python scripts/build_ceilings.py --litellm PATH --check   exit 1 if the committed file differs

Only figures are taken, from litellm's `model_prices_and_context_window_backup.json` and from genai-prices,
both under the MIT licence. Where they disagree on a window, the larger one counts. Without `--litellm` the
file of an installed litellm is read. The file's form is documented in `aden_transport/vendors/ceilings.py`.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from genai_prices.data import providers

from aden_transport.vendors.ceilings import Ceiling, undated

TARGET = Path(__file__).parents[1] / "src" / "aden_transport" / "vendors" / "ceilings.json"
DATA = "model_prices_and_context_window_backup.json"
MODES = {"chat", "completion", "responses", "embedding", "image_generation"}

PROVIDERS = {
    "text-completion-openai": "openai",
    "azure_ai": "azure",
    "azure_text": "azure",
    "bedrock": "aws",
    "bedrock_converse": "aws",
    "bedrock_mantle": "aws",
    "gemini": "google",
    "vertex_ai": "google",
    "vertex_ai-language-models": "google",
    "vertex_ai-anthropic_models": "google",
    "vertex_ai-mistral_models": "google",
    "vertex_ai-llama_models": "google",
    "vertex_ai-ai21_models": "google",
    "vertex_ai-deepseek_models": "google",
    "vertex_ai-qwen_models": "google",
    "vertex_ai-zai_models": "google",
    "vertex_ai-openai_models": "google",
    "vertex_ai-embedding-models": "google",
    "cohere_chat": "cohere",
    "together_ai": "together",
    "fireworks_ai": "fireworks",
    "fireworks_ai-embedding-models": "fireworks",
    "xai": "x-ai",
    "moonshot": "moonshotai",
    "dashscope": "alibaba",
    "voyage": "voyageai",
    "vercel_ai_gateway": "vercel",
    "github_copilot": "github-copilot",
    "friendliai": "friendli",
    "meta_llama": "meta",
}
"""litellm's names of providers that are not the ones of our price book or of our tables."""
SAME = {
    "openai",
    "anthropic",
    "azure",
    "mistral",
    "cohere",
    "groq",
    "deepseek",
    "perplexity",
    "cerebras",
    "zai",
    "databricks",
    "snowflake",
    "cloudflare",
    "crusoe",
    "heroku",
    "novita",
    "nebius",
    "sambanova",
    "hyperbolic",
    "deepinfra",
    "minimax",
    "meta",
    "ai21",
    "baseten",
    "ovhcloud",
    "scaleway",
    "volcengine",
    "wandb",
}
NESTED = {"azure", "aws"}
"""Providers whose names in litellm have regions and terms before the model."""

CORRECTED = {
    # https://platform.openai.com/docs/models/gpt-4: what the prompt leaves of the window may be answered.
    "openai": {"gpt-4": Ceiling(8192, 8192)},
    # https://docs.anthropic.com/en/docs/build-with-claude/context-windows#1m-token-context-window (a beta).
    "anthropic": {
        "claude-sonnet-4": Ceiling(1_000_000, 64_000),
        "claude-sonnet-4-0": Ceiling(1_000_000, 64_000),
        "claude-sonnet-4-5": Ceiling(1_000_000, 64_000),
    },
}
"""What vendors document and the sources have smaller."""

Table = dict[str, dict[str, Ceiling]]


def figure(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None


def larger(first: int | None, second: int | None) -> int | None:
    return max((value for value in (first, second) if value is not None), default=None)


def add(table: Table, provider: str, name: str, ceiling: Ceiling) -> None:
    name = name.lower()
    if ceiling == (None, None) or re.search(r"\s", name):
        return
    known = table.setdefault(provider, {}).get(name, Ceiling(None, None))
    table[provider][name] = Ceiling(
        larger(known.context, ceiling.context), larger(known.output, ceiling.output)
    )


def from_litellm(models: Mapping[str, Any]) -> Iterator[tuple[str, str, Ceiling]]:
    for listed, model in models.items():
        theirs = model.get("litellm_provider")
        provider = PROVIDERS.get(theirs, theirs if theirs in SAME else None)
        if provider is None or model.get("mode") not in MODES:
            continue
        if model["mode"] == "image_generation" and provider != "google":
            continue
        prefix, slash, rest = listed.partition("/")
        own = slash and (prefix in (theirs, provider) or PROVIDERS.get(prefix) == provider)
        name = listed.rpartition("/")[2] if provider in NESTED else rest if own else listed
        output = None if model["mode"] == "embedding" else figure(model.get("max_output_tokens"))
        yield provider, name, Ceiling(figure(model.get("max_input_tokens")), output)


def from_genai_prices() -> Iterator[tuple[str, str, Ceiling]]:
    for provider in providers:
        for model in provider.models:
            yield provider.id, model.id, Ceiling(figure(model.context_window), None)


def compiled(models: Mapping[str, Any]) -> Table:
    table: Table = {}
    for provider, name, ceiling in (*from_litellm(models), *from_genai_prices()):
        add(table, provider, name, ceiling)
    for provider, names in table.items():
        _add_families(table, provider)
        corrected = CORRECTED.get(provider, {})
        names.update({name: corrected[undated(name)] for name in names if undated(name) in corrected})
        table[provider] = _without_repetitions(names)
    return table


def _add_families(table: Table, provider: str) -> None:
    """A family that is listed by its dated models only is as large as the largest of them; one that is
    listed itself gets what its own entry leaves open."""
    listed = dict(table[provider])
    for name, ceiling in listed.items():
        family = undated(name)
        if family in ("", name):
            continue
        own = listed.get(family, Ceiling(None, None))
        context = ceiling.context if own.context is None else None
        output = ceiling.output if own.output is None else None
        add(table, provider, family, Ceiling(context, output))


def _without_repetitions(names: Mapping[str, Ceiling]) -> dict[str, Ceiling]:
    return {
        name: ceiling
        for name, ceiling in names.items()
        if undated(name) == name or names.get(undated(name)) != ceiling
    }


def render(as_of: str, source: str, table: Table) -> str:
    """One line for each pair of figures, so that an update reads as a diff."""
    sections = []
    for provider, names in sorted(table.items()):
        groups: dict[str, list[str]] = {}
        for name, (context, output) in sorted(names.items()):
            groups.setdefault(f"{context or ''}/{output or ''}", []).append(name)
        lines = [f"{json.dumps(figures)}:{json.dumps(' '.join(found))}" for figures, found in groups.items()]
        sections.append(f"{json.dumps(provider)}:{{\n" + ",\n".join(lines) + "}")
    head = json.dumps({"source": source, "as_of": as_of}, separators=(",", ":"))
    return f'{head[:-1]},"providers":{{\n' + ",\n".join(sections) + "\n}}\n"


def litellm_file(given: Path | None) -> tuple[Path, str]:
    """The data file and the version of the litellm that it is of."""
    if given is None:
        spec = find_spec("litellm")
        if spec is None or spec.origin is None:
            raise SystemExit("litellm is not installed: give its data file with --litellm")
        return Path(spec.origin).parent / DATA, version("litellm")
    found = [path.name for path in given.resolve().parents[1].glob("litellm-*.dist-info")]
    return given, found[0].removeprefix("litellm-").removesuffix(".dist-info") if found else "unknown"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--litellm", type=Path, help=f"litellm's {DATA}")
    parser.add_argument("--check", action="store_true", help="exit 1 if the committed file differs")
    options = parser.parse_args(arguments)
    path, of_version = litellm_file(options.litellm)
    models = json.loads(path.read_bytes())
    models.pop("sample_spec", None)
    source = f"litellm {of_version}, genai-prices {version('genai-prices')}"
    table = compiled(models)
    committed = TARGET.read_text("utf-8") if TARGET.exists() else ""
    today = datetime.now(UTC).date().isoformat()
    same = bool(committed) and render(json.loads(committed)["as_of"], source, table) == committed
    if options.check:
        print("ceilings.json is up to date" if same else "ceilings.json differs: run build_ceilings.py")
        return 0 if same else 1
    if not same:
        TARGET.write_text(render(today, source, table), "utf-8")
    print(f"{TARGET.name}: {TARGET.stat().st_size} bytes, {sum(map(len, table.values()))} names")
    return 0


if __name__ == "__main__":
    sys.exit(main())
