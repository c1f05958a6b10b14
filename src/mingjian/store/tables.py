"""Every table of the state database, as SQLAlchemy Core knows it. SQLite and PostgreSQL hold the same.

Times are whole microseconds since 1970 UTC and end in ``_us``; days are whole days since then and end in ``_day``.
Ids are ours. Text from outside is made storable on its way in (``OutsideText``). A change here needs a migration in
``store/migrations/versions``; a test compares the two.
"""

from __future__ import annotations

import sqlalchemy as sa

from mingjian.store import situationtables
from mingjian.store.schema import BigNumber as _Big
from mingjian.store.schema import OutsideText, metadata
from mingjian.store.schema import number as _number
from mingjian.store.schema import numbered as _id
from mingjian.store.schema import octets as _bytes
from mingjian.store.schema import partial_index as _partial
from mingjian.store.schema import ref as _ref
from mingjian.store.schema import storable as storable
from mingjian.store.schema import text as _text
from mingjian.store.schema import word as _state

# --- the workspace itself ------------------------------------------------------------------------------------------

meta = sa.Table("meta", metadata, _text("key", key=True), _text("value"))
"""Facts about the workspace: its id, when it was made, versions of what is stored in files."""

counters = sa.Table("counters", metadata, _text("name", key=True), _number("value"))
"""Numbers that are given out before what they stand for is in the database, and never twice."""

organisations = sa.Table(
    "organisations",
    metadata,
    _id(),
    sa.Column("public_id", sa.Text(), nullable=False, unique=True),
    _text("name"),
    sa.Column("name_key", OutsideText(), nullable=False, unique=True),
    _number("created_us"),
)
"""``name_key`` is the case-folded name: two organisations cannot differ in case alone."""

# --- what came in --------------------------------------------------------------------------------------------------

INPUT_STATES = ("open", "complete")
inputs = sa.Table(
    "inputs",
    metadata,
    _id(),
    _ref("organisation_id", "organisations"),
    _bytes("head_digest"),
    _number("head_bytes"),
    _text("kind"),
    _text("name"),
    _text("format", nullable=True),
    _number("committed_offset", default=0),
    _number("committed_records", default=0),
    _bytes("committed_digest", nullable=True),
    _text("position", nullable=True),
    *_state(INPUT_STATES),
    _number("created_us"),
    _number("updated_us"),
    sa.Index(None, "organisation_id", "head_digest"),
)
"""One content that came in, wherever it lies and whatever it is called; for an archive, one of its members.

``head_digest`` is the BLAKE2b of its first ``head_bytes`` bytes; several inputs may share it. Everything before
``committed_offset`` is in the lake (``committed_digest`` is its digest, as ``sources.contents`` makes it,
``committed_records`` the number of the last record or line). ``position`` is for the reader of a growing input: what
else it needs to go on.
"""

input_offsets = sa.Table(
    "input_offsets",
    metadata,
    _ref("input_id", "inputs", key=True, on_delete="CASCADE"),
    _number("offset", key=True),
    _number("records"),
    _bytes("digest"),
    sa.Index(None, "digest"),
)
"""The digest of everything up to each offset that was ever committed: so that a shorter copy is known too."""

input_names = sa.Table(
    "input_names",
    metadata,
    _ref("input_id", "inputs", key=True, on_delete="CASCADE"),
    _text("name", key=True),
    _number("seen_us"),
)
"""Every name (path, ``archive!member``) under which an input was met, and when last."""

quarantine = sa.Table(
    "quarantine",
    metadata,
    _id(),
    _ref("organisation_id", "organisations"),
    _ref("input_id", "inputs", nullable=True, index=True),
    _text("file"),
    _number("record"),
    _number("offset"),
    _text("code"),
    _text("reason"),
    _bytes("data"),
    _number("received_us"),
    sa.Index(None, "organisation_id", "received_us"),
)

