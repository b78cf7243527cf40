"""A program that makes a call for each line it reads: `python alerting.py URL KEY TOLD`; what `on_alert` is
told goes to the file TOLD, a line each. With the end of its input it ends."""

from __future__ import annotations

import os
import sys

import httpx2

from aden_transport import AlertEvent, ControlOptions, MeterOptions, instrument, ready, uninstrument

url, key, told = sys.argv[1:4]
ANSWER = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "model": "gpt-4o",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 12, "completion_tokens": 5, "total_tokens": 17},
}
ASKED = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 20}


def tell(alert: AlertEvent) -> None:
    with open(told, "a") as file:
        file.write(f"{os.getpid()} {alert.budget_id} {alert.message}\n")


client = httpx2.Client(transport=httpx2.MockTransport(lambda _: httpx2.Response(200, json=ANSWER)))
control = ControlOptions(timeout_ms=30_000, polling_interval_ms=60_000, server_validation_timeout_ms=30_000)
instrument(MeterOptions(api_key=key, server_url=url, control=control, on_alert=tell))
assert ready(60)
print("ready", flush=True)
for _ in sys.stdin:
    client.post("https://api.openai.com/v1/chat/completions", json=ASKED).raise_for_status()
    print("called", flush=True)
uninstrument()
