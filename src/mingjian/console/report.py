"""The report of a detection run: one HTML file that needs nothing else and opens from disk.

The page shows text that adversaries wrote. Three things keep it text: the templates escape whatever is not a constant
of this package; ``_shown`` makes visible what steers the eye instead of being seen; and the page's own content
policy lets nothing run, load or apply but the one style and the one script whose hashes it names.
"""

from __future__ import annotations

import base64
import datetime
import hashlib
import io
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import cache, partial
from itertools import islice
from typing import TextIO

import jinja2
import msgspec
from markupsafe import Markup, escape

from mingjian.console import overview, wording
from mingjian.hunt.attack import load_attack
from mingjian.console.evidence import Chosen, Value, choose, pieces_of, quotas, rows_of
from mingjian.console.tally import NAMES_MAX, Sums, add_up, name_of
from mingjian.console.timeline import PLOT_HEIGHT_PX, lay_out
from mingjian.console.wording import WORDS
from mingjian.hunt.detection import Summary
from mingjian.model.detections import Detection
from mingjian.model.rules import LEVELS
from mingjian.settings import Language
from mingjian.telemetry import visible

CHUNK_PIECES = 512
"""So many pieces of the page are joined before they are written."""

# Whatever is filled into these is escaped, unless it is markup of theirs.
_MARK = Markup('<b class="mark">{}</b>')
_MARK_OF_LINE_END = Markup('<b class="mark">{}</b><br>')
_BOX = Markup("<code>{}{}</code>")
_CUT = Markup('<i class="cut">{}</i>')


class _FirstRows(msgspec.Struct, frozen=True):
    """Where the evidence of a rule, a host or an account begins in the list of rows."""

    rules: dict[str, int]
    hosts: dict[str, int]
    accounts: dict[str, int]


def write_report(
    stream: TextIO,
    detections: Callable[[], Iterator[Detection]],
    summary: Summary,
    language: Language,
    *,
    written_at: datetime.datetime | None = None,
) -> None:
    """Write the report. ``detections`` is called twice, and read to its end or nearly so.

    Memory is bounded by the limits of ``tally`` and ``evidence``, not by the number of detections. ``written_at`` is
    the aware time that the page states; now, if not given. A stream that is not UTF-8 gets plain ASCII.
    """
    words = WORDS[language]
    sums = add_up(detections())
    quota = quotas(sums.rules)
    chosen = choose(detections(), quota)
    listed = Counter(each.detection.rule_id for each in chosen)
    attack = load_attack()
    first = _first_rows(chosen)
    rules = overview.rule_lines(sums, first.rules, listed)
    numbers = {rule.rule_id: place for place, rule in enumerate(overview.ranked_rules(sums.rules), start=1)}
    style, script = _part("report.css"), _part("report.js")
    streams, streams_cut = overview.streams(summary)
    losses, losses_cut = overview.losses(summary)
    page = _environment().get_template("report.html.j2")
    context = {
        "words": words,
        "policy": _policy(style, script),
        "style": style,
        "script": script,
        "levels": tuple(reversed(LEVELS)),
        "level_counts": dict(zip(reversed(LEVELS), sums.all.weight, strict=True)),
        "lead": overview.lead(sums, summary, words),
        "blind": overview.blind(sums, summary, words),
        "read": overview.read(summary, words),
        "span": _span(sums, words),
        "written": words.written.format(time=f"{_utc(written_at):%Y-%m-%d %H:%M}"),
        "total": sums.all.total,
        "timeline": lay_out(sums.times),
        "plot_height": PLOT_HEIGHT_PX,
        "matrix": overview.matrix(rules, attack, language, words.matrix_unknown),
        "attack_version": attack.version,
        "rules": overview.Table(tuple(rules[: overview.RULES_LISTED_MAX]), len(rules), 0, sums.beyond_rules),
        "hosts": overview.name_table(sums.hosts, first.hosts, sums.hostless, sums.beyond_hosts),
        "accounts": overview.name_table(sums.accounts, first.accounts, sums.accountless, sums.beyond_accounts),
        "names_max": NAMES_MAX,
        "top_max": overview.TOP_MAX,
        "rows": rows_of(chosen, numbers.__getitem__, attack),
        "rows_listed": len(chosen),
        "rows_each": max(quota.values(), default=0),
        "rules_unlisted": len(quota) < len(sums.rules),
        "summary": summary,
        "streams": streams,
        "streams_cut": streams_cut,
        "losses": losses,
        "losses_cut": losses_cut,
    }
    _write(stream, page.generate(context | _functions(words)))


def _first_rows(chosen: Iterable[Chosen]) -> _FirstRows:
    first = _FirstRows({}, {}, {})
    for number, each in enumerate(chosen, start=1):
        one = each.detection
        first.rules.setdefault(one.rule_id, number)
        first.hosts.setdefault(name_of(one.host), number)
        first.accounts.setdefault(name_of(one.account), number)
    return first


def _span(sums: Sums, words: wording.Words) -> str:
    first, last = (overview.time_texts(time)[0] for time in (sums.all.first_us, sums.all.last_us))
    return words.span.format(first=first, last=last) if first and last else ""


def _utc(moment: datetime.datetime | None) -> datetime.datetime:
    return (moment or datetime.datetime.now(datetime.UTC)).astimezone(datetime.UTC)


def _functions(words: wording.Words) -> dict[str, Callable[..., object]]:
    return {
        "number": wording.number,
        "size": wording.size,
        "counted": partial(wording.counted, words),
        "outside": _outside,
        "value": partial(_value, words),
    }


def _outside(text: str) -> Markup:
    """Text from outside as markup: escaped, and what cannot be seen written out and marked."""
    if text.isprintable():
        return escape(text)
    return Markup("").join(
        (_MARK_OF_LINE_END if piece.line_end else _MARK).format(piece.text) if piece.mark else escape(piece.text)
        for piece in pieces_of(text)
    )


def _value(words: wording.Words, value: Value) -> Markup:
    """A value in its box, with the number of characters that are not shown."""
    cut = _CUT.format(words.cut_value.format(n=wording.number(value.cut))) if value.cut else ""
    return _BOX.format(_outside(value.text), cut)


@cache
def _environment() -> jinja2.Environment:
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


def _part(name: str) -> Markup:
    """A file of this package that stands in the page as it is. It is ASCII, so that no stream changes it."""
    loader = _environment().loader
    assert loader is not None
    source, _, _ = loader.get_source(_environment(), name)
    assert source.isascii(), name
    assert "</" not in source, name
    return Markup(source)  # noqa: S704 - a constant of this package, not data


def _policy(style: str, script: str) -> str:
    """The content policy: nothing but these two texts. Source: W3C, Content Security Policy 3, section 2.3.1."""
    style_hash, script_hash = (
        base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in (style, script)
    )
    return (
        f"default-src 'none'; style-src 'sha256-{style_hash}'; script-src 'sha256-{script_hash}'; "
        "base-uri 'none'; form-action 'none'"
    )


def _write(stream: TextIO, pieces: Iterator[str]) -> None:
    encoding = (getattr(stream, "encoding", None) or "utf-8").lower().replace("_", "-")
    plain = encoding not in ("utf-8", "utf8", "utf-8-sig") and not isinstance(stream, io.StringIO)
    while batch := list(islice(pieces, CHUNK_PIECES)):
        chunk = "".join(batch)
        # The page says that it is UTF-8. ASCII with character references is that in every other encoding too.
        stream.write(chunk.encode("ascii", "xmlcharrefreplace").decode() if plain else chunk)
