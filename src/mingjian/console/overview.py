"""What a page says before its rows: sentences, the matrix of techniques, the tables of rules, hosts and accounts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import log

import msgspec

from mingjian.console.evidence import LINE_CHARACTERS_MAX, time_texts
from mingjian.console.tally import HOSTS_OF_RULE_MAX, RuleTally, Sums, Tally
from mingjian.console.wording import Words, counted, number, size
from mingjian.hunt.attack import Attack, parent_of
from mingjian.hunt.detection import Summary
from mingjian.model.rules import LEVELS, Level
from mingjian.settings import Language

TOP_MAX = 10
NAMES_LISTED_MAX = 200
"""So many hosts and so many accounts are in the full table."""
RULES_LISTED_MAX = 2_000
RULES_OF_TECHNIQUE_MAX = 12
TECHNIQUES_OF_RULE_MAX = 50
"""A rule with more techniques counts for the first of them."""
STREAMS_LISTED_MAX = 200
LOSSES_LISTED_MAX = 50
HEAT_STEPS = 4
UNKNOWN_STREAMS = "unknown/"
"""How the names of streams begin for which there is no source definition."""


class Part(msgspec.Struct, frozen=True):
    """A part of a sentence; ``outside`` if it is text from outside."""

    text: str
    outside: bool = False


class Line(msgspec.Struct, frozen=True):
    """A line of a table of rules, hosts or accounts."""

    name: str
    number: int
    """Its place in the order, from 1."""
    worst: Level
    total: int
    counts: tuple[int, ...]
    """In the order of the columns: falling level."""
    first: str
    last: str
    row: int | None
    """The first of its rows in the list of evidence, if it has one."""
    bar: tuple[tuple[Level, float, float], ...]
    """Level, start and width in percent."""
    hosts: str = ""
    techniques: tuple[str, ...] = ()
    listed: int = 0


class Table(msgspec.Struct, frozen=True):
    """Lines in order, and how many there are altogether."""

    lines: tuple[Line, ...]
    total: int
    unnamed: int = 0
    beyond: int = 0


class SubTechnique(msgspec.Struct, frozen=True):
    """A line inside a cell of the matrix."""

    id: str
    name: str
    total: int


class Cell(msgspec.Struct, frozen=True):
    """A technique in the matrix."""

    id: str
    name: str
    total: int
    worst: Level
    heat: int
    """1 to ``HEAT_STEPS``, by the number of detections."""
    subs: tuple[SubTechnique, ...]
    rules: tuple[Line, ...]
    rules_more: int


class Column(msgspec.Struct, frozen=True):
    """A tactic in the matrix."""

    name: str
    total: int
    cells: tuple[Cell, ...]


class Matrix(msgspec.Struct, frozen=True):
    """The tactics with detections, in the official order, and the others by name."""

    columns: tuple[Column, ...]
    silent: tuple[str, ...]
    untagged: int
    """Detections of rules that name no technique."""


def lead(sums: Sums, summary: Summary, words: Words) -> list[Part]:
    """Say in a sentence what was found: how much, the worst, where, since when."""
    total = sums.all.total
    files, events = counted(words, "file", summary.files), counted(words, "event", summary.events)
    if not total and not summary.events:
        return [Part(words.lead_unread.format(files=files))]
    if not total:
        rules = counted(words, "rule", summary.rules_loaded)
        return [Part(words.lead_nothing.format(events=events, files=files, rules=rules))]
    detections = counted(words, "detection", total)
    if sums.hosts:
        start = words.lead.format(detections=detections, hosts=counted(words, "host", len(sums.hosts)))
    else:
        start = detections
    levels = [
        words.lead_level.format(n=number(count), level=words.levels[level])
        for level, count in zip(reversed(LEVELS), sums.all.weight, strict=True)
        if count
    ]
    return [Part(start + words.lead_levels.format(levels=words.comma.join(levels))), *_worst(sums, words)]


def _worst(sums: Sums, words: Words) -> list[Part]:
    ranked = ranked_rules(sums.rules)
    if not ranked:
        return []
    rule = ranked[0]
    parts = [Part(words.lead_worst), Part(rule.title[:LINE_CHARACTERS_MAX], outside=True)]
    if rule.first_host:
        parts += [Part(words.lead_host), Part(rule.first_host, outside=True)]
        others = len(rule.hosts) - 1
        if others > 0:
            more = words.hosts_more.format(n=HOSTS_OF_RULE_MAX) if others >= HOSTS_OF_RULE_MAX else None
            hosts = counted(words, "other host", others) if more is None else more
            parts.append(Part(words.lead_hosts.format(hosts=hosts)))
    since, times = time_texts(rule.first_us)[0], counted(words, "time", rule.total)
    template = words.lead_since if since else words.lead_untimed_only
    return [*parts, Part(template.format(time=since, times=times) + words.full_stop)]


def blind(sums: Sums, summary: Summary, words: Words) -> list[str]:
    """Say what the run could not see or use; an empty list if it saw everything."""
    unknown = sum(count for stream, count in summary.events_by_stream.items() if stream.startswith(UNKNOWN_STREAMS))
    found = (
        ("quarantined", summary.quarantined),
        ("unknown", unknown),
        ("skipped", summary.rules_skipped),
        ("untimed", sums.times.untimed),
        ("uncorrelated", summary.untimed_matches),
        ("late", summary.late_matches),
        ("not run", len(summary.correlations_skipped)),
        ("lost", sum(summary.correlation_losses.values())),
    )
    return [counted(words, noun, count) for noun, count in found if count]


def read(summary: Summary, words: Words) -> str:
    """Say how much was read with how many rules."""
    return words.read.format(
        files=counted(words, "file", summary.files),
        events=counted(words, "event", summary.events),
        bytes=size(summary.bytes),
        rules=counted(words, "rule", summary.rules_loaded),
        fired=number(summary.rules_fired),
    )


def ranked_rules(rules: Mapping[str, RuleTally]) -> list[RuleTally]:
    """Put rules in order: the one with the worst detections first."""
    return sorted(rules.values(), key=lambda rule: (tuple(-count for count in rule.weight), rule.title, rule.rule_id))


def rule_lines(sums: Sums, rows: Mapping[str, int], listed: Mapping[str, int]) -> list[Line]:
    """All rules in order; ``rows`` gives a rule's first row, ``listed`` how many rows it has."""
    ranked = ranked_rules(sums.rules)
    most = max((rule.total for rule in ranked), default=0)
    lines: list[Line] = []
    for place, rule in enumerate(ranked, start=1):
        line = _line(rule.title[:LINE_CHARACTERS_MAX], place, rule, rows.get(rule.rule_id), most)
        hosts = f"> {HOSTS_OF_RULE_MAX}" if len(rule.hosts) > HOSTS_OF_RULE_MAX else str(len(rule.hosts))
        techniques = rule.attack[:TECHNIQUES_OF_RULE_MAX]
        lines.append(
            msgspec.structs.replace(line, hosts=hosts, techniques=techniques, listed=listed.get(rule.rule_id, 0))
        )
    return lines


