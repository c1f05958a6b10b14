r"""Regular expressions from rules: checked against RE2, and written so that they mean there what they mean in PCRE.

RE2's ``$`` (without ``m``) stands at the very end of a text only; in PCRE also before a final line feed. So each such
``$`` becomes ``(?:\n?\z)``. That is the same question as long as nothing behind the ``$`` can take that line feed
itself; where something could, the pattern is refused. RE2's ``\s`` lacks the vertical tab, and its ``\w`` under ``i``
has two characters beyond ASCII (the Kelvin sign and the long s): both are written out.

Source: Sigma modifiers appendix, section Regular Expression; pcre2pattern(3), sections Circumflex and dollar, Generic
character types.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, NamedTuple, Protocol, cast

import re2  # pyright: ignore[reportMissingTypeStubs] # it has none; what comes out of it is typed here

from mingjian.errors import LimitExceeded, UnsupportedRule, shown

REGEX_CHARACTERS_MAX: Final = 8_192
"""The longest regular expression. The longest of SigmaHQ has some 900 characters."""

_END = r"(?:\n?\z)"
_SPACE = {r"\s": r"\x20\t-\r", r"\S": r"\x00-\x08\x0e-\x1f\x21-\x{10FFFF}"}
"""Inside brackets. Each ends with a range, so that a hyphen behind it stays a hyphen."""
_DIFFERENT = re.compile(r"\$|\\[sSwW]")

_TOKEN = re.compile(
    r"""
    (?P<quoted>\\Q.*?(?:\\E|\Z))
  | (?P<edge>\\[AzbB]|\^)
  | (?P<escape>\\(?:[pP](?:\{[^}]*\}|.)|x(?:\{[^}]*\}|..)|[0-7]{1,3}|.))
  | (?P<cls>\[\^?\]?(?:\\.|\[:\^?[a-z]+:\]|[^\]\\])*\])
  | (?P<flags>\(\?[a-zA-Z-]*[:)])
  | (?P<open>\((?:\?P?<[^>]*>)?)
  | (?P<close>\))
  | (?P<alt>\|)
  | (?P<quant>(?:[*+?]|\{[0-9]+(?:,[0-9]*)?\})\??)
  | (?P<dollar>\$)
  | (?P<other>.)
    """,
    re.VERBOSE | re.DOTALL,
)


class _Token(NamedTuple):
    kind: str
    text: str


class Pattern(Protocol):
    """What is asked here of a compiled pattern."""

    def fullmatch(self, text: str) -> object | None:
        """Something if the whole text fits, None if not."""
        ...


def compiled(pattern: str) -> Pattern:
    """Compile a pattern for RE2, which takes time linear in the text. Raises: UnsupportedRule with RE2's message."""
    options = re2.Options()
    options.log_errors = False  # the reason goes into the rule's report, not to stderr
    try:
        return cast("Pattern", re2.compile(pattern, options))  # pyright: ignore[reportUnknownMemberType] # re2 has no types
    except cast("type[Exception]", re2.error) as refusal:  # pyright: ignore[reportUnknownMemberType] # re2 has no types
        said: object = refusal.args[0]
        reason = said.decode("utf-8", "replace") if isinstance(said, bytes) else str(said)
        raise UnsupportedRule(
            f"RE2 refuses the regular expression {shown(pattern)}: {reason}",
            hint="look-around, back-references and possessive quantifiers need backtracking, which is not safe here",
        ) from None


def checked_regex(pattern: str, flags: str = "") -> str:
    r"""Give the pattern in RE2's terms. ``flags`` is made of ``i``, ``m``, ``s``.

    Raises: UnsupportedRule (with RE2's message), LimitExceeded.

    >>> checked_regex("a$|[$]"), checked_regex("a$", "m")
    ('a(?:\\n?\\z)|[$]', 'a$')
    """
    if len(pattern) > REGEX_CHARACTERS_MAX:
        raise LimitExceeded("REGEX_CHARACTERS_MAX", REGEX_CHARACTERS_MAX)
    prefix = f"(?{flags})" if flags else ""
    compiled(prefix + pattern)  # before the rewriting, so that the reason speaks of what the author wrote
    if not _DIFFERENT.search(pattern):
        return pattern
    rewritten = _in_terms_of_re2(pattern, frozenset(flags))
    if rewritten != pattern:
        compiled(prefix + rewritten)
    return rewritten


