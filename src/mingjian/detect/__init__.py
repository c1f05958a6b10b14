"""Rules, indicators and behaviours over blocks of records: what matched, and no opinion about it.

In: rules (``model.rules``), views and blocks of records. Out: matches. Never: a clock, a file, a socket, a
database, a random number.
"""
