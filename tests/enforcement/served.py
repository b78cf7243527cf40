"""One application for every server: each request makes one LLM call under the limit that all workers share.

`/7` answers `sent` or `blocked`; the call is of customer 7.
"""

from __future__ import annotations

import os
from typing import Any

import httpx2

from aden_transport import MeterOptions, RequestCancelledError, context, create_jsonl_emitter, instrument

POLICY = {"type": "global", "period": "none", "limitAction": "block"}
URL = os.environ.get("PROVIDER", "") + "/chat/completions"


def meter() -> None:
    policy = {**POLICY, "limit": float(os.environ["LIMIT"])}
    instrument(
        MeterOptions(
            policy=policy,
            emit_metric=create_jsonl_emitter(os.environ["EVENTS"]),
            # However busy the machine.
            store_timeout_ms=30_000,
        )
    )


def asked(number: str) -> dict[str, Any]:
    return {"model": "gpt-4o", "max_tokens": 100, "messages": [{"role": "user", "content": number}]}


def call(number: str) -> str:
    try:
        with context(customer=number):
            httpx2.post(URL, json=asked(number), timeout=60).raise_for_status()
    except RequestCancelledError:
        return "blocked"
    return "sent"


def wsgi(environ: Any, start_response: Any) -> list[bytes]:
    answer = call(environ["PATH_INFO"].lstrip("/")).encode()
    start_response("200 OK", [("content-length", str(len(answer)))])
    return [answer]


async def asgi(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] != "http":
        return
    number = scope["path"].lstrip("/")
    answer = b"sent"
    try:
        with context(customer=number):
            async with httpx2.AsyncClient(timeout=60) as client:
                (await client.post(URL, json=asked(number))).raise_for_status()
    except RequestCancelledError:
        answer = b"blocked"
    headers = [(b"content-length", str(len(answer)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": answer})


if "LIMIT" in os.environ:
    meter()
