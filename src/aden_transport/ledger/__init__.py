"""Where budgets keep their sums: one interface, one critical section, and a file per store."""

from __future__ import annotations
