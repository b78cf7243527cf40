"""How long an event loop stands still while its calls ask one SQLite file that four processes write, or while
the control server does not answer.

`python -m benchmarks.loop_stall [SECONDS]`: milliseconds by which a task that sleeps 1 ms wakes late, in the
program alone, metered without a policy, with the ledger in memory, with a file that three other processes
write without a pause, who make reserves and settlements as fast as they can, and with a control server that
takes requests and says nothing, the agent being a task of the loop. The calls are real ones, over an
in-memory transport. At the end, how many calls one program and four make in a second that
share a file and do nothing else.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx2

from aden_transport import (
    MeterOptions,
    create_memory_emitter,
    instrument,
    instrument_async,
    uninstrument_async,
)

POLICY = {"type": "global", "period": "none", "limit": 1e6, "limitAction": "block"}
BODY = {"model": "gpt-4o", "max_tokens": 10, "messages": [{"role": "user", "content": "hi"}]}
ANSWER = {
    "id": "1",
    "object": "chat.completion",
    "model": "gpt-4o",
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "hi"}}],
    "usage": {"prompt_tokens": 8, "completion_tokens": 1, "total_tokens": 9},
}
HANGS = """
import socket
server = socket.create_server(("127.0.0.1", 0))
print(server.getsockname()[1], flush=True)
taken = []
while True:
    taken.append(server.accept()[0])
"""
TICK_S = 0.001
CALLERS = 8
PAUSE_S = 0.005
"""Between two calls of one caller: about 1,000 calls a second in all, were there nothing else."""


def main(seconds: float) -> None:
    stalls(seconds)
    for programs in (1, 4):
        with tempfile.TemporaryDirectory() as folder:
            address = f"sqlite:///{folder}/ledger.sqlite3"
            command = [sys.executable, "-m", "benchmarks.loop_stall", str(seconds), address]
            running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(programs)]
            calls = sum(int(each.communicate()[0]) for each in running)
        print(f"{programs} program(s) of {CALLERS} callers each, one file: {calls / seconds:6.0f} calls/s")


def stalls(seconds: float) -> None:
    for name, ledger, writers in (
        ("without us", None, 0),
        ("no policy", None, 0),
        ("memory", "memory", 0),
        ("sqlite, alone", "sqlite", 0),
        ("sqlite, one of 4", "sqlite", 3),
        ("server hangs", "server", 0),
    ):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "ledger.sqlite3")
            address = f"sqlite:///{path}" if ledger == "sqlite" else ledger
            others = [
                subprocess.Popen([sys.executable, "-m", "benchmarks.ledger", "hammer", str(path)])
                for _ in range(writers)
            ]
            if ledger == "server":
                os.environ["XDG_STATE_HOME"] = folder
                others.append(
                    hanging := subprocess.Popen([sys.executable, "-c", HANGS], stdout=subprocess.PIPE)
                )
                assert hanging.stdout is not None
                address = f"http://127.0.0.1:{hanging.stdout.readline().decode().strip()}"
            late, waits = asyncio.run(measured(address, seconds, metered=name != "without us"))
            for other in others:
                other.kill()
                other.wait()
        print(
            f"{name:18} loop late {figures(late)}   a call {figures(waits)}   {len(waits) / seconds:6.0f} /s"
        )


async def measured(
    address: str | None, seconds: float, *, metered: bool = True, pause: float = PAUSE_S
) -> tuple[list[float], list[float]]:
    """Milliseconds: how late the loop was, and how long calls took. `address`: of a ledger, or of a
    server."""
    memory = create_memory_emitter(max_events=10)
    if address is not None and address.startswith("http"):
        await instrument_async(MeterOptions(api_key="key", server_url=address, emit_metric=memory))
    elif metered:
        policy = None if address is None else POLICY
        instrument(MeterOptions(policy=policy, ledger=address, emit_metric=memory))
    late: list[float] = []
    waits: list[float] = []
    end = time.perf_counter() + seconds + 0.5
    transport = httpx2.MockTransport(lambda _: httpx2.Response(200, json=ANSWER))
    async with httpx2.AsyncClient(transport=transport) as client:
        callers = [asyncio.create_task(call(client, end, waits, pause)) for _ in range(CALLERS)]
        await asyncio.sleep(0.5)
        waits.clear()
        while (begin := time.perf_counter()) < end:
            await asyncio.sleep(TICK_S)
            late.append((time.perf_counter() - begin - TICK_S) * 1e3)
        await asyncio.gather(*callers)
    # Where the server hangs this takes its 5 seconds.
    await uninstrument_async()
    return late, waits


async def call(client: httpx2.AsyncClient, end: float, waits: list[float], pause: float) -> None:
    while (begin := time.perf_counter()) < end:
        await client.post("https://api.openai.com/v1/chat/completions", json=BODY)
        waits.append((time.perf_counter() - begin) * 1e3)
        await asyncio.sleep(pause)


def figures(values: list[float]) -> str:
    values.sort()
    at = [values[int(len(values) * share)] for share in (0.5, 0.99)]
    return f"p50 {at[0]:6.2f} p99 {at[1]:6.2f} max {values[-1]:7.2f} ms"


if __name__ == "__main__":
    if len(sys.argv) > 2:
        print(len(asyncio.run(measured(sys.argv[2], float(sys.argv[1]), pause=0.0))[1]))
    else:
        main(float(sys.argv[1]) if len(sys.argv) > 1 else 5.0)
