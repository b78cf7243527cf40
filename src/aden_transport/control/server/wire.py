"""What requests and answers have in common: bodies within limits, and errors that say what to do."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Annotated, Any

import orjson
from anyio import fail_after
from fastapi import Depends, HTTPException, Request
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from ..._json import dumps
from ...framing.content_encoding import decoder_for
from ..messages import MAX_BATCH_BYTES

__all__ = [
    "Answer",
    "Body",
    "Fault",
    "Json",
    "depth_of",
    "is_same",
    "json_body",
    "object_body",
    "seconds_of",
    "unchanged",
]

MAX_BODY_BYTES = MAX_BATCH_BYTES
"""Of a body, as it is sent and when its coding is undone."""
CODINGS = ("zstd", "gzip", "deflate", "br")
"""Those that are read, where what reads them is installed."""
MAX_BODY_S = 30.0
"""For a body to come."""
MAX_DEPTH = 64
"""Of lists and objects within each other."""


class Fault(HTTPException):
    """An answer that is an error: `{"error": code, "message": …}` and what else `more` says."""

    def __init__(
        self, status: int, code: str, message: str, headers: Mapping[str, str] | None = None, **more: Any
    ) -> None:
        super().__init__(status, message, dict(headers or {}))
        self.body = {"error": code, "message": message, **more}


class Answer(Response):
    """JSON; NaN becomes null."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        return dumps(content)


def is_same(request: Request, etag: str) -> bool:
    """Whether the client has what `etag` stands for."""
    given = request.headers.get("if-none-match", "")
    return given.strip() == "*" or f'"{etag}"' in given


def unchanged(etag: str) -> Response:
    return Response(status_code=304, headers={"ETag": f'"{etag}"', "Cache-Control": "no-cache"})


async def read_body(request: Request) -> bytes:
    """The body, its coding undone.

    Raises: Fault 413 above `MAX_BODY_BYTES`, 415 for an unknown coding, 400 for a broken one, 408 where it
    does not come in time.
    """
    length = request.headers.get("content-length", "")
    if length.isdigit() and int(length) > MAX_BODY_BYTES:
        raise _too_large()
    coding = request.headers.get("content-encoding", "").strip().lower()
    decoder = decoder_for(coding) if coding not in ("", "identity") else None
    if decoder is not None and not decoder.supported:
        raise _unread(coding)
    out, received = bytearray(), 0
    try:
        with fail_after(MAX_BODY_S):
            async for piece in request.stream():
                received += len(piece)
                for decoded in (piece,) if decoder is None else decoder.receive_data(piece):
                    out += decoded
                    if len(out) > MAX_BODY_BYTES:
                        raise _too_large()
                if received > MAX_BODY_BYTES:
                    raise _too_large()
    except TimeoutError as exc:
        headers = {"Connection": "close"}
        raise Fault(408, "too_slow", f"Send a body within {MAX_BODY_S:g} s.", headers) from exc
    except ClientDisconnect as exc:
        raise Fault(400, "cut_off", "The body did not come whole.") from exc
    if decoder is not None:
        decoder.receive_eof()
        if decoder.faults:
            raise Fault(400, "bad_encoding", f"The body is not what Content-Encoding says: {coding}.")
    return bytes(out)


async def json_body(request: Request) -> Any:
    """The body as JSON, by orjson, which refuses NaN.

    Raises: Fault 400 where it is not JSON or deeper than `MAX_DEPTH`, and as `read_body` does.
    """
    data = await read_body(request)
    try:
        found = orjson.loads(data)
    except orjson.JSONDecodeError as exc:
        raise Fault(400, "bad_json", f"The body is not JSON: {str(exc)[:200]}") from exc
    # Cheaper than a walk, and enough for nearly all.
    if data.count(b"[") + data.count(b"{") > MAX_DEPTH and depth_of(found) > MAX_DEPTH:
        raise Fault(400, "too_deep", f"The body is nested deeper than {MAX_DEPTH}.")
    return found


async def object_body(body: Annotated[Any, Depends(json_body)]) -> dict[str, Any]:
    """The body, a JSON object. Raises: Fault 400 where it is something else."""
    if not isinstance(body, dict):
        raise Fault(400, "not_an_object", 'Send a JSON object like {"…": …}.')
    return body


Json = Annotated[Any, Depends(json_body)]
Body = Annotated[dict[str, Any], Depends(object_body)]


def depth_of(value: Any) -> int:
    """How deep lists and objects lie within each other, counted to one above `MAX_DEPTH`."""
    depth, level = 0, [value]
    while depth <= MAX_DEPTH and (level := [one for one in level if isinstance(one, (dict, list))]):
        level = [inner for outer in level for inner in _members(outer)]
        depth += 1
    return depth


def _members(value: dict[Any, Any] | list[Any]) -> Iterable[Any]:
    return value.values() if isinstance(value, dict) else value


def _too_large() -> Fault:
    return Fault(413, "too_large", f"Send at most {MAX_BODY_BYTES} bytes at once, in several requests.")


def _unread(coding: str) -> Fault:
    read = [name for name in CODINGS if (decoder := decoder_for(name)) is not None and decoder.supported]
    message = f"Send the body plain, or with one of {', '.join(read)}."
    if coding == "zstd":
        message += " For zstd the server needs Python 3.14, or the package backports.zstd or zstandard."
    # RFC 9110 §15.5.16: the answer says what would have been read.
    return Fault(415, "unsupported_encoding", message, {"Accept-Encoding": ", ".join(read)})


def seconds_of(text: str, name: str) -> float:
    """A time that is asked for, ISO 8601; without a zone it is in UTC. Raises: Fault."""
    try:
        found = datetime.fromisoformat(text)
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError) as exc:
        raise Fault(422, "invalid", f"Give {name} as ISO 8601, like 2026-11-22T00:00:00Z.") from exc