quarantine_retries = sa.Table(
    "quarantine_retries",
    metadata,
    _id(),
    _ref("organisation_id", "organisations"),
    _number("entry_id"),
    _text("file"),
    _number("record"),
    _number("offset"),
    _text("code"),
    _text("reason"),
    _bytes("data"),
    _number("received_us"),
    _number("at_us"),
    _text("actor"),
    _text("outcome"),
    _number("events"),
    sa.Index(None, "organisation_id", "at_us"),
    sa.Index(None, "entry_id"),
)
"""Each time that something in quarantine was read again. ``entry_id`` is its number there; with ``outcome`` ``read`` it
came through and is in quarantine no more: what was kept of it stands here. The others have no ``data``."""

# --- the lake ------------------------------------------------------------------------------------------------------

streams = sa.Table("streams", metadata, _id(), _text("name", unique=True), _number("created_us"))

SEGMENT_STATES = ("live", "merged", "expired", "lost")
segments = sa.Table(
    "segments",
    metadata,
    _number("id", key=True),
    _ref("organisation_id", "organisations"),
    _ref("stream_id", "streams"),
    _text("layout"),
    _text("format"),
    _number("month", nullable=True),
    sa.Column("path", sa.Text(), nullable=False, unique=True),
    _number("rows"),
    _number("bytes"),
    _number("first_us", nullable=True),
    _number("last_us", nullable=True),
    _bytes("content_hash"),
    _bytes("checks"),
    _number("version"),
    *_state(SEGMENT_STATES),
    _ref("replaced_by", "segments", nullable=True),
    _number("committed_us"),
    _number("ended_us", nullable=True),
    sa.Index(None, "state", "organisation_id", "stream_id", "month"),
    sa.Index(None, "organisation_id", "committed_us"),
)
"""``id`` is given out by ``catalogue.reserve_segments``; ``path`` is relative to the lake.
``checks``: see ``verified``. ``ended_us``: when it stopped being live; the row stays when the file is gone. ``lost``:
it was damaged, and set aside (``upkeep.set_aside``)."""

segment_days = sa.Table(
    "segment_days",
    metadata,
    _ref("segment_id", "segments", key=True, on_delete="CASCADE"),
    _number("day", key=True),
    _number("rows"),
    _number("first_us"),
    _number("last_us"),
    sa.Index(None, "day"),
)
"""How many events of which day a segment holds; those without a time are not counted."""

segment_inputs = sa.Table(
    "segment_inputs",
    metadata,
    _ref("segment_id", "segments", key=True, on_delete="CASCADE"),
    _ref("input_id", "inputs", key=True),
    _number("first_record"),
    _number("last_record"),
    _number("rows"),
    sa.Index(None, "input_id", "first_record"),
)
"""Which records of which inputs a segment holds: the way from (input, record) to the segment."""

outlines = sa.Table(
    "outlines",
    metadata,
    _id(),
    _ref("organisation_id", "organisations"),
    _ref("stream_id", "streams"),
    _text("layout"),
    _text("format"),
    _bytes("segments"),
    _bytes("columns"),
    _bytes("grams"),
    _number("rows"),
    sa.Index(None, "stream_id", "organisation_id"),
)
"""What is in some segments, roughly (``store.outlines``): which columns they have, and what their texts are made of."""

host_days = sa.Table(
    "host_days",
    metadata,
    _ref("organisation_id", "organisations", key=True),
    _ref("stream_id", "streams", key=True),
    _number("day", key=True),
    _text("host", key=True),
    _number("rows"),
    _number("first_us"),
    _number("last_us"),
)
"""Which host sent how many events of which stream on which day: who fell silent is read from here."""

host_presence = sa.Table(
    "host_presence",
    metadata,
    _ref("organisation_id", "organisations", key=True),
    _ref("stream_id", "streams", key=True),
    _text("host", key=True),
    _number("first_day"),
    _bytes("days"),
)
"""The same days of each host and stream in one row (``presence``): so that all of history is looked over at once."""

retention = sa.Table(
    "retention",
    metadata,
    _id(),
    _ref("organisation_id", "organisations", nullable=True),
    _text("stream_pattern"),
    _number("days"),
    _number("created_us"),
    sa.UniqueConstraint("organisation_id", "stream_pattern"),
)
"""How many days events are kept: of a stream, or of all whose name begins with what stands before ``*``."""

