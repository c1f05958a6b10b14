"""Whether the story is told whatever the seed: every planted step found, or named as not found with the reason.

    python -m bench.story [--seeds N] [--first N] [--days D] [--jobs J] [--folder DIR]

For each seed the sector of ``mingjian demo`` is made (shorter, unless ``--days 425`` is given), taken in, looked over,
hunted through and asked about, exactly as the demonstration does. A row counts the steps by what found them first: a
rule or a behaviour as the logs came in, the indicator that arrived, the questions that followed; and those that were
not found, by the reason. ``zero`` says whether the hunt's first hit led to the host where the campaign began.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

from msgspec.structs import replace

from mingjian.sample.generate import read_truth, story
from mingjian.sample.judge import Finding
from mingjian.sample.walk import Walk
from mingjian.settings import user_cache_folder
from mingjian.sources.definitions import load_sources

WAYS = ("arrival", "message", "asking", "unnoticed", "not forwarded", "outage")


def way(finding: Finding) -> str:
    """What found a step first, or why nothing did."""
    if finding.unseen:
        return finding.unseen
    return "arrival" if finding.rules else "message" if finding.indicators else "asking"


def walked(seed: int, days: int, jobs: int, folder: Path) -> Counter[str]:
    """Walk through one sector, print its row, and give which steps were not found."""
    cache = user_cache_folder(os.environ)
    started = time.perf_counter()
    with Walk(
        replace(story(seed), days=days), folder, sources=load_sources(cache_folder=cache), cache_folder=cache, jobs=jobs
    ) as walk:
        walk.make()
        for _ in walk.take_in():
            pass
        walk.look_over()
        asked, indicators = walk.receive()
        hunted = walk.hunt(asked)
        cards = [card for _, card in walk.ask_around(hunted, indicators, "en")]
        judgement = walk.judge(cards)
    ways = Counter(way(finding) for finding in judgement.findings)
    first = min((row for row in read_truth(folder) if row.step == "foothold"), key=lambda row: row.time)
    zero = hunted.patient_zero
    is_zero = zero is not None and zero.value.partition(".")[0] == first.host
    wrong = judgement.detections - judgement.true_detections
    a_day = wrong / (days * walk.order.organisations)
    print(
        f"| {seed} | {walk.made.records:,} | {len(judgement.findings)} | "
        + " | ".join(str(ways[each]) for each in WAYS)
        + f" | {'yes' if is_zero else 'no'} | {wrong} | {a_day:.2f} | {time.perf_counter() - started:.0f} |",
        flush=True,
    )
    return Counter(f"{finding.step.name} ({finding.unseen})" for finding in judgement.missed)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--first", type=int, default=1)
    parser.add_argument("--days", type=int, default=62)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--folder", type=Path)
    chosen = parser.parse_args()
    print(f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {chosen.days} days")
    print(f"| seed | log events | steps | {' | '.join(WAYS)} | zero | false alarms | a day and organisation | s |")
    print("|---:" * (len(WAYS) + 7) + "|")
    missed: Counter[str] = Counter()
    for seed in range(chosen.first, chosen.first + chosen.seeds):
        with tempfile.TemporaryDirectory(dir=chosen.folder) as folder:
            missed += walked(seed, chosen.days, chosen.jobs, Path(folder))
    print("\nnot found, and in how many of the seeds:")
    for name, count in missed.most_common():
        print(f"  {name}: {count}")


if __name__ == "__main__":
    main()
