"""What a text that somebody typed may be: kind and canonical value, the likeliest first. Pure."""

from __future__ import annotations

import re
from typing import Final, cast, get_args

from mingjian.model.observables import canonical
from mingjian.model.sources import ObservableKind

KINDS: Final[tuple[ObservableKind, ...]] = get_args(ObservableKind)

_DEFANGED: Final = ((re.compile(r"^hxxp", re.IGNORECASE), "http"), (re.compile(r"\[\.\]|\(\.\)|\[dot\]"), "."))
_JA4: Final = re.compile(r"[tqd][0-9a-z]{2}[di][0-9a-z]{6}_[0-9a-f]{12}_[0-9a-f]{12}")
_FILE: Final = re.compile(r"^(?:[A-Za-z]:)?[\\/]|\.(?:exe|dll|ps1|bat|cmd|vbs|js|sys|scr|msi|jar|sh|elf|docm?|xlsm?)$")


def refanged(text: str) -> str:
    """Undo what keeps people from clicking: ``hxxp``, ``[.]``.

    >>> refanged("hxxps://evil[.]example/a")
    'https://evil.example/a'
    """
    for pattern, plain in _DEFANGED:
        text = pattern.sub(plain, text)
    return text.replace("[:]", ":").replace("[@]", "@")


def guesses(text: str) -> list[tuple[ObservableKind, str]]:
    r"""The observables that a text may be, the likeliest first; none if it is nothing.

    >>> guesses("192.0.2.1")
    [('ip', '192.0.2.1')]
    >>> [kind for kind, _ in guesses("dc-01.corp.example")], [kind for kind, _ in guesses("CORP\\alice")]
    (['domain', 'host', 'account', 'file'], ['account', 'file'])
    """
    text = refanged(text.strip())
    found: dict[tuple[ObservableKind, str], None] = {}
    for kind in _likely(text):
        value = canonical(kind, text)
        if value is not None:
            found[kind, value] = None
    return list(found)


def _likely(text: str) -> tuple[ObservableKind, ...]:
    for kind in ("ip", "url", "email"):
        if canonical(cast("ObservableKind", kind), text) is not None:
            return ("email", "account") if kind == "email" else (cast("ObservableKind", kind),)
    if canonical("hash", text) is not None:
        return ("hash", "ja3", "certificate")
    if _JA4.fullmatch(text.lower()):
        return ("ja4",)
    if text.startswith("arn:") or (canonical("account", text) == text.upper() and text.upper().startswith("S-1-")):
        return ("account",)
    if _FILE.search(text):
        return ("file", "domain", "host", "account")
    if "\\" in text:
        return ("account", "file")
    if canonical("domain", text) is not None:
        return ("domain", "host", "account", "file")
    return ("host", "account", "file", "package")
