"""What all tests of a process share, and is ended after the last of them.

Workers of xdist that take long to leave are killed, so that what Python does at an exit may never be done.
"""

from __future__ import annotations

import atexit
from contextlib import ExitStack

__all__ = ["ENDS"]

ENDS = ExitStack()
"""`ENDS.callback(…)`; the last comes first."""

atexit.register(ENDS.close)  # where no pytest runs
