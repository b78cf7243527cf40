"""A program that makes calls: `python calling.py URL KEY ACKS COUNT MODE`; ids of events go to the file ACKS.

MODE: "flush" ends in order, "leave" with `os._exit` at once, "wait" goes on until it is killed, "fork" makes
its calls in as many forked children, which leave with `os._exit`, "hang" makes one more that has no answer.
"""

from __future__ import annotations

import os
import sys

import httpx2

from aden_transport import ControlOptions, MeterOptions, MetricEvent, flush, instrument, ready

url, key, acks, count, mode = sys.argv[1:6]
ANSWER = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "model": "gpt-4o",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 12, "completion_tokens": 5, "total_tokens": 17},
}
ASKED = {
    "model": "gpt-4o",
    "messages": [{"role": "user", "content": "sk-CANARY secret prompt"}],
    "max_tokens": 20,
}
file = os.open(acks, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)


def acknowledge(event: MetricEvent) -> None:
    os.write(file, f"{event.event_id}\n".encode())


def answer(request: httpx2.Request) -> httpx2.Response:
    if b"hang" in request.content:
        print("hangs", flush=True)
        sys.stdin.read()
    return httpx2.Response(200, json=ANSWER)


client = httpx2.Client(
    transport=httpx2.MockTransport(answer),
    headers={"authorization": "Bearer sk-CANARY-provider"},
)


def call() -> None:
    client.post("https://api.openai.com/v1/chat/completions", json=ASKED).raise_for_status()


control = ControlOptions(timeout_ms=2000, polling_interval_ms=60_000)
instrument(
    MeterOptions(
        api_key=key,
        server_url=url,
        control=control,
        emit_metric=acknowledge,
        async_emit=False,
        store_timeout_ms=10_000,
    )
)
if mode != "late":
    ready(20)
if mode == "fork":
    for _ in range(int(count)):
        child = os.fork()
        if child == 0:
            call()
            os._exit(0)
        os.waitpid(child, 0)
else:
    for _ in range(int(count)):
        call()
print("called", flush=True)
if mode == "hang":
    client.post("https://api.openai.com/v1/chat/completions", json={**ASKED, "user": "hang"})
if mode == "leave":
    os._exit(0)
if mode == "wait":
    sys.stdin.read()
print(flush(60.0), flush=True)
