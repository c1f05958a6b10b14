"""Who signs in does so whatever the database is."""

from databases import database

__all__ = ["database"]
