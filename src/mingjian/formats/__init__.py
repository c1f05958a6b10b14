"""Bytes to records and back, one file per format.

In: chunks of bytes and what is known about them (``model.blocks.Piece``). Out: blocks of records, and for every
piece that cannot be read a ``Quarantined``. Never: a file opened, a clock read, an exception other than
``InputError``. How the bytes are cut never changes the result.
"""