sighting_files = sa.Table(
    "sighting_files",
    metadata,
    _id(),
    sa.Column("name", sa.Text(), nullable=False, unique=True),
    _number("size_bytes"),
    _number("observables"),
    _number("rows"),
    _number("count_"),
    _number("first_day", nullable=True),
    _number("last_day", nullable=True),
    sa.Column("organisations", sa.Text(), nullable=False),
    _bytes("content_hash"),
    _number("canonical_version"),
    *_state(("live", "merged")),
    _ref("replaced_by", "sighting_files", nullable=True),
    _number("committed_us"),
    _number("ended_us", nullable=True),
    sa.Index(None, "state"),
)
"""Files of the sightings index, see ``sightings.layout.IndexFile``. ``organisations`` is JSON: a list of numbers."""

# --- rules, indicators, and what they were run over ----------------------------------------------------------------

rule_versions = sa.Table(
    "rule_versions",
    metadata,
    _id(),
    _text("rule_id"),
    sa.Column("content_hash", sa.Text(), nullable=False),
    _text("kind"),
    _text("title"),
    _text("level"),
    _text("file"),
    _bytes("definition"),
    _number("added_us"),
    _number("retired_us", nullable=True),
    sa.UniqueConstraint("rule_id", "content_hash"),
)
"""``definition``: the rule as ``model.rules`` holds it, MessagePack."""

rule_sets = sa.Table(
    "rule_sets",
    metadata,
    _id(),
    sa.Column("content_hash", sa.Text(), nullable=False, unique=True),
    _number("rules"),
    _number("created_us"),
)
"""Some rule versions together: what was run at once. Three thousand rules over a segment are one row of coverage."""

rule_set_members = sa.Table(
    "rule_set_members",
    metadata,
    _ref("rule_set_id", "rule_sets", key=True, on_delete="CASCADE"),
    _ref("rule_version_id", "rule_versions", key=True, index=True),
)

indicator_series = sa.Table(
    "indicator_series",
    metadata,
    _id(),
    _ref("organisation_id", "organisations", nullable=True),
    _text("name"),
    _text("series_key", unique=True),
    _number("created_us"),
)
"""A set of indicators under its name, through all its versions; without an organisation it is for all.
``series_key`` is the folded name and the organisation: a database takes two without an organisation for different."""

INDICATOR_SET_STATES = ("loading", "live", "retired")
indicator_sets = sa.Table(
    "indicator_sets",
    metadata,
    _id(),
    _ref("series_id", "indicator_series"),
    _number("version"),
    *_state(INDICATOR_SET_STATES),
    _text("source"),
    _text("marking"),
    sa.Column("content_hash", sa.Text(), nullable=False),
    _number("indicators"),
    _number("warned"),
    _number("added"),
    _number("gone"),
    _number("added_us"),
    _number("retired_us", nullable=True),
    _text("details"),
    sa.Index(None, "series_id", "version"),
)
"""One version of a set. ``loading``: not complete, seen by nobody. ``added`` and ``gone``: how many indicators are new
in it, and are in it no more. ``details`` is JSON: what was skipped or not readable, and why."""

indicators = sa.Table(
    "indicators",
    metadata,
    _id(),
    _ref("series_id", "indicator_series"),
    _ref("added_in", "indicator_sets"),
    _ref("retired_in", "indicator_sets", nullable=True),
    _bytes("digest"),
    _text("kind"),
    _text("how"),
    _text("value"),
    _text("written"),
    _text("verdict"),
    _number("confidence", nullable=True),
    _number("valid_from_us", nullable=True),
    _number("valid_until_us", nullable=True),
    _text("marking"),
    _text("source"),
    _text("reference"),
    _text("description"),
    _text("warning"),
    sa.Index(None, "series_id", "kind", "value"),
    sa.Index(None, "kind", "value"),
)
"""An indicator is in the versions from ``added_in`` up to the one before ``retired_in``. ``digest`` is that of all that
is said about it. ``how``: ``is``, ``below`` (a domain and all under it), ``within`` (a network), ``named`` (a file of
that name in any folder). ``value`` is canonical, ``written`` as the set has it. ``warning``: the warning list that
keeps it from waking anybody, else empty."""

