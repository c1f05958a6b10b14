"""A situation brief for a period and a scope: what happened, how it compares, and what could not be seen.

Everything in it is text that is ready to be written: the writers of HTML, DOCX and PDF put the same words in different
clothes and add nothing. Every figure carries the command that counts it again and the mark of its coverage sentence.
"""

from __future__ import annotations

import datetime
import shlex
from collections import Counter
from collections.abc import Sequence
from typing import Final, NamedTuple

import msgspec

from mingjian import __version__
from mingjian.console.shapes import day_text, number, stamp
from mingjian.console.texts import Texts, load_texts
from mingjian.errors import ConfigError, NotFound, shown
from mingjian.hunt.answer import exceptions
from mingjian.hunt.attack import load_attack
from mingjian.hunt.holes import Hole, Question, Window, holes, window_of
from mingjian.model.rules import LEVELS, Level
from mingjian.settings import Language
from mingjian.situations.showing import Line, line_of
from mingjian.store.catalogue import SegmentRow, organisations
from mingjian.store.coverage import uncovered_by_rules
from mingjian.store.holes import days_with_events
from mingjian.store.periods import Period, PeriodSums, RuleSum, sum_up
from mingjian.store.rules import live_versions
from mingjian.store.scope import OrganisationId, Scope
from mingjian.store.segments import US_PER_DAY
from mingjian.store.situations import SituationFilter, StoredSituation, situations
from mingjian.store.workspace import Workspace
from mingjian.telemetry import visible

DAYS_MAX: Final = 3_660
"""A period is at most so long."""
DAYS: Final = 7
"""… and so long unless somebody says otherwise."""
SITUATIONS_TOLD: Final = 10
RULES_TOLD: Final = 15
ORGANISATIONS_TOLD: Final = 100
BLIND_TOLD: Final = 30
BLIND_IN_SENTENCE: Final = 3
TEXT_CHARACTERS_MAX: Final = 300
"""So much of a title or a name from outside is shown."""
WORSE: Final = 1.25
"""Up to so much more or less than before is “about as many”."""
WIDTHS: Final[dict[str, tuple[int, ...]]] = {
    "situations": (9, 11, 48, 19, 16, 15),
    "organisations": (40, 20, 15, 15, 15),
    "rules": (12, 64, 14, 12),
    "tactics": (40, 20, 16, 20),
}
"""Of the columns of each table."""
_EPOCH: Final = datetime.date(1970, 1, 1)


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """A number with what stands behind it."""

    key: str
    label: str
    value: int
    before: int | None
    """The same in the period before; None if that says nothing."""
    query: str
    """The command that counts it."""
    path: str
    """Where the console shows what was counted; empty if nowhere."""
    coverage: str
    """The mark of its sentence in ``Brief.coverages``."""


class Table(msgspec.Struct, frozen=True, kw_only=True):
    """Rows of text under a heading."""

    key: str
    title: str
    headings: tuple[str, ...]
    figures: tuple[int, ...]
    """The columns that hold numbers."""
    rows: tuple[tuple[str, ...], ...]
    """A line feed in a cell begins a line beneath: none of them is from outside."""
    widths: tuple[int, ...]
    """Of the columns, relative to each other, for paper."""
    paths: tuple[str, ...]
    """For each row where the console shows it; empty if nowhere."""
    left_out: int
    """So many rows more there are."""
    empty: str
    """What stands there if there is no row."""
    query: str
    coverage: str


class Coverage(msgspec.Struct, frozen=True):
    """A sentence that says what could be seen, and its mark."""

    mark: str
    says: str


