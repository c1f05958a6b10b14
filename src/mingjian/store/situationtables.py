"""The tables of situations: what is in the events of detections, which of them belong together, what people make of it.

As ``tables``, which takes them in.
"""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

from mingjian.store.schema import BigNumber, metadata, number, numbered, octets, partial_index, ref, text, word

UNSEALED: Final = ("evidence", "entities", "situation_members", "situation_joins", "situation_entities")
"""What can be made anew from detections and their events; its rows have no seal."""

suppressions = sa.Table(
    "suppressions",
    metadata,
    numbered(),
    sa.Column("public_id", sa.Text(), nullable=False, unique=True),
    ref("organisation_id", "organisations", nullable=True),
    text("title"),
    text("owner"),
    text("reason"),
    text("definition"),
    octets("filter"),
    number("created_us"),
    number("expires_us"),
    number("ended_us", nullable=True),
    sa.Index(None, "ended_us", "expires_us"),
)
"""Sigma filters that hide detections for a time: ``definition`` is the YAML as it was given, ``filter`` what was read
of it (MessagePack). Without an organisation it is for all. ``ended_us``: somebody ended it before its time."""

evidence = sa.Table(
    "evidence",
    metadata,
    numbered(),
    ref("organisation_id", "organisations"),
    sa.Column(
        "detection_id", BigNumber, sa.ForeignKey("detections.id", ondelete="CASCADE"), nullable=False, unique=True
    ),
    number("time_us", nullable=True),
    number("level"),
    number("rule_key"),
    number("host_key"),
    number("account_key"),
    number("flags"),
    octets("entities"),
    sa.Index(None, "organisation_id", "id"),
    sa.Index(None, "organisation_id", "host_key", "time_us"),
)
"""What is in the event of a detection, as numbers (``entities.key``), eight bytes each. Can be read again from the
events as long as these are kept."""

entities = sa.Table(
    "entities",
    metadata,
    ref("organisation_id", "organisations", key=True),
    number("key", key=True),
    text("kind"),
    text("value"),
    number("hosts"),
    number("flags"),
)
"""What the events of detections have in them. ``key`` is a hash of kind and value; ``hosts``: on so many it was ever
seen, when somebody looked last. Of a rule: kind ``rule``, value its id."""

SITUATION_STATES = ("open", "in_work", "closed")
situations = sa.Table(
    "situations",
    metadata,
    numbered(),
    sa.Column("public_id", sa.Text(), nullable=False, unique=True),
    ref("organisation_id", "organisations"),
    number("seed_id"),
    *word(SITUATION_STATES),
    text("resolution"),
    text("owner"),
    text("level"),
    number("danger"),
    octets("fingerprint"),
    number("detections"),
    number("hosts"),
    number("first_us", nullable=True),
    number("last_us", nullable=True),
    text("summary"),
    text("search"),
    number("created_us"),
    number("changed_us"),
    number("closed_us", nullable=True),
    number("closed_at_detection", nullable=True),
    number("merged_into", nullable=True),
    number("is_live"),
    sa.UniqueConstraint("organisation_id", "seed_id"),
    sa.Index("ix_situations_by_danger", "is_live", "danger", "id"),
    sa.Index("ix_situations_of_all_by_danger", "danger", "id"),
    sa.Index("ix_situations_of_organisation", "organisation_id", "is_live", "danger", "id"),
    sa.Index("ix_situations_by_time", "is_live", "last_us", "id"),
    partial_index("ix_situations_of_merged", "merged_into", where="merged_into IS NOT NULL"),
)
"""Detections that tell one story. ``seed_id`` is the first detection of it, by number: a situation is the one with its
seed, however often it is grouped anew. ``is_live``: 2, or 1 if
it is closed; 0 if it became a part of ``merged_into``, or all its detections went.
``danger`` is in thousandths; ``summary`` is JSON (``situations.summary``); ``search`` what a text filter looks at."""

situation_members = sa.Table(
    "situation_members",
    metadata,
    ref("situation_id", "situations", key=True, on_delete="CASCADE"),
    ref("detection_id", "detections", key=True, on_delete="CASCADE"),
    number("is_core"),
    sa.Index(None, "detection_id"),
)
"""Core detections hold a situation together and are in one only; others stand beside it, and may beside several."""

situation_joins = sa.Table(
    "situation_joins",
    metadata,
    ref("situation_id", "situations", key=True, on_delete="CASCADE"),
    ref("later_id", "detections", key=True, on_delete="CASCADE"),
    ref("earlier_id", "detections", key=True, on_delete="CASCADE"),
    number("entity_key", nullable=True),
    number("strength"),
    number("against"),
)
"""Why two detections are in one situation: what they share (nothing if a person put them together), how strong that is
in thousandths, and what speaks against it (bits, ``situations.summary``)."""

situation_entities = sa.Table(
    "situation_entities",
    metadata,
    ref("situation_id", "situations", key=True, on_delete="CASCADE"),
    number("entity_key", key=True),
    number("detections"),
    sa.Index(None, "entity_key"),
)
"""The telling entities of a situation of several detections, the most telling first ones only."""

situation_acts = sa.Table(
    "situation_acts",
    metadata,
    numbered(),
    sa.Column("public_id", sa.Text(), nullable=False, unique=True),
    ref("organisation_id", "organisations", index=True),
    ref("situation_id", "situations", index=True),
    text("kind"),
    text("actor"),
    number("at_us"),
    text("details"),
    number("undone_by", nullable=True),
)
"""What people (and grouping) did with a situation: its history. ``details`` is JSON."""

situation_pins = sa.Table(
    "situation_pins",
    metadata,
    ref("act_id", "situation_acts", key=True, on_delete="CASCADE"),
    ref("detection_id", "detections", key=True, on_delete="CASCADE"),
    number("side"),
    sa.Index(None, "detection_id"),
)
"""The detections that a split (side 1: what was taken out, side 0: the rest) or a merge (side 0) is about."""

detection_verdicts = sa.Table(
    "detection_verdicts",
    metadata,
    ref("detection_id", "detections", key=True, on_delete="CASCADE"),
    ref("organisation_id", "organisations"),
    *word(SITUATION_STATES),
    text("resolution"),
    text("reason"),
    text("actor"),
    number("at_us"),
)

incidents = sa.Table(
    "incidents",
    metadata,
    numbered(),
    sa.Column("public_id", sa.Text(), nullable=False, unique=True),
    ref("organisation_id", "organisations", index=True),
    ref("situation_id", "situations", index=True),
    text("title"),
    *word(("open", "in_work", "closed")),
    text("owner"),
    text("actor"),
    number("created_us"),
    number("changed_us"),
    number("closed_us", nullable=True),
)
"""Situations that a person has declared."""

case_comments = sa.Table(
    "case_comments",
    metadata,
    numbered(),
    ref("organisation_id", "organisations"),
    *word(("situation", "incident", "detection"), "about"),
    number("about_id"),
    text("actor"),
    number("at_us"),
    text("text"),
    sa.Index(None, "about", "about_id"),
)

case_tasks = sa.Table(
    "case_tasks",
    metadata,
    numbered(),
    sa.Column("public_id", sa.Text(), nullable=False, unique=True),
    ref("organisation_id", "organisations"),
    *word(("situation", "incident"), "about"),
    number("about_id"),
    text("text"),
    text("owner"),
    text("actor"),
    number("created_us"),
    number("due_us", nullable=True),
    number("done_us", nullable=True),
    sa.Index(None, "about", "about_id"),
)
