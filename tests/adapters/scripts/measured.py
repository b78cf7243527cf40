"""How much memory one answer takes: `python measured.py URL LIBRARY WAY KIND`. Prints KiB and faults.

KIND is one of stream, content (a stream read by way of the client's decoder), json and bomb.
"""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Any

from aden_transport import MeterOptions, create_memory_emitter, flush, instrument

BODY: Any = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hi"}]}


def status(name: str) -> int:
    """A figure of this process in KiB: VmRSS, or VmHWM, its peak."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1])
    raise LookupError(name)


def main(url: str, library: str, way: str, kind: str) -> None:
    module: Any = importlib.import_module(library)
    memory = create_memory_emitter()
    if way == "metered":
        instrument(MeterOptions(emit_metric=memory))
    with module.Client(trust_env=False, timeout=60) as client:
        # Everything that is loaded at its first use.
        for stream in (False, True):
            client.post(url, json={**BODY, "stream": stream}, headers={"x-fake-encoding": "gzip"})
        memory.clear()
        Path("/proc/self/clear_refs").write_text("5")
        before = status("VmRSS")
        size = 0
        headers = {"x-fake-gzip-bomb-mib": "300"} if kind == "bomb" else {"x-fake-text-mb": "100"}
        body = {**BODY, "stream": kind in ("stream", "content")}
        with client.stream("POST", url, json=body, headers=headers) as response:
            for piece in response.iter_bytes() if kind == "content" else response.iter_raw():
                size += len(piece)
        flush(5.0)
        grown = status("VmHWM") - before
    events = [[event.status_code, list(event.faults)] for event in memory.events]
    print(json.dumps({"grown": grown, "size": size, "events": events}))


if __name__ == "__main__":
    main(*sys.argv[1:])
