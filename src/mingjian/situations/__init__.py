"""Judging: what is known of an entity in one place, what speaks for it and what against, and what it did.

In: a question about an observable, a workspace, a scope. Out: the verdict card. Never: an opinion without its reasons,
a change to what is kept.

``asking`` answers one question (``mingjian ask``): ``verdict`` weighs, ``reading`` and ``story`` tell what it did,
``outlook`` says what could not be seen, ``card`` is the answer, ``telling`` puts it into words.
"""
