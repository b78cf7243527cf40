"""Every example runs as its user would run it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = sorted((Path(__file__).parent.parent / "examples").glob("*.py"))
EXPECTED = {
    "anthropic_basic.py": ["anthropic claude-", "4 reasoning", "1500 cached"],
    "console.py": ["openai gpt-4o-2024-08-06", "  tokens: ", "estimated"],
    "control_actions.py": ["allow: gpt-4o", "degrade: gpt-4o-mini", "delayed by", "block", "caught: blocked"],
    "flask_app.py": [
        "acme: 200 {'answer': 'Gladly.'}",
        "acme: 403 {'budget': 'customer:acme'",
        "globex: 200",
    ],
    "gemini_basic.py": ["gemini gemini-2.5-flash", "short sentence."],
    "openai_basic.py": ["openai gpt-4o-2024-08-06", "text-embedding-3-small", "5 calls, $0.0"],
    "pydantic_ai_example.py": ["openai gpt-4o-mini", "About 2.1 million people live in Paris."],
    "hook.py": ["refused: customer-13 has used up its budget", "degrade gpt-4o → gpt-4o-mini", "block"],
}


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_an_example_runs_and_shows_what_it_promises(example: Path) -> None:
    if example.name == "flask_app.py":
        pytest.importorskip("flask")
    run = subprocess.run(
        [sys.executable, str(example)],
        capture_output=True,
        text=True,
        encoding="utf-8",
        env={"PYTHONIOENCODING": "utf-8"},
        timeout=60,
        check=False,
    )
    assert (run.returncode, run.stderr) == (0, "")
    for line in EXPECTED[example.name]:
        assert line in run.stdout
