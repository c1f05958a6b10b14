"""Which detections a page lists in full, and what it shows of each.

Everything that one row can hold is bounded, so that a page is too: ``ROWS_MAX`` rows of at most
``ROW_CHARACTERS_MAX`` characters of matched values.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping

import msgspec

from mingjian.console.tally import LEVEL_NUMBER, RuleTally, name_of
from mingjian.console.timeline import moment_of
from mingjian.hunt.attack import Attack
from mingjian.model.detections import Detection
from mingjian.telemetry import visible

ROWS_MAX = 5_000
FIELDS_MAX = 24
"""So many matched fields of a row are shown."""
VALUE_CHARACTERS_MAX = 2_000
ROW_CHARACTERS_MAX = 6_000
"""So much of all matched values of a row together is shown."""
ATOMS_MAX = 30
TECHNIQUES_MAX = 20
LINE_CHARACTERS_MAX = 500
"""So much of a title, a file name, a field name or an atom is shown."""


class Piece(msgspec.Struct, frozen=True):
    """A part of a text from outside: as it is, or (``mark``) the name of something that cannot be seen."""

    text: str
    mark: bool = False
    line_end: bool = False


class Value(msgspec.Struct, frozen=True):
    """A text from outside, as much of it as is shown, and how many characters are not."""

    text: str
    cut: int = 0


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """A detection as the page shows it."""

    number: int
    level: str
    level_number: int
    kind: str
    rule_number: int
    rule_id: str
    title: Value
    host: str
    account: str
    time_short: str
    time_exact: str
    time_s: int | None
    techniques: tuple[tuple[str, str], ...]
    """Id and name; the name can be empty."""
    stream: Value
    file: Value
    record: int
    matched: tuple[tuple[Value, Value], ...]
    fields_cut: int
    atoms: tuple[Value, ...]
    atoms_cut: int
    command: Value | None
    """What to type to see more; None where that is not possible."""


def quotas(rules: Mapping[str, RuleTally], rows_max: int = ROWS_MAX) -> dict[str, int]:
    """Say how many detections of each rule are listed: all, or of each rule the same number at most.

    If there are more rules than rows, the rules with the worst detections have one row each.
    """
    ranked = sorted(rules.values(), key=lambda rule: (rule.weight, rule.rule_id), reverse=True)[:rows_max]
    low, high = 1, max((rule.total for rule in ranked), default=1)
    while low < high:
        middle = (low + high + 1) // 2
        if sum(min(middle, rule.total) for rule in ranked) <= rows_max:
            low = middle
        else:
            high = middle - 1
    return {rule.rule_id: min(low, rule.total) for rule in ranked}


class Chosen(msgspec.Struct, frozen=True):
    """A detection that is listed, without what would not be shown, for it may wait in memory for a while."""

    detection: Detection
    cut: dict[str, int] = {}
    """Matched field → how many characters of its value were let go."""
    fields_cut: int = 0


def choose(detections: Iterable[Detection], quota: Mapping[str, int]) -> list[Chosen]:
    """Take the first detections of each rule, the worst level first and otherwise in the order given."""
    left = dict(quota)
    missing = sum(left.values())
    taken: list[Chosen] = []
    for one in detections:
        if left.get(one.rule_id):
            left[one.rule_id] -= 1
            missing -= 1
            taken.append(_trimmed(one))
        if not missing:
            break
    return sorted(taken, key=lambda one: -LEVEL_NUMBER[one.detection.level])


def _trimmed(one: Detection) -> Chosen:
    fields = list(one.matched.items())[:FIELDS_MAX]
    room = ROW_CHARACTERS_MAX
    matched: dict[str, str] = {}
    cut: dict[str, int] = {}
    for field, value in fields:
        kept = value[: min(VALUE_CHARACTERS_MAX, room)]
        room -= len(kept)
        matched[field] = kept
        if len(kept) < len(value):
            cut[field] = len(value) - len(kept)
    return Chosen(msgspec.structs.replace(one, matched=matched), cut, len(one.matched) - len(fields))


def pieces_of(text: str) -> Iterator[Piece]:
    r"""Cut a text into what can be seen and marks for what cannot.

    >>> [(piece.text, piece.mark) for piece in pieces_of("a\u202eb")]
    [('a', False), ('\\u202e', True), ('b', False)]
    """
    start = 0
    for place, character in enumerate(text):
        if character.isprintable():
            continue
        mark = visible(character)
        if mark != character:
            if place > start:
                yield Piece(text[start:place])
            yield Piece(mark, mark=True, line_end=character == "\n")
            start = place + 1
    if start < len(text):
        yield Piece(text[start:])


def value_of(text: str, cut: int = 0) -> Value:
    """Prepare a text from outside for the page; ``cut`` is how much of it is gone already."""
    shown = text[:VALUE_CHARACTERS_MAX]
    return Value(shown, cut + len(text) - len(shown))


def line_of(text: str) -> Value:
    """The same for a text that should fit into a line or a few."""
    return value_of(text[:LINE_CHARACTERS_MAX], max(0, len(text) - LINE_CHARACTERS_MAX))


def time_texts(time_us: int | None) -> tuple[str, str]:
    """Give a time to the second and to the microsecond, in UTC; both empty if there is none.

    >>> time_texts(1_600_000_000_000_001)
    ('2020-09-13 12:26:40', '2020-09-13T12:26:40.000001Z')
    """
    moment = moment_of(time_us)
    if moment is None:
        return "", ""
    exact = moment.replace(tzinfo=None).isoformat(timespec="microseconds")
    return exact[:19].replace("T", " "), exact + "Z"


def rows_of(chosen: Iterable[Chosen], number_of: Callable[[str], int], attack: Attack) -> Iterator[Row]:
    """Turn detections into rows one by one; ``number_of`` gives the number of a rule by its id."""
    for number, each in enumerate(chosen, start=1):
        one = each.detection
        short, exact = time_texts(one.time_us)
        yield Row(
            number=number,
            level=one.level,
            level_number=LEVEL_NUMBER[one.level],
            kind=one.kind,
            rule_number=number_of(one.rule_id),
            rule_id=one.rule_id,
            title=line_of(one.rule_title),
            host=name_of(one.host),
            account=name_of(one.account),
            time_short=short,
            time_exact=exact,
            time_s=one.time_us // 1_000_000 if one.time_us is not None and short else None,
            techniques=tuple((id, _name(attack, id)) for id in one.attack[:TECHNIQUES_MAX]),
            stream=line_of(one.stream),
            file=line_of(one.file),
            record=one.record,
            matched=tuple(
                (line_of(field), value_of(text, each.cut.get(field, 0))) for field, text in one.matched.items()
            ),
            fields_cut=each.fields_cut,
            atoms=tuple(line_of(atom) for atom in one.atoms[:ATOMS_MAX]),
            atoms_cut=max(0, len(one.atoms) - ATOMS_MAX),
            command=_command(one),
        )


def _name(attack: Attack, id: str) -> str:
    technique = attack.techniques.get(id)
    return technique.name if technique else ""


def _command(one: Detection) -> Value | None:
    if one.kind == "correlation" or visible(one.file) != one.file or visible(one.rule_id) != one.rule_id:
        return None
    event = shlex.quote(f"{one.file}:{one.record}")
    command = f"mingjian rules explain --rules=RULES --event={event} -- {shlex.quote(one.rule_id)}"
    # A command is whole or not there: nobody should run half of a name.
    return Value(command)
