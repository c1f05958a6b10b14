"""The keys of a workspace: one signs checkpoints of the audit log, one encrypts the few secrets in the database.

They lie in the folder ``keys/``, beside the database and not in it: whoever gets at the database alone can neither
sign a shortened log nor read a secret. Each file is readable by its owner only, and is in every backup.
"""

from __future__ import annotations

import base64
import os
import secrets
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

from mingjian.errors import ConfigError, StorageError
from mingjian.store.workspace import sync_folder

# Loaded where it is needed: most commands that can log something never do.
if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

FOLDER: Final = "keys"
SIGNING_FILE: Final = "audit.key"
SEALING_FILE: Final = "secrets.key"
KEY_BYTES: Final = 32
NONCE_BYTES: Final = 12


@lru_cache(maxsize=64)
def signing_key(folder: Path) -> Ed25519PrivateKey:
    """The key that signs checkpoints of the audit log of the workspace in a folder; made if there is none.

    Raises: ConfigError, StorageError: as ``_key``.
    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return Ed25519PrivateKey.from_private_bytes(_key(folder / FOLDER / SIGNING_FILE))


def encrypted(folder: Path, plain: bytes, purpose: str) -> bytes:
    """Encrypt a secret for the database. It can be decrypted for the same purpose only.

    Raises: ConfigError, StorageError: as ``_key``.
    """
    nonce = secrets.token_bytes(NONCE_BYTES)
    return nonce + _cipher(folder).encrypt(nonce, plain, purpose.encode())


def decrypted(folder: Path, sealed: bytes, purpose: str) -> bytes:
    """Decrypt what ``encrypted`` gave.

    Raises:
        StorageError: it is not what was stored, or the key is another one.
        ConfigError: as ``_key``.
    """
    from cryptography.exceptions import InvalidTag

    try:
        return _cipher(folder).decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], purpose.encode())
    except InvalidTag:
        hint = "is keys/secrets.key the one of this database?"
        raise StorageError("a secret in the database cannot be decrypted", hint=hint) from None


@lru_cache(maxsize=64)
def _cipher(folder: Path) -> AESGCM:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    return AESGCM(_key(folder / FOLDER / SEALING_FILE))


def _key(path: Path) -> bytes:
    """Read a key, or make it if the file is not there.

    Raises:
        ConfigError: others may read it, or it is no key.
        StorageError: it can be neither read nor made.
    """
    try:
        return _read(path)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise StorageError(f"a key cannot be read: {error.strerror}", where=str(path)) from error
    try:
        path.parent.mkdir(mode=0o700, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(base64.b64encode(secrets.token_bytes(KEY_BYTES)) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        try:
            # Of two processes that make it at once, one wins, and both use that one's.
            os.link(temporary, path)
        except FileExistsError:
            pass
        finally:
            temporary.unlink()
        sync_folder(path.parent)
        return _read(path)
    except OSError as error:
        raise StorageError(f"a key cannot be made: {error.strerror}", where=str(path)) from error


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        mode = os.fstat(file.fileno()).st_mode
        text = file.read(KEY_BYTES * 4)
    if mode & 0o077:
        raise ConfigError("others may read this key", where=str(path), hint="chmod 600; then think of it as known")
    try:
        key = base64.b64decode(text.strip(), validate=True)
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES:
        raise ConfigError("this is no key", where=str(path), hint="put it back from a backup")
    return key
