"""Indicators as others write them: lists, CSV, STIX 2.1, MISP.

In: the bytes of one file (``documents.read``). Out: indicators in canonical form; entries that were understood but are
not looked for, with the reason; and a ``Quarantined`` for every entry that cannot be read. Never: a file opened, a
clock read, an exception other than ``InputError``, a pattern run as code.
"""
