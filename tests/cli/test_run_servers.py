"""`aden-transport run` before the servers and runners that programs are started with."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path

import pytest

from .programs import TIMEOUT_S, Place

WSGI = """
    from calls import *
    import pathlib, time

    def app(environ, start_response):
        # Holds its worker until each of the others has a request, so that every one makes a call.
        pathlib.Path(f"worker-{os.getpid()}").touch()
        while len(list(pathlib.Path().glob("worker-*"))) < int(os.environ["WORKERS"]):
            time.sleep(0.01)
        call()
        start_response("200 OK", [("content-length", "0")])
        return []
"""
BARE = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
"""Each of the plugins here takes its time to load, in every worker again."""
ASGI = """
    from calls import *
    import asyncio, pathlib
    import httpx

    async def app(scope, receive, send):
        if scope["type"] == "lifespan":
            return
        async with httpx.AsyncClient(headers={"user-agent": "OpenAI/Python 3"}, trust_env=False) as client:
            body = {"model": "gpt-4o-mini", "messages": []}
            await client.post(os.environ["PROVIDER"] + "/v1/chat/completions", json=body)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body"})
"""


def get(address: Path, process: subprocess.Popen[str]) -> bytes:
    """Ask the server that is to listen at a Unix socket, once it does."""
    deadline = time.monotonic() + TIMEOUT_S
    while True:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            try:
                sock.connect(str(address))
            except OSError:
                if process.poll() is not None or time.monotonic() > deadline:
                    raise
                time.sleep(0.02)
                continue
            sock.settimeout(TIMEOUT_S)
            sock.sendall(b"GET / HTTP/1.1\r\nhost: here\r\nconnection: close\r\n\r\n")
            return sock.makefile("rb").readline()


@pytest.mark.parametrize("preload", [(), ("--preload",)], ids=["loaded in each worker", "preloaded"])
def test_every_worker_of_gunicorn_counts_once(place: Place, preload: tuple[str, ...]) -> None:
    pytest.importorskip("gunicorn")
    place.write("app.py", WSGI)
    address = place.temporary / "socket"
    words = ("gunicorn", "app:app", "-w", "2", "-b", f"unix:{address}", *preload)
    with place.start("--log", "log", "-m", *words, WORKERS="2") as process:
        answers: list[bytes] = []
        asking = [threading.Thread(target=lambda: answers.append(get(address, process))) for _ in range(2)]
        for thread in asking:
            thread.start()
        for thread in asking:
            thread.join()
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=TIMEOUT_S)
    assert answers == [b"HTTP/1.1 200 OK\r\n"] * 2
    assert process.returncode == 0
    assert "aden-transport: 2 calls in 2 processes, $0.000024" in errors
    assert len({event["trace_id"] for event in place.events}) == 2


@pytest.mark.parametrize("more", [(), ("--workers", "2")], ids=["one process", "two workers"])
def test_uvicorn_is_seen_and_ends_as_it_does(place: Place, more: tuple[str, ...]) -> None:
    pytest.importorskip("uvicorn")
    place.write("app.py", ASGI)
    address = place.temporary / "socket"
    with place.start("--log", "log", "-m", "uvicorn", "app:app", "--uds", str(address), *more) as process:
        answers = [get(address, process) for _ in range(3)]
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=TIMEOUT_S)
    assert answers == [b"HTTP/1.1 200 OK\r\n"] * 3
    assert len(place.events) == 3
    assert "aden-transport: 3 calls" in errors


def test_what_a_signal_ends_has_its_calls_in_the_log(place: Place) -> None:
    pytest.importorskip("uvicorn")
    place.write("app.py", ASGI)
    address = place.temporary / "socket"
    with place.start("--log", "log", "-m", "uvicorn", "app:app", "--uds", str(address)) as process:
        get(address, process)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=TIMEOUT_S)
    assert len(place.events) == 1


def test_pytest_is_seen_and_captures_nothing_of_ours(place: Place) -> None:
    place.write(
        "test_it.py",
        """
        from calls import *

        def test_call(capfd):
            call(2)
            assert capfd.readouterr() == ("", "")
        """,
    )
    done = place.run("-m", "pytest", "-q", "-p", "no:cacheprovider", "test_it.py", **BARE)
    assert (done.code, "1 passed" in done.stdout) == (0, True), done.stdout
    assert done.stderr.startswith("aden-transport: 2 calls, $0.000024\n")


def test_workers_of_pytest_xdist_are_one_sum(place: Place) -> None:
    pytest.importorskip("xdist")
    place.write("test_it.py", "from calls import *\ndef test_a(): call()\ndef test_b(): call()\n")
    done = place.run("-m", "pytest", "-q", "-p", "xdist", "-n", "2", "test_it.py", **BARE)
    assert (done.code, "2 passed" in done.stdout) == (0, True), done.stdout
    assert "aden-transport: 2 calls in " in done.stderr


def test_a_notebook_is_seen(place: Place) -> None:
    pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    cell: dict[str, object] = {
        "cell_type": "code",
        "execution_count": None,
        "id": "one",
        "metadata": {},
        "outputs": [],
        "source": "from calls import *\ncall(2)\nprint('a cell')",
    }
    notebook = {"cells": [cell], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    place.write("book.ipynb", json.dumps(notebook))
    place.write(
        "execute.py",
        """
        import nbclient, nbformat
        book = nbformat.read("book.ipynb", 4)
        nbclient.NotebookClient(book, timeout=50, kernel_name="python3").execute()
        print(book.cells[0].outputs)
        """,
    )
    done = place.run("--log", "log", "execute.py")
    assert "'text': 'a cell\\n'" in done.stdout, done.stderr
    assert "aden-transport: 2 calls, $0.000024" in done.stderr
    assert len(place.events) == 2
