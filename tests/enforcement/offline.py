"""A vendor without sockets: transports that answer in the process, for tests of very many calls."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import httpx2

from aden_transport.meter import state

PATIENT_MS = 30_000
"""However busy the machine is, the ledger has the time to answer."""
URL = "https://api.openai.com/v1/chat/completions"


def asked(most: int, used: int, model: str = "gpt-4o") -> dict[str, Any]:
    """A call whose answer may have `most` output tokens and has `used`."""
    return {
        "model": model,
        "messages": [{"role": "user", "content": "hi"}],
        "max_tokens": most,
        "user": str(used),
    }


def answer(request: httpx2.Request) -> httpx2.Response:
    body = json.loads(request.content)
    used = int(body["user"])
    return httpx2.Response(
        200,
        json={
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 1_763_800_000,
            "model": body["model"],
            "choices": [
                {"index": 0, "message": {"role": "assistant", "content": "x"}, "finish_reason": "stop"}
            ],
            "usage": {"prompt_tokens": 8, "completion_tokens": used, "total_tokens": 8 + used},
        },
    )


class Vendor(httpx2.MockTransport):
    """Answers after `takes_s`, and counts the calls that reached it."""

    def __init__(self, takes_s: float = 0.0) -> None:
        super().__init__(answer)
        self.takes_s = takes_s
        self.calls = 0

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        self.calls += 1
        if self.takes_s:
            time.sleep(self.takes_s)
        return super().handle_request(request)

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        self.calls += 1
        await asyncio.sleep(self.takes_s)
        return await super().handle_async_request(request)


class Turns:
    """Watches who was given which turn."""

    def __init__(self) -> None:
        self.taken: list[int] = []
        meter = state.everything
        assert meter is not None
        assert meter.budgets is not None
        ledger: Any = meter.budgets.ledger
        mark_once = ledger.mark_once

        def watched(key: str, mark: str, **more: Any) -> bool:
            first: bool = mark_once(key, mark, **more)
            if first and mark.startswith("turn:"):
                self.taken.append(int(mark.rpartition(":")[2]))
            return first

        ledger.mark_once = watched
