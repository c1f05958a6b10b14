"""Detection rules after parsing: what they ask, free of the notation in which they were written.

A rule is a boolean expression over atoms. An atom asks one question of one field (or, for a keyword, of every
value of the event). What each atom means is in ``docs/en/reference/matching.md``.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

ANY = 0
"""In ``Text.parts``: the wildcard ``*``, any number of characters."""
ONE = 1
"""In ``Text.parts``: the wildcard ``?``, exactly one character."""

CompareOp: TypeAlias = Literal["lt", "lte", "gt", "gte", "eq"]


# gc=False here and below: rules are trees, so there is nothing for the garbage collector to find in them.
class Atom(msgspec.Struct, frozen=True, gc=False):
    """One question about one field."""


class Text(Atom, frozen=True, tag="text"):
    """The text of the value is the pattern: literal pieces, ``ANY`` and ``ONE``.

    ``field`` None is a keyword: any value of the event. Then ``parts`` already starts and ends with ``ANY`` if the
    keyword may stand anywhere in a value. Adjacent literals are merged, and there are never two ``ANY`` in a row.
    An empty tuple asks for the empty text.
    """

    field: str | None
    parts: tuple[str | int, ...]
    cased: bool = False


class Number(Atom, frozen=True, tag="number"):
    """The value is this number, or a text that spells it the way the rule does."""

    field: str
    value: int | float


class Bool(Atom, frozen=True, tag="bool"):
    """The value is this truth value, or its name in any case."""

    field: str
    value: bool


class Null(Atom, frozen=True, tag="null"):
    """The field is missing, null, an empty list, or (EVTX) an empty element."""

    field: str


class Exists(Atom, frozen=True, tag="exists"):
    """The event has the field, whatever it holds."""

    field: str


class Compare(Atom, frozen=True, tag="compare"):
    """The value, taken as a number, stands in this relation to the bound."""

    field: str
    op: CompareOp
    value: int | float


class Regex(Atom, frozen=True, tag="regex"):
    """The pattern is found somewhere in the text of the value. RE2 syntax; ``flags`` out of ``ims``."""

    field: str | None
    pattern: str
    flags: str = ""


class Cidr(Atom, frozen=True, tag="cidr"):
    """The value is an address in this network."""

    field: str
    network: str


class FieldRef(Atom, frozen=True, tag="fieldref"):
    """The text of the value equals (starts with, ends with, contains) the text of another field."""

    field: str
    other: str
    how: Literal["equals", "startswith", "endswith", "contains"] = "equals"
    cased: bool = False


class TimePart(Atom, frozen=True, tag="timepart"):
    """A part of the date that the value spells stands in this relation to a number."""

    field: str
    part: Literal["minute", "hour", "day", "week", "month", "year"]
    op: CompareOp
    value: int


class And(msgspec.Struct, frozen=True, gc=False, tag="and"):
    """All of them."""

    items: tuple[Expr, ...]


class Or(msgspec.Struct, frozen=True, gc=False, tag="or"):
    """At least one of them."""

    items: tuple[Expr, ...]


class Not(msgspec.Struct, frozen=True, gc=False, tag="not"):
    """Not that."""

    item: Expr


AnyAtom: TypeAlias = Text | Number | Bool | Null | Exists | Compare | Regex | Cidr | FieldRef | TimePart
Expr: TypeAlias = "AnyAtom | And | Or | Not"

Level: TypeAlias = Literal["informational", "low", "medium", "high", "critical"]
LEVELS: tuple[Level, ...] = ("informational", "low", "medium", "high", "critical")
"""In rising order. A rule without a level counts as ``medium``."""


class LogSource(msgspec.Struct, frozen=True, order=True, gc=False):
    """Sigma's triple. In a rule, None means “any”; a stream satisfies a rule whose given parts it all has."""

    product: str | None = None
    category: str | None = None
    service: str | None = None

    def satisfies(self, wanted: LogSource) -> bool:
        """Whether a stream that declares this log source may be searched by a rule that wants that one.

        >>> LogSource("windows", "process_creation", "sysmon").satisfies(LogSource("windows"))
        True
        >>> LogSource("windows", None, "sysmon").satisfies(LogSource("windows", "process_creation"))
        False
        """
        return (
            wanted.product in (None, self.product)
            and wanted.category in (None, self.category)
            and wanted.service in (None, self.service)
        )


class RuleHead(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What rules and correlations have in common."""

    id: str
    """The rule's ``id``; for a rule without one, a UUID derived from its content."""
    title: str
    file: str
    name: str | None = None
    level: Level = "medium"
    status: str | None = None
    description: str = ""
    attack: tuple[str, ...] = ()
    """ATT&CK technique ids, upper case: ``T1059.001``."""
    tactics: tuple[str, ...] = ()
    """ATT&CK tactic names as the tags write them: ``credential-access``."""
    tags: tuple[str, ...] = ()
    content_hash: str = ""
    """BLAKE2b (16 bytes, hex) of everything that decides what the rule matches."""
    document: int = 1
    """1-based number of the YAML document in the file."""


class Rule(RuleHead, frozen=True, kw_only=True, tag_field="kind", tag="rule"):
    """A rule about single events."""

    logsource: LogSource
    condition: Expr
    fields: tuple[str, ...] = ()
    hidden: bool = False
    """True if the rule only feeds correlations that do not ``generate``: its own matches are not reported."""
    filters: tuple[str, ...] = ()
    """Ids of the filters that are already ANDed to the condition."""


class Filter(RuleHead, frozen=True, kw_only=True, tag_field="kind", tag="filter"):
    """A condition that is ANDed to the rules that it names."""

    logsource: LogSource
    rules: tuple[str, ...]
    """Ids or names as written; empty means every rule whose log source it fits."""
    condition: Expr


CorrelationType: TypeAlias = Literal[
    "event_count", "value_count", "temporal", "temporal_ordered", "value_sum", "value_avg", "value_percentile"
]


class Correlation(RuleHead, frozen=True, kw_only=True, tag_field="kind", tag="correlation"):
    """A rule about how matches of other rules come together in time."""

    type: CorrelationType
    rules: tuple[str, ...]
    """Ids of the rules and correlations that it refers to (names are already resolved), in the order written."""
    group_by: tuple[str, ...] = ()
    timespan_s: int
    bounds: tuple[tuple[CompareOp | Literal["neq"], float], ...] = ()
    """The condition, every part of which must hold. Empty for temporal types: all rules must have matched."""
    value_fields: tuple[str, ...] = ()
    percentile: float | None = None
    aliases: dict[str, dict[str, str]] = {}
    """Alias → rule id → field of the events that the rule matches."""
    generate: bool = False
    hidden: bool = False
    """As for ``Rule``: it only feeds correlations that do not ``generate``."""


AnyRule: TypeAlias = Rule | Correlation


class SkippedRule(msgspec.Struct, frozen=True, kw_only=True):
    """A document that did not become a rule, and why."""

    file: str
    document: int = 0
    """1-based number of the YAML document in the file; 0 where the whole file is meant."""
    rule_id: str = ""
    title: str = ""
    code: str
    """The ``code`` of the error."""
    reason: str


class RuleNote(msgspec.Struct, frozen=True, kw_only=True):
    """Something that the author of a loaded rule should know."""

    file: str
    document: int = 0
    rule_id: str = ""
    text: str