class Brief(msgspec.Struct, frozen=True, kw_only=True):
    """A brief in words, in one language."""

    language: Language
    title: str
    subtitle: str
    lead: tuple[str, ...]
    facts: tuple[tuple[str, str], ...]
    """What the document says of itself: whose data, made when and by whom."""
    figures: tuple[Figure, ...]
    tables: tuple[Table, ...]
    coverages: tuple[Coverage, ...]
    blind: tuple[str, ...]
    """What could not be seen in the period, the most relevant first."""
    made_us: int


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """What brief is wanted, by whom."""

    period: Period
    language: Language
    by: str


class _Told(NamedTuple):
    """What the parts of a brief are made of."""

    wish: Wish
    texts: Texts
    sums: PeriodSums
    before: PeriodSums
    names: dict[int, str]
    worst: Sequence[Line]
    options: str
    """Of every command: since, until, organisation."""
    last_options: str
    """The same where the last day is named, not the first after it."""
    address: str
    """The same as parameters of the console."""


def period_of(
    workspace: Workspace, scope: Scope, since: str, until: str, organisation: OrganisationId | None = None
) -> Period:
    """Read a period from two days as people write them. Not given: the last days, or the last ones of old data.

    Raises:
        ConfigError: one of them is no day, or the period is too long or ends before it begins.
        NotFound: the scope does not reach the organisation.
    """
    if until:
        last = _day(until)
    else:
        window = window_of(days_with_events(workspace, scope, organisation))
        today = workspace.clock_us() // US_PER_DAY
        last = today if window is None else min(today, window.last_day)
    first = last - DAYS + 1 if not since else _day(since)
    if first > last:
        raise ConfigError(f"the period ends before it begins: {day_text(first)} to {day_text(last)}")
    if last - first >= DAYS_MAX:
        raise ConfigError(f"a period has at most {DAYS_MAX} days", hint="several briefs can be written")
    return Period(first_day=first, last_day=last, organisation=organisation)


def _day(text: str) -> int:
    try:
        return (datetime.date.fromisoformat(text) - _EPOCH).days
    except ValueError:
        raise ConfigError(f"not a day: {shown(text)}", hint="for example 2026-01-31") from None


def make_brief(workspace: Workspace, scope: Scope, wish: Wish) -> Brief:
    """Count and tell.

    Raises:
        NotFound: the scope does not reach the organisation.
        StorageError: the workspace cannot be read.
    """
    period, texts = wish.period, load_texts(wish.language)
    names = {int(each.id): _clean(each.name) for each in organisations(workspace, scope)}
    if period.organisation is not None and period.organisation not in names:
        raise NotFound("there is no such organisation")
    told = _Told(
        wish=wish,
        texts=texts,
        sums=sum_up(workspace, scope, period),
        before=sum_up(workspace, scope, period.before()),
        names=names,
        worst=_worst(workspace, scope, wish),
        options=_options(period, names, past_end=True),
        last_options=_options(period, names, past_end=False),
        address=f"since={day_text(period.first_day)}&until={day_text(period.last_day)}",
    )
    seen, now_blind = _coverage(workspace, scope, period, told, "A")
    earlier, _ = _coverage(workspace, scope, period.before(), told, "B")
    return Brief(
        language=wish.language,
        title=texts("brief.title"),
        subtitle=texts("brief.subtitle", first=day_text(period.first_day), last=day_text(period.last_day)),
        lead=tuple(_lead(told)),
        facts=_facts(told, workspace.clock_us()),
        figures=tuple(_figures(told)),
        tables=tuple(_tables(told)),
        coverages=(seen, earlier, Coverage("C", texts("brief.coverage-own"))),
        blind=tuple(_clean(each) for each in exceptions(now_blind, wish.language, pieces_max=BLIND_TOLD)),
        made_us=workspace.clock_us(),
    )


def _clean(text: str) -> str:
    """Text from outside: nothing in it is invisible, and it is not too long."""
    text = visible(text)
    return text if len(text) <= TEXT_CHARACTERS_MAX else text[: TEXT_CHARACTERS_MAX - 1] + "…"


