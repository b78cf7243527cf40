"""`aden-transport serve --demo`: a server, a fake provider and some agents on this machine, to watch.

Nothing leaves the machine and nothing is kept: all data are in a temporary folder.
"""

from __future__ import annotations

from .watch import watch

__all__ = ["watch"]
