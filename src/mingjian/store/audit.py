"""The audit log: every act, in the transaction of what it did, as a leaf of a Merkle tree with a signed root.

Nothing in it can be altered, removed, put in, put elsewhere or cut off without ``verify`` finding it. The key that
signs is not in the database; and checkpoints are kept outside of it, in the folder ``audit/`` and wherever somebody
keeps a copy, so that an older state of the database put in place of a newer one is found, too.

Anybody can verify an export (``export``) with any program that knows the formats of ``formats.tlog``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, TypeAlias

import msgspec
import sqlalchemy as sa

from mingjian.errors import InputError, NotFound, NotPermitted, ParseError, StateError, StorageError
from mingjian.formats import tlog
from mingjian.formats.bounded import decode_json
from mingjian.store import keys
from mingjian.store import tables as t
from mingjian.store.catalogue import insert_unless_there
from mingjian.store.scope import EVERYONE, OrganisationId, Scope
from mingjian.store.workspace import Workspace, write_durably

FOLDER: Final = "audit"
NEWEST: Final = "checkpoint"
KEY_FILE: Final = "key"
"""In an export: the public key that verifies it. Whoever doubts compares it with the one that they know."""
LIMIT_MAX: Final = 1000
FAULTS_MAX: Final = 20
"""So many faults are listed."""
_HEAD: Final = 1
_BATCH: Final = 10_240


Detail: TypeAlias = "str | int | float | bool | Sequence[Detail] | Mapping[str, Detail] | None"
"""What ``before`` and ``after`` of an act may hold."""


class Act(msgspec.Struct, frozen=True, kw_only=True):
    """An entry of the log: who did what to what, when, and how it was before and after."""

    number: int
    """Its place in the log, from 0."""
    time_us: int
    actor: str
    via: str
    what: str
    """A verb with a dot: ``user.made``."""
    about: str
    """What it was done to."""
    organisation: OrganisationId | None
    """None: it concerns the workspace as a whole."""
    before: Mapping[str, Detail]
    after: Mapping[str, Detail]


class _Written(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An entry as it is decoded: any JSON may be in what was before and after."""

    number: int
    time_us: int
    actor: str
    via: str
    what: str
    about: str
    organisation: OrganisationId | None
    before: dict[str, Any]
    after: dict[str, Any]


_decoder: Final = msgspec.json.Decoder(_Written)


class Proof(msgspec.Struct, frozen=True, kw_only=True):
    """What convinces somebody else that an act is in the log."""

    entry: bytes
    index: int
    hashes: tuple[bytes, ...]
    checkpoint: str
    key: str


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """Something in the log that is not as it was signed."""

    number: int | None
    """The act that it was found at, if it was at one."""
    said: str


# --- writing -------------------------------------------------------------------------------------------------------


def act(
    workspace: Workspace,
    connection: sa.Connection,
    scope: Scope,
    what: str,
    *,
    about: str = "",
    organisation: OrganisationId | None = None,
    before: Mapping[str, Detail] | None = None,
    after: Mapping[str, Detail] | None = None,
) -> int:
    """Log an act, as the last statement of the transaction that does it, and give its number.

    Acts wait for each other until the transaction ends, so what comes after this should be nothing. ``before`` and
    ``after`` hold no secret: they can never be taken back. What makes the entry too long is replaced by its hash.

    Raises:
        ConfigError, StorageError: the key of the log cannot be used; nothing may be committed then.
    """
    assert "." in what
    now = workspace.clock_us()
    size, peaks = _locked_head(connection)
    entry = _entry(size, now, scope, what, about, organisation, before or {}, after or {})
    leaf = tlog.leaf_hash(entry)
    grown = tlog.grown(peaks, size, leaf)
    values = {
        "number": size,
        "time_us": now,
        "organisation_id": organisation,
        "actor": scope.actor,
        "what": what,
        "about": about,
        "entry": entry,
        "leaf": leaf,
    }
    connection.execute(sa.insert(t.acts).values(values))
    head = {
        "size": size + 1,
        "peaks": b"".join(grown),
        "checkpoint": _signed(workspace, size + 1, tlog.root_of_peaks(grown)),
    }
    connection.execute(sa.update(t.audit_head).where(t.audit_head.c.id == _HEAD).values(head))
    return size


