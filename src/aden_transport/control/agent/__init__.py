"""The control server's client: policy and prices in, events and leases' figures out."""

from __future__ import annotations
