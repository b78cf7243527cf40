"""What several worker processes have counted is one sum, whoever of them ends or begins."""

from __future__ import annotations

from pathlib import Path

import pytest

from aden_transport.control.server import workers as module
from aden_transport.control.server.metrics import Figures, Metrics
from aden_transport.control.server.workers import Workers

from .kit import wait_for

KEY = ("GET", "/ready", 200)


def worker(folder: Path | None, count: int, *, connections: int = 0) -> tuple[Workers, Metrics]:
    """One that has begun, and then counted."""
    metrics = Metrics(lambda: connections)
    found = Workers(metrics, folder)
    found.start()
    for _ in range(count):
        metrics.count(*KEY, 0.01)
    return found, metrics


def told(workers: Workers) -> tuple[int, int, int, int]:
    """Requests, those under way, connections, processes."""
    figures = workers.figures()
    assert figures.buckets[0.025] == figures.requests[KEY]
    assert figures.seconds == pytest.approx(0.01 * figures.requests[KEY])
    return figures.requests[KEY], figures.under_way, figures.connections, figures.workers


def test_each_tells_of_all(tmp_path: Path) -> None:
    one, counted = worker(tmp_path, 3, connections=2)
    assert told(one) == (3, 0, 2, 1)
    other, _ = worker(tmp_path, 4, connections=5)
    counted.counted.under_way = 1
    assert told(one)[1:] == (1, 7, 2)
    # What was told is told by the other, too.
    assert told(other) == (7, 1, 7, 2)
    assert told(one) == (7, 1, 7, 2)
    one.close()
    other.close()


def test_what_was_counted_stays_when_a_process_is_gone_and_another_takes_its_place(tmp_path: Path) -> None:
    one, counted = worker(tmp_path, 3, connections=2)
    counted.counted.under_way = 1
    other, _ = worker(tmp_path, 4)
    told(one)
    one.close()
    assert told(other) == (7, 0, 0, 1)
    for _ in range(5):
        again, _ = worker(tmp_path, 10)
        told(again)
        again.close()
    assert told(other) == (57, 0, 0, 1)
    assert len(list(tmp_path.glob("*.json"))) == 2
    other.close()


def test_a_process_without_a_folder_tells_of_itself(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    alone, _ = worker(None, 3)
    assert told(alone) == (3, 0, 0, 1)
    alone.close()
    lost, _ = worker(tmp_path / "gone", 3)
    assert told(lost) == (3, 0, 0, 1)
    assert "one worker process at a time" in caplog.text
    lost.close()


def test_figures_are_written_while_nobody_asks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "EVERY_S", 0.01)
    one, _ = worker(tmp_path, 3)
    other, _ = worker(tmp_path, 0)
    wait_for(lambda: told(other)[0] == 3)
    one.close()
    other.close()


def test_a_folder_that_is_taken_away_leaves_each_its_own(tmp_path: Path) -> None:
    folder = tmp_path / "shared"
    folder.mkdir()
    one, _ = worker(folder, 3)
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    assert told(one) == (3, 0, 0, 1)
    one.close()


def test_figures_are_json_and_back() -> None:
    metrics = Metrics()
    metrics.count(*KEY, 0.3)
    assert Figures.from_json(metrics.figures().to_json()) == metrics.figures()
