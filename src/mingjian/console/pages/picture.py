"""The situation picture: are we worse than yesterday, where, what is new; what could be seen, and what is silent."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec
from starlette.responses import Response

from mingjian.console.blindness import blind_spots
from mingjian.console.pages.queue import row_of
from mingjian.console.pages.rules import live, noise_of
from mingjian.console.routes import Route
from mingjian.console.shapes import day_text, number
from mingjian.console.site import Visit
from mingjian.hunt.answer import days_in_words
from mingjian.hunt.attack import load_attack, parent_of
from mingjian.model.rules import LEVELS, Level
from mingjian.store.browsing import Wanted, browse, counts_by_day, counts_by_organisation
from mingjian.store.segments import US_PER_DAY

DAYS: Final = 30
WORST_SHOWN: Final = 12
SILENT_SHOWN: Final = 12
AGE_S: Final = 5.0
CALM_SHARE: Final = 1.25
"""Up to so much more than usual is not worse."""
SHOWN_LEVELS: Final[tuple[Level, ...]] = ("critical", "high", "medium", "low", "informational")


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


def last_day(visit: Visit) -> int:
    """The day up to which there is something to show: today, or the last day of old data."""
    window, _ = blind_spots(visit, visit.organisation())
    today = visit.now_us // US_PER_DAY
    return today if window is None else min(today, window.last_day)


def days_of(visit: Visit, end: int) -> list[Day]:
    """The last days, those without detections too."""
    scope, organisation = visit.scope, visit.organisation()
    first = end - DAYS + 1
    counted = visit.remember(
        "days",
        AGE_S,
        lambda: counts_by_day(visit.workspace, scope, first, end, organisation=organisation),
        organisation,
        end,
    )
    by_day: dict[int, dict[Level, int]] = defaultdict(dict)
    for each in counted:
        by_day[each.day][each.level] = each.count
    return [Day(day, day_text(day), by_day.get(day, {})) for day in range(first, end + 1)]


def _sentence(visit: Visit, days: Sequence[Day]) -> tuple[str, str]:
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
    counted = visit.remember(
        "organisations by day", AGE_S, lambda: counts_by_organisation(visit.workspace, scope, first, end), end
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
        )
        for each in visit.organisations()
    ]
    return sorted(found, key=lambda bars: (-bars.total, bars.name))


def show(visit: Visit) -> Response:
    """The picture; with ``wall=1`` for a wall."""
    end = last_day(visit)
    days = days_of(visit, end)
    key, usual = _sentence(visit, days)
    since_us = (end - 6) * US_PER_DAY
    grave = LEVELS[LEVELS.index("high") :]
    wanted = Wanted(organisation=visit.organisation(), levels=grave, first_us=since_us)
    worst = [row_of(visit, each) for each in browse(visit.workspace, visit.scope, wanted, limit=WORST_SHOWN * 10).rows]
    # Of the same rule on the same host one row: the list is about what is different.
    once = {(row.values["rule"], row.values["host"]): row for row in reversed(worst)}
    shown = sorted(
        once.values(), key=lambda row: (LEVELS.index(str(row.values["level"])), row.values["time"] or 0), reverse=True  # type: ignore[arg-type, type-var]  # levels and times of our own
    )[:WORST_SHOWN]  # fmt: skip
    silent = [hole for hole in blind_spots(visit, visit.organisation())[1] if hole.last_day is None and hole.first_day]
    is_wall = visit.asked("wall") == "1"
    return visit.page(
        "picture.html.j2",
        place="picture",
        title=visit.texts("picture.title"),
        lead="",
        body_class="wall" if is_wall else "",
        is_wall=is_wall,
        charts=True,
        key=key,
        usual=usual,
        days=days,
        end=day_text(end),
        today=days[-1],
        week=sum(day.grave for day in days[-7:]),
        before=sum(day.grave for day in days[-14:-7]),
        levels=SHOWN_LEVELS,
        worst=shown,
        matrix=matrix_of(visit),
        multiples=multiples_of(visit, end),
        silent=[
            (hole, hole.what.replace("\n", ", "), days_in_words(hole.first_day, hole.last_day, visit.language))
            for hole in silent[:SILENT_SHOWN]
        ],
        silent_more=max(0, len(silent) - SILENT_SHOWN),
        figure=number,
    )


ROUTES: Final = (Route("GET", "/", show),)