def name_table(tallies: Mapping[str, Tally], rows: Mapping[str, int], unnamed: int, beyond: int) -> Table:
    """The table of hosts or of accounts; ``rows`` gives a name's first row."""
    ranked = sorted(tallies.items(), key=lambda item: (tuple(-count for count in item[1].weight), item[0]))
    ranked = ranked[:NAMES_LISTED_MAX]
    most = max((tally.total for _, tally in ranked), default=0)
    lines = [_line(name, place, tally, rows.get(name), most) for place, (name, tally) in enumerate(ranked, start=1)]
    return Table(tuple(lines), len(tallies), unnamed, beyond)


def _line(name: str, place: int, tally: Tally, row: int | None, most: int) -> Line:
    bar: list[tuple[Level, float, float]] = []
    at = 0.0
    for level, count in zip(reversed(LEVELS), tally.weight, strict=True):
        if count:
            width = 100 * count / most
            bar.append((level, round(at, 2), round(width, 2)))
            at += width
    return Line(
        name=name,
        number=place,
        worst=tally.worst,
        total=tally.total,
        counts=tally.weight,
        first=time_texts(tally.first_us)[0],
        last=time_texts(tally.last_us)[0],
        row=row,
        bar=tuple(bar),
    )


def matrix(lines: Iterable[Line], attack: Attack, language: Language, unknown_name: str) -> Matrix:
    """Count detections by tactic and technique. ``lines`` are those of all rules, in order.

    A detection counts once for a tactic or a technique, however many sub-techniques of it the rule names.
    """
    rules = list(lines)
    by_parent: dict[str, list[Line]] = {}
    by_id: dict[str, list[Line]] = {}
    for rule in rules:
        for parent in dict.fromkeys(parent_of(id) for id in rule.techniques):
            by_parent.setdefault(parent, []).append(rule)
        for id in dict.fromkeys(rule.techniques):
            by_id.setdefault(id, []).append(rule)
    most = max((_total(found) for found in by_parent.values()), default=1)
    columns: list[Column] = []
    silent: list[str] = []
    known: set[str] = set()
    for tactic in attack.tactics:
        name = tactic.zh if language == "zh" else tactic.en
        inside = {id for id in by_id if (known_as := attack.techniques.get(id)) and tactic.id in known_as.tactics}
        known |= inside
        if inside:
            columns.append(_column(name, inside, by_parent, by_id, attack, most))
        else:
            silent.append(name)
    strange = by_id.keys() - known
    if strange:
        columns.append(_column(unknown_name, strange, by_parent, by_id, attack, most))
    return Matrix(tuple(columns), tuple(silent), sum(rule.total for rule in rules if not rule.techniques))


