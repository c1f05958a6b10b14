"""Passkeys: signing in with a key that never leaves one's device, and that works at this console alone.

The device verifies its user itself (by a finger, a face, a PIN), so a passkey counts for password and one-time code
together. Every answer of a device is to a challenge of ours, good for one time and some minutes. A device that counts
its signatures must count upwards: otherwise there are two of it.

Source: W3C Web Authentication, Level 2, sections 7.1 and 7.2; OWASP ASVS 5.0, chapter 6.
"""

from __future__ import annotations

import ipaddress
import secrets
from typing import Any, Final, NamedTuple

import msgspec
import sqlalchemy as sa
import webauthn
from webauthn.helpers import base64url_to_bytes, bytes_to_base64url
from webauthn.helpers.exceptions import WebAuthnException
from webauthn.helpers.structs import (
    AttestationConveyancePreference,
    AuthenticatorSelectionCriteria,
    PublicKeyCredentialDescriptor,
    ResidentKeyRequirement,
    UserVerificationRequirement,
)

from mingjian.errors import InputError, LimitExceeded, NotAuthenticated, NotFound, SchemaError, StateError
from mingjian.formats.bounded import decode_json
from mingjian.store import seals
from mingjian.store import tables as t
from mingjian.store.accounts import checked_title, read_users
from mingjian.store.attempts import count_try, forget_tries
from mingjian.store.audit import act
from mingjian.store.catalogue import insert_unless_there
from mingjian.store.scope import Scope
from mingjian.store.sessions import Opened, Session, check_fresh, open_session
from mingjian.store.tickets import TicketKind, make_ticket, take_ticket
from mingjian.store.workspace import Workspace, new_id
from mingjian.telemetry import Secret

PASSKEYS_PER_USER_MAX: Final = 20
CHALLENGE_BYTES: Final = 32
UNDER_WAY_S: Final = 300
"""So long may one look for one's device."""
ANSWER_BYTES_MAX: Final = 16_384
VALUES_MAX: Final = 200
CREDENTIAL_BYTES_MAX: Final = 1_023
"""Source: Web Authentication, section 4, credential ID."""
SHOWN_NAME: Final = "Mingjian"


class Site(NamedTuple):
    """At which console a passkey works."""

    host: str
    """A name: browsers make no passkeys for an address."""
    origin: str


class Passkey(msgspec.Struct, frozen=True, kw_only=True):
    """A passkey of a user."""

    public_id: str
    name: str
    host: str
    created_us: int
    used_us: int | None


class Asked(NamedTuple):
    """What a browser asks a device for."""

    ticket: Secret
    options: str
    """As JSON."""


class _Response(msgspec.Struct, rename="camel"):
    client_data: str = msgspec.field(name="clientDataJSON")
    attestation_object: str = ""
    authenticator_data: str = ""
    signature: str = ""
    user_handle: str | None = None


class _Answer(msgspec.Struct, rename="camel"):
    """The answer of a device: what of it counts."""

    id: str
    raw_id: str
    type: str
    response: _Response


_decoder: Final = msgspec.json.Decoder(_Answer)


def is_possible(host: str, *, is_secure: bool) -> bool:
    """Whether browsers make passkeys for a console of this name.

    >>> is_possible("localhost", is_secure=False), is_possible("mj.example", is_secure=False)
    (True, False)
    >>> is_possible("127.0.0.1", is_secure=True)
    False
    """
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return bool(host) and (is_secure or host == "localhost" or host.endswith(".localhost"))
    return False


# --- one's own -----------------------------------------------------------------------------------------------------


def begin_passkey(workspace: Workspace, session: Session, site: Site) -> Asked:
    """Begin to make a passkey.

    Raises:
        NotPermitted: the user did not sign in just now.
        LimitExceeded: there are ``PASSKEYS_PER_USER_MAX``.
    """
    check_fresh(session)
    user = session.user
    challenge = secrets.token_bytes(CHALLENGE_BYTES)
    with workspace.begin() as connection:
        there = connection.execute(sa.select(t.passkeys).where(t.passkeys.c.user_id == user.id)).all()
        if len(there) >= PASSKEYS_PER_USER_MAX:
            raise LimitExceeded("PASSKEYS_PER_USER_MAX", PASSKEYS_PER_USER_MAX, hint="remove one that is not used")
        ticket = _ticket(workspace, connection, challenge, site, user.id)
    options = webauthn.generate_registration_options(
        rp_id=site.host,
        rp_name=SHOWN_NAME,
        user_name=user.name,
        user_id=_handle(user.public_id),
        user_display_name=user.title,
        challenge=challenge,
        timeout=UNDER_WAY_S * 1000,
        attestation=AttestationConveyancePreference.NONE,
        authenticator_selection=AuthenticatorSelectionCriteria(
            resident_key=ResidentKeyRequirement.REQUIRED,
            user_verification=UserVerificationRequirement.REQUIRED,
        ),
        exclude_credentials=[PublicKeyCredentialDescriptor(id=row.credential) for row in there],
    )
    return Asked(ticket, webauthn.options_to_json(options))


