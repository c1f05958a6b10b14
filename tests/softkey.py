"""A device with passkeys, made of software: it does what the specification says, or lies as a test wants it to.

Source: W3C Web Authentication, Level 2, sections 5.8.1 (client data), 6.1 (authenticator data), 6.5.4 (attestation).
"""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import struct
from typing import Any

import cbor2
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

PRESENT_AND_VERIFIED = 0b0000_0101
WITH_KEY = 0b0100_0000


def encoded(data: bytes) -> str:
    """Bytes as they travel."""
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def decoded(text: str) -> bytes:
    """The same back."""
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


class SoftKey:
    """One passkey."""

    def __init__(self, origin: str) -> None:
        self.origin = origin
        self.credential = secrets.token_bytes(32)
        self.user = b""
        self.count = 0
        self._key = ec.generate_private_key(ec.SECP256R1())

    def made(self, options: dict[str, Any], *, flags: int = PRESENT_AND_VERIFIED, **wrong: Any) -> str:
        """The answer to ``navigator.credentials.create``."""
        self.user = decoded(options["user"]["id"])
        numbers = self._key.public_key().public_numbers()
        key = {1: 2, 3: -7, -1: 1, -2: numbers.x.to_bytes(32, "big"), -3: numbers.y.to_bytes(32, "big")}
        attested = bytes(16) + struct.pack(">H", len(self.credential)) + self.credential + cbor2.dumps(key)
        data = self._data(wrong.get("host", options["rp"]["id"]), flags | WITH_KEY, 0) + attested
        response = {
            "clientDataJSON": self._client(options, wrong, "webauthn.create"),
            "attestationObject": encoded(cbor2.dumps({"fmt": "none", "attStmt": {}, "authData": data})),
        }
        return self._answer(response)

    def signed(
        self,
        options: dict[str, Any],
        *,
        flags: int = PRESENT_AND_VERIFIED,
        count: int | None = None,
        is_foreign: bool = False,
        is_torn: bool = False,
        **wrong: Any,
    ) -> str:
        """The answer to ``navigator.credentials.get``."""
        self.count = self.count + 1 if count is None else count
        data = self._data(wrong.get("host", options["rpId"]), flags, self.count)
        client = self._client(options, wrong, "webauthn.get")
        key = ec.generate_private_key(ec.SECP256R1()) if is_foreign else self._key
        content = data + hashlib.sha256(decoded(client) + (b" " if is_torn else b"")).digest()
        response = {
            "clientDataJSON": client,
            "authenticatorData": encoded(data),
            "signature": encoded(key.sign(content, ec.ECDSA(hashes.SHA256()))),
            "userHandle": encoded(wrong.get("user", self.user)),
        }
        return self._answer(response)

    def _answer(self, response: dict[str, str]) -> str:
        name = encoded(self.credential)
        return json.dumps({"id": name, "rawId": name, "type": "public-key", "response": response})

    def _client(self, options: dict[str, Any], wrong: dict[str, Any], kind: str) -> str:
        challenge = encoded(wrong["challenge"]) if "challenge" in wrong else options["challenge"]
        said = {
            "type": wrong.get("kind", kind),
            "challenge": challenge,
            "origin": wrong.get("origin", self.origin),
            "crossOrigin": False,
        }
        return encoded(json.dumps(said).encode())

    def _data(self, host: str, flags: int, count: int) -> bytes:
        return hashlib.sha256(host.encode()).digest() + struct.pack(">BI", flags, count)
