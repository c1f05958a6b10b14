"""What matched: a rule, the event, and the values that made it match. No opinion yet."""

from __future__ import annotations

from typing import Literal

import msgspec

from mingjian.model.rules import Level


class Detection(msgspec.Struct, frozen=True, kw_only=True):
    """One match of one rule (or correlation), with where the evidence is."""

    time_us: int | None
    """Event time, microseconds since 1970 UTC; None if the event does not tell."""
    level: Level
    rule_id: str
    rule_title: str
    kind: Literal["rule", "correlation", "indicator", "behaviour"] = "rule"
    attack: tuple[str, ...] = ()
    host: str = ""
    account: str = ""
    stream: str
    file: str
    record: int
    """EVTX: EventRecordID; text and JSON lines: 1-based line; arrays and ``Records``: 1-based index."""
    matched: dict[str, str] = {}
    """Field → text of the value, for the atoms that were true."""
    atoms: tuple[str, ...] = ()
    """With ``--explain``: the atoms of the condition that were true, in words."""
