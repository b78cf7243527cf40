"""A server that does what it should not: calls of the application go on as if there was none."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import struct
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import openai
import pytest

from aden_transport import (
    ControlOptions,
    MeterOptions,
    get_control_agent,
    instrument,
    instrument_async,
    uninstrument,
    uninstrument_async,
)
from aden_transport._guard import fault_counts
from aden_transport.testing import FakeProvider

from .original_server import KEY, OriginalServer, eventually, hang, send

MESSAGES: Any = [{"role": "user", "content": "Hello"}]
QUICK = ControlOptions(
    polling_interval_ms=100, heartbeat_interval_ms=100, timeout_ms=300, server_validation_timeout_ms=200
)


def reset(handler: BaseHTTPRequestHandler) -> None:
    """RST instead of an answer."""
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.close_connection = True


def closed(handler: BaseHTTPRequestHandler) -> None:
    handler.close_connection = True


def raw(data: bytes) -> Callable[[BaseHTTPRequestHandler], None]:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(data)
        handler.close_connection = True

    return answer


def drips(handler: BaseHTTPRequestHandler) -> None:
    """A byte at a time, each well within the time between two."""
    handler.send_response(200)
    handler.send_header("content-length", "100000")
    handler.end_headers()
    for _ in range(400):
        handler.wfile.write(b" ")
        handler.wfile.flush()
        time.sleep(0.02)


def hundred_megabytes(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.end_headers()
    for _ in range(1600):
        handler.wfile.write(b" " * 65536)
    handler.close_connection = True


def bomb(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.send_header("content-encoding", "gzip")
    handler.send_header("content-length", "10")
    handler.end_headers()
    handler.wfile.write(b"\x1f\x8b" + bytes(8))


def status(code: int, **headers: str) -> Callable[[BaseHTTPRequestHandler], None]:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(code)
        for name, value in {"content-length": "0", **headers}.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()

    return answer


def says(value: Any) -> Callable[[BaseHTTPRequestHandler], None]:
    return lambda handler: send(handler, 200, value)


BAD: dict[str, Callable[[BaseHTTPRequestHandler], None]] = {
    "hangs": hang,
    "resets": reset,
    "closes": closed,
    "drips": drips,
    "garbage": raw(b"\x00\xff garbage \r\n\r\n"),
    "half an answer": raw(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{"),
    "endless headers": raw(b"HTTP/1.1 200 OK\r\nx: " + b"y" * 300_000),
    "100 MB": hundred_megabytes,
    "bomb": bomb,
    "no JSON": raw(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"),
    "a list": says([1, 2]),
    "deep": raw(b"HTTP/1.1 200 OK\r\ncontent-length: 200000\r\n\r\n" + b"[" * 200_000),
    "a bad policy": says({"budgets": [{"type": "global", "limit": "NaN"}]}),
    "500": status(500),
    "503, later": status(503, retry_after="1000"),
    "401": status(401),
    "a redirect": status(307, location="http://127.0.0.1:9/elsewhere"),
    "204": status(204),
}


@pytest.mark.parametrize("spoil", BAD.values(), ids=BAD)
def test_calls_go_on(spoil: Any, server: OriginalServer, provider: FakeProvider) -> None:
    server.spoil = spoil
    instrument(MeterOptions(api_key=KEY, server_url=server.url, control=QUICK))
    with openai.OpenAI(base_url=provider.openai_base_url, api_key="any") as client:
        # The first may wait for the first policy, for as long as calls wait at most.
        began = time.monotonic()
        client.chat.completions.create(model="gpt-4o", messages=MESSAGES, max_tokens=20)
        first = time.monotonic() - began
        eventually(lambda: server.seen)
        for _ in range(3):
            client.chat.completions.create(model="gpt-4o", messages=MESSAGES, max_tokens=20)
    assert first < 5.0
    assert len(provider.requests) == 4
    agent = get_control_agent()
    assert agent is not None
    eventually(lambda: agent.status.last_error)
    eventually(lambda: agent.status.state in ("degraded", "reconnecting"))
    began = time.monotonic()
    uninstrument()
    assert time.monotonic() - began < 6.0
    assert not [fault for fault in fault_counts() if fault.startswith("control")], fault_counts()


def test_a_redirect_is_not_followed_with_the_key(server: OriginalServer) -> None:
    with OriginalServer() as elsewhere:
        server.spoil = status(307, location=elsewhere.url + "/v1/control/policy")
        instrument(MeterOptions(api_key=KEY, server_url=server.url, control=QUICK))
        agent = get_control_agent()
        assert agent is not None
        eventually(lambda: agent.status.last_error)
        assert "redirects" in (agent.status.last_error or "")
        assert elsewhere.seen == []


def test_a_certificate_that_nobody_vouches_for_is_refused(tmp_path: Path, provider: FakeProvider) -> None:
    """Nothing is sent, the key least of all."""
    heard: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*certificate(tmp_path))
        listener.settimeout(10)
        port = listener.getsockname()[1]
        instrument(MeterOptions(api_key=KEY, server_url=f"https://127.0.0.1:{port}", control=QUICK))
        connection, _ = listener.accept()
        with pytest.raises((ssl.SSLError, OSError)), context.wrap_socket(connection, server_side=True) as tls:
            heard.append(tls.recv(1))
            raise OSError
        agent = get_control_agent()
        assert agent is not None
        eventually(lambda: agent.status.last_error)
        assert "CERTIFICATE_VERIFY_FAILED" in (agent.status.last_error or "")
        uninstrument()
    assert heard in ([], [b""])


def certificate(folder: Path) -> tuple[str, str]:
    """A self-signed one for 127.0.0.1."""
    import subprocess

    key, made = str(folder / "key.pem"), str(folder / "made.pem")
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=x"]
    subprocess.run([*command, "-keyout", key, "-out", made], check=True, capture_output=True)
    return made, key


def test_a_loop_goes_on_while_the_server_hangs(server: OriginalServer, provider: FakeProvider) -> None:
    server.spoil = hang

    async def main() -> None:
        await instrument_async(MeterOptions(api_key=KEY, server_url=server.url, control=QUICK))
        async with openai.AsyncOpenAI(base_url=provider.openai_base_url, api_key="any") as client:
            calls = [
                client.chat.completions.create(model="gpt-4o", messages=MESSAGES, max_tokens=20)
                for _ in range(10)
            ]
            await asyncio.gather(*calls)
        await uninstrument_async()

    asyncio.run(main())
    assert len(provider.requests) == 10


def test_a_policy_of_five_megabytes_is_taken(server: OriginalServer) -> None:
    names = [f"{number:0250}" for number in range(10_000)]
    budgets = [{"id": name, "type": "customer", "name": name, "limit": 1.0, "spent": 0.5} for name in names]
    server.policy = {"budgets": budgets}
    assert len(json.dumps(server.policy)) > 5_000_000
    options = ControlOptions(timeout_ms=30_000)
    instrument(MeterOptions(api_key=KEY, server_url=server.url, control=options))
    agent = get_control_agent()
    assert agent is not None
    assert agent.ready(60)
    policy = agent.get_policy()
    assert policy is not None
    assert len(policy.budgets) == 10_000


def test_without_a_folder_to_write_to_memory_is_used(
    server: OriginalServer, state_home: Path, provider: FakeProvider
) -> None:
    state_home.write_text("a file stands where the folder would be")
    server.policy = {"budgets": [{"id": "b1", "type": "global", "limit": 1.0}]}
    instrument(MeterOptions(api_key=KEY, server_url=server.url, control=QUICK))
    with openai.OpenAI(base_url=provider.openai_base_url, api_key="any") as client:
        client.chat.completions.create(model="gpt-4o", messages=MESSAGES, max_tokens=20)
    eventually(lambda: server.of_type("metric"))
