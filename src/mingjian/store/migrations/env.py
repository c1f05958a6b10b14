"""What Alembic runs: our migrations, on the connection that ``store.workspace`` hands over."""

from __future__ import annotations

from alembic import context
from alembic.config import Config

from mingjian.store.tables import metadata


def run(config: Config) -> None:
    """Run what is asked for."""
    context.configure(
        connection=config.attributes["connection"],
        target_metadata=metadata,
        # SQLite cannot alter most things of a table in place.
        render_as_batch=True,
    )
    context.run_migrations()


if hasattr(context, "config"):  # not when it is only imported
    run(context.config)
