"""Whether the card of the attacked host names the tactic: on recorded attacks, one in each archive.

    PYTHONPATH=tests python -m truth.tactics [ARCHIVE …]

The folder of an archive is the tactic of its attack. Each archive goes into a workspace of its own, with the rules of
SigmaHQ; of its hosts the one with the highest score is taken for the attacked one.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from lakes import OPERATOR
from mingjian.hunt.arrival import Watch
from mingjian.hunt.automata import engine_for
from mingjian.hunt.ingest import Ingest
from mingjian.hunt.rulebook import Rulebook, load_rulebook
from mingjian.model.observables import canonical
from mingjian.settings import user_cache_folder
from mingjian.situations.asking import Question, ask
from mingjian.situations.card import VerdictCard
from mingjian.sources.definitions import load_sources
from mingjian.store.catalogue import organisation_named
from mingjian.store.entities import spellings_of_hosts
from mingjian.store.rules import keep_rules
from mingjian.store.workspace import create

RULE_FOLDERS = ("rules", "rules-threat-hunting", "rules-emerging-threats")
TACTICS = {"lsass": "credential-access"}
"""Folders that are not called like their tactic."""


class Named(NamedTuple):
    """What the card of the attacked host says."""

    archive: str
    tactic: str
    host: str
    score: int
    chain: tuple[str, ...]
    inferred: tuple[str, ...]

    @property
    def is_named(self) -> bool:
        """Whether the tactic was seen; that it must have been there does not count."""
        return self.tactic in self.chain


def archives(data: Path) -> list[Path]:
    """The archives that have an attack, the smallest first."""
    found = [path for path in (data / "windows-json").glob("*/*") if path.is_file()]
    return sorted(found, key=lambda path: (path.stat().st_size, path.name))


def rulebook(data: Path) -> Rulebook:
    """The rules of SigmaHQ."""
    folders = [data / "sigma" / name for name in RULE_FOLDERS]
    cache = user_cache_folder(os.environ)
    return load_rulebook([each for each in folders if each.exists()], cache_folder=cache, jobs=1)


def named(paths: Sequence[Path], book: Rulebook) -> list[Named]:
    """What is said of each archive's attacked host."""
    engine = engine_for(book.rules, user_cache_folder(os.environ))
    sources = load_sources()
    found: list[Named] = []
    for path in paths:
        with tempfile.TemporaryDirectory() as folder, create(Path(folder) / "workspace") as workspace:
            owner = organisation_named(workspace, OPERATOR, "ours", make=True)
            watch = Watch(keep_rules(workspace, OPERATOR, book.rules, book.correlations), engine)
            Ingest(workspace, OPERATOR, owner, watch, sources, jobs=1).run([str(path)])
            cards: list[VerdictCard] = []
            for name in spellings_of_hosts(workspace, OPERATOR, owner.id).values():
                host = canonical("host", name)
                if host is not None:
                    cards.append(ask(Question(workspace, OPERATOR, "host", host, sources, "en")))
        best = max(cards, key=lambda card: (card.score, card.count, card.observable))
        found.append(
            Named(
                archive=f"{path.parent.name}/{path.name}",
                tactic=TACTICS.get(path.parent.name, path.parent.name.replace("_", "-")),
                host=best.observable,
                score=best.score,
                chain=tuple(step.tactic for step in best.chain if not step.is_inferred),
                inferred=tuple(step.tactic for step in best.chain if step.is_inferred),
            )
        )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("archives", nargs="*", type=Path)
    options = parser.parse_args()
    data = Path(os.environ.get("MINGJIAN_TEST_DATA") or Path(__file__).resolve().parents[3] / "shared" / "data")
    count = total = 0
    book = rulebook(data)
    for path in options.archives or archives(data):
        (each,) = named([path], book)
        count, total = count + each.is_named, total + 1
        said = "named" if each.is_named else "inferred" if each.tactic in each.inferred else "not named"
        print(f"{said}: {each.archive} {each.host} score {each.score}: {', '.join(each.chain)}", flush=True)
    print(f"{count} of {total}")


if __name__ == "__main__":
    main()