rule_coverage = sa.Table(
    "rule_coverage",
    metadata,
    _ref("segment_id", "segments", key=True),
    _ref("rule_set_id", "rule_sets", key=True, index=True),
    _number("run_us"),
    _number("results"),
)

indicator_coverage = sa.Table(
    "indicator_coverage",
    metadata,
    _ref("segment_id", "segments", key=True),
    _ref("indicator_set_id", "indicator_sets", key=True, index=True),
    _number("run_us"),
    _number("results"),
)

detections = sa.Table(
    "detections",
    metadata,
    _id(),
    _ref("organisation_id", "organisations"),
    sa.Column("public_id", sa.Text(), nullable=False, unique=True),
    _bytes("identity"),
    _text("kind"),
    _ref("rule_version_id", "rule_versions", nullable=True),
    _ref("indicator_id", "indicators", nullable=True),
    _text("rule_id"),
    _text("rule_title"),
    _text("level"),
    _number("time_us", nullable=True),
    _text("host"),
    _text("account"),
    _ref("stream_id", "streams", nullable=True),
    _ref("input_id", "inputs", nullable=True),
    _number("record"),
    _number("day", nullable=True),
    _text("file"),
    _text("details"),
    _text("found_by"),
    _number("found_us"),
    _number("suppressed_by", nullable=True),
    sa.UniqueConstraint("organisation_id", "identity"),
    sa.Index(None, "organisation_id", "time_us"),
    sa.Index(None, "time_us"),
    sa.Index(None, "rule_version_id"),
    sa.Index(None, "input_id", "record"),
    sa.Index(None, "rule_id", "host"),
    sa.Index(None, "rule_id", "time_us"),
    sa.Index(None, "host", "time_us"),
    sa.Index(None, "account", "time_us"),
    sa.Index(None, "level", "time_us"),
    _partial("ix_detections_hidden", "organisation_id", where="suppressed_by IS NOT NULL"),
    # By themselves: where logs name no host there may be a great many.
    _partial(
        "ix_detections_of_no_host",
        *("organisation_id", "stream_id", "time_us", "level", "rule_id", "suppressed_by", "host"),
        where="length(host) = 0",
    ),
    sa.Index(
        "ix_detections_of_host",
        *("host", "rule_id", "organisation_id", "account", "level", "time_us", "stream_id", "suppressed_by"),
    ),
    sa.Index(
        "ix_detections_of_account",
        *("account", "rule_id", "organisation_id", "host", "level", "time_us", "stream_id", "suppressed_by"),
    ),
)
"""``identity`` is made of what the detection is (rule and content, or indicator; input, record): the same is stored
once. (input, record) with stream and day is the pointer to the evidence; segments come and go. ``details`` is JSON:
matched values, atoms, techniques. ``found_by``: ``arrival`` or ``hunt``. The last two indexes hold all that is counted
of one host or account, so that nothing else is read for it."""

behaviour_parties = sa.Table(
    "behaviour_parties",
    metadata,
    _ref("detection_id", "detections", key=True, on_delete="CASCADE"),
    _text("kind", key=True),
    _text("value", key=True),
    _text("role"),
    sa.Index(None, "kind", "value"),
)
"""Whom a detection of kind ``behaviour`` is about: an observable (of hosts the first label), as ``actor`` or
``object``."""

correlation_state = sa.Table(
    "correlation_state",
    metadata,
    _ref("organisation_id", "organisations", key=True),
    _text("name", key=True),
    _bytes("state"),
    _number("updated_us"),
)

correlation_matches = sa.Table(
    "correlation_matches",
    metadata,
    _id(),
    _ref("organisation_id", "organisations"),
    _ref("rule_version_id", "rule_versions"),
    _number("time_us", nullable=True),
    _ref("input_id", "inputs"),
    _number("record"),
    _text("host"),
    _text("account"),
    _bytes("fields"),
    sa.UniqueConstraint("organisation_id", "rule_version_id", "input_id", "record", name="uq_correlation_matches"),
    sa.Index("ix_correlation_matches", "organisation_id", "rule_version_id", "time_us"),
)
"""Matches that correlations count, with the values they group by (MessagePack)."""

