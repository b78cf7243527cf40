"""Customers that nobody declared, each with a budget of its own, from four processes at once.

CUSTOMERS=5000 in the environment is the long form, of a minute or two for each store.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from aden_transport.ledger.base import Line
from aden_transport.ledger.opened import open_ledger

from .customers import LIMIT, OVERRIDES
from .kit import USD, address

ROOT = Path(__file__).parents[2]
COUNT = int(os.environ.get("CUSTOMERS", "80"))
PROCESSES = 4


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("store", ["sqlite", "redis"])
def test_no_customer_of_a_template_is_over_or_refused_early(store: str, tmp_path: Path) -> None:
    ledger = address(store, tmp_path)
    prefix = f"{tmp_path.name}-"
    module = [sys.executable, "-m", "tests.enforcement.customers", ledger]
    children = [
        subprocess.Popen(
            [*module, str(part), str(PROCESSES), str(COUNT), prefix],
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        for part in range(PROCESSES)
    ]
    told = [child.communicate()[0] for child in children]
    assert [child.returncode for child in children] == [0] * PROCESSES
    calls, charged = Counter[str](), Counter[str]()
    hold = 0
    for each in map(json.loads, told):
        hold = max(hold, each["hold"])
        for name, (sent, nano) in each["customers"].items():
            calls[name] += sent
            charged[name] += nano
    assert len(calls) == COUNT
    kept = open_ledger(ledger, lasting=True)
    assert kept.open_holds() == 0
    for name, spent in charged.items():
        limit = round(OVERRIDES.get(name.removeprefix(prefix), LIMIT) * USD)
        assert kept.totals([Line(f"-|customer:{name}", 0, 0)])[0].spent == spent
        assert limit - hold < spent <= limit or limit == spent == 0, name
    assert calls[f"{prefix}c8"] == 0
    assert calls[f"{prefix}c7"] > calls[f"{prefix}c9"] > calls[f"{prefix}c1"] > 0
    kept.close()
