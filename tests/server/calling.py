"""A program that makes one call: `python calling.py URL KEY`. Its provider says "sent" when it has the
request, and answers when a line comes in; "ended" is said when the event is delivered, with its charge.
"""

from __future__ import annotations

import sys

import httpx2

from aden_transport import (
    ControlOptions,
    MeterOptions,
    create_memory_emitter,
    flush,
    instrument,
    ready,
    uninstrument,
)

url, key = sys.argv[1:3]
ANSWER = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "model": "gpt-4o",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 12, "completion_tokens": 5, "total_tokens": 17},
}
ASKED = {
    "model": "gpt-4o",
    "messages": [{"role": "user", "content": "CANARY prompt"}],
    "max_tokens": 200,
    "metadata": {"customer": "acme"},
}
memory = create_memory_emitter()


def answer(_: httpx2.Request) -> httpx2.Response:
    print("sent", flush=True)
    sys.stdin.readline()
    return httpx2.Response(200, json=ANSWER)


instrument(
    MeterOptions(
        api_key=key,
        server_url=url,
        ledger=url,
        control=ControlOptions(polling_interval_ms=60_000),
        emit_metric=memory,
        store_timeout_ms=20_000,
    )
)
ready(20)
with httpx2.Client(
    transport=httpx2.MockTransport(answer), headers={"authorization": "Bearer sk-CANARY-provider"}
) as client:
    client.post("https://api.openai.com/v1/chat/completions", json=ASKED).raise_for_status()
flush(30)
uninstrument()
(event,) = memory.events
print("ended", event.event_id, event.charged_nano_usd, flush=True)
