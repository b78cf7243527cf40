"""HTTP with the control server: one request, one answer, each bounded in time and size."""

from __future__ import annotations

import math
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import anyio
import httpx2

from ... import _json
from ..messages import INSTANCE_HEADER, SERVER_HEADER, SERVER_NAME
from ..options import is_loopback
from .delivery import retry_after_s

__all__ = ["Answer", "ServerFault", "Talk"]

MOST_ASKED_S = 1e8
"""What is asked for beyond was not meant."""

MAX_ANSWER = 4 << 20
MAX_POLICY = 32 << 20
"""Of a policy's JSON: a hundred thousand budgets."""
CONNECTIONS = 6
USER_AGENT = "aden-transport"


class ServerFault(Exception):
    """The server did not answer, or not with what can be used; the message is for people."""

    def __init__(
        self,
        message: str,
        *,
        refused: bool = False,
        faulty: bool = False,
        after_s: float = 0.0,
        status: int = 0,
    ) -> None:
        super().__init__(message)
        self.refused = refused
        """Whether it did not take the key."""
        self.faulty = faulty
        """Whether it answered, but what cannot be used."""
        self.after_s = after_s
        """For so long it asks to be left alone."""
        self.status = status


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    """By lower-case names."""
    body: bytes

    @property
    def is_ours(self) -> bool:
        """Whether the server is one of ours."""
        return self.headers.get(SERVER_HEADER) == SERVER_NAME

    def json(self) -> Mapping[str, Any]:
        """Raises: ServerFault where the body is no JSON object."""
        try:
            value = _json.loads(self.body)
        except (ValueError, RecursionError) as exc:
            raise ServerFault("the answer is no JSON", faulty=True, status=self.status) from exc
        if not isinstance(value, dict):
            raise ServerFault("the answer is no JSON object", faulty=True, status=self.status)
        return value


class Talk:
    """A client of the server, for one loop. Made off the loop, as reading certificates takes a while."""

    def __init__(self, url: str, key: str, instance: str, *, timeout_s: float) -> None:
        self.url = url
        self.timeout_s = timeout_s
        self.answered_at = -math.inf
        """When an answer came that can be used, on the monotonic clock."""
        local = is_loopback(urlsplit(url).hostname or "")
        # A context that knows no authority is made in no time; plain HTTP has no use for another.
        verify: Any = True if url.startswith("https:") else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self.client = httpx2.AsyncClient(
            headers={
                "authorization": f"Bearer {key}",
                "user-agent": USER_AGENT,
                # An answer that inflates is bounded by nothing that is known before it does.
                "accept-encoding": "identity",
                INSTANCE_HEADER: instance,
            },
            timeout=timeout_s,
            follow_redirects=False,
            trust_env=not local,
            verify=verify,
            limits=httpx2.Limits(max_connections=CONNECTIONS, keepalive_expiry=30.0),
        )

    async def close(self) -> None:
        await self.client.aclose()

    async def get(
        self, path: str, *, headers: Mapping[str, str] | None = None, most: int = MAX_ANSWER
    ) -> Answer:
        """Raises: ServerFault for every answer but 200 and 304, and for none."""
        return await self._ask("GET", path, None, headers or {}, most, self.timeout_s)

    async def post(
        self,
        path: str,
        body: Any,
        *,
        headers: Mapping[str, str] | None = None,
        timeout_s: float | None = None,
    ) -> Answer:
        """`body`: JSON, or bytes as they are. Raises: ServerFault for every answer but 2xx, and for none."""
        data = body if isinstance(body, bytes) else _json.dumps(body)
        sent = {"content-type": "application/json", **(headers or {})}
        return await self._ask("POST", path, data, sent, MAX_ANSWER, timeout_s or self.timeout_s)

    async def _ask(
        self,
        method: str,
        path: str,
        body: bytes | None,
        headers: Mapping[str, str],
        most: int,
        timeout_s: float,
    ) -> Answer:
        try:
            # The client's own limit is of each read: a server may send a byte at a time.
            with anyio.fail_after(timeout_s):
                async with self.client.stream(
                    method, self.url + path, content=body, headers=dict(headers)
                ) as response:
                    answer = checked(await _read(response, most))
        except TimeoutError as exc:
            raise ServerFault(f"no answer within {timeout_s:g} s") from exc
        except (httpx2.HTTPError, httpx2.InvalidURL, httpx2.StreamError, OSError) as exc:
            raise ServerFault(f"{type(exc).__name__}: {str(exc)[:200]}") from exc
        self.answered_at = time.monotonic()
        return answer


async def _read(response: httpx2.Response, most: int) -> Answer:
    if response.headers.get("content-encoding", "identity") != "identity":
        raise ServerFault("the answer is encoded, which was not asked for", faulty=True)
    body = bytearray()
    async for piece in response.aiter_raw():
        body += piece
        if len(body) > most:
            raise ServerFault(f"the answer is larger than {most >> 20} MiB", faulty=True)
    headers = {name.lower(): value for name, value in response.headers.items()}
    return Answer(response.status_code, headers, bytes(body))


def checked(answer: Answer) -> Answer:
    """The answer, where it is one. Raises: ServerFault."""
    status = answer.status
    if 200 <= status < 300 or status == 304:
        return answer
    if status in (401, 403):
        raise ServerFault(f"it does not take the key (status {status})", refused=True, status=status)
    if 300 <= status < 400:
        raise ServerFault(
            f"it redirects (status {status}), which is not followed", faulty=True, status=status
        )
    raise ServerFault(f"status {status}", faulty=True, after_s=retry_after(answer.headers), status=status)


def retry_after(headers: Mapping[str, str]) -> float:
    """Seconds that the server asks to be left alone; 0 where it does not say, says a date, or years."""
    asked = retry_after_s(headers.get("retry-after")) or 0.0
    return asked if asked < MOST_ASKED_S else 0.0