JOB_STATES = ("waiting", "running", "done", "failed", "cancelled")
jobs = sa.Table(
    "jobs",
    metadata,
    _id(),
    sa.Column("public_id", sa.Text(), nullable=False, unique=True),
    _ref("organisation_id", "organisations", nullable=True),
    _text("kind"),
    *_state(JOB_STATES),
    _ref("rule_set_id", "rule_sets", nullable=True),
    _ref("indicator_set_id", "indicator_sets", nullable=True),
    _text("request"),
    _text("progress"),
    _number("segments_total", default=0),
    _number("segments_done", default=0),
    _number("results", default=0),
    _text("error"),
    _number("created_us"),
    _number("started_us", nullable=True),
    _number("finished_us", nullable=True),
    sa.Index(None, "state", "created_us"),
)
"""Work that goes on after a restart. ``request`` and ``progress`` are JSON of whoever does the work."""

rule_packs = sa.Table(
    "rule_packs",
    metadata,
    _id(),
    sa.Column("public_id", sa.Text(), nullable=False, unique=True),
    _text("name"),
    _text("made_by"),
    _ref("job_id", "jobs"),
    _bytes("content", nullable=True),
    _bytes("rules", nullable=True),
    _bytes("report", nullable=True),
    _bytes("trial", nullable=True),
    _number("created_us"),
    _number("switched_on_us", nullable=True),
)
"""Files of rules that somebody sent: ``content`` until they are read, then what is in them and what came of it, then
what a trial over history found (``hunt.packs`` says how each looks). ``job_id`` is the job that reads them."""

# --- accounts ------------------------------------------------------------------------------------------------------

USER_STATES = ("active", "disabled")
users = sa.Table(
    "users",
    metadata,
    _id(),
    sa.Column("public_id", sa.Text(), nullable=False, unique=True),
    _text("name"),
    sa.Column("name_key", OutsideText(), nullable=False, unique=True),
    _text("title"),
    _text("language"),
    *_state(USER_STATES),
    _text("password", nullable=True),
    _bytes("totp", nullable=True),
    _number("totp_step", default=0),
    _number("created_us"),
    _number("signed_in_us", nullable=True),
)
"""``name_key`` is the name as it is compared; ``title`` what people call the user. ``password`` is an Argon2 hash,
``totp`` an encrypted secret, ``totp_step`` the last step whose code was used: no code counts twice."""

memberships = sa.Table(
    "memberships",
    metadata,
    _id(),
    _ref("user_id", "users", on_delete="CASCADE"),
    _ref("organisation_id", "organisations", nullable=True),
    _text("member_key", unique=True),
    _text("role"),
    sa.Index(None, "user_id"),
)
"""The role of a user in an organisation; without one, in every organisation there is and will be. ``member_key`` is
user and organisation: a database takes two rows without an organisation for different."""

sessions = sa.Table(
    "sessions",
    metadata,
    _bytes("digest", key=True),
    sa.Column("public_id", sa.Text(), nullable=False, unique=True),
    _ref("user_id", "users", index=True, on_delete="CASCADE"),
    _text("means"),
    _text("address"),
    _text("agent"),
    _number("created_us"),
    _number("seen_us"),
)
"""Who is signed in. ``digest`` is that of the token, which only the browser has."""

identities = sa.Table(
    "identities",
    metadata,
    _id(),
    sa.Column("public_id", sa.Text(), nullable=False, unique=True),
    _ref("user_id", "users", index=True, on_delete="CASCADE"),
    sa.Column("issuer", OutsideText(), nullable=False),
    sa.Column("subject", OutsideText(), nullable=False),
    _text("title"),
    _number("created_us"),
    _number("used_us", nullable=True),
    sa.UniqueConstraint("issuer", "subject"),
)
"""By whom else a user is known: ``subject`` is what the issuer calls them, for ever; ``title`` is for people."""

