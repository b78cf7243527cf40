"""A control server as a process of its own: uvicorn over a database, to be asked and killed.

python -m server.served DATABASE PORT
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from .kit import free_port, wait_for

__all__ = ["Served", "served"]


class Served:
    """Where it listens, and what it has written to its log."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, log: Path) -> None:
        self.process = process
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self._log = log

    @property
    def log(self) -> str:
        return self._log.read_text("utf-8", "replace")


@contextmanager
def served(database: str, folder: Path) -> Iterator[Served]:
    """Over a database that has its tables."""
    port, log = free_port(), folder / "server.log"
    tests = Path(__file__).parents[1]
    with log.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "server.served", database, str(port)],
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tests), *filter(None, sys.path)])},
            stdout=file,
            stderr=subprocess.STDOUT,
        )
    found = Served(process, port, log)
    try:
        wait_for(lambda: _answers(found))
        yield found
    finally:
        process.terminate()
        process.wait(30)


def _answers(server: Served) -> bool:
    assert server.process.poll() is None, server.log
    try:
        return httpx.get(f"{server.url}/health", trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


def main(database: str, port: str) -> None:
    import logging

    import uvicorn

    from aden_transport.control.server.app import create_app
    from aden_transport.control.server.storage import Storage

    logging.basicConfig(level=logging.DEBUG)
    uvicorn.run(create_app(Storage(database)), port=int(port), log_level="debug", ws="none")


if __name__ == "__main__":
    main(*sys.argv[1:])