def _options(period: Period, names: dict[int, str], *, past_end: bool) -> str:
    last = period.last_day + (1 if past_end else 0)
    found = f"--since {day_text(period.first_day)} --until {day_text(last)}"
    if period.organisation is not None:
        found += f" --org {shlex.quote(names[period.organisation])}"
    return found


def _worst(workspace: Workspace, scope: Scope, wish: Wish) -> list[Line]:
    period = wish.period
    wanted = SituationFilter(
        organisation=period.organisation, states=(), first_us=period.first_us, until_us=period.until_us
    )
    found: Sequence[StoredSituation] = situations(workspace, scope, wanted, limit=SITUATIONS_TOLD).situations
    return [line_of(each, wish.language) for each in found]


# --- what could be seen ----------------------------------------------------------------------------------------------


def _coverage(
    workspace: Workspace, scope: Scope, period: Period, told: _Told, mark: str
) -> tuple[Coverage, Sequence[Hole]]:
    """What could be seen of a period: in a sentence, and the holes one by one."""
    question = Question(
        not_run=_not_run(workspace, scope, period),
        first_day=period.first_day,
        last_day=period.last_day,
        organisation=period.organisation,
    )
    window, found = holes(workspace, scope, question)
    return Coverage(mark, _seen(told, window, found)), found


def _not_run(workspace: Workspace, scope: Scope, period: Period) -> tuple[SegmentRow, ...]:
    """Segments of the period over which some rule that counts has not been run."""
    missing = uncovered_by_rules(workspace, scope, live_versions(workspace), organisation=period.organisation)
    rows = {row.id: row for each in missing for row in each.segments}
    return tuple(
        row
        for row in rows.values()
        if row.first_us is not None and row.first_us < period.until_us and (row.last_us or 0) >= period.first_us
    )


def _seen(told: _Told, window: Window | None, found: Sequence[Hole]) -> str:
    if window is None:
        return told.texts("brief.coverage-none")
    first, last = day_text(window.first_day), day_text(window.last_day)
    if not found:
        return told.texts("brief.coverage-whole", first=first, last=last)
    pieces = exceptions(found, told.wish.language, pieces_max=BLIND_IN_SENTENCE)
    joined = ("；" if told.wish.language == "zh" else "; ").join(_clean(each) for each in pieces)
    return told.texts("brief.coverage", first=first, last=last, holes=joined)


# --- the words -------------------------------------------------------------------------------------------------------


def _lead(told: _Told) -> list[str]:
    """The brief in a few sentences."""
    texts, sums, before = told.texts, told.sums, told.before
    if not sums.events and not sums.detections:
        return [texts("brief.lead-nothing")]
    found = [
        texts(
            "brief.lead-situations",
            n=number(sums.situations),
            new=number(sums.situations_new),
            open=number(sums.situations_open),
        )
    ]
    if told.worst:
        worst = told.worst[0]
        owner = told.names.get(worst.stored.organisation, "")
        found.append(texts("brief.lead-worst", title=_clean(worst.title), organisation=owner))
    key = "brief.lead-same"
    if sums.grave > before.grave * WORSE:
        key = "brief.lead-more"
    elif sums.grave * WORSE < before.grave:
        key = "brief.lead-fewer"
    found.append(texts(key, n=number(sums.grave), hosts=number(sums.grave_hosts), before=number(before.grave)))
    if sums.incidents or sums.incidents_open:
        found.append(texts("brief.lead-incidents", n=number(sums.incidents), open=number(sums.incidents_open)))
    return found


def _facts(told: _Told, now_us: int) -> tuple[tuple[str, str], ...]:
    texts, period = told.texts, told.wish.period
    if period.organisation is not None:
        whose = told.names[period.organisation]
    else:
        whose = texts("brief.whose", n=number(len(told.names)))
    earlier = period.before()
    return (
        (texts("brief.fact-scope"), whose),
        (texts("brief.fact-period"), f"{day_text(period.first_day)} – {day_text(period.last_day)} (UTC)"),
        (texts("brief.fact-before"), f"{day_text(earlier.first_day)} – {day_text(earlier.last_day)} (UTC)"),
        (texts("brief.fact-made"), f"{stamp(now_us)}, {_clean(told.wish.by)}, Mingjian {__version__}"),
    )


