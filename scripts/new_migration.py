"""Write the migration from the last one to what `tables.py` says: `new_migration.py 0002 "What changes."`

Look it through before it is committed: renames look like a drop and an addition.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from alembic import command

from aden_transport.control.server.migrations import config_for
from aden_transport.control.server.storage import Storage


def main() -> None:
    revision, message = sys.argv[1:]
    with tempfile.TemporaryDirectory() as folder:
        storage = Storage(f"sqlite:///{Path(folder)}/schema.sqlite3")
        if revision != "0001":
            storage.prepare()
        with storage.begin() as db:
            command.revision(config_for(db), message, autogenerate=True, rev_id=revision)
        storage.close()


if __name__ == "__main__":
    main()
