"""A control server in a process of its own, and its ledger over HTTP.

`python -m tests.ledger.served ADDRESS PORT [NOW [LOOK]]` serves; with NOW its clock stands still, and it
looks every LOOK seconds for what nobody ends.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import httpx2

from ..server.kit import free_port, wait_for

__all__ = ["Served"]

ROOT = Path(__file__).parents[2]


class Served:
    """The server process over a database whose tables are there."""

    def __init__(
        self, address: str, *, now: float | None = None, look: float = 5.0, wait: bool = True
    ) -> None:
        self.address, self.now, self.look = address, now, look
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.start()
        if wait:
            self.wait()

    def start(self) -> None:
        given = [self.address, str(self.port)]
        if self.now is not None:
            given += [repr(self.now), repr(self.look)]
        self.process = subprocess.Popen([sys.executable, "-m", "tests.ledger.served", *given], cwd=ROOT)

    def wait(self) -> None:
        """Until it answers."""
        wait_for(self._answers)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def close(self) -> None:
        self.process.terminate()
        self.process.wait()

    def _answers(self) -> bool:
        assert self.process.poll() is None
        try:
            return httpx2.get(f"{self.url}/health", trust_env=False).status_code == 200
        except httpx2.HTTPError:
            return False


def serve(address: str, port: int, now: float | None, look: float) -> None:
    import uvicorn

    from aden_transport.control.server.app import Settings, create_app
    from aden_transport.control.server.storage import Storage

    storage = Storage(address)
    app = create_app(storage, Settings(sweep_s=look), clock=time.time if now is None else lambda: now)
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning", access_log=False)
    storage.close()


if __name__ == "__main__":
    given = [float(each) for each in sys.argv[3:]]
    serve(sys.argv[1], int(sys.argv[2]), given[0] if given else None, given[1] if given else 5.0)
