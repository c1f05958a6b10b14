"""Whether the cards of its entities tell a campaign: every planted step, or why it cannot be seen.

    PYTHONPATH=tests python -m truth.stories [--seeds N] [--first N]

For each seed a small sector is made, taken in with the starter rules, looked over for behaviours, and the entities of
every planted step are asked about. A step is *told* if a line of the timeline of one of their cards rests on an event
that was planted for it; it is *gone* if an outage swallowed all of it, or damage did.
"""

from __future__ import annotations

import argparse
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from ingesting import ingest
from lakes import OPERATOR
from mingjian.data import DATA_FOLDER
from mingjian.hunt.behaviourruns import run_behaviours
from mingjian.hunt.rulebook import load_rulebook
from mingjian.model.observables import canonical
from mingjian.model.sources import ObservableKind
from mingjian.sample.generate import LOGS_FOLDER, Order, Truth, generate, read_truth
from mingjian.situations.asking import Question, ask
from mingjian.situations.card import Step, VerdictCard
from mingjian.sources.definitions import load_sources
from mingjian.store.catalogue import organisation_named
from mingjian.store.workspace import Workspace, create

KINDS: dict[str, ObservableKind] = {
    **{"domain": "domain", "ip": "ip", "source": "ip", "sender": "ip", "file": "file", "account": "account"}
}
"""What stands under a name in the truth."""
WAYS = ("detection", "behaviour", "event")
"""How a card may tell a step, the best first."""


def small(seed: int) -> Order:
    """A sector with every standard campaign in it, as small as it gets."""
    return Order(seed=seed, organisations=3, days=35, events_per_day=600, hum=0.0, days_per_file=7)


class Told(NamedTuple):
    """What became of the planted steps, by campaign, organisation and name."""

    by: dict[tuple[str, str, str], str]
    """``detection``, ``behaviour``, ``event`` (a line about it without either), ``gone`` or ``untold``."""

    def counts(self) -> Counter[str]:
        return Counter(self.by.values())


def taken_in(order: Order, folder: Path) -> Workspace:
    """A workspace with all logs of a sector, and what rules and behaviours find in them."""
    generate(order, folder / "sector", jobs=1)
    book = load_rulebook([DATA_FOLDER / "rules"], cache_folder=None, jobs=1)
    workspace = create(folder / "workspace")
    for owner in sorted((folder / "sector" / LOGS_FOLDER).iterdir()):
        ingest(workspace, owner, organisation=owner.name, rules=book.rules, correlations=book.correlations)
    assert run_behaviours(workspace, OPERATOR, load_sources()) is not None
    return workspace


def told(workspace: Workspace, sector: Path) -> Told:
    """Ask about the entities of every planted step."""
    rows: dict[tuple[str, str, str], list[Truth]] = defaultdict(list)
    for row in read_truth(sector):
        if row.kind in ("planted", "hidden") and row.step:
            rows[row.campaign, row.organisation, row.step].append(row)
    cards: dict[tuple[str, ObservableKind, str], VerdictCard] = {}
    found: dict[tuple[str, str, str], str] = {}
    for key, lines in rows.items():
        ways = {_way(workspace, sector, each, lines, cards) for each in _entities(lines)}
        best = next((way for way in WAYS if way in ways), "untold")
        there = [row for row in lines if row.kind == "planted"]
        found[key] = best if best != "untold" or there else "gone"
    return Told(found)


def _entities(lines: list[Truth]) -> Iterator[tuple[str, ObservableKind, str]]:
    """The observables that are in the truth of a step, with the organisation."""
    named: dict[tuple[str, ObservableKind, str], None] = {}
    for row in lines:
        wanted: list[tuple[ObservableKind, str]] = [("host", row.host), ("account", row.account)]
        wanted += [(KINDS[name], text) for name, text in row.entities.items() if name in KINDS]
        for kind, text in wanted:
            value = canonical(kind, text) if text else None
            if value is not None:
                named[row.organisation, kind, value] = None
    yield from named


def _way(
    workspace: Workspace,
    sector: Path,
    entity: tuple[str, ObservableKind, str],
    lines: list[Truth],
    cards: dict[tuple[str, ObservableKind, str], VerdictCard],
) -> str:
    """How the card of an entity tells a step; nothing if it does not."""
    if entity not in cards:
        organisation, kind, value = entity
        owner = organisation_named(workspace, OPERATOR, organisation).id
        question = Question(workspace, OPERATOR, kind, value, load_sources(), "en", organisation=owner)
        cards[entity] = ask(question)
    logs = sector / LOGS_FOLDER
    planted = {(str(logs / row.file), row.record) for row in lines}
    ways = {_kind(step) for step in cards[entity].timeline if _is_of(step, planted, lines)}
    return next((way for way in WAYS if way in ways), "")


def _kind(step: Step) -> str:
    return step.kind if step.kind in ("detection", "behaviour") else "event"


def _is_of(step: Step, planted: set[tuple[str, int]], lines: list[Truth]) -> bool:
    if (step.evidence.file, step.evidence.record) in planted:
        return True
    if step.kind != "behaviour" or step.time is None or step.last is None:
        return False
    # A behaviour rests on many events, and names the first.
    names = {text.casefold() for row in lines for text in (row.host, *row.entities.values()) if text}
    return any(step.time <= row.time <= step.last for row in lines) and sum(
        name in step.says.casefold() for name in names
    ) >= 2  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--first", type=int, default=1)
    options = parser.parse_args()
    together: Counter[str] = Counter()
    untold: dict[tuple[str, str], list[int]] = defaultdict(list)
    for seed in range(options.first, options.first + options.seeds):
        with tempfile.TemporaryDirectory() as name, taken_in(small(seed), Path(name)) as workspace:
            result = told(workspace, Path(name) / "sector")
        together.update(result.counts())
        for (campaign, _, step), way in result.by.items():
            if way == "untold":
                untold[campaign, step].append(seed)
        print(f"seed {seed}: {len(result.by)} steps, {dict(result.counts())}", flush=True)
    print(f"all: {sum(together.values())} steps, {dict(together)}")
    for (campaign, step), seeds in sorted(untold.items()):
        print(f"untold: {campaign} {step} (seeds {', '.join(map(str, seeds))})")


if __name__ == "__main__":
    main()
