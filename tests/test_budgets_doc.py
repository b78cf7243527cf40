"""docs/budgets.md: its policies can be used, and say the same in both languages."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from aden_transport.policy import Index, load
from aden_transport.policy.budgets import BUDGET

DOCUMENT = (Path(__file__).parent.parent / "docs" / "budgets.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", DOCUMENT, re.DOTALL)


def test_the_policies_can_be_used_and_are_the_same(tmp_path: Path) -> None:
    (as_json,), (as_toml,) = blocks("json"), blocks("toml")
    path = tmp_path / "policy.toml"
    path.write_text(as_toml)
    policy = load(as_json)
    assert load(path) == policy
    assert [budget.key for budget in policy.budgets] == [
        "global",
        "customer:*",
        "customer:acme",
        "beta",
        "agent:crawler",
    ]
    met = Index(policy).match({"customer": "acme", "tags": ("preview",)}, 0.0)
    assert [match.key for match in met] == ["global", "customer:acme", "beta"]
    assert policy.blocks
    assert policy.throttles
    assert policy.degradations
    assert policy.alerts


def test_every_member_in_the_table_is_known() -> None:
    table = DOCUMENT.partition("| member of a budget |")[2].partition("\n\n")[0]
    names = [name for row in table.splitlines()[2:] for name in re.findall(r"`(\w+)`", row.split("|")[1])]
    assert len(names) >= 12
    for name in names:
        assert re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower() in BUDGET


@pytest.mark.parametrize("number", range(len(blocks("python"))))
def test_its_python_compiles(number: int) -> None:
    compile(blocks("python")[number], "budgets.md", "exec")
