"""Sources: which stream a record belongs to, and what its fields mean.

In: blocks of records from ``formats`` and definitions in YAML (``data/sources`` and the user's own).
Out: views (a stream as one producer writes it) with the rows that belong to them; envelopes; observables; reports on
what was recognised. Never: a rule, a detection, a database.
"""
