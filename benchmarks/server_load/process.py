"""A control server for this package: database and port as arguments."""

from __future__ import annotations

import sys

import uvicorn

from aden_transport.control.server.app import create_app
from aden_transport.control.server.storage import Storage

if __name__ == "__main__":
    storage = Storage(sys.argv[1])
    uvicorn.run(create_app(storage), port=int(sys.argv[2]), log_level="warning", access_log=False)
    storage.close()
