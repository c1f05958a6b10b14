"""Migrations of the state database, run by Alembic when a workspace is opened.

In: a connection in a transaction. Out: the tables as ``store.tables`` knows them. Never: a change of a migration that
was released.
"""
