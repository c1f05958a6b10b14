"""OpenID Connect as bytes: what a provider says of itself, where a browser is sent, and whom an ID token is about.

Nothing here asks anybody, and what comes in is hostile: a provider may have been taken over, and what comes back with
the browser may be anybody's. Keys are those that the provider publishes, signatures those of a key pair alone: a token
that is not signed, or signed with a shared secret or with a key that it names itself, is none.

Source: OpenID Connect Core 1.0, sections 3.1.2 and 3.1.3.7; OpenID Connect Discovery 1.0, sections 3 and 4; RFC 7636;
RFC 8725; RFC 9700, section 2.1; RFC 9207.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from hashlib import sha256
from typing import Any, Final
from urllib.parse import quote, urlencode, urlsplit

import msgspec
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import JWKRegistry, Key

from mingjian.errors import LimitExceeded, ParseError, SchemaError, shown
from mingjian.formats.bounded import decode_json

DISCOVERY: Final = "/.well-known/openid-configuration"
SCOPES: Final = "openid profile email"
ANSWER_BYTES_MAX: Final = 262_144
"""Of everything that a provider answers."""
VALUES_MAX: Final = 10_000
KEYS_MAX: Final = 100
URL_CHARACTERS_MAX: Final = 2_000
TOKEN_CHARACTERS_MAX: Final = 32_768
SUBJECT_CHARACTERS_MAX: Final = 255
"""Source: OpenID Connect Core 1.0, section 2."""
TITLE_CHARACTERS_MAX: Final = 200
SKEW_S: Final = 60
"""So far may the provider's clock be off."""
AGE_S_MAX: Final = 600
"""A token that was made longer ago is not one of this sign-in."""
RSA_BITS_MIN: Final = 2048
ALGORITHMS: Final = (
    *("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    *("ES256", "ES384", "ES512", "Ed25519"),
)
"""Signatures of a key pair. Never ``none``, never one of a secret that both sides know."""
KEY_KINDS: Final = ("RSA", "EC", "OKP")
LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")

_WHERE: Final = "the identity provider"


class Provider(msgspec.Struct, frozen=True):
    """What a provider says of itself."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    token_endpoint_auth_methods_supported: tuple[str, ...] = ("client_secret_basic",)
    authorization_response_iss_parameter_supported: bool = False


class Person(msgspec.Struct, frozen=True, kw_only=True):
    """Whom an ID token is about."""

    subject: str
    """What the issuer knows them by, for ever. The other fields are hints, and may be anybody's."""
    title: str
    name: str


class _KeySet(msgspec.Struct, frozen=True):
    keys: list[dict[str, Any]]


class _Answer(msgspec.Struct, frozen=True):
    id_token: str


class _Claims(msgspec.Struct, frozen=True):
    iss: str
    sub: str
    aud: str | list[str]
    exp: float
    iat: float
    nonce: str | None = None
    azp: str | None = None
    nbf: float | None = None
    name: str | None = None
    preferred_username: str | None = None
    email: str | None = None


_provider: Final = msgspec.json.Decoder(Provider)
_keys: Final = msgspec.json.Decoder(_KeySet)
_answer: Final = msgspec.json.Decoder(_Answer)
_claims: Final = msgspec.json.Decoder(_Claims)


# --- the provider --------------------------------------------------------------------------------------------------


def is_issuer(text: str) -> bool:
    """Whether an address can be that of an issuer: HTTPS, or HTTP on this machine.

    >>> [is_issuer(text) for text in ("https://id.example", "http://127.0.0.1:9400", "http://id.example", "https://a?b")]
    [True, True, False, False]
    """
    if (
        len(text) > URL_CHARACTERS_MAX
        or not text.isascii()
        or not text.isprintable()
        or any(c in text for c in " \\?#@")
    ):
        return False
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError:
        return False
    return bool(parts.hostname) and (parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in LOOPBACK))


