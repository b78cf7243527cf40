"""Run by Alembic, over the connection that `config_for` was given."""

from __future__ import annotations

from alembic import context

from aden_transport.control.server.tables import metadata

context.configure(
    connection=context.config.attributes["connection"], target_metadata=metadata, render_as_batch=True
)
with context.begin_transaction():
    context.run_migrations()