passkeys = sa.Table(
    "passkeys",
    metadata,
    _id(),
    sa.Column("public_id", sa.Text(), nullable=False, unique=True),
    _ref("user_id", "users", index=True, on_delete="CASCADE"),
    _text("name"),
    _text("host"),
    sa.Column("credential", sa.LargeBinary(), nullable=False, unique=True),
    _bytes("public_key"),
    _number("signatures"),
    _number("created_us"),
    _number("used_us", nullable=True),
)
"""Keys of users that never leave their devices. ``host`` is the name of the console under which one was made: it works
there alone. ``signatures`` is the counter of the device, if it counts."""

tickets = sa.Table(
    "tickets",
    metadata,
    _bytes("digest", key=True),
    _text("kind"),
    _ref("user_id", "users", nullable=True, index=True, on_delete="CASCADE"),
    _text("details"),
    _number("created_us"),
    _number("expires_us"),
    sa.Index(None, "kind", "created_us"),
)
"""What may be used once and not for long: sign-in links, and signing in that is under way. ``details`` is JSON."""

attempts = sa.Table(
    "attempts",
    metadata,
    _bytes("digest", key=True),
    _number("tries"),
    sa.Column("last_us", _Big, nullable=False, index=True),
)
"""How often somebody tried to sign in, and when last: as one user, from one address."""

api_tokens = sa.Table(
    "api_tokens",
    metadata,
    _bytes("digest", key=True),
    sa.Column("public_id", sa.Text(), nullable=False, unique=True),
    _ref("user_id", "users", index=True, on_delete="CASCADE"),
    _text("name"),
    _text("rights"),
    sa.Column("organisations", sa.Text(), nullable=True),
    _number("created_us"),
    _number("expires_us"),
    _number("used_us", nullable=True),
)
"""``rights`` and ``organisations`` are JSON lists: what of the rights of the user the token has, and where."""

# --- the audit log -------------------------------------------------------------------------------------------------

acts = sa.Table(
    "acts",
    metadata,
    _number("number", key=True),
    sa.Column("time_us", _Big, nullable=False, index=True),
    _ref("organisation_id", "organisations", nullable=True, index=True),
    _text("actor"),
    _text("what"),
    _text("about"),
    _bytes("entry"),
    _bytes("leaf"),
)
"""The audit log. ``entry`` is what was logged, exactly: a leaf of the Merkle tree, and ``leaf`` its hash. The other
columns are for looking things up."""

audit_head = sa.Table("audit_head", metadata, _id(), _number("size"), _bytes("peaks"), _text("checkpoint"))
"""One row: how many acts there are, the roots of the full trees that they make, and the signed checkpoint."""

idempotency_keys = sa.Table(
    "idempotency_keys",
    metadata,
    _bytes("digest", key=True),
    _bytes("request"),
    _number("status"),
    _bytes("body"),
    sa.Column("created_us", _Big, nullable=False, index=True),
)
"""Requests that must take effect once. ``digest`` is that of key and actor; ``status`` is 0 while one is under way."""

saved_views = sa.Table(
    "saved_views",
    metadata,
    _id(),
    sa.Column("public_id", sa.Text(), nullable=False, unique=True),
    _ref("user_id", "users", nullable=True, on_delete="CASCADE"),
    _ref("organisation_id", "organisations", nullable=True, index=True),
    _text("owner"),
    _text("list"),
    _text("name"),
    _text("query"),
    _number("created_us"),
    sa.Index(None, "owner", "list"),
)
"""Lists as somebody wants to see them again: ``query`` is the address after the question mark. ``owner`` is who made
it; with an organisation, it is for everybody who may see that."""

# --- seals ---------------------------------------------------------------------------------------------------------

SEAL = "seal"
_UNSEALED = (
    *("meta", "indicators"),
    *situationtables.UNSEALED,
)
"""``meta`` is compared with the mark of the workspace, indicators with the hash of their set; what is in the events of
detections and how they are grouped can be made anew."""
SEALED = tuple(table for table in metadata.sorted_tables if table.name not in _UNSEALED)
"""Tables in which SQLite's rows have a seal (``store.seals``)."""
for _table in SEALED:
    _table.append_column(sa.Column(SEAL, sa.LargeBinary()))
