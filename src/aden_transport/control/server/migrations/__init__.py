"""The schema, step by step: each file in `versions/` is one change, and none is changed after its release."""

from __future__ import annotations

import threading
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection

__all__ = ["config_for", "upgrade"]

LOCK = 0x6164656E
"""Of PostgreSQL's advisory locks; any number that nobody else takes."""

_alembic = threading.Lock()
"""Its context is one for the process."""


def upgrade(db: Connection) -> None:
    """Bring the schema up to date, within the transaction of `db`. Who comes second finds it done."""
    if db.dialect.name == "postgresql":
        db.exec_driver_sql("SELECT pg_advisory_xact_lock(%s)", (LOCK,))
    with _alembic:
        command.upgrade(config_for(db), "head")


def config_for(db: Connection) -> Config:
    """What Alembic's commands take, over an open connection."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = db
    return config
