"""A later start of the same program: emits what processes that are gone have left, and makes no call."""

from __future__ import annotations

import time

import served

from aden_transport.meter import state

served.meter()
meter = state.everything
assert meter is not None
assert meter.budgets is not None
meter.budgets.sweep(time.time())
meter.close(10)