def _in_terms_of_re2(pattern: str, modes: frozenset[str]) -> str:
    tokens = [_Token(str(found.lastgroup), found.group()) for found in _TOKEN.finditer(pattern)]
    dot_all = "s" in modes or any("s" in token.text.partition("-")[0] for token in tokens if token.kind == "flags")
    out: list[str] = []
    enclosing: list[frozenset[str]] = []
    for place, token in enumerate(tokens):
        kind, text = token
        if kind == "open" or (kind == "flags" and text.endswith(":")):
            enclosing.append(modes)
        elif kind == "close" and enclosing:
            modes = enclosing.pop()
        if kind == "flags":
            on, _, off = text[2:-1].partition("-")
            modes = (modes | set(on)) - set(off)
        if kind == "dollar" and "m" not in modes:
            _refuse_if_line_feed_follows(tokens, place, pattern, dot_all=dot_all)
            text = _END
        elif kind == "escape":
            text = f"[{_SPACE[text]}]" if text in _SPACE else text
            text = f"(?-i:{text})" if text in (r"\w", r"\W") and "i" in modes else text
        elif kind == "cls":
            # Letters beside \w are in it in both cases, as long as all of them are ASCII.
            words = r"\w" in text and r"\W" not in text and text.isascii() and "i" in modes
            text = re.sub(r"\\.", lambda found: _SPACE.get(found.group(), found.group()), text, flags=re.DOTALL)
            text = f"(?-i:{text})" if words else text
        out.append(text)
    return "".join(out)


def _refuse_if_line_feed_follows(tokens: Sequence[_Token], dollar: int, pattern: str, *, dot_all: bool) -> None:
    """Walk over what can come after a ``$`` until the way out is a dead end or the end of the pattern."""
    depth = 0
    place = dollar + 1
    while place < len(tokens):
        kind, text = tokens[place]
        if kind == "alt" and depth == 0:
            place = _closing(tokens, place)
            continue
        if kind == "open" or (kind == "flags" and text.endswith(":")):
            depth += 1
        elif kind == "close":
            depth -= depth > 0
        elif kind == "edge":
            raise UnsupportedRule(f"the regular expression {shown(pattern)} has {text} after $")
        elif kind not in ("quant", "dollar", "flags", "alt"):
            follower = tokens[place + 1] if place + 1 < len(tokens) else _Token("", "")
            may_be_absent = follower.kind == "quant" and follower.text.startswith(("*", "?", "{0"))
            takes_line_feed = kind == "quoted" or _takes_line_feed(text, dot_all=dot_all)
            if takes_line_feed and not may_be_absent:
                raise UnsupportedRule(f"the regular expression {shown(pattern)} goes on after $ with a line feed")
            if not takes_line_feed and not may_be_absent and depth == 0:
                return  # nothing else can follow the end of a text: a dead end in both readings
        place += 1


def _closing(tokens: Sequence[_Token], place: int) -> int:
    """The place of the parenthesis that closes the group around ``place``, or the end of the pattern."""
    depth = 0
    while place < len(tokens):
        kind, text = tokens[place]
        if kind == "open" or (kind == "flags" and text.endswith(":")):
            depth += 1
        elif kind == "close":
            if depth == 0:
                return place
            depth -= 1
        place += 1
    return place


def _takes_line_feed(token: str, *, dot_all: bool) -> bool:
    return compiled(f"(?s:{token})" if dot_all else token).fullmatch("\n") is not None
