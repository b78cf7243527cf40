"""Every test begins with no call under way in its context."""

from __future__ import annotations

import pytest

from aden_transport.core import attempts


@pytest.fixture(autouse=True)
def _no_call_under_way() -> None:
    attempts._unfinished.set(None)