def wait_for_turn(connection: sa.Connection) -> None:
    """Wait for whoever is about to log an act: what is counted after this, no other act changes before the end."""
    _locked_head(connection)


def _locked_head(connection: sa.Connection) -> tuple[int, tuple[bytes, ...]]:
    empty = {"id": _HEAD, "size": 0, "peaks": b"", "checkpoint": ""}
    connection.execute(insert_unless_there(connection, t.audit_head), [empty])
    row = connection.execute(sa.select(t.audit_head).where(t.audit_head.c.id == _HEAD).with_for_update()).one()
    peaks = tuple(row.peaks[i : i + tlog.HASH_BYTES] for i in range(0, len(row.peaks), tlog.HASH_BYTES))
    if len(peaks) != row.size.bit_count():
        raise StorageError("the head of the audit log is damaged", hint="mingjian audit verify says more")
    return row.size, peaks


def _entry(
    number: int,
    time_us: int,
    scope: Scope,
    what: str,
    about: str,
    organisation: OrganisationId | None,
    before: Mapping[str, Detail],
    after: Mapping[str, Detail],
) -> bytes:
    content: dict[str, object] = {
        "number": number,
        "time_us": time_us,
        "actor": t.storable(scope.actor),
        "via": scope.via,
        "what": what,
        "about": t.storable(about),
        "organisation": organisation,
        "before": before,
        "after": after,
    }
    entry = _json(content)
    if len(entry) > tlog.ENTRY_BYTES_MAX:
        for name in ("before", "after"):
            given = _json(content[name])
            content[name] = {"bytes": len(given), "sha256": sha256(given).hexdigest()}
        entry = _json(content)
    return entry


def _json(value: object) -> bytes:
    # Escapes of ASCII alone: the same bytes whatever the text, lone surrogates included.
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def _signed(workspace: Workspace, size: int, root: bytes) -> str:
    name = _origin(workspace)
    checkpoint = tlog.Checkpoint(origin=name, size=size, root=root)
    return tlog.signed_checkpoint(checkpoint, name, keys.signing_key(workspace.folder))


def _origin(workspace: Workspace) -> str:
    return f"mingjian/{workspace.public_id}"


def verifier_key(workspace: Workspace) -> tlog.VerifierKey:
    """The public key that verifies the log of a workspace. Raises: ConfigError, StorageError."""
    return tlog.key_of(_origin(workspace), keys.signing_key(workspace.folder))


# --- reading -------------------------------------------------------------------------------------------------------


def acts(
    workspace: Workspace,
    scope: Scope,
    *,
    beyond_number: int | None = None,
    limit: int = 200,
    what: str | None = None,
    actor: str | None = None,
    about: str | None = None,
    oldest_first: bool = False,
) -> list[Act]:
    """The acts that a scope may audit, the newest first; ``beyond_number`` goes on from the last one of a page.

    ``what`` is a verb, or what stands before its dot (``user``).
    """
    table = t.acts
    order = table.c.number.asc() if oldest_first else table.c.number.desc()
    query = sa.select(table).where(_audited(scope)).order_by(order).limit(min(limit, LIMIT_MAX))
    if beyond_number is not None:
        beyond = table.c.number > beyond_number if oldest_first else table.c.number < beyond_number
        query = query.where(beyond)
    if what is not None:
        query = query.where(sa.or_(table.c.what == what, table.c.what.startswith(f"{what}.", autoescape=True)))
    if actor is not None:
        query = query.where(table.c.actor == t.storable(actor))
    if about is not None:
        query = query.where(table.c.about == t.storable(about))
    with workspace.read() as connection:
        return [_act(row.entry) for row in connection.execute(query)]


def _audited(scope: Scope) -> sa.ColumnElement[bool]:
    if scope.audits is EVERYONE:
        return sa.true()
    return t.acts.c.organisation_id.in_(sorted(scope.audits))


def _act(entry: bytes) -> Act:
    try:
        found = decode_json(entry, _decoder.decode, where="audit log")
    except InputError:
        raise StorageError("an entry of the audit log is damaged", hint="mingjian audit verify says more") from None
    return Act(
        number=found.number,
        time_us=found.time_us,
        actor=found.actor,
        via=found.via,
        what=found.what,
        about=found.about,
        organisation=found.organisation,
        before=found.before,
        after=found.after,
    )


