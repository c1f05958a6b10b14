"""How values look on pages: times, numbers, sizes, durations, and links of entities. Pure."""

from __future__ import annotations

import datetime
from typing import Final, Protocol, TypeVar

from markupsafe import Markup, escape

from mingjian.console.page import outside
from mingjian.console.texts import Texts
from mingjian.console.wording import number, size
from mingjian.hunt.reasons import in_words
from mingjian.model.observables import canonical
from mingjian.model.sources import ObservableKind
from mingjian.telemetry import visible

__all__ = [
    "ago",
    "askable",
    "day_text",
    "duration",
    "editable",
    "moment",
    "number",
    "outside",
    "plain",
    "prose",
    "shown_of",
    "size",
    "stamp",
]

T = TypeVar("T")


class Named(Protocol):
    """A column of a list, as far as it matters here."""

    @property
    def is_reason(self) -> bool:
        """Whether its values are reasons of ours."""
        ...


_TIME = Markup('<time datetime="{}" title="{}">{}</time>')
_STEPS: Final = ((86_400, "d"), (3_600, "h"), (60, "m"), (1, "s"))
US_PER_DAY: Final = 86_400_000_000


def plain(value: object) -> str:
    """A value from outside for an attribute: escaped by the template, and nothing in it invisible."""
    return visible(str(value))


def editable(text: str) -> Markup:
    r"""A text for a box in which it is edited: its lines and tabs stay; else nothing in it is invisible.

    >>> print(editable("a: <b>\n  c: 1\u202e"))
    a: &lt;b&gt;
      c: 1\u202e
    """
    lines = ("\t".join(map(visible, line.split("\t"))) for line in text.split("\n"))
    return escape("\n".join(lines))


def askable(kind: ObservableKind, value: str) -> bool:
    r"""Whether there is a card of a value from outside: not everything that stands where a name should be is one.

    >>> askable("host", "pc-1"), askable("ip", "nowhere")
    (True, False)
    """
    return canonical(kind, value) is not None


def shown_of(column: Named, value: T, t: Texts) -> T | str:
    """A value of a column as it is shown: a reason of ours in the reader's language."""
    return in_words(value, t.language) if column.is_reason and isinstance(value, str) else value


def prose(text: str) -> Markup:
    r"""A text that a person wrote in lines: they stay lines, and else nothing in it is invisible.

    >>> print(prose("<b>one\r\ntwo\u202e"))
    &lt;b&gt;one<br>two<b class="mark">\u202e</b>
    """
    return Markup("<br>").join(outside(line) for line in text.replace("\r\n", "\n").rstrip("\n").split("\n"))


def stamp(time_us: int | None) -> str:
    """A time as ISO 8601 in UTC to the second; empty for none.

    >>> stamp(1_700_000_000_000_000)
    '2023-11-14T22:13:20Z'
    """
    if time_us is None:
        return ""
    try:
        when = datetime.datetime.fromtimestamp(time_us // 1_000_000, datetime.UTC)
    except (OverflowError, ValueError, OSError):
        return str(time_us)
    return when.strftime("%Y-%m-%dT%H:%M:%SZ")


def moment(time_us: int | None, texts: Texts) -> Markup | str:
    """A time for people, in UTC; a module of the page writes it in the reader's zone."""
    text = stamp(time_us)
    if not text:
        return texts("word.no-time")
    return _TIME.format(text, text, f"{text[:10]} {text[11:19]}")


def day_text(day: int) -> str:
    """A day since 1970 as ISO 8601.

    >>> day_text(20_000)
    '2024-10-04'
    """
    try:
        return (datetime.date(1970, 1, 1) + datetime.timedelta(days=day)).isoformat()
    except OverflowError:
        return str(day)


def duration(seconds: float, texts: Texts) -> str:
    """A duration in words, its largest unit only.

    >>> from mingjian.console.texts import load_texts
    >>> duration(14, load_texts("en")), duration(7200, load_texts("zh"))
    ('14 s', '2 小时')
    """
    seconds = max(0, int(seconds))
    length, unit = next((each for each in _STEPS if seconds >= each[0]), _STEPS[-1])
    return texts(f"unit.{unit}", n=number(seconds // length))


def ago(time_us: int | None, now_us: int, texts: Texts) -> str:
    """How long ago something was."""
    if time_us is None:
        return texts("word.never")
    return texts("word.ago", duration=duration((now_us - time_us) / 1_000_000, texts))
