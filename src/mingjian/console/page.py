"""What every page of ours has in common: templates that escape, a policy that lets nothing run, bounded writing.

A page shows text that adversaries wrote. Three things keep it text: the templates escape whatever is not a constant of
this package; what steers the eye instead of being seen is made visible; and the page's own content policy lets nothing
run, load or apply but the one style and the one script whose hashes it names.
"""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Iterator
from functools import cache
from itertools import islice
from typing import TextIO

import jinja2
from markupsafe import Markup, escape

from mingjian.console import wording
from mingjian.console.evidence import Value, pieces_of
from mingjian.telemetry import visible

CHUNK_PIECES = 512
"""So many pieces of the page are joined before they are written."""

# Whatever is filled into these is escaped, unless it is markup of theirs.
_MARK = Markup('<b class="mark">{}</b>')
_MARK_OF_LINE_END = Markup('<b class="mark">{}</b><br>')
_BOX = Markup("<code>{}{}</code>")
_CUT = Markup('<i class="cut">{}</i>')


def outside(text: str) -> Markup:
    """Text from outside as markup: escaped, and what cannot be seen written out and marked."""
    if text.isprintable():
        return escape(text)
    return Markup("").join(
        (_MARK_OF_LINE_END if piece.line_end else _MARK).format(piece.text) if piece.mark else escape(piece.text)
        for piece in pieces_of(text)
    )


def boxed(words: wording.Words, value: Value) -> Markup:
    """A value in its box, with the number of characters that are not shown."""
    cut = _CUT.format(words.cut_value.format(n=wording.number(value.cut))) if value.cut else ""
    return _BOX.format(outside(value.text), cut)


@cache
def environment() -> jinja2.Environment:
    """The templates of this package."""
    return jinja2.Environment(
        loader=jinja2.PackageLoader("mingjian.console"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _shown(value: object) -> object:
    """Make every text that the template writes visible, also where the template forgot to mark what is not seen."""
    return value if isinstance(value, Markup) or not isinstance(value, str) else visible(value)


def part(name: str) -> Markup:
    """A file of this package that stands in the page as it is. It is ASCII, so that no stream changes it."""
    loader = environment().loader
    assert loader is not None
    source, _, _ = loader.get_source(environment(), name)
    assert source.isascii(), name
    assert "</" not in source, name
    return Markup(source)  # noqa: S704 - a constant of this package, not data


def policy(style: str, script: str) -> str:
    """The content policy: nothing but these two texts. Source: W3C, Content Security Policy 3, section 2.3.1."""
    style_hash, script_hash = (
        base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in (style, script)
    )
    return (
        f"default-src 'none'; style-src 'sha256-{style_hash}'; script-src 'sha256-{script_hash}'; "
        "base-uri 'none'; form-action 'none'"
    )


def write(stream: TextIO, pieces: Iterator[str]) -> None:
    """Write a page. A stream that is not UTF-8 gets plain ASCII."""
    encoding = (getattr(stream, "encoding", None) or "utf-8").lower().replace("_", "-")
    plain = encoding not in ("utf-8", "utf8", "utf-8-sig") and not isinstance(stream, io.StringIO)
    while batch := list(islice(pieces, CHUNK_PIECES)):
        chunk = "".join(batch)
        # The page says that it is UTF-8. ASCII with character references is that in every other encoding too.
        stream.write(chunk.encode("ascii", "xmlcharrefreplace").decode() if plain else chunk)
