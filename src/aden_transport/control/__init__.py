"""The control plane: a server that keeps a fleet's policies, budgets and events, and its client."""

from __future__ import annotations
