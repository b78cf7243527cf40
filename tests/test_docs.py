"""The documents say what there is: every option, emitter, vendor and command; links lead somewhere."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import aden_transport
from aden_transport.cli import COMMANDS
from aden_transport.options import MeterOptions

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
DOCUMENTS = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("option", MeterOptions.__slots__)
def test_every_option_is_described_where_it_is_taken(option: str) -> None:
    assert re.search(rf"^\s+{option}:", MeterOptions.__doc__ or "", re.MULTILINE)


@pytest.mark.parametrize("name", [n for n in aden_transport.__all__ if n.startswith("create_")])
def test_every_emitter_is_in_the_readme(name: str) -> None:
    assert name in README


@pytest.mark.parametrize("page", ["vendors"])
def test_a_generated_page_is_what_its_script_writes(page: str) -> None:
    script = ROOT / "scripts" / f"build_{page}_page.py"
    command = [sys.executable, str(script), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_in_the_changelog(command: str) -> None:
    assert f"aden-transport {command}" in (ROOT / "CHANGELOG.md").read_text()


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_between_documents_lead_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", document.read_text()):
        assert (document.parent / target).exists(), target


@pytest.mark.parametrize(
    "module",
    re.findall(
        r"`((?:core|adapters|emitters|framing|pricing)/\w+\.py)`", (ROOT / "docs/architecture.md").read_text()
    ),
)
def test_the_architecture_names_files_that_exist(module: str) -> None:
    assert (ROOT / "src" / "aden_transport" / module).is_file()


def test_python_in_the_readme_compiles() -> None:
    for block in re.findall(r"```python\n(.*?)```", README, re.DOTALL):
        compile(block, "README.md", "exec")