def proof_of(workspace: Workspace, scope: Scope, number: int) -> Proof:
    """Prove that an act is in the log, against the newest checkpoint. Raises: NotFound."""
    with workspace.read() as connection:
        entry = connection.execute(sa.select(t.acts.c.entry).where(t.acts.c.number == number, _audited(scope))).scalar()
        head = connection.execute(sa.select(t.audit_head).where(t.audit_head.c.id == _HEAD)).one_or_none()
        if entry is None or head is None:
            raise NotFound("there is no such act")
        query = sa.select(t.acts.c.leaf).where(t.acts.c.number < head.size).order_by(t.acts.c.number)
        leaves = connection.execute(query).scalars().all()
    hashes = tlog.inclusion_proof(leaves, number)
    return Proof(entry=entry, index=number, hashes=hashes, checkpoint=head.checkpoint, key=str(verifier_key(workspace)))


def checkpoint(workspace: Workspace) -> str:
    """The newest signed checkpoint; of an empty log, one that says so. Raises: ConfigError, StorageError."""
    with workspace.read() as connection:
        note = connection.execute(sa.select(t.audit_head.c.checkpoint).where(t.audit_head.c.id == _HEAD)).scalar()
    return note or _signed(workspace, 0, tlog.EMPTY_ROOT)


def publish(workspace: Workspace) -> None:
    """Keep the newest checkpoint outside of the database: as the newest, and as the last one of its day.

    To be called now and then, and at the end of whatever acted. Raises: StorageError.
    """
    folder = workspace.folder / FOLDER
    note = checkpoint(workspace).encode()
    day = datetime.fromtimestamp(workspace.clock_us() / 1_000_000, UTC).date().isoformat()
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        for name in (f"{day}.{NEWEST}", NEWEST):
            path = folder / name
            if not path.exists() or path.read_bytes() != note:
                write_durably(path, note)
    except OSError as error:
        raise StorageError(f"a checkpoint cannot be written: {error.strerror}", where=str(folder)) from error


# --- verifying -----------------------------------------------------------------------------------------------------


def verify(workspace: Workspace, scope: Scope, kept: Sequence[str] = ()) -> tuple[int, list[Fault]]:
    """Look whether the log is as it was signed: how many acts it has, and what is wrong with it.

    ``kept`` are checkpoints that somebody kept elsewhere; those in the folder ``audit/`` count anyway.

    Raises:
        NotPermitted: the scope may not audit everything.
        ParseError: a kept checkpoint is not one that this log has signed.
        ConfigError, StorageError: the key or the database cannot be read.
    """
    if scope.audits is not EVERYONE:
        raise NotPermitted(f"{scope.actor} may not audit the whole workspace")
    key = verifier_key(workspace)
    wanted = _kept_checkpoints(workspace, key, kept)
    faults: list[Fault] = []
    with workspace.read() as connection:
        head = connection.execute(sa.select(t.audit_head).where(t.audit_head.c.id == _HEAD)).one_or_none()
        size, peaks = 0, ()
        for row in _rows(connection):
            faults += _faults_of_row(row, size)
            if len(faults) >= FAULTS_MAX:
                return size, faults[:FAULTS_MAX]
            peaks = tlog.grown(peaks, size, tlog.leaf_hash(row.entry))
            size += 1
            for name in [name for name, each in wanted.items() if each.size == size]:
                faults += _compared(name, wanted.pop(name), size, tlog.root_of_peaks(peaks))
    faults += _faults_of_head(head, key, size, peaks)
    for name, each in wanted.items():
        faults += _compared(name, each, size, tlog.root_of_peaks(peaks))
    return size, faults[:FAULTS_MAX]


def _rows(connection: sa.Connection) -> Iterator[sa.Row[Any]]:
    query = sa.select(t.acts).order_by(t.acts.c.number)
    last = -(2**62)
    while rows := connection.execute(query.where(t.acts.c.number > last).limit(_BATCH)).all():
        yield from rows
        last = rows[-1].number


def _faults_of_row(row: sa.Row[Any], number: int) -> Iterator[Fault]:
    if row.number != number:
        yield Fault(number=number, said=f"the act at this place has the number {row.number}")
    if tlog.leaf_hash(row.entry) != row.leaf:
        yield Fault(number=number, said="the entry is not the one that was hashed")
    try:
        found = _act(row.entry)
    except StorageError:
        yield Fault(number=number, said="the entry cannot be read")
        return
    listed = (row.number, row.time_us, row.organisation_id, row.actor, row.what, row.about)
    if listed != (found.number, found.time_us, found.organisation, found.actor, found.what, found.about):
        yield Fault(number=number, said="the row says something else than the entry in it")