def _figures(told: _Told) -> list[Figure]:
    """The key figures, in the order of the document."""
    texts, sums, before = told.texts, told.sums, told.before
    found: list[Figure] = []

    def add(key: str, value: int, earlier: int | None, query: str, path: str, coverage: str = "A/B") -> None:
        mark = coverage if earlier is not None else coverage.partition("/")[0]
        label = texts(f"brief.figure-{key}")
        each = Figure(key=key, label=label, value=value, before=earlier, query=query, path=path, coverage=mark)
        found.append(each)

    of, listed = told.options, f"/detections?{told.address}"
    add("events", sums.events, before.events, f"mingjian lake {told.last_options}", "/sources")
    situated = f"mingjian situations list --state all {of}"
    add("situations", sums.situations, before.situations, situated, "/queue?state=all")
    add(
        "situations-new",
        sums.situations_new,
        before.situations_new,
        f"{situated} --times beginning",
        "/queue?state=all",
    )
    grave = f"{situated} --level high"
    add("situations-grave", sums.situations_grave, before.situations_grave, grave, "/queue?state=all&level=high")
    still = f"mingjian situations list --state unclosed {of}"
    add("situations-open", sums.situations_open, None, still, "/queue", "C")
    closed = f"mingjian situations list --state closed --times closing {of}"
    add("situations-closed", sums.situations_closed, before.situations_closed, closed, "/queue?state=closed", "C")
    declared = f"mingjian situations incidents {of}"
    add("incidents", sums.incidents, before.incidents, declared, "", "C")
    counted = f"mingjian detections --count-by level {of}"
    add("detections", sums.detections, before.detections, counted, listed)
    for level in reversed(LEVELS):
        value, earlier = sums.levels.get(level, 0), before.levels.get(level, 0)
        add(f"level-{level}", value, earlier, counted, f"{listed}&level={level}")
    on_hosts = f"mingjian detections --count-by host --level high {of}"
    add("grave-hosts", sums.grave_hosts, before.grave_hosts, on_hosts, f"{listed}&level=high")
    kinds = f"mingjian detections --count-by kind {of}"
    for kind in ("indicator", "behaviour"):
        value, earlier = sums.kinds.get(kind, 0), before.kinds.get(kind, 0)
        add(f"kind-{kind}", value, earlier, kinds, f"{listed}&kind={kind}")
    hidden = f"mingjian detections --count-by level --hidden {of}"
    add("hidden", sums.hidden, before.hidden, hidden, "/suppressions")
    unread = f"mingjian quarantine list {of}"
    add("unreadable", sums.unreadable, before.unreadable, unread, "/sources/quarantine", "C")
    return found


# --- the tables ------------------------------------------------------------------------------------------------------


def _tables(told: _Told) -> list[Table]:
    found = [_situations(told), _organisations(told), _rules(told), _techniques(told)]
    return [each for each in found if each is not None]


def _table(
    told: _Told, key: str, columns: Sequence[str], figures: Sequence[int], rows: Sequence[tuple[str, ...]], **more: str
) -> Table:
    """A table with the words of its key; ``more``: query, and coverage if it is not that of the period."""
    return Table(
        key=key,
        title=told.texts(f"brief.table-{key}"),
        headings=tuple(told.texts(f"brief.column-{name}") for name in columns),
        figures=tuple(figures),
        rows=tuple(rows),
        widths=WIDTHS[key],
        paths=("",) * len(rows),
        left_out=0,
        empty=told.texts(f"brief.table-{key}-empty"),
        query=more["query"],
        coverage=more.get("coverage", "A"),
    )


