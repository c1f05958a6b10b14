"""Observables in canonical form: two spellings of one thing give one value.

The forms are versioned: whoever keeps canonical values keeps the version beside them, and computes them anew when it
changes. Pure functions; anything that is not what its kind asks for gives None, never an error.
"""

from __future__ import annotations

import ipaddress
import re
import unicodedata
from collections.abc import Callable, Iterable
from typing import Final
from urllib.parse import quote, unquote, urlsplit

from mingjian.model.sources import ObservableKind

CANONICAL_VERSION: Final = 1
"""Raise it whenever the canonical form of any kind changes."""

VALUE_CHARACTERS_MAX: Final = 8_192
"""A longer text is not taken for an observable."""

DOMAIN_CHARACTERS_MAX: Final = 253
"""Source: RFC 1035 section 2.3.4, without the root's dot."""

PARTS_MAX: Final = 256
"""So many observables are taken out of one field."""

NOTHING: Final = frozenset({"", "-", "n/a", "null", "none", "(null)"})
"""What producers write where there is nothing, folded."""

HASH_CHARACTERS: Final = frozenset({32, 40, 56, 64, 96, 128})
"""Lengths of MD5, SHA-1, SHA-224, SHA-256, SHA-384 and SHA-512 in hexadecimal digits."""

_DEFAULT_PORTS: Final = {
    "http": 80,
    "https": 443,
    "ftp": 21,
    "ws": 80,
    "wss": 443,
    "ssh": 22,
    "ldap": 389,
    "ldaps": 636,
}
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
_SCHEME = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]{0,31}://")
_HOST_PORT = re.compile(r"\[([0-9a-fA-F:.%]+)\](?::\d{1,5})?|(\d{1,3}(?:\.\d{1,3}){3}):\d{1,5}")
_HEX = re.compile(r"[0-9a-f]+")
_HASH_PREFIX = re.compile(r"(?:0x|(?:md5|sha-?1|sha-?224|sha-?256|sha-?384|sha-?512)[=:])")
_UNRESERVED = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~"
_PERCENT = re.compile(r"%([0-9a-fA-F]{2})")
_SID = re.compile(r"s-1-\d+(?:-\d+)+", re.IGNORECASE)
_WINDOWS_PATH = re.compile(r"[A-Za-z]:[\\/]|\\")


def canonical(kind: ObservableKind, text: str) -> str | None:
    r"""Give the canonical form of one observable, None if the text is not one of its kind.

    >>> canonical("ip", "::ffff:192.0.2.1"), canonical("domain", "Bücher.Example."), canonical("hash", "MD5=ABC")
    ('192.0.2.1', 'xn--bcher-kva.example', None)
    >>> canonical("url", "HTTP://Example.COM:80/%7Ea/../b"), canonical("account", "CORP\\Alice")
    ('http://example.com/b', 'corp\\alice')
    """
    text = text.strip()
    if len(text) > VALUE_CHARACTERS_MAX or text.casefold() in NOTHING:
        return None
    return _CANONICAL[kind](text)


def _ip(text: str) -> str | None:
    if ":" not in text and not text[:1].isdigit():
        return None  # most hosts have a name, and to be refused takes longer than to be read
    bracketed = _HOST_PORT.fullmatch(text)
    if bracketed:
        text = bracketed[1] or bracketed[2]
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return str(address)


def _ascii_name(text: str) -> str | None:
    """A host name in lower-case ASCII: internationalised labels as IDNA 2008 has them, with UTS 46 mapping."""
    if len(text) > DOMAIN_CHARACTERS_MAX + 1:
        return None
    if not text.isascii():
        import idna  # 15 ms at every start, for what few logs hold

        try:
            text = idna.encode(text, uts46=True).decode("ascii")
        except (idna.IDNAError, UnicodeError):
            return None
    text = text.lower().rstrip(".")
    if len(text) > DOMAIN_CHARACTERS_MAX or not all(map(_LABEL.fullmatch, text.split("."))):
        return None
    return text


def _domain(text: str) -> str | None:
    """At least two labels, the last one not a number: an address or a bare name is no domain."""
    name = _ascii_name(text)
    if name is None or "." not in name or name.rpartition(".")[2].isdigit():
        return None
    return name


def _host(text: str) -> str | None:
    """A computer's name, long or short, or its address."""
    text = text.lstrip("\\")
    address = _ip(text)
    if address is not None:
        return address
    name = _ascii_name(text)
    if name is None and not text.isascii() and len(text) <= DOMAIN_CHARACTERS_MAX and text.isprintable():
        name = unicodedata.normalize("NFC", text).casefold()
    return None if name is None or " " in name else name


def _url(text: str) -> str | None:
    """Scheme and host folded, default port, user information and fragment dropped, dots and escapes resolved.

    Source: RFC 3986 sections 6.2.2 and 6.2.3.
    """
    if not _SCHEME.match(text) or any(c.isspace() for c in text):
        return None
    try:
        parts = urlsplit(text)
        port = parts.port
        hostname = parts.hostname
    except ValueError:
        return None
    host = _host(hostname) if hostname else None
    if host is None:
        return None
    scheme = parts.scheme.lower()
    place = f"[{host}]" if ":" in host else host
    if port is not None and port != _DEFAULT_PORTS.get(scheme):
        place += f":{port}"
    query = f"?{_escaped(parts.query)}" if parts.query else ""
    return f"{scheme}://{place}{_without_dots(_escaped(parts.path)) or '/'}{query}"


