"""The sightings index: every observable that was ever seen, once for each organisation, source, role and day.

Whoever stands on it needs ``live``: ``record`` what was observed, ``open_index`` to ask, ``Upkeep`` to merge. The rest
is how: ``delta`` (observations to rows), ``writing`` and ``reading`` (rows in files, ``layout``, ``blocks``, ``keys``),
``index`` (questions), ``merging`` (few files out of many), ``checking`` (whether all of it is right).
"""
