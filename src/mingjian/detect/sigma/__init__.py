"""Sigma 2.1 as it is written, turned into ``model.rules``: rules, correlations, filters, pipelines, placeholders.

In: the bytes of rule files. Out: rules free of notation, each refused document with its reason, notes for authors.
Never: a file opened, a rule guessed at, an exception other than ``InputError``.

``parse`` reads one file (pySigma is imported there, and only there and below); ``references`` puts the files together
and needs no pySigma, so that a start from the cache does not pay for it.
"""