def parse_provider(data: bytes, issuer: str) -> Provider:
    """What a provider says of itself.

    Raises:
        ParseError, LimitExceeded: it cannot be read.
        SchemaError: it is that of another issuer, or names addresses without TLS.
    """
    found = decode_json(data, _provider.decode, where=_WHERE, size_bytes_max=ANSWER_BYTES_MAX, values_max=VALUES_MAX)
    if found.issuer != issuer:
        raise SchemaError(f"the provider says that it is {shown(found.issuer)}", where=_WHERE)
    is_plain = issuer.startswith("http://")
    for address in (found.authorization_endpoint, found.token_endpoint, found.jwks_uri):
        within = address.startswith("https://") or (is_plain and _origin(address) == _origin(issuer))
        if not within or len(address) > URL_CHARACTERS_MAX or not address.isascii() or not address.isprintable():
            raise SchemaError(f"the provider names an address that is none for us: {shown(address)}", where=_WHERE)
    return found


def _origin(address: str) -> tuple[str, str]:
    try:
        parts = urlsplit(address)
    except ValueError:
        return "", address
    return parts.scheme, parts.netloc.lower()


def parse_keys(data: bytes) -> tuple[Key, ...]:
    """The public keys of a provider with which it may sign. Others, and those that are too weak, are left out.

    Raises:
        ParseError, LimitExceeded: they cannot be read.
    """
    listed = decode_json(data, _keys.decode, where=_WHERE, size_bytes_max=ANSWER_BYTES_MAX, values_max=VALUES_MAX).keys
    if len(listed) > KEYS_MAX:
        raise LimitExceeded("KEYS_MAX", KEYS_MAX, where=_WHERE)
    found: list[Key] = []
    for each in listed:
        is_short = each.get("kty") == "RSA" and len(str(each.get("n"))) < RSA_BITS_MIN // 6
        if each.get("kty") not in KEY_KINDS or each.get("use", "sig") != "sig" or is_short:
            continue
        try:
            key = JWKRegistry.import_key(each)
            public = key.get_op_key("verify")
        except (JoseError, ValueError, TypeError, KeyError):
            continue
        if not isinstance(public, RSAPublicKey) or public.key_size >= RSA_BITS_MIN:
            found.append(key)
    return tuple(found)


# --- there ---------------------------------------------------------------------------------------------------------


def challenge_of(verifier: str) -> str:
    """What is shown of a secret before the secret is. Source: RFC 7636, section 4.2 and appendix B.

    >>> challenge_of("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk")
    'E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM'
    """
    return base64.urlsafe_b64encode(sha256(verifier.encode()).digest()).decode().rstrip("=")


def authorization_address(provider: Provider, *, client: str, back: str, state: str, nonce: str, verifier: str) -> str:
    """Where a browser is sent, so that the provider asks the person."""
    query = urlencode(
        {
            "response_type": "code",
            "client_id": client,
            "redirect_uri": back,
            "scope": SCOPES,
            "state": state,
            "nonce": nonce,
            "code_challenge": challenge_of(verifier),
            "code_challenge_method": "S256",
        }
    )
    joint = "&" if "?" in provider.authorization_endpoint else "?"
    return f"{provider.authorization_endpoint}{joint}{query}"


def token_request(
    provider: Provider, *, client: str, secret: str, back: str, code: str, verifier: str
) -> tuple[dict[str, str], bytes]:
    """Headers and body with which a code is exchanged for an ID token. Source: RFC 6749, sections 2.3.1 and 4.1.3."""
    form = {"grant_type": "authorization_code", "code": code, "redirect_uri": back, "code_verifier": verifier}
    headers = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"}
    if not secret:
        form["client_id"] = client
    elif "client_secret_basic" in provider.token_endpoint_auth_methods_supported:
        both = f"{quote(client, safe='')}:{quote(secret, safe='')}"
        headers["Authorization"] = "Basic " + base64.b64encode(both.encode()).decode()
    else:
        form |= {"client_id": client, "client_secret": secret}
    return headers, urlencode(form).encode()


