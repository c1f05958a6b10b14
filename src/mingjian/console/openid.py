"""Asking the identity provider that the settings name: what it is, which keys it has, and whom a code is about.

Only the host of the issuer in the settings may have an address of a private network; what it names besides must be
public. What it said is kept for a while; a key that is not known yet is looked for once a minute.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from threading import BoundedSemaphore
from typing import Final
from urllib.parse import urlsplit

from joserfc.jwk import Key

from mingjian import net
from mingjian.console.site import Site
from mingjian.errors import DeliveryError, NotAuthenticated, StateError
from mingjian.formats import openid
from mingjian.formats.openid import Person, Provider
from mingjian.store.identities import UnderWay

KEPT_S: Final = 600.0
KEYS_AGAIN_S: Final = 60.0
"""A token with an unknown key makes us ask for the keys again, at most so often."""
TIMEOUT_S: Final = 5.0
CODE_REFUSED: Final = b"invalid_grant"
"""Source: RFC 6749, section 5.2."""
AT_ONCE_MAX: Final = 4
"""More than this do not wait for a provider at the same time: the others have their pages to be answered."""

_turns = BoundedSemaphore(AT_ONCE_MAX)


def is_set_up(site: Site) -> bool:
    """Whether people may sign in by an identity provider."""
    return openid.is_issuer(site.settings.openid_issuer)


def name_of(site: Site) -> str:
    """What the provider is called for people: its host."""
    return urlsplit(site.settings.openid_issuer).netloc


def provider_of(site: Site) -> Provider:
    """What the provider says of itself.

    Raises:
        DeliveryError: it does not answer.
        InputError: what it answers cannot be used.
        RefusedDestination: it is where nobody may be sent to.
        StateError: too many are asking it just now.
    """
    issuer = site.settings.openid_issuer

    def asked() -> Provider:
        address = issuer.rstrip("/") + openid.DISCOVERY
        return openid.parse_provider(_body(_ask(issuer, address)), issuer)

    return site.memory.recall(("openid", issuer), KEPT_S, asked)


def person_of_code(site: Site, provider: Provider, begun: UnderWay, code: str) -> Person:
    """Whom a code is about that came back with a browser.

    Raises:
        NotAuthenticated: the provider does not take the code.
        DeliveryError, InputError, RefusedDestination, StateError: as ``provider_of``.
    """
    client, issuer = site.settings.openid_client, begun.issuer
    headers, body = openid.token_request(
        provider,
        client=client,
        secret=site.settings.openid_secret,
        back=begun.back,
        code=code,
        verifier=begun.verifier,
    )
    answer = _ask(issuer, provider.token_endpoint, headers=headers, body=body)
    # Whatever else it refuses is not the doing of this person: a wrong secret, a console that is not known there.
    if answer.status == 400 and CODE_REFUSED in answer.body:
        raise NotAuthenticated("the identity provider does not take the code", hint="begin again")
    token = openid.parse_token_answer(_body(answer))

    keys = _keys(site, provider, KEPT_S)
    if not openid.has_key(token, keys):
        keys = _keys(site, provider, KEYS_AGAIN_S)
    now_s = site.workspace.clock_us() / 1_000_000
    return openid.checked_person(token, keys, issuer=issuer, client=client, nonce=begun.nonce, now_s=now_s)


def _keys(site: Site, provider: Provider, kept_s: float) -> tuple[Key, ...]:
    def asked() -> tuple[Key, ...]:
        return openid.parse_keys(_body(_ask(provider.issuer, provider.jwks_uri)))

    return site.memory.recall(("openid keys", provider.jwks_uri), kept_s, asked)


def destinations(issuer: str, address: str) -> Sequence[net.Destination]:
    """Who may be asked for an address of a provider: the issuer wherever it is, others where everybody is.

    >>> [each.is_inside for each in destinations("https://id.example", "https://keys.example/jwks")]
    [True, False]
    """
    inside = _place(issuer, is_inside=True)
    other = _place(address, is_inside=False)
    return (inside,) if (other.host, other.port) == (inside.host, inside.port) else (inside, other)


def _place(address: str, *, is_inside: bool) -> net.Destination:
    parts = urlsplit(address)
    port = parts.port or (80 if parts.scheme == "http" else 443)
    return net.Destination(host=parts.hostname or "", port=port, is_inside=is_inside)


def _ask(
    issuer: str, address: str, *, headers: Mapping[str, str] | None = None, body: bytes | None = None
) -> net.Answer:
    if not _turns.acquire(blocking=False):
        raise StateError("the identity provider is being asked by many just now", hint="try again in a moment")
    try:
        return net.request(
            address,
            destinations(issuer, address),
            method="GET" if body is None else "POST",
            headers=headers,
            body=body,
            timeout_s=TIMEOUT_S,
            answer_bytes_max=openid.ANSWER_BYTES_MAX,
        )
    finally:
        _turns.release()


def _body(answer: net.Answer) -> bytes:
    if answer.status != 200:
        raise DeliveryError(f"the identity provider answered {answer.status}", may_retry=answer.status >= 500)
    return answer.body
