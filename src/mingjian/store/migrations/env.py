"""What Alembic runs: our migrations, on the connection that ``store.workspace`` hands over."""

from __future__ import annotations

from alembic import context

from mingjian.store.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    # SQLite cannot alter most things of a table in place.
    render_as_batch=True,
)
context.run_migrations()