def _situations(told: _Told) -> Table:
    """The most dangerous situations of the period, each with its why."""
    texts = told.texts
    rows: list[tuple[str, ...]] = []
    for line in told.worst:
        stored = line.stored
        times = f"{stamp(stored.first_us)[:10]} – {stamp(stored.last_us)[:10]}"
        state = texts(f"state.{stored.state}")
        rows.append(
            (
                f"{line.danger:.1f}",
                texts(f"level.{stored.level}"),
                f"{_clean(line.title)}\n{_clean(line.why)}",
                told.names.get(stored.organisation, ""),
                times,
                f"{state} ({_clean(stored.owner)})" if stored.owner else state,
            )
        )
    columns = ("danger", "level", "situation", "organisation", "when", "state")
    query = f"mingjian situations list --state all --limit {SITUATIONS_TOLD} {told.options}"
    table = _table(told, "situations", columns, (0,), rows, query=query)
    return msgspec.structs.replace(
        table,
        paths=tuple(f"/situations/{line.stored.public_id}" for line in told.worst),
        left_out=max(0, told.sums.situations - len(rows)),
    )


def _organisations(told: _Told) -> Table | None:
    if len(told.sums.organisations) < 2:
        return None
    ranked = sorted(told.sums.organisations, key=lambda each: (-each.grave, -each.detections, each.organisation))
    rows = [
        (
            told.names.get(each.organisation, ""),
            number(each.events),
            number(each.situations),
            number(each.grave),
            number(each.detections),
        )
        for each in ranked[:ORGANISATIONS_TOLD]
    ]
    query = f"mingjian detections --count-by organisation {told.options}"
    columns = ("organisation", "events", "situations", "grave", "detections")
    table = _table(told, "organisations", columns, (1, 2, 3, 4), rows, query=query)
    return msgspec.structs.replace(table, left_out=max(0, len(ranked) - len(rows)))


def _rules(told: _Told) -> Table:
    ranked: list[RuleSum] = sorted(
        told.sums.rules, key=lambda each: (-LEVELS.index(each.level), -each.count, each.rule_id)
    )
    rows = [
        (told.texts(f"level.{each.level}"), _clean(each.title), number(each.count), number(each.hosts))
        for each in ranked[:RULES_TOLD]
    ]
    query = f"mingjian detections --count-by rule {told.options}"
    table = _table(told, "rules", ("level", "rule-title", "detections", "hosts"), (2, 3), rows, query=query)
    return msgspec.structs.replace(
        table,
        paths=tuple(f"/detections?{told.address}&rule={each.rule_id}" for each in ranked[:RULES_TOLD]),
        left_out=max(0, told.sums.rules_count - len(rows)),
    )


def _techniques(told: _Told) -> Table:
    """Detections by tactic: one counts once for each tactic that its rule names."""
    attack, is_zh = load_attack(), told.wish.language == "zh"
    detections: Counter[str] = Counter()
    rules: Counter[str] = Counter()
    levels: dict[str, Level] = {}
    for each in told.sums.rules:
        known = (attack.techniques.get(id) for id in each.attack)
        for tactic in {tactic for one in known if one is not None for tactic in one.tactics}:
            detections[tactic] += each.count
            rules[tactic] += 1
            worst = max(LEVELS.index(levels.get(tactic, LEVELS[0])), LEVELS.index(each.level))
            levels[tactic] = LEVELS[worst]
    rows = [
        (
            tactic.zh if is_zh else tactic.en,
            number(detections[tactic.id]),
            number(rules[tactic.id]),
            told.texts(f"level.{levels[tactic.id]}"),
        )
        for tactic in attack.tactics
        if detections[tactic.id]
    ]
    query = f"mingjian detections --count-by rule {told.options}"
    return _table(told, "tactics", ("tactic", "detections", "rules", "worst"), (1, 2), rows, query=query)