def _escaped(text: str) -> str:
    """Escapes of characters that need none are undone, the others get capitals; what is not ASCII is escaped."""
    text = quote(text.encode("utf-8", "surrogateescape"), safe="%!#$&'()*+,/:;=?@[]~|{}^`\\\"<>")
    return _PERCENT.sub(lambda e: c if (c := unquote(e[0])) in _UNRESERVED and len(c) == 1 else e[0].upper(), text)


def _without_dots(path: str) -> str:
    """Source: RFC 3986 section 5.2.4."""
    kept: list[str] = []
    segments = path.split("/")
    for segment in segments:
        if segment == "..":
            if len(kept) > 1:
                kept.pop()
        elif segment != ".":
            kept.append(segment)
    if segments[-1] in (".", ".."):
        kept.append("")
    return "/".join(kept)


def _email(text: str) -> str | None:
    text = text.strip("<>").strip().removeprefix("mailto:")
    local, at, domain = text.rpartition("@")
    name = _domain(domain) if at else None
    if name is None or not local or any(c.isspace() or not c.isprintable() for c in local) or len(local) > 64:
        return None
    return f"{local.casefold()}@{name}"


def _hash(text: str) -> str | None:
    """Hexadecimal in lower case; all zeros is no hash. An import hash keeps its name, being no hash of the file."""
    text = text.lower()
    for prefix in ("imphash=", "imphash:"):
        if text.startswith(prefix):
            inner = _hash(text[len(prefix) :])
            return f"imphash:{inner}" if inner and len(inner) == 32 else None
    text = _HASH_PREFIX.sub("", text, count=1) if _HASH_PREFIX.match(text) else text
    return text if len(text) in HASH_CHARACTERS and _HEX.fullmatch(text) and text.strip("0") else None


def _account(text: str) -> str | None:
    r"""As the directory compares names: without regard to case. ``.\a`` and ``-\a`` are ``a``."""
    if _SID.fullmatch(text):
        return text.upper()
    domain, slash, name = text.rpartition("\\")
    if slash and domain.strip().casefold() in NOTHING | {"."}:
        text = name
    if not text.isprintable() or text.casefold() in NOTHING or text.endswith("\\"):
        return None
    return text if text.startswith("arn:") else unicodedata.normalize("NFC", text).casefold()


def _certificate(text: str) -> str | None:
    digits = text.lower().replace(":", "").replace(" ", "")
    return digits if 8 <= len(digits) <= 128 and _HEX.fullmatch(digits) else None


def _ja3(text: str) -> str | None:
    text = text.lower()
    return text if len(text) == 32 and _HEX.fullmatch(text) else None


def _ja4(text: str) -> str | None:
    text = text.lower()
    return text if len(text) <= 64 and re.fullmatch(r"[a-z0-9]+(?:_[a-z0-9]+){1,4}", text) else None


def _file(text: str) -> str | None:
    r"""A path or name: Windows paths in folded case with backslashes, others as written; no quotes, no ``\\?\``."""
    text = text.strip('"').removeprefix("\\??\\").removeprefix("\\\\?\\").strip()
    if not text or not text.isprintable():
        return None
    if _WINDOWS_PATH.match(text) or "\\" in text:
        return text.replace("/", "\\").casefold()
    return text


def _package(text: str) -> str | None:
    return text if text.isprintable() else None


_CANONICAL: Final[dict[ObservableKind, Callable[[str], str | None]]] = {
    "ip": _ip,
    "domain": _domain,
    "url": _url,
    "email": _email,
    "hash": _hash,
    "account": _account,
    "host": _host,
    "certificate": _certificate,
    "ja3": _ja3,
    "ja4": _ja4,
    "file": _file,
    "package": _package,
}


def _hashes(text: str) -> Iterable[str]:
    """Sysmon's list of hashes, ``MD5=…,SHA256=…``; several algorithms stand side by side."""
    return re.split(r"[,;|\s]+", text)


def _dns_answers(text: str) -> Iterable[str]:
    """Sysmon's ``QueryResults``: addresses, and names behind ``type: 5``, each closed by a semicolon."""
    for part in text.split(";"):
        yield re.sub(r"^type:\s*\d+\s*", "", part.strip())


SPLITS: Final[dict[str, Callable[[str], Iterable[str]]]] = {
    "hashes": _hashes,
    "comma": lambda text: text.split(","),
    "semicolon": lambda text: text.split(";"),
    "space": str.split,
    "dns-answers": _dns_answers,
}
"""How several observables that share one text are told apart, by the name that source definitions use."""


def canonicals(kind: ObservableKind, text: str, split: str | None = None) -> list[str]:
    """Give the canonical forms of all observables in one text, at most ``PARTS_MAX``, each once, in order.

    >>> canonicals("hash", "MD5=" + "a" * 32 + ",IMPHASH=" + "0" * 32, "hashes") == ["a" * 32]
    True
    """
    if len(text) > VALUE_CHARACTERS_MAX * 4:
        return []
    found: dict[str, None] = {}
    for part in SPLITS[split](text) if split else (text,):
        value = canonical(kind, part)
        if value is not None:
            found[value] = None
            if len(found) >= PARTS_MAX:
                break
    return list(found)
