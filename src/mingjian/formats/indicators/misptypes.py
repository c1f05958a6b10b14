"""MISP's attribute types: which of them can be looked for, and what the composite ones are made of.

Source: MISP core format (draft-dulaunoy-misp-core-format), attribute types and categories.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from mingjian.formats.indicators.values import Word

_IP: Final = Word("ip", "is")
_HOST: Final = Word("domain", "is")
_DOMAIN: Final = Word("domain", "below")
_HASH: Final = Word("hash", "is")
_CERTIFICATE: Final = Word("certificate", "is")
_EMAIL: Final = Word("email", "is")

HASHES: Final = ("md5", "sha1", "sha224", "sha256", "sha384", "sha512")
"""Types that are the hash of a file, and nothing else."""
TYPES: Final[dict[str, tuple[Word | None, ...]]] = {
    "ip-src": (_IP,),
    "ip-dst": (_IP,),
    "ip-src|port": (_IP, None),
    "ip-dst|port": (_IP, None),
    "domain": (_DOMAIN,),
    "hostname": (_HOST,),
    "hostname|port": (_HOST, None),
    "domain|ip": (_DOMAIN, _IP),
    "url": (Word("url", "is"),),
    "link": (Word("url", "is"),),
    "uri": (Word("url", "is"),),
    **dict.fromkeys(HASHES, (_HASH,)),
    **dict.fromkeys((f"filename|{each}" for each in HASHES), (None, _HASH)),
    "malware-sample": (None, _HASH),
    "imphash": (Word("hash", "is", "imphash:"),),
    "filename|imphash": (None, Word("hash", "is", "imphash:")),
    "filename": (Word("file", "named"),),
    **dict.fromkeys(("email", "email-src", "email-dst", "email-reply-to"), (_EMAIL,)),
    **dict.fromkeys(
        ("x509-fingerprint-md5", "x509-fingerprint-sha1", "x509-fingerprint-sha256"),
        (_CERTIFICATE,),
    ),
    "ja3-fingerprint-md5": (Word("ja3", "is"),),
    "ja4-fingerprint": (Word("ja4", "is"),),
    "ja4": (Word("ja4", "is"),),
}
"""Type → what each part between ``|`` is; None for a part that is not looked for by itself (a port, a file's name
beside its hash)."""

_UNSEEN_NAMES: Final = (
    "AS aba-rtn anonymised attachment authentihash azure-application-id bank-account-nr bic bin boolean bro btc "
    "campaign-id campaign-name cc-number cdhash chrome-extension-id comment community-id cookie cortex counter cpe "
    "dash datetime date-of-birth dkim dkim-signature dns-soa-email domain-name email-attachment email-body "
    "email-dst-display-name email-header email-message-id email-mime-boundary email-src-display-name email-subject "
    "email-thread-index email-x-mailer eppn favicon-mmh3 filename-pattern filename|authentihash filename|impfuzzy "
    "filename|pehash filename|sha3-224 filename|sha3-256 filename|sha3-384 filename|sha3-512 filename|sha512/224 "
    "filename|sha512/256 filename|ssdeep filename|tlsh filename|vhash first-name float full-name gender gene "
    "git-commit-id github-organisation github-repository github-username hassh-md5 hasshserver-md5 hex iban "
    "identity-card-number impfuzzy integer ip-dst-cidr issue-date-of-the-visa jabber-id jarm-fingerprint kusto-query "
    "last-name mac-address mac-eui-64 middle-name mime-type mobile-application-id mutex named-pipe nationality other "
    "passport-number pattern-in-file pattern-in-memory pattern-in-traffic payment-details pdb pehash pgp-private-key "
    "pgp-public-key phone-number place-of-birth port process-state prtn redress-number regkey regkey|value sha3-224 "
    "sha3-256 sha3-384 sha3-512 sha512/224 sha512/256 sigma size-in-bytes snort ssdeep ssh-fingerprint stix2-pattern "
    "target-email target-external target-location target-machine target-org target-user telfhash text threat-actor "
    "tlsh travel-details twitter-id user-agent vhash visa-number vulnerability weakness whois-creation-date "
    "whois-registrant-email whois-registrant-name whois-registrant-org whois-registrant-phone whois-registrar "
    "windows-scheduled-task windows-service-displayname windows-service-name x509-fingerprint xmr yara zeek "
)
UNSEEN: Final = frozenset(_UNSEEN_NAMES.split())
"""Types that name no observable of ours."""


def parts(kind: str, value: str) -> Sequence[tuple[Word, str]] | str | None:
    """What a value of a MISP type is made of; a reason if it is not looked for; None if this is no MISP type.

    >>> parts("filename|md5", "a.exe|d41d8cd98f00b204e9800998ecf8427e")
    [(Word(kind='hash', how='is', prefix=''), 'd41d8cd98f00b204e9800998ecf8427e')]
    >>> parts("yara", "rule x {}"), parts("IPv4", "192.0.2.1")
    ('the type yara is not looked for', None)
    """
    kind = kind.strip()
    words = TYPES.get(kind.casefold())
    if words is None:
        return f"the type {kind} is not looked for" if kind in UNSEEN else None
    if len(words) == 1:
        return [(word, value) for word in words if word is not None]
    texts = value.split("|") if "|" in value else value.rsplit(":", 1)
    if len(texts) < len(words):
        texts = [value] if words[0] is not None else ["", value]
    return [(word, text) for word, text in zip(words, texts, strict=False) if word is not None]
