"""Sigma correlations: how matches of rules come together in time.

In: correlations (``model.rules.Correlation``) and, for each rule they refer to, its matches (``Match``) with the
fields that ``needed_fields`` names; in any order within a stated lateness. Out: ``CorrelationMatch``es. Never: a
clock, a file, an event that is dropped without being counted.

``values``      what goes in and what comes out
``plan``        what a correlation asks, checked and taken apart
``tallies``     what a window amounts to, kept up to date event by event
``windows``     the windows of one correlation
``correlator``  all correlations together: event time, lateness, nesting, saved state

The meaning of every part is fixed in ``docs/en/reference/correlations.md``.
"""

from mingjian.detect.correlation.correlator import Correlator
from mingjian.detect.correlation.plan import needed_fields, plan_all
from mingjian.detect.correlation.values import (
    Contributor,
    CorrelationMatch,
    CorrelationReport,
    LateMatch,
    Losses,
    Match,
    Skipped,
)

__all__ = [
    "Contributor",
    "CorrelationMatch",
    "CorrelationReport",
    "Correlator",
    "LateMatch",
    "Losses",
    "Match",
    "Skipped",
    "needed_fields",
    "plan_all",
]
