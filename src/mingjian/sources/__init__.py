"""Sources: the way in for bytes, which stream a record belongs to, and what its fields mean.

In: files, files that grow, syslog and HTTP from the network; blocks of records from ``formats``; definitions in YAML
(``data/sources`` and the user's own).
Out: pieces of files to read; journals of what came in over the network, on disk before it is acknowledged; views (a
stream as one producer writes it) with the rows that belong to them; envelopes; observables; reports on what was
recognised. Never: a rule, a detection, a database.
"""
