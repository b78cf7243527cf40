"""One agent of the fleet: calls a model for one customer after the other, until it is told to end.

Says once a second, as a line of JSON, how many calls it has made and how many were refused.
"""

from __future__ import annotations

import itertools
import json
import os
import sys
import time

import httpx

from ... import MeterOptions, context, create_noop_emitter, instrument, uninstrument
from ...errors import RequestCancelledError

CUSTOMERS = ("acme", "blue", "crane")
PAUSE_S = 0.1
BODY = {
    "model": "gpt-4o",
    "max_tokens": 100,
    "messages": [{"role": "user", "content": "Say something about budgets."}],
}


def main() -> None:
    name, provider = sys.argv[1:]
    instrument(MeterOptions(emit_metric=create_noop_emitter(), agent_name=name))
    counts = {"calls": 0, "blocked": 0}
    said_at = -1.0
    # Its parent keeps the other end of the pipe; when it is gone, so is the fleet.
    parent = os.getppid()
    with httpx.Client(base_url=provider, headers={"Authorization": "Bearer any"}) as client:
        for customer in itertools.cycle(CUSTOMERS):
            try:
                with context(agent=name, customer=customer):
                    client.post("/chat/completions", json=BODY).raise_for_status()
                counts["calls"] += 1
            except RequestCancelledError:
                counts["blocked"] += 1
            if time.monotonic() - said_at > 1:
                said_at = time.monotonic()
                print(json.dumps(counts), flush=True)
            if os.getppid() != parent:
                break
            time.sleep(PAUSE_S)
    uninstrument()


if __name__ == "__main__":
    main()
