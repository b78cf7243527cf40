"""The control server as a process: `python serving.py PORT DATABASE`; 0: any port, which is printed."""

from __future__ import annotations

import sys
import time

import uvicorn

from aden_transport.control.server.access import ADMIN, create_key, create_team
from aden_transport.control.server.app import Settings, create_app
from aden_transport.control.server.storage import Storage


def main(port: int, database: str) -> None:
    storage = Storage(f"sqlite:///{database}")
    storage.prepare()
    key = ""
    if port == 0:
        with storage.begin() as db:
            _, key = create_key(db, create_team(db, "acme", now=time.time()), "t", ADMIN, now=time.time())
    config = uvicorn.Config(
        create_app(storage, Settings(sweep_s=0.5)), port=port, log_level="error", access_log=False
    )
    sockets = [config.bind_socket()]
    print(sockets[0].getsockname()[1], key, flush=True)
    uvicorn.Server(config).run(sockets)


main(int(sys.argv[1]), sys.argv[2])