# --- and back ------------------------------------------------------------------------------------------------------


def parse_token_answer(data: bytes) -> str:
    """The ID token in the answer to ``token_request``. Raises: ParseError, LimitExceeded."""
    found = decode_json(data, _answer.decode, where=_WHERE, size_bytes_max=ANSWER_BYTES_MAX, values_max=VALUES_MAX)
    return found.id_token


def checked_person(token: str, keys: Sequence[Key], *, issuer: str, client: str, nonce: str, now_s: float) -> Person:
    """Whom an ID token is about, if it is one of this issuer, for this client, of this sign-in, and in force.

    Raises:
        ParseError: it is not signed as it has to be, by one of the keys.
        SchemaError: it is signed, but for something else.
        LimitExceeded: it is too long.
    """
    payload = _signed_content(token, keys)
    claims = decode_json(
        payload, _claims.decode, where="ID token", size_bytes_max=TOKEN_CHARACTERS_MAX, values_max=VALUES_MAX
    )
    audience = [claims.aud] if isinstance(claims.aud, str) else claims.aud
    wrong = (
        "is of another issuer" if claims.iss != issuer
        else "is for somebody else" if client not in audience
        else "is for others, too" if len(audience) > 1 and claims.azp != client
        else "was made for another client" if claims.azp not in (None, client)
        else "is of another sign-in" if claims.nonce != nonce
        else "is in force no longer" if not now_s < claims.exp + SKEW_S
        else "was made too long ago, or has yet to be made" if not -SKEW_S <= now_s - claims.iat <= AGE_S_MAX
        else "is not in force yet" if claims.nbf is not None and claims.nbf > now_s + SKEW_S
        else "is about nobody" if not 0 < len(claims.sub) <= SUBJECT_CHARACTERS_MAX
        else ""
    )  # fmt: skip
    if wrong:
        raise SchemaError(f"the ID token {wrong}", where=_WHERE)
    title = claims.name or claims.preferred_username or claims.email or ""
    name = claims.preferred_username or claims.email or ""
    return Person(
        subject=claims.sub,
        title="".join(c for c in title if c.isprintable())[:TITLE_CHARACTERS_MAX].strip(),
        name=name[:TITLE_CHARACTERS_MAX],
    )


def has_key(token: str, keys: Sequence[Key]) -> bool:
    """Whether the key that a token names is one of these: if not, the provider may have others by now."""
    if len(token) > TOKEN_CHARACTERS_MAX:
        return True
    try:
        named = jws.extract_compact(token.encode()).headers().get("kid")
    except (JoseError, ValueError, TypeError, KeyError):
        return True
    return named is None or any(key.kid == named for key in keys)


def _signed_content(token: str, keys: Sequence[Key]) -> bytes:
    if len(token) > TOKEN_CHARACTERS_MAX:
        raise LimitExceeded("TOKEN_CHARACTERS_MAX", TOKEN_CHARACTERS_MAX, where=_WHERE)
    try:
        data = token.encode("ascii")
        header = jws.extract_compact(data).headers()
        named, algorithm = header.get("kid"), header.get("alg")
        if algorithm not in ALGORITHMS:
            raise ParseError(f"the ID token is signed by {shown(algorithm)}", where=_WHERE)
        candidates = [key for key in keys if key.kid == named] if named is not None else list(keys)
        if not candidates:
            raise ParseError(f"the ID token names a key that is none of the provider's: {shown(named)}", where=_WHERE)
        if len(candidates) > 1:
            raise ParseError("the ID token does not say with which key it is signed", where=_WHERE)
        if candidates[0].alg not in (None, algorithm):
            raise ParseError("the ID token is signed in a way that is not its key's", where=_WHERE)
        payload = jws.deserialize_compact(data, candidates[0], algorithms=[str(algorithm)]).payload
    except (JoseError, ValueError, TypeError, KeyError, binascii.Error) as error:
        raise ParseError(f"the ID token is not signed as it has to be: {shown(str(error))}", where=_WHERE) from None
    return payload
