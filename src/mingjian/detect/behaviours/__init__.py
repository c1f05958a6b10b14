"""Behaviours: what no rule and no indicator describes, found by how it repeats, grows, spreads or begins.

In: tables of facts (``facts``), made from events elsewhere. Out: findings, each with a score and the named terms that
add up to it. Never: a clock, a file, a database, chance; a result that depends on the order of rows or on how they
were cut into batches.

``facts``       the tables: connections, logons, look-ups, uses
``findings``    what comes out
``grouping``    sorting and counting by groups
``places``      which names and addresses are one's own, and which domain a name belongs to
``guessing``    passwords guessed: many for one account, one for many accounts
``beaconing``   something that calls home, over days and weeks
``rarity``      something used for the first time, by nobody else
``movement``    new ways from host to host
``resolving``   names that carry data, and names that are made up by the hundred
``outflow``     more going out than ever
"""