def _total(rules: Iterable[Line]) -> int:
    return sum(rule.total for rule in rules)


def _column(
    name: str,
    ids: Iterable[str],
    by_parent: Mapping[str, list[Line]],
    by_id: Mapping[str, list[Line]],
    attack: Attack,
    most: int,
) -> Column:
    ids = set(ids)
    concerned = {rule.number: rule for id in ids for rule in by_id[id]}
    cells: list[Cell] = []
    for parent in sorted({parent_of(id) for id in ids}):
        known = attack.techniques.get(parent)
        # Rules in the order of the page; the first has the worst detection.
        rules = by_parent[parent]
        total = _total(rules)
        subs = [
            SubTechnique(id, found.name if (found := attack.techniques.get(id)) else "", _total(by_id[id]))
            for id in sorted(ids)
            if id != parent and parent_of(id) == parent
        ]
        cells.append(
            Cell(
                id=parent,
                name=known.name if known else "",
                total=total,
                worst=rules[0].worst,
                heat=1 + int((HEAT_STEPS - 1) * log(total, most)) if most > 1 else 1,
                subs=tuple(subs),
                rules=tuple(rules[:RULES_OF_TECHNIQUE_MAX]),
                rules_more=max(0, len(rules) - RULES_OF_TECHNIQUE_MAX),
            )
        )
    cells.sort(key=lambda cell: (-LEVELS.index(cell.worst), -cell.total, cell.id))
    return Column(name, _total(concerned.values()), tuple(cells))


def streams(summary: Summary) -> tuple[list[tuple[str, int]], int]:
    """The streams with the most events, and how many further streams there are."""
    ranked = sorted(summary.events_by_stream.items(), key=lambda item: (-item[1], item[0]))
    return ranked[:STREAMS_LISTED_MAX], max(0, len(ranked) - STREAMS_LISTED_MAX)


def losses(summary: Summary) -> tuple[list[str], int]:
    """What correlations could not do, one line each, and how many further lines there are."""
    lines = [*summary.correlations_skipped, *(f"{name}: {number(n)}" for name, n in summary.correlation_losses.items())]
    shown = [line[:LINE_CHARACTERS_MAX] for line in lines[:LOSSES_LISTED_MAX]]
    return shown, len(lines) - len(shown)
