"""A second reading of the rules: slow, obvious, and written apart from the engine.

In: rule files as bytes, events as plain records. Out: does this rule match this event? Nothing here is fast and
nothing here is shared with ``mingjian.detect``: its only authorities are the Sigma specification 2.1 and
``docs/en/reference/matching.md``, so that a difference between the two is a defect of one of them.

``regex``   the regular expressions of the specification, as a set of positions
``rules``   YAML to rules
``events``  a record to leaves, texts, null and exists
``match``   one rule, one event
"""
