"""Passwords: what one must be like, and its Argon2 hash, which is all that is kept of it.

Source: NIST SP 800-63B-4, section 3.1.1.2 (length, normalisation, no rules of composition); RFC 9106, section 4
(parameters, second recommended option).
"""

from __future__ import annotations

import unicodedata
from threading import BoundedSemaphore
from typing import Final

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from mingjian.errors import SchemaError
from mingjian.telemetry import Secret

CHARACTERS_MIN: Final = 15
CHARACTERS_MAX: Final = 256
DIFFERENT_CHARACTERS_MIN: Final = 6
"""``aaaaaaaaaaaaaaa`` is long and no secret."""
AT_ONCE_MAX: Final = 2
"""Each hash takes 64 MiB: more sign-ins than this at once wait for each other."""

_hasher = PasswordHasher(time_cost=3, memory_cost=65_536, parallelism=4)
_turn = BoundedSemaphore(AT_ONCE_MAX)
_NOBODYS: Final = "$argon2id$v=19$m=65536,t=3,p=4$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
"""The hash of no password: verifying against it takes as long as against any other."""


def check_password(password: Secret, *, name: str) -> None:
    """Go on only if a user of this name may have this password.

    Raises:
        SchemaError: it is too short, too long, or too easily guessed.
    """
    text = _normal(password)
    if not CHARACTERS_MIN <= len(text) <= CHARACTERS_MAX:
        raise SchemaError(f"a password has {CHARACTERS_MIN} to {CHARACTERS_MAX} characters", hint="a sentence is good")
    if len(set(text.casefold())) < DIFFERENT_CHARACTERS_MIN:
        raise SchemaError("this password repeats itself", hint=f"{DIFFERENT_CHARACTERS_MIN} different characters")
    if len(name) > 3 and name.casefold() in text.casefold():
        raise SchemaError("the name of the user is in this password", hint="choose one without it")


def hash_of_password(password: Secret) -> str:
    """The hash of a password, with its parameters, as text."""
    with _turn:
        return _hasher.hash(_normal(password))


def is_password(hashed: str | None, password: Secret) -> bool:
    """Whether this is the password that a hash was made of; False without a hash, after the same time."""
    text = _normal(password)[:CHARACTERS_MAX]
    with _turn:
        try:
            return _hasher.verify(_NOBODYS if hashed is None else hashed, text) and hashed is not None
        except (VerificationError, InvalidHashError):
            return False


def _normal(password: Secret) -> str:
    # Keyboards write the same sentence in different ways; a lone surrogate has no UTF-8.
    return unicodedata.normalize("NFKC", password.reveal()).encode("utf-8", "replace").decode()
