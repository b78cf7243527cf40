"""Ask each SDK, old and new, in an environment of its own, and write down what was seen.

    python scripts/sdk_matrix                         all of them; docs/sdks.md is written
    python scripts/sdk_matrix --only openai-1 groq    some, without writing
    python scripts/sdk_matrix --list

Environments are made in --folder (default .matrix) and kept for the next run.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
PAGE = ROOT / "docs" / "sdks.md"
MARKS = ("<!-- matrix: begin -->", "<!-- matrix: end -->")


class Environment(NamedTuple):
    """What is installed, and which SDK of it is asked."""

    distribution: str
    requirements: tuple[str, ...]


ENVIRONMENTS = {
    "openai-1.30": Environment("openai", ("openai==1.30.*", "httpx<0.28")),
    "openai-1": Environment("openai", ("openai<2",)),
    "openai-2": Environment("openai", ("openai<3",)),
    "openai-3": Environment("openai", ("openai>=3",)),
    "anthropic-0.34": Environment("anthropic", ("anthropic==0.34.*", "httpx<0.28")),
    "anthropic-0": Environment("anthropic", ("anthropic<1",)),
    "anthropic-1": Environment("anthropic", ("anthropic<2",)),
    "anthropic-2": Environment("anthropic", ("anthropic>=2",)),
    "google-genai-1": Environment("google-genai", ("google-genai<2",)),
    "google-genai-2": Environment("google-genai", ("google-genai<3",)),
    "google-genai-3": Environment("google-genai", ("google-genai>=3",)),
    "google-genai-3-aiohttp": Environment("google-genai", ("google-genai>=3", "aiohttp")),
    "mistralai": Environment("mistralai", ("mistralai",)),
    "cohere": Environment("cohere", ("cohere",)),
    "groq": Environment("groq", ("groq",)),
    "together": Environment("together", ("together",)),
    "huggingface_hub": Environment("huggingface_hub", ("huggingface_hub",)),
    "cerebras": Environment("cerebras-cloud-sdk", ("cerebras-cloud-sdk",)),
    "ollama": Environment("ollama", ("ollama",)),
}


def run(name: str, folder: Path) -> dict[str, Any]:
    """What the probe saw in the environment `name`, which is made where it is missing.

    Raises: RuntimeError where it cannot be made or the probe breaks.
    """
    environment, place = ENVIRONMENTS[name], folder / name
    python = place / "bin" / "python"
    if not (place / "ready").exists():
        _do([sys.executable, "-m", "venv", "--clear", str(place)])
        _do([str(python), "-m", "pip", "install", "-q", str(ROOT), *environment.requirements])
        (place / "ready").touch()
    else:
        _do([str(python), "-m", "pip", "install", "-q", "--no-deps", "--force-reinstall", str(ROOT)])
    said = _do([str(python), str(HERE / "probe.py"), environment.distribution])
    seen: dict[str, Any] = json.loads(said.splitlines()[-1])
    return seen


def _do(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: exit {done.returncode}\n{done.stderr[-2000:]}")
    return done.stdout


def table(results: dict[str, dict[str, Any]]) -> str:
    checks = list(next(iter(results.values()))["seen"])
    rows = [["environment", "SDK", "HTTP library", *checks], ["---"] * (3 + len(checks))]
    for name, found in results.items():
        sdk = f"{ENVIRONMENTS[name].distribution} {found['version']}"
        cells = (found["seen"].get(check, "") for check in checks)
        rows.append([name, sdk, found["library"] or "", *(cell.replace("|", "/") for cell in cells)])
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", nargs="+", choices=ENVIRONMENTS, metavar="NAME", help="environments")
    parser.add_argument("--folder", type=Path, default=ROOT / ".matrix")
    parser.add_argument("--list", action="store_true", help="name the environments")
    parser.add_argument("--json", action="store_true", help="for programs")
    options = parser.parse_args()
    if options.list:
        print("\n".join(ENVIRONMENTS))
        return 0
    results = {}
    for name in options.only or ENVIRONMENTS:
        results[name] = run(name, options.folder)
        print(name, json.dumps(results[name]["seen"]), file=sys.stderr)
    if options.json:
        print(json.dumps(results))
    elif options.only:
        print(table(results))
    else:
        begin, end = MARKS
        before, _, rest = PAGE.read_text("utf-8").partition(begin)
        today = datetime.now(UTC).date()
        python = ".".join(map(str, sys.version_info[:3]))
        body = f"{begin}\n{today}, CPython {python}.\n\n{table(results)}\n{end}"
        PAGE.write_text(before + body + rest.partition(end)[2], "utf-8")
    return int(any(said != "ok" for found in results.values() for said in found["seen"].values()))


if __name__ == "__main__":
    sys.exit(main())
