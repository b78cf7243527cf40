"""A program that calls until it is killed or refused: `python living.py URL KEY PROVIDER MODEL MAX_TOKENS`.

It says each call when it has its answer, and why it ends.
"""

from __future__ import annotations

import sys

import httpx2

from aden_transport import (
    ControlOptions,
    MeterOptions,
    RequestCancelledError,
    instrument,
    ready,
    uninstrument,
)

url, key, provider, model, most = sys.argv[1:6]
asked = {"model": model, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": int(most)}
PATIENT = ControlOptions(server_validation_timeout_ms=30_000, timeout_ms=30_000)
"""So that a refusal is one for want of money, however busy the machine."""

instrument(
    MeterOptions(api_key=key, server_url=url, control=PATIENT, fail_open=False, store_timeout_ms=30_000)
)
if not ready(60):
    sys.exit("there is no policy")
with httpx2.Client(headers={"authorization": "Bearer any"}, timeout=60, trust_env=False) as client:
    try:
        while True:
            client.post(f"{provider}/chat/completions", json=asked).raise_for_status()
            print("answered", flush=True)
    except RequestCancelledError as exc:
        print(f"refused: {exc}", flush=True)
uninstrument()