def _faults_of_head(
    head: sa.Row[Any] | None, key: tlog.VerifierKey, size: int, peaks: Sequence[bytes]
) -> Iterator[Fault]:
    if head is None:
        if size:
            yield Fault(number=None, said="the log has no head")
        return
    if (head.size, head.peaks) != (size, b"".join(peaks)):
        yield Fault(number=None, said=f"the head is that of {head.size:,} acts, not of these {size:,}")
    try:
        signed = tlog.open_checkpoint(head.checkpoint, key)
    except InputError as error:
        yield Fault(number=None, said=f"the checkpoint in the database: {error.what}")
        return
    yield from _compared("the checkpoint in the database", signed, size, tlog.root_of_peaks(peaks))


def _compared(name: str, signed: tlog.Checkpoint, size: int, root: bytes) -> Iterator[Fault]:
    if signed.size > size:
        yield Fault(number=None, said=f"{name} is of {signed.size:,} acts, and {size:,} are there")
    elif signed.size == size and signed.root != root:
        yield Fault(number=None, said=f"{name} was signed over {size:,} other acts")
    elif signed.size < size and name == "the checkpoint in the database":
        yield Fault(number=None, said=f"{name} is of {signed.size:,} acts only, and {size:,} are there")


def _kept_checkpoints(workspace: Workspace, key: tlog.VerifierKey, given: Sequence[str]) -> dict[str, tlog.Checkpoint]:
    notes = {f"the given checkpoint {number}": note for number, note in enumerate(given, 1)}
    folder = workspace.folder / FOLDER
    try:
        for path in sorted(folder.glob(f"*{NEWEST}")) if folder.is_dir() else ():
            notes[f"audit/{path.name}"] = path.read_text("utf-8", "replace")
    except OSError as error:
        raise StorageError(f"a checkpoint cannot be read: {error.strerror}", where=str(folder)) from error
    opened: dict[str, tlog.Checkpoint] = {}
    for name, note in notes.items():
        try:
            found = tlog.open_checkpoint(note, key)
        except InputError as error:
            raise ParseError(error.what, where=name, hint=error.hint) from None
        if found.size:
            opened[name] = found
    return opened


# --- for others ----------------------------------------------------------------------------------------------------


def export(workspace: Workspace, scope: Scope, folder: Path) -> int:
    """Write the whole log as files that anybody can verify, and give the number of acts.

    Source: C2SP tlog-tiles.

    Raises:
        NotPermitted: the scope may not audit everything.
        StateError: there is something in the folder already.
        StorageError: it cannot be written.
    """
    if scope.audits is not EVERYONE:
        raise NotPermitted(f"{scope.actor} may not audit the whole workspace")
    if folder.exists() and any(folder.iterdir()):
        raise StateError("there is something in this folder already", where=str(folder), hint="name an empty one")

    def put(name: str, data: bytes) -> None:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    leaves: list[bytes] = []
    entries: list[bytes] = []
    try:
        with workspace.read() as connection:
            head = connection.execute(sa.select(t.audit_head).where(t.audit_head.c.id == _HEAD)).one_or_none()
            for row in _rows(connection):
                entries.append(row.entry)
                leaves.append(tlog.leaf_hash(row.entry))
                if len(entries) == tlog.TILE_WIDTH:
                    put(tlog.tile_path(None, len(leaves) // tlog.TILE_WIDTH - 1, tlog.TILE_WIDTH), tlog.bundle(entries))
                    entries.clear()
        if entries:
            put(tlog.tile_path(None, len(leaves) // tlog.TILE_WIDTH, len(entries)), tlog.bundle(entries))
        for name, data in tlog.tiles(leaves):
            put(name, data)
        put(KEY_FILE, f"{verifier_key(workspace)}\n".encode())
        put(NEWEST, (head.checkpoint if head is not None else _signed(workspace, 0, tlog.EMPTY_ROOT)).encode())
    except OSError as error:
        raise StorageError(f"cannot be written: {error.strerror}", where=str(folder)) from error
    return len(leaves)
