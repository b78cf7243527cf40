"""Forks with ten streams open: `python forked.py URL FORKS`. Prints what parent and children counted."""

from __future__ import annotations

import gc
import json
import os
import select
import sys
from typing import Any

import httpx
import httpx2

from aden_transport import MeterOptions, create_memory_emitter, flush, instrument, uninstrument

BODY: Any = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hi"}]}
OPEN = 10
HUNG_S = 30.0


def opened(client: Any, url: str) -> tuple[Any, Any]:
    request = client.build_request("POST", url, json={**BODY, "stream": True})
    response = client.send(request, stream=True)
    pieces = response.iter_raw()
    next(pieces)
    return response, pieces


def child(kind: int, url: str, held: list[Any], events: list[Any], report: int) -> None:
    """What a worker does with what it inherited, and one call of its own."""
    inherited = len(events)
    if kind == 0:
        for response, _ in held:
            response.close()
    elif kind == 1:
        held[:] = []
        gc.collect()
    elif kind == 2:
        held[0] = held
    library: Any = (httpx, httpx2)[kind % 2]
    with library.Client(trust_env=False, timeout=20) as client:
        client.post(url, json=BODY)
    if kind == 3:
        uninstrument()
    flush(5.0)
    made = [event.event_id for event in events[inherited:]]
    os.write(report, json.dumps(made).encode() + b"\n")


def forked(kind: int, url: str, held: list[Any], events: list[Any]) -> Any:
    """The event ids of one child, None where it hung."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            child(kind, url, held, events, writing)
            code = 0
        finally:
            os._exit(code)
    os.close(writing)
    ready, _, _ = select.select([reading], [], [], HUNG_S)
    if not ready:
        os.kill(pid, 9)
    answer = os.read(reading, 65536) if ready else b""
    os.close(reading)
    os.waitpid(pid, 0)
    return json.loads(answer) if answer else None


def main(url: str, forks: int) -> None:
    memory = create_memory_emitter()
    instrument(MeterOptions(emit_metric=memory))
    clients: list[Any] = [library.Client(trust_env=False, timeout=20) for library in (httpx, httpx2)]
    held = [opened(clients[number % 2], url) for number in range(OPEN)]
    children = [forked(number % 5, url, held, memory.events) for number in range(forks)]
    before = len(memory.events)
    for number, (response, pieces) in enumerate(held):
        if number % 2:
            for _ in pieces:
                pass
        response.close()
    flush(5.0)
    parent = [[event.event_id, list(event.faults)] for event in memory.events]
    print(json.dumps({"before": before, "parent": parent, "children": children}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
