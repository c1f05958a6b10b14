"""The situation picture: are we worse than yesterday, where, what is new; what could be seen, and what is silent."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec
from starlette.responses import Response

from mingjian.console.blindness import blind_spots
from mingjian.console.lists import Row
from mingjian.console.pages.queue import row_of
from mingjian.console.pages.rules import live, noise_of
from mingjian.console.routes import Route
from mingjian.console.shapes import day_text, number
from mingjian.console.site import Visit
from mingjian.hunt.answer import days_in_words
from mingjian.hunt.attack import load_attack, parent_of
from mingjian.model.rules import LEVELS, Level
from mingjian.situations.showing import line_of
from mingjian.store.browsing import Wanted, browse
from mingjian.store.changes import NewRule, changes, new_rules, situations_created
from mingjian.store.segments import US_PER_DAY
from mingjian.store.situations import SituationFilter, situations

DAYS: Final = 30
WORST_SHOWN: Final = 12
OPEN_SHOWN: Final = 10
NEW_SHOWN: Final = 6
LATE_S: Final = 900
"""Events that came in longer ago than that are late, and the picture says so before anything else."""
CHANGES_SHOWN: Final = 12
ABOVE_SHOWN: Final = 3
ABOVE_MIN: Final = 3
"""With fewer detections than that on its last day an organisation is not above what is usual."""
SILENT_SHOWN: Final = 12
AGE_S: Final = 5.0
CALM_SHARE: Final = 1.25
"""Up to so much more than usual is not worse."""
SHOWN_LEVELS: Final[tuple[Level, ...]] = tuple(reversed(LEVELS))


class Day(msgspec.Struct, frozen=True):
    """A day, with its detections by level."""

    day: int
    text: str
    counts: Mapping[Level, int]

    @property
    def grave(self) -> int:
        """Detections of high level and above."""
        return self.counts.get("critical", 0) + self.counts.get("high", 0)


class Cell(msgspec.Struct, frozen=True):
    """A technique in the matrix."""

    id: str
    name: str
    state: str
    """``seen``, ``could`` or ``not``."""
    count: int


class Tactic(msgspec.Struct, frozen=True):
    """A column of the matrix."""

    name: str
    cells: Sequence[Cell]
    seen: int
    could: int
    unseen: int
    """Techniques that no rule would see."""


class Bars(msgspec.Struct, frozen=True):
    """One organisation over time, on the scale that all share."""

    name: str
    public_id: str
    counts: Sequence[int]
    total: int
    largest: int
    usual: float
    """A day, before the last one."""

    @property
    def is_above(self) -> bool:
        """Whether the last day has clearly more than is usual."""
        return self.counts[-1] >= ABOVE_MIN and self.counts[-1] > self.usual * CALM_SHARE + 1


def last_day(visit: Visit) -> int:
    """The day up to which there is something to show: today, or the last day of old data."""
    window, _ = blind_spots(visit, visit.organisation())
    today = visit.now_us // US_PER_DAY
    return today if window is None else min(today, window.last_day)


def days_of(visit: Visit, end: int) -> list[Day]:
    """The last days, those without detections too."""
    scope, organisation = visit.scope, visit.organisation()
    first = end - DAYS + 1
    counted = visit.lately(
        "days",
        AGE_S,
        lambda: visit.site.totals.by_day(scope, first, end, organisation=organisation),
        organisation,
        end,
    )
    by_day: dict[int, dict[Level, int]] = defaultdict(dict)
    for each in counted:
        by_day[each.day][each.level] = each.count
    return [Day(day, day_text(day), by_day.get(day, {})) for day in range(first, end + 1)]


class Fresh(msgspec.Struct, frozen=True, kw_only=True):
    """What came up since yesterday."""

    situations: int
    usual: str
    """Situations a day before; empty if there was no day before."""
    rules: Sequence[NewRule]
    """That found something for the first time."""


def fresh_of(visit: Visit, end: int) -> Fresh:
    """What is new: situations of the last day, and rules that never found anything before."""
    scope, organisation, now_us = visit.scope, visit.organisation(), visit.now_us

    def look() -> Fresh:
        since_us = now_us - DAYS * US_PER_DAY
        created = situations_created(visit.workspace, scope, since_us, organisation)
        yesterday_us = now_us - US_PER_DAY
        before = [each for each in created if each < yesterday_us]
        days = max(1, (yesterday_us - before[0]) // US_PER_DAY) if before else 0
        return Fresh(
            situations=len(created) - len(before),
            usual=f"{len(before) / days:.1f}" if days else "",
            rules=new_rules(visit.workspace, scope, end * US_PER_DAY, organisation, limit=NEW_SHOWN),
        )

    return visit.lately("fresh", AGE_S, look, organisation, end)


def _trend(days: Sequence[Day]) -> tuple[str, str]:
    """Whether it is worse, and how that is known: key of the text, and the usual number."""
    today = days[-1].grave
    before = [day.grave for day in days[:-1] if day.counts] or [0]
    usual = sum(before) / len(before)
    if not any(day.counts for day in days):
        return "picture.nothing", "0"
    if today > usual * CALM_SHARE + 1:
        key = "picture.worse"
    elif today < usual / CALM_SHARE - 1:
        key = "picture.better"
    else:
        key = "picture.same"
    return key, f"{usual:.1f}"


class Compared(msgspec.Struct, frozen=True, kw_only=True):
    """One level on the last day, the day before, a week before, and on a usual day."""

    level: Level
    today: int
    yesterday: int
    week: int
    usual: str


def compared(days: Sequence[Day]) -> list[Compared]:
    """The levels against yesterday and last week."""
    before = [day for day in days[:-1] if day.counts]
    return [
        Compared(
            level=level,
            today=days[-1].counts.get(level, 0),
            yesterday=days[-2].counts.get(level, 0),
            week=days[-8].counts.get(level, 0),
            usual=f"{sum(day.counts.get(level, 0) for day in before) / max(1, len(before)):.1f}",
        )
        for level in SHOWN_LEVELS
        if any(day.counts.get(level, 0) for day in days)
    ]


def changes_of(visit: Visit, end: int) -> list[tuple[str, str]]:
    """What was changed in these days: the day, and what it was in words."""
    scope, first = visit.scope, end - DAYS + 1
    found = visit.lately("changes", AGE_S, lambda: changes(visit.workspace, scope, first, end), end)
    return [
        (day_text(each.day), visit.texts(f"change.{each.kind}", n=number(each.several), name=each.name))
        for each in found
    ][-CHANGES_SHOWN:]


def matrix_of(visit: Visit) -> list[Tactic]:
    """The ATT&CK matrix: seen, could be seen, would not be seen."""
    attack = load_attack()
    current = live(visit)
    heard = noise_of(visit)
    seen: Counter[str] = Counter()
    could: set[str] = set()
    for rule in current.every:
        state = current.states.get(rule.id)
        techniques = {parent_of(each) for each in rule.attack}
        if state is not None and state.state == "loaded":
            could |= techniques
        if rule.id in heard:
            for each in techniques:
                seen[each] += heard[rule.id].count
    columns: list[Tactic] = []
    for tactic in attack.tactics:
        ids = [id for id, each in attack.techniques.items() if "." not in id and tactic.id in each.tactics]
        cells = [
            Cell(id, attack.techniques[id].name, "seen" if seen[id] else "could", seen[id])
            for id in sorted(ids, key=lambda id: (-seen[id], id))
            if seen[id] or id in could
        ]
        columns.append(
            Tactic(
                name=tactic.zh if visit.language == "zh" else tactic.en,
                cells=cells,
                seen=sum(cell.state == "seen" for cell in cells),
                could=sum(cell.state == "could" for cell in cells),
                unseen=len(ids) - len(cells),
            )
        )
    return columns


def multiples_of(visit: Visit, end: int) -> list[Bars]:
    """Organisations compared: one scale for all, those with most first."""
    scope = visit.scope
    first = end - DAYS + 1
    counted = visit.lately(
        "organisations by day", AGE_S, lambda: visit.site.totals.by_organisation(scope, first, end), end
    )
    by_owner: dict[int, dict[int, int]] = defaultdict(dict)
    for owner, day, count in counted:
        by_owner[owner][day] = count
    largest = max((count for _, _, count in counted), default=1)
    found = [
        Bars(
            name=each.name,
            public_id=each.public_id,
            counts=[by_owner[each.id].get(day, 0) for day in range(first, end + 1)],
            total=sum(by_owner[each.id].values()),
            largest=largest,
            usual=sum(by_owner[each.id].get(day, 0) for day in range(first, end)) / (DAYS - 1),
        )
        for each in visit.organisations()
    ]
    return sorted(found, key=lambda bars: (-bars.total, bars.name))


def worst_of(visit: Visit, end: int) -> list[Row]:
    """The gravest detections of the last week, of the same rule on the same host one."""
    since_us = (end - 6) * US_PER_DAY
    wanted = Wanted(organisation=visit.organisation(), levels=LEVELS[LEVELS.index("high") :], first_us=since_us)
    worst = [row_of(visit, each) for each in browse(visit.workspace, visit.scope, wanted, limit=WORST_SHOWN * 10).rows]
    once = {(row.values["rule"], row.values["host"]): row for row in reversed(worst)}
    return sorted(
        once.values(), key=lambda row: (LEVELS.index(str(row.values["level"])), row.values["time"] or 0), reverse=True  # type: ignore[arg-type, type-var]  # levels and times of our own
    )[:WORST_SHOWN]  # fmt: skip


def show(visit: Visit) -> Response:
    """The picture; with ``wall=1`` for a wall."""
    end = last_day(visit)
    days = days_of(visit, end)
    key, usual = _trend(days)
    wanted = SituationFilter(organisation=visit.organisation())
    stored = situations(visit.workspace, visit.scope, wanted, limit=OPEN_SHOWN).situations
    lines = [line_of(each, visit.language) for each in stored]
    silent = [hole for hole in blind_spots(visit, visit.organisation())[1] if hole.last_day is None and hole.first_day]
    multiples = multiples_of(visit, end)
    received_s = visit.received_s()
    is_wall = visit.asked("wall") == "1"
    return visit.page(
        "picture.html.j2",
        place="picture",
        title=visit.texts("picture.title"),
        lead="",
        body_class="wall" if is_wall else "",
        is_wall=is_wall,
        charts=True,
        late=received_s if received_s is not None and received_s > LATE_S else None,
        fresh=fresh_of(visit, end),
        lines=lines,
        key=key,
        usual=usual,
        days=days,
        end=day_text(end),
        today=days[-1],
        week=sum(day.grave for day in days[-7:]),
        before=sum(day.grave for day in days[-14:-7]),
        compared=compared(days),
        changes=changes_of(visit, end),
        levels=SHOWN_LEVELS,
        worst=[] if lines else worst_of(visit, end),
        matrix=matrix_of(visit),
        multiples=multiples,
        above=[each for each in multiples if each.is_above][:ABOVE_SHOWN],
        silent=[
            (hole, hole.what.replace("\n", ", "), days_in_words(hole.first_day, hole.last_day, visit.language))
            for hole in silent[:SILENT_SHOWN]
        ],
        silent_more=max(0, len(silent) - SILENT_SHOWN),
        figure=number,
    )


ROUTES: Final = (Route("GET", "/", show),)
