"""The committed price data is what its script makes of the installed genai-prices."""

from __future__ import annotations

import importlib.util
from datetime import time, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from types import ModuleType

import pytest
from genai_prices import types

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("build_prices", ROOT / "scripts" / "build_prices.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_committed_file_is_up_to_date(script: ModuleType) -> None:
    assert script.main(["--check"]) == 0


def test_a_file_that_differs_is_told_and_written_anew(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    committed = script.TARGET.read_text("utf-8")
    monkeypatch.setattr(script, "TARGET", tmp_path / "prices.jsonl")
    assert script.main(["--check"]) == 1
    script.TARGET.write_text(committed.replace('"as_of":"', '"as_of":"1999-01-01","x":"'), "utf-8")
    assert script.main(["--check"]) == 1
    assert script.main([]) == 0
    written = script.TARGET.read_text("utf-8")
    assert written.splitlines()[1:] == committed.splitlines()[1:]
    assert script.main(["--check"]) == 0


def test_an_unchanged_compile_keeps_its_date(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = script.render("1999-01-01", script.LeftOut())
    monkeypatch.setattr(script, "TARGET", tmp_path / "prices.jsonl")
    script.TARGET.write_text(old, "utf-8")
    assert script.main([]) == 0
    assert script.TARGET.read_text("utf-8") == old


def test_a_price_is_never_rounded(script: ModuleType) -> None:
    assert script.rate(Decimal("2.5"), 10**6) == 2_500_000
    assert script.rate(Decimal("0.111"), 3600) == "92500000/3"


def test_a_price_key_without_a_decision_stops_the_script(script: ModuleType) -> None:
    with pytest.raises(SystemExit, match="new_unit_mtok"):
        script.rates(types.ModelPrice(new_unit_mtok=Decimal(1)), script.LeftOut())


def test_a_variant_with_several_conditions_stops_the_script(script: ModuleType) -> None:
    variant = types.PriceVariant(when={"processing": "batch", "route": "x"}, prices=types.ModelPrice())
    model = types.ModelInfo(id="m", match=types.ClauseEquals("m"), price_variants=[variant])
    with pytest.raises(SystemExit, match="several conditions"):
        list(script.variants(model, script.LeftOut()))


def test_times_of_day_are_counted_in_utc(script: ModuleType) -> None:
    assert script.utc_seconds(time(0, 30)) == 1_800
    assert script.utc_seconds(time(1, 0, tzinfo=timezone(timedelta(hours=8)))) == 61_200
