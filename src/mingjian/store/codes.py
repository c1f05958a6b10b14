"""One-time codes of an app, as a second factor beside the password.

Each code counts once, also if two come with it at the same time. Source: RFC 6238.
"""

from __future__ import annotations

from hmac import compare_digest
from typing import Final

import sqlalchemy as sa
from pyotp import random_base32
from pyotp.totp import TOTP

from mingjian.store import keys
from mingjian.store import tables as t
from mingjian.store.workspace import Workspace
from mingjian.telemetry import Secret

STEP_S: Final = 30
STEPS_OFF_MAX: Final = 1
"""So many steps may the clock of the app be off, either way."""
DIGITS: Final = 6
ISSUER: Final = "Mingjian"
_PURPOSE: Final = "totp"


def new_secret() -> Secret:
    """A secret for an app, as it is typed in."""
    return Secret(random_base32())


def address_of(secret: Secret, name: str) -> Secret:
    """What the QR code for an app says: an address ``otpauth://…``."""
    return Secret(_generator(secret).provisioning_uri(name=name, issuer_name=ISSUER))


def _generator(secret: Secret) -> TOTP:
    return TOTP(secret.reveal(), digits=DIGITS, interval=STEP_S)


def sealed_secret(workspace: Workspace, secret: Secret) -> bytes:
    """A secret as the database may hold it. Raises: ConfigError, StorageError."""
    return keys.encrypted(workspace.folder, secret.reveal().encode(), _PURPOSE)


def opened_secret(workspace: Workspace, sealed: bytes) -> Secret:
    """A secret from the database. Raises: ConfigError, StorageError."""
    return Secret(keys.decrypted(workspace.folder, sealed, _PURPOSE).decode())


def step_of(secret: Secret, code: str, now_us: int) -> int | None:
    """The step that a code is of, if it is of one that counts now."""
    step = now_us // (STEP_S * 1_000_000)
    given = "".join(code.split())
    totp = _generator(secret)
    found = None
    if len(given) == DIGITS and given.isascii():
        for each in range(step - STEPS_OFF_MAX, step + STEPS_OFF_MAX + 1):
            if compare_digest(totp.generate_otp(each), given):
                found = each
    return found


def is_code(workspace: Workspace, connection: sa.Connection, user_id: int, code: str) -> bool:
    """Whether a code is right and was not used yet; it is from now on, if the transaction commits."""
    row = connection.execute(sa.select(t.users.c.totp).where(t.users.c.id == user_id)).one_or_none()
    if row is None or row.totp is None:
        return False
    step = step_of(opened_secret(workspace, row.totp), code, workspace.clock_us())
    if step is None:
        return False
    unused = sa.and_(t.users.c.id == user_id, t.users.c.totp_step < step)
    return connection.execute(sa.update(t.users).where(unused).values(totp_step=step)).rowcount == 1
