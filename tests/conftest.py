"""For all tests."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from typing import Any

import pytest
from tests.at_end import ENDS

# Not the user's own: what other versions of the program have written there is no concern of tests.
os.environ["XDG_STATE_HOME"] = tempfile.mkdtemp(prefix="aden-tests-")
ENDS.callback(shutil.rmtree, os.environ["XDG_STATE_HOME"], ignore_errors=True)


def pytest_sessionfinish() -> None:
    """Of each worker, where there are several."""
    ENDS.close()


@pytest.fixture(autouse=True)
def _no_ends_outlive_their_test() -> Iterator[None]:
    """What waits for a store that a test has taken away would be tried for an hour, in other tests, too."""
    yield
    module: Any = sys.modules.get("aden_transport.ledger.store_thread")
    if module is None:
        return
    for thread in list(module._threads):
        if thread._thread is not None and thread._ends:
            thread.ask(module.Question(thread._ends.clear, _nothing), _nothing)


def _nothing(*_: object) -> None:
    """Nobody waits."""
