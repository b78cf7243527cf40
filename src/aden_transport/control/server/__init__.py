"""The server in the box: policies, budgets, leases and events of a fleet."""

from __future__ import annotations