def add_passkey(workspace: Workspace, session: Session, ticket: str, name: str, answer: str, site: Site) -> None:
    """Keep a passkey that a device has made. A ticket is good for one try.

    Raises:
        NotPermitted: the user did not sign in just now.
        NotAuthenticated: the answer is to no question of ours, or it took too long; begin again.
        SchemaError, ParseError, LimitExceeded: the answer is none of a device that verified its user.
        StateError: the passkey is there already.
    """
    check_fresh(session)
    user = session.user
    called = checked_title(name) or site.host
    challenge = _challenge(workspace, "new passkey", ticket, site, user.id)
    given = _decoded(answer)
    try:
        made = webauthn.verify_registration_response(
            credential=msgspec.to_builtins(given),
            expected_challenge=challenge,
            expected_rp_id=site.host,
            expected_origin=site.origin,
            require_user_verification=True,
        )
    except _WRONG as error:
        raise SchemaError("the device's answer is not the one that was asked for", hint="begin again") from error
    if not 0 < len(made.credential_id) <= CREDENTIAL_BYTES_MAX:
        raise LimitExceeded("CREDENTIAL_BYTES_MAX", CREDENTIAL_BYTES_MAX)
    values = {
        "public_id": new_id(),
        "user_id": user.id,
        "name": called,
        "host": site.host,
        "credential": made.credential_id,
        "public_key": made.credential_public_key,
        "signatures": made.sign_count,
        "created_us": workspace.clock_us(),
    }
    with workspace.begin() as connection:
        insert = insert_unless_there(connection, t.passkeys).values(values).returning(t.passkeys.c.id)
        if connection.execute(insert).first() is None:
            raise StateError("this passkey is there already")
        act(workspace, connection, session.scope, "user.passkey", about=user.public_id, after={"name": called})


def passkeys_of(workspace: Workspace, session: Session) -> list[Passkey]:
    """The passkeys of the user of a session, the first made first."""
    table = t.passkeys
    query = sa.select(table).where(table.c.user_id == session.user.id).order_by(table.c.id)
    with workspace.read() as connection:
        rows = seals.verified(table, connection.execute(query))
    return [
        Passkey(public_id=row.public_id, name=row.name, host=row.host, created_us=row.created_us, used_us=row.used_us)
        for row in rows
    ]


def rename_passkey(workspace: Workspace, session: Session, public_id: str, name: str) -> None:
    """Call a passkey of one's own something else. Raises: NotFound, SchemaError."""
    called = checked_title(name)
    if not called:
        raise SchemaError("a passkey needs a name", hint="say which device it is on")
    table = t.passkeys
    with workspace.begin() as connection:
        row = _own(connection, session, public_id)
        connection.execute(sa.update(table).where(table.c.id == row.id).values(name=called))
        about, before = session.user.public_id, {"name": row.name}
        act(workspace, connection, session.scope, "user.passkey", about=about, before=before, after={"name": called})


def remove_passkey(workspace: Workspace, session: Session, public_id: str) -> None:
    """Let a passkey of one's own count no longer.

    Raises:
        NotPermitted: the user did not sign in just now.
        NotFound: there is no such passkey.
    """
    check_fresh(session)
    table = t.passkeys
    with workspace.begin() as connection:
        row = _own(connection, session, public_id)
        connection.execute(sa.delete(table).where(table.c.id == row.id))
        about, before = session.user.public_id, {"name": row.name}
        act(workspace, connection, session.scope, "user.passkey", about=about, before=before)


def _own(connection: sa.Connection, session: Session, public_id: str) -> sa.Row[Any]:
    table = t.passkeys
    mine = sa.and_(table.c.public_id == t.storable(public_id), table.c.user_id == session.user.id)
    row = connection.execute(sa.select(table).where(mine)).one_or_none()
    if row is None:
        raise NotFound("there is no such passkey")
    return row


# --- in ------------------------------------------------------------------------------------------------------------


