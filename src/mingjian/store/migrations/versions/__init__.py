"""One file for each version of the tables, numbered.

In: a database of the version before. Out: one of this version. Never: today's ``store.tables``, which will change.
"""
