"""What can be imported, by whom, and with what words."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import aden_transport

PACKAGE = Path(aden_transport.__file__).parent
OPTIONAL = {"aden_transport.adapters.aiohttp": "aiohttp"}
"""Modules that need a library which is not installed with us."""


def submodules() -> list[str]:
    names = []
    for path in sorted(PACKAGE.rglob("*.py")):
        # Run by other Pythons as they start, and by Alembic; imported by none of ours.
        if path.parent.name == "hook" or path.parts[-2:] == ("migrations", "env.py"):
            continue
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        names.append(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
    return [name for name in names if not name.endswith("__main__")]


def fresh(code: str) -> str:
    """What `code` prints in a new interpreter, where every warning is an error."""
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False, timeout=60
    )
    assert run.returncode == 0, run.stderr
    return run.stdout


def test_importing_the_package_loads_no_third_party_module() -> None:
    code = (
        "import sys; before = set(sys.modules); import aden_transport; "
        "own = {name.partition('.')[0] for name in set(sys.modules) - before}; "
        "print(sorted(own - set(sys.stdlib_module_names)))"
    )
    assert fresh(code).strip() == "['aden_transport']"


def test_every_module_then_every_name_can_be_imported_in_a_fresh_interpreter() -> None:
    modules = [name for name in submodules() if name not in OPTIONAL]
    code = f"""
import importlib, json
for name in {modules!r}:
    importlib.import_module(name)
import aden_transport
kinds = {{name: type(getattr(aden_transport, name)).__name__ for name in aden_transport.__all__}}
print(json.dumps([kinds, sorted(set(aden_transport.__all__) - set(dir(aden_transport)))]))
"""
    kinds, missing = json.loads(fresh(code))
    assert missing == []
    assert {name for name, kind in kinds.items() if kind == "module"} == set()


@pytest.mark.parametrize("name", [name for name in aden_transport.__all__ if name != "__version__"])
def test_every_public_name_has_a_docstring(name: str) -> None:
    value = getattr(aden_transport, name)
    assert value.__doc__
    assert value.__doc__.strip()
    assert "(" not in value.__doc__.strip()[:1]
    assert value.__module__.startswith("aden_transport")


@pytest.mark.parametrize("name", submodules())
def test_every_module_has_a_docstring(name: str) -> None:
    if name in OPTIONAL:
        pytest.importorskip(OPTIONAL[name])
    module = __import__(name, fromlist=["__doc__"])
    assert module.__doc__
    for public in getattr(module, "__all__", ()):
        assert hasattr(module, public), f"{name}.{public}"


def test_attribution_is_another_name_of_context() -> None:
    assert aden_transport.attribution is aden_transport.context


def test_a_name_that_is_none_is_told() -> None:
    with pytest.raises(AttributeError, match="module 'aden_transport' has no attribute 'instrumment'"):
        getattr(aden_transport, "instrumment")  # noqa: B009


def test_the_version_is_one() -> None:
    assert [int(part) for part in aden_transport.__version__.split(".")]
