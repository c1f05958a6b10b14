"""Who may send to the HTTP intake: bearer tokens, of which only hashes are kept.

A token is 32 random bytes, so its SHA-256 cannot be guessed back, and a slow password hash would only slow down
ourselves. The file is ``intake/tokens.json``, readable by its owner alone.
"""

from __future__ import annotations

import json
import os
import re
import secrets
from collections.abc import Sequence
from hashlib import sha256
from hmac import compare_digest
from pathlib import Path
from typing import Final

import msgspec

from mingjian.errors import ConfigError, InputError, StateError, StorageError, shown
from mingjian.formats.bounded import decode_json
from mingjian.sources.journal import NAME_CHARACTERS_MAX
from mingjian.sources.journalfiles import sync_folder
from mingjian.telemetry import Secret

TOKENS_FILE: Final = "tokens.json"
TOKENS_MAX: Final = 1000
TOKEN_BYTES: Final = 32
TOKEN_CHARACTERS_MAX: Final = 200
"""A longer token is wrong, and is not even hashed."""
FILE_BYTES_MAX: Final = 1024 * 1024

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")


class Token(msgspec.Struct, frozen=True, kw_only=True):
    """One sender that may deliver to one intake."""

    name: str
    """For people: which sender this is."""
    intake: str
    """The name in ``POST /intake/NAME``."""
    organisation: str
    """Whose events they are."""
    sha256: str
    """Of the token, as hexadecimal digits."""


def hash_of(token: str) -> str:
    """The hash that a token is known by."""
    return sha256(token.encode("utf-8", "surrogateescape")).hexdigest()


def holder(tokens: Sequence[Token], given: str) -> Token | None:
    """Find whose token this is. Takes the same time whichever it is, and if it is none."""
    if len(given) > TOKEN_CHARACTERS_MAX:
        return None
    hashed = hash_of(given)
    found: Token | None = None
    for token in tokens:
        if compare_digest(token.sha256, hashed):
            found = token
    return found


def read_tokens(folder: Path) -> tuple[Token, ...]:
    """Read the tokens of a workspace's intake folder; none if there is no file.

    Raises:
        ConfigError: the file is not what ``add_token`` writes, or others may write to it.
        StorageError: it cannot be read.
    """
    path = folder / TOKENS_FILE
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            data = file.read(FILE_BYTES_MAX + 1)
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise StorageError(f"cannot be read: {error.strerror}", where=str(path)) from error
    if status.st_uid not in (0, os.getuid()) or status.st_mode & 0o022:
        raise ConfigError("others may write to this file", where=str(path), hint="chmod 600")
    try:
        return decode_json(
            data, msgspec.json.Decoder(tuple[Token, ...]).decode, where=str(path), size_bytes_max=FILE_BYTES_MAX
        )
    except InputError as error:
        raise ConfigError(error.what, where=str(path)) from error


def add_token(folder: Path, *, name: str, intake: str, organisation: str) -> Secret:
    """Make a token for a sender, keep its hash, and give the token: it cannot be seen again.

    Raises:
        ConfigError: a name is not allowed, or there are ``TOKENS_MAX`` tokens.
        StateError: there is a token of this name.
        StorageError: it cannot be kept.
    """
    for what, text in (("name of a token", name), ("name of an intake", intake)):
        if not _NAME.fullmatch(text):
            raise ConfigError(f"{shown(text)} is no {what}", hint="a to z, 0 to 9 and -, up to 64 characters")
    if not 0 < len(organisation) <= NAME_CHARACTERS_MAX:
        raise ConfigError(f"an organisation has 1 to {NAME_CHARACTERS_MAX} characters")
    tokens = read_tokens(folder)
    if any(token.name == name for token in tokens):
        raise StateError(f"there is a token {name} already", hint="remove it first, or choose another name")
    if len(tokens) >= TOKENS_MAX:
        raise ConfigError(f"there are {TOKENS_MAX} tokens already", hint="remove some")
    text = secrets.token_urlsafe(TOKEN_BYTES)
    added = Token(name=name, intake=intake, organisation=organisation, sha256=hash_of(text))
    _write_tokens(folder, (*tokens, added))
    return Secret(text)


def remove_token(folder: Path, name: str) -> None:
    """Take a sender's right to deliver away. A listener that runs notices within seconds.

    Raises:
        StateError: there is no such token.
        ConfigError, StorageError: as ``read_tokens``.
    """
    tokens = read_tokens(folder)
    left = tuple(token for token in tokens if token.name != name)
    if len(left) == len(tokens):
        raise StateError(f"there is no token {shown(name)}")
    _write_tokens(folder, left)


def _write_tokens(folder: Path, tokens: Sequence[Token]) -> None:
    path = folder / TOKENS_FILE
    temporary = folder / f".{TOKENS_FILE}.{secrets.token_hex(4)}.tmp"
    lines = ",\n".join(json.dumps(msgspec.to_builtins(token), ensure_ascii=False) for token in tokens)
    try:
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(f"[\n{lines}\n]\n")
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        sync_folder(folder)
    except OSError as error:
        raise StorageError(f"cannot be written: {error.strerror}", where=str(path)) from error