def begin_sign_in(workspace: Workspace, site: Site) -> Asked:
    """Begin to sign somebody in by a passkey. The device knows whom: nothing is said of who there is."""
    challenge = secrets.token_bytes(CHALLENGE_BYTES)
    with workspace.begin() as connection:
        ticket = _ticket(workspace, connection, challenge, site, None)
    options = webauthn.generate_authentication_options(
        rp_id=site.host,
        challenge=challenge,
        timeout=UNDER_WAY_S * 1000,
        user_verification=UserVerificationRequirement.REQUIRED,
    )
    return Asked(ticket, webauthn.options_to_json(options))


def sign_in_by_passkey(
    workspace: Workspace, ticket: str, answer: str, site: Site, *, address: str, agent: str
) -> Opened:
    """Sign somebody in by the answer of a device. A ticket is good for one try.

    Raises:
        NotAuthenticated: it is not the answer of a device that somebody here has registered.
        LimitExceeded: too many tries.
    """
    try:
        given = _decoded(answer)
        credential = base64url_to_bytes(given.raw_id)
    except (InputError, *_WRONG):
        raise NotAuthenticated("this is no answer of a device", hint="begin again") from None
    challenge = _challenge(workspace, "passkey", ticket, site, None)
    account = f"passkey {given.raw_id}"
    count_try(workspace, account=account, address=address)
    table = t.passkeys
    with workspace.begin() as connection:
        known = sa.and_(table.c.credential == credential, table.c.host == site.host)
        row = connection.execute(sa.select(table).where(known)).one_or_none()
        if row is None:
            raise NotAuthenticated("nobody here has this passkey")
        seals.verify(table, row)
        user = read_users(connection, t.users.c.id == row.user_id)[0]
        signatures = _verified(given, row, challenge, site, user.public_id)
        if signatures is not None and user.state == "active":
            # Of two answers that come at once, the second must count on from the first.
            same = sa.and_(table.c.id == row.id, table.c.signatures == row.signatures)
            values = {"signatures": signatures, "used_us": workspace.clock_us()}
            if connection.execute(sa.update(table).where(same).values(values)).rowcount:
                forget_tries(connection, account=account, address=address)
                return open_session(workspace, connection, user, "passkey", address=address, agent=agent)
        scope = Scope.of_roles(user.name, (), user_id=user.id, via="sign-in")
        after = {"by": "passkey", "name": row.name, "address": address}
        act(workspace, connection, scope, "sign-in.refused", about=user.public_id, after=after)
    raise NotAuthenticated("this passkey does not let anybody in", hint="remove it and make a new one")


def _verified(given: _Answer, row: sa.Row[Any], challenge: bytes, site: Site, public_id: str) -> int | None:
    """How many signatures the device has made by now, if it has made this one."""
    handle = given.response.user_handle
    try:
        if handle is not None and base64url_to_bytes(handle) != _handle(public_id):
            return None
        found = webauthn.verify_authentication_response(
            credential=msgspec.to_builtins(given),
            expected_challenge=challenge,
            expected_rp_id=site.host,
            expected_origin=site.origin,
            credential_public_key=row.public_key,
            credential_current_sign_count=row.signatures,
            require_user_verification=True,
        )
    except _WRONG:
        return None
    return found.new_sign_count


# --- questions and answers -----------------------------------------------------------------------------------------

_WRONG: Final = (WebAuthnException, ValueError, TypeError, KeyError, IndexError, OverflowError)
"""What the library raises for answers that are wrong, or are none."""


def _ticket(
    workspace: Workspace, connection: sa.Connection, challenge: bytes, site: Site, user_id: int | None
) -> Secret:
    return make_ticket(
        workspace,
        connection,
        "passkey" if user_id is None else "new passkey",
        lifetime_s=UNDER_WAY_S,
        user_id=user_id,
        details={"challenge": bytes_to_base64url(challenge), "host": site.host},
    )


def _challenge(workspace: Workspace, kind: TicketKind, ticket: str, site: Site, user_id: int | None) -> bytes:
    with workspace.begin() as connection:
        taken = take_ticket(workspace, connection, kind, ticket)
    if taken is None or taken.user_id != user_id or taken.details["host"] != site.host:
        raise NotAuthenticated("this took too long, or was done already", hint="begin again")
    return base64url_to_bytes(taken.details["challenge"])


def _decoded(answer: str) -> _Answer:
    return decode_json(
        answer.encode("utf-8", "replace"),
        _decoder.decode,
        where="the device's answer",
        size_bytes_max=ANSWER_BYTES_MAX,
        values_max=VALUES_MAX,
    )


def _handle(public_id: str) -> bytes:
    """What a device knows a user by. It says nothing to anybody else."""
    return public_id.encode()
