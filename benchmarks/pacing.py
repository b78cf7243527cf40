"""How well calls are paced: `python -m benchmarks.pacing`, about four minutes.

A fake provider that admits 60 requests a minute, one a second, and 200 callers that come all at once, knowing
nothing: how many are answered with 429, and what part of the provider's rate is used.

    --requests N     a minute                      --burst N      how many the provider admits at once
    --callers N      in all                        --processes N  that share them
    --ledger WHERE   "memory", "sqlite:///…", "redis://…"
    --cost           microseconds that pacing adds to a call, with the memory ledger
"""

from __future__ import annotations

import argparse
import asyncio
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import httpx2

from aden_transport import MeterOptions, create_memory_emitter, instrument, uninstrument
from aden_transport.testing import FakeProvider

BODY = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hello"}]}
PACING = {"target": 0.95, "max_wait_ms": 600_000}


class Paced(NamedTuple):
    """What became of the callers."""

    answered: int
    refused: int
    """By the provider, with 429."""
    seconds: float
    """From the first arrival to the last."""
    share: float
    """Of the rate that the provider admits."""
    longest_s: float
    """The longest wait."""


def main() -> None:
    given = arguments()
    if given.cost:
        print(f"pacing adds {cost():.1f} µs to a call")
        return
    paced = run(given.requests, given.burst, given.callers, given.processes, given.ledger)
    print(
        f"{given.ledger.partition(':')[0]}, {given.processes} processes, {given.requests} requests a minute, "
        f"{given.burst} at once: {paced.answered} answered, {paced.refused} × 429, {paced.seconds:.1f} s, "
        f"{paced.share:.1%} of the rate, longest wait {paced.longest_s:.1f} s"
    )


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--requests", type=int, default=60)
    parser.add_argument("--burst", type=int, default=1)
    parser.add_argument("--callers", type=int, default=200)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--ledger", default="memory")
    parser.add_argument("--cost", action="store_true")
    return parser.parse_args()


def run(requests: int, burst: int, callers: int, processes: int, ledger: str) -> Paced:
    """Real time: `callers` minutes by `requests`."""
    provider = FakeProvider(limit_requests=requests, limit_burst=burst, enforce_limits=True)
    with provider, FakeProvider() as other:
        command = [
            sys.executable,
            str(Path(__file__).absolute()),
            "--child",
            provider.openai_base_url,
            other.openai_base_url,
            ledger,
        ]
        children = [
            subprocess.Popen(
                [*command, str(callers // processes)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for _ in range(processes)
        ]
        for child in children:
            assert child.stdout is not None
            assert child.stdout.readline() == "ready\n"
        for child in children:
            assert child.stdin is not None
            child.stdin.write("go\n")
            child.stdin.flush()
        told = [child.communicate(timeout=600)[0].split() for child in children]
        arrivals = [request.at for request in provider.requests]
        seconds = arrivals[-1] - arrivals[0]
        refused = provider.limits["openai"].refused
    answered = sum(int(ok) for ok, _ in told)
    # The first one leaves at once; the others take one interval each.
    share = (answered - 1) / (requests / 60) / seconds
    return Paced(answered, refused, seconds, share, max(float(longest) for _, longest in told))


def child(url: str, other: str, ledger: str, callers: int) -> None:
    """One of the processes: its callers come when the parent says so."""
    memory = create_memory_emitter()
    instrument(MeterOptions(emit_metric=memory, async_emit=False, pacing=PACING, ledger=ledger))
    answered = asyncio.run(call(url, other, callers))
    uninstrument()
    print(answered, max(event.throttle_ms for event in memory.events) / 1000)


async def call(url: str, other: str, callers: int) -> int:
    limits = httpx2.Limits(max_connections=callers)
    headers = {"authorization": "Bearer sk-paced"}
    async with httpx2.AsyncClient(base_url=url, limits=limits, headers=headers, timeout=600) as client:
        # A process's first request takes long to leave: it goes elsewhere.
        await client.post(f"{other}/chat/completions", json=BODY)
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        answers = await asyncio.gather(*(client.post("/chat/completions", json=BODY) for _ in range(callers)))
    return sum(answer.status_code == 200 for answer in answers)


def cost() -> float:
    """Microseconds of CPU a call, of the fastest of interleaved runs with and without pacing."""
    best = {True: 1.0, False: 1.0}
    for _ in range(25):
        for paced, fastest in best.items():
            best[paced] = min(fastest, timed(paced, 400))
    return (best[True] - best[False]) * 1e6


def timed(paced: bool, calls: int) -> float:
    headers = {
        "content-type": "application/json",
        "x-ratelimit-limit-requests": "30000000",
        "x-ratelimit-remaining-requests": "29999999",
        "x-ratelimit-reset-requests": "0s",
        "x-ratelimit-limit-tokens": "150000000000",
        "x-ratelimit-remaining-tokens": "149999999000",
        "x-ratelimit-reset-tokens": "0s",
    }
    answer = b'{"id":"1","model":"gpt-4o","choices":[],"usage":{"prompt_tokens":9,"completion_tokens":1}}'

    def respond(_: Any) -> httpx2.Response:
        return httpx2.Response(200, headers=headers, content=answer)

    instrument(MeterOptions(pacing=True if paced else None, ledger="memory"))
    try:
        transport = httpx2.MockTransport(respond)
        with httpx2.Client(base_url="https://api.openai.com/v1", transport=transport) as client:
            for _ in range(20):
                client.post("/chat/completions", json=BODY)
            begin = time.process_time()
            for _ in range(calls):
                client.post("/chat/completions", json=BODY)
            return (time.process_time() - begin) / calls
    finally:
        uninstrument()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(sys.argv[2], sys.argv[3], sys.argv[4], int(sys.argv[5]))
    else:
        main()
