"""Identity providers for tests: a real one as a process of its own, and one that answers whatever a test wants."""

from __future__ import annotations

import base64
import http.client
import json
import re
import subprocess
import sys
import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from joserfc.jwk import RSAKey

CLIENT = "mingjian-of-tests"
CLIENT_SECRET = "secret of the client: ü&+%"


@contextmanager
def provider_process(*options: str) -> Generator[str]:
    """The issuer of a real provider, which runs as a process of its own on this machine."""
    command = [sys.executable, "-m", "oidc_provider_mock", "--port", "0", *options]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            seen: list[str] = []
            for line in process.stderr:
                seen.append(line)
                found = re.search(r"running on http://127\.0\.0\.1:(\d+)", line)
                if found is not None:
                    break
            else:
                raise AssertionError("the provider did not start:\n" + "".join(seen))
            reader = threading.Thread(target=process.stderr.read, daemon=True)
            reader.start()
            yield f"http://127.0.0.1:{found[1]}"
        finally:
            process.terminate()
            process.wait(20)


def approved(address: str, subject: str) -> str:
    """What somebody does at the provider: sign in there, and be sent back. Gives path and query of that."""
    parts = urlsplit(address)
    connection = http.client.HTTPConnection(parts.netloc, timeout=20)
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    connection.request("POST", f"{parts.path}?{parts.query}", urlencode({"sub": subject}), headers)
    answer = connection.getresponse()
    assert answer.status == 302, answer.read()
    back = urlsplit(answer.headers["location"])
    connection.close()
    return f"{back.path}?{back.query}"


@cache
def a_key(name: str) -> RSAKey:
    """A key of this name, the same for all tests: making one takes a while."""
    return RSAKey.generate_key(2048, {"kid": name})


def encoded(value: bytes | dict[str, object]) -> str:
    """A part of a token."""
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


class Hostile:
    """A provider in the hands of somebody else. What it answers is in ``answers``: path → bytes."""

    def __init__(self, issuer: str) -> None:
        self.issuer = issuer
        self.key = a_key("one")
        self.asked: list[tuple[str, dict[str, list[str]], str]] = []
        """Path, form and authorization of each request."""
        self.statuses: dict[str, int] = {}
        self.answers: dict[str, bytes] = {
            "/.well-known/openid-configuration": json.dumps(self.document()).encode(),
            "/keys": json.dumps({"keys": [self.key.as_dict(private=False)]}).encode(),
        }

    def document(self, **changes: object) -> dict[str, object]:
        """What it says of itself."""
        return {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{self.issuer}/token",
            "jwks_uri": f"{self.issuer}/keys",
            "id_token_signing_alg_values_supported": ["RS256"],
        } | changes

    def claims(self, nonce: str, now_s: float, **changes: object) -> dict[str, object]:
        """What it says of somebody."""
        now = int(now_s)
        claims: dict[str, object] = {
            "iss": self.issuer, "sub": "somebody", "aud": CLIENT, "nonce": nonce, "iat": now, "exp": now + 300,
        } | changes  # fmt: skip
        return {name: value for name, value in claims.items() if value is not None}

    def signed(self, claims: dict[str, Any], **header: object) -> str:
        """An ID token."""
        content = f"{encoded({'alg': 'RS256', 'kid': 'one'} | header)}.{encoded(claims)}"
        signature = self.key.private_key.sign(content.encode(), padding.PKCS1v15(), hashes.SHA256())  # type: ignore[union-attr] # it has one
        return f"{content}.{encoded(signature)}"

    def gives(self, token: str) -> None:
        """Answer codes with this token."""
        self.answers["/token"] = json.dumps({"access_token": "x", "token_type": "Bearer", "id_token": token}).encode()


@contextmanager
def hostile_provider() -> Iterator[Hostile]:
    """A provider that answers what the test says."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer(b"")

        def do_POST(self) -> None:
            self._answer(self.rfile.read(int(self.headers["content-length"])))

        def _answer(self, body: bytes) -> None:
            path = urlsplit(self.path).path
            provider.asked.append((path, parse_qs(body.decode()), self.headers.get("authorization", "")))
            content = provider.answers.get(path, b"")
            self.send_response(provider.statuses.get(path, 200 if path in provider.answers else 404))
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        provider = Hostile(f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        yield provider
        server.shutdown()
        thread.join(20)
