"""The whole way through history with the commands that a person types, killed again and again.

    PYTHONPATH=tests python -m crash.walk [--data DIR] [--kills N] [--only NAME …] [--folder DIR] [--seed N]

Two workspaces get the same rules and the same logs: one is left alone, in the other ``mingjian ingest`` is killed (−9)
at random moments so many times, and started again until it has come to its end. Then a feed is added to both, made of
values that occur and of many that do not; rules and indicators are run over what is left; everything is merged. At the
end ``lake``, ``detections``, ``hunt`` (a rule, an expression, the feed) and the sightings index have to say the same of
both, and ``doctor`` has to find nothing.

Any difference ends it with an error. What is left is in the folder.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from random import Random
from typing import NamedTuple

from mingjian.store.catalogue import live_segments
from mingjian.store.scope import Scope
from mingjian.store.sightings.live import open_index
from mingjian.store.workspace import open_workspace

ROOT = Path(__file__).resolve().parents[2]
LOGS = ("windows-json", "evtx-attack-samples", "sigma-regression", "zeek", "aws", "linux")
RULES = ("rules", "rules-emerging-threats", "rules-threat-hunting")
OCCUR = 2_000
"""So many values of a feed occur …"""
DO_NOT_OCCUR = 100_000
"""… and so many do not."""
SPARED = 3
"""So much is left in the end as that many of the processes that are killed would do."""
EXPRESSION = "CommandLine|contains=whoami"
OPERATOR = Scope.of_operator()


class Ended(NamedTuple):
    """A command that has ended."""

    status: int
    out: str
    said: str
    seconds: float


def command(workspace: Path, *arguments: str, ok: Sequence[int] = (0, 3)) -> Ended:
    """Run a command of ours in a workspace."""
    started = time.monotonic()
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        process = start(workspace, *arguments, out=out.fileno(), err=err.fileno())
        status = process.wait()
        for stream in (out, err):
            stream.seek(0)
        ended = Ended(status, out.read(), err.read(), time.monotonic() - started)
    assert status in ok, f"mingjian {' '.join(arguments)[:200]} ended with {status}:\n{ended.said}"
    return ended


def start(workspace: Path, *arguments: str, out: int, err: int) -> subprocess.Popen[bytes]:
    """Start a command of ours in a workspace."""
    environment = {**os.environ, "MINGJIAN_CACHE_FOLDER": str(workspace.parent / "cache")}
    return subprocess.Popen(
        [sys.executable, "-m", "mingjian", *arguments], stdout=out, stderr=err, env=environment, cwd=workspace
    )


def last_line(ended: Ended) -> str:
    """What a command said last."""
    lines = (ended.said.strip() or ended.out.strip()).splitlines()
    return lines[-1][:300] if lines else "nothing"


def say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


def prepared(folder: Path, name: str, data: Path) -> Path:
    """A new workspace with all rules."""
    workspace = folder / name
    workspace.mkdir()
    command(workspace, "init")
    added = command(workspace, "rules", "add", *(str(data / "sigma" / each) for each in RULES))
    say(f"{name}: {last_line(added)}")
    return workspace


def killed(workspace: Path, paths: Sequence[str], *, kills: int, events: int, seconds: float, chance: Random) -> None:
    """Ingest, killed so many times, and then to its end.

    ``events`` is what an undisturbed one comes to, ``seconds`` the time that it takes. A process lives about so long
    that its share of what is left gets done, so that there is still something to do for the last one.
    """
    stored = [0]
    while len(stored) <= kills:
        left = 1 - stored[-1] / events
        life_s = chance.uniform(0, 2 * seconds * left / (kills + 1 - len(stored) + SPARED))
        with tempfile.TemporaryFile() as sink:
            process = start(workspace, "ingest", "--org", "Ours", *paths, out=sink.fileno(), err=sink.fileno())
            try:
                process.wait(life_s)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                process.wait()
        stored.append(events_in(workspace))
    unfinished = sum(each < events for each in stored[1:])
    say(f"killed {kills} times, {unfinished} of them with work left; events that were committed each time: "
        f"{', '.join(map(str, stored[1:]))}")  # fmt: skip
    last = resumed(workspace, paths)
    say(f"the last one: {last_line(last)}")


def resumed(workspace: Path, paths: Sequence[str]) -> Ended:
    """Ingest to the end; somebody who was killed may hold the lock for a moment."""
    for _ in range(100):
        ended = command(workspace, "ingest", "--org", "Ours", *paths, ok=range(256))
        if ended.status in (0, 3):
            return ended
        assert "another process" in ended.said, ended.said
        time.sleep(0.1)  # the processes of one that was killed end with it, but not at once
    raise AssertionError("somebody holds the lock for ever")


def events_in(workspace: Path) -> int:
    with open_workspace(workspace) as opened:
        return sum(row.rows for row in live_segments(opened, OPERATOR))


def feed_of(workspace: Path, path: Path, chance: Random) -> int:
    """Write a feed of values that occur in a workspace and of such that do not; give how many it has."""
    with open_workspace(workspace) as opened, closing(open_index(opened, OPERATOR)) as index:
        seen = {
            (row["kind"], row["value"])
            for part in index.scan()
            for row in part.select(["kind", "value"]).to_pylist()
            if row["kind"] in ("ip", "domain", "hash")
        }
    some = chance.sample(sorted(seen), min(OCCUR, len(seen)))
    lines = [value for _, value in some] + [f"h{n}.never-{n % 977}.example" for n in range(DO_NOT_OCCUR)]
    chance.shuffle(lines)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return len(lines)


class Told(NamedTuple):
    """What a workspace says in the end."""

    lake: dict[str, int]
    detections: Counter[str]
    hunts: dict[str, Counter[str]]
    sightings: Counter[tuple[object, ...]]


def finished(workspace: Path, feed: Path, rule: Path) -> Told:
    """Add the feed, run what is left, and ask."""
    added = command(workspace, "intel", "add", str(feed))
    say(f"{workspace.name}: {last_line(added)}")
    pending = command(workspace, "hunt", "--pending")
    for line in pending.said.strip().splitlines()[-2:]:
        say(f"{workspace.name}: {line}")
    rows = [json.loads(line) for line in command(workspace, "lake", "--format", "jsonl").out.splitlines()]
    say(
        f"{workspace.name}: {sum(row['rows'] for row in rows):,} events in {len(rows)} streams, "
        f"{sum(row['bytes'] for row in rows) / sum(row['rows'] for row in rows):.1f} bytes per event"
    )
    hunts: dict[str, Counter[str]] = {}
    for name, what in {"rule": [str(rule)], "expression": [EXPRESSION], "feed": ["--indicators", str(feed)]}.items():
        ended = command(workspace, "hunt", "--format", "jsonl", *what, ok=(0, 1, 3))
        hunts[name] = Counter(ended.out.splitlines())
        found = f"{hunts[name].total()} rows in {ended.seconds:.1f} s"
        say(f"{workspace.name}: hunt, {name}: {found}; {last_line(ended)}")
    detections = command(workspace, "detections", "--format", "jsonl", "--limit", "1000000").out
    with open_workspace(workspace) as opened, closing(open_index(opened, OPERATOR)) as index:
        names = ("kind", "value", "organisation", "source", "role", "day", "count", "first_us", "last_us")
        sightings = Counter(
            row for part in index.scan() for row in zip(*(part[name].to_pylist() for name in names), strict=True)
        )
    command(workspace, "doctor", ok=(0,))
    return Told(
        lake={f"{row['organisation']} {row['stream']}": row["rows"] for row in rows},
        detections=Counter(map(_without_how, detections.splitlines())),
        hunts=hunts,
        sightings=sightings,
    )


def _without_how(line: str) -> str:
    """A detection without what may differ: its number, when and on which way it was found."""
    row = json.loads(line)
    kept = {name: row[name] for name in row if name not in ("id", "found", "found_by")}
    return json.dumps(kept, sort_keys=True)


def compare(alone: Told, disturbed: Told) -> None:
    """Both say the same."""
    assert alone.lake == disturbed.lake, sorted(set(alone.lake.items()) ^ set(disturbed.lake.items()))[:10]
    pairs = [(name, alone.hunts[name], disturbed.hunts[name]) for name in alone.hunts]
    for name, one, other in [("detections", alone.detections, disturbed.detections), *pairs]:
        assert one == other, (name, [*(one - other)][:3], [*(other - one)][:3])
    assert alone.sightings == disturbed.sightings
    say(
        f"equal: {sum(alone.lake.values()):,} events in {len(alone.lake)} streams, {alone.detections.total():,} "
        f"detections, {', '.join(f'{rows.total():,} rows of the hunt for a {name}' for name, _, rows in pairs)}, "
        f"{alone.sightings.total():,} rows of the sightings index"
    )


def walk(data: Path, folder: Path, logs: Sequence[str], *, kills: int, seed: int) -> None:
    """All of it."""
    chance = Random(seed)
    paths = [str(data / name) for name in logs]
    alone = prepared(folder, "alone", data)
    ended = command(alone, "ingest", "--org", "Ours", *paths)
    for line in ended.said.strip().splitlines()[:5]:
        say(f"alone: {line}")
    disturbed = prepared(folder, "disturbed", data)
    killed(disturbed, paths, kills=kills, events=events_in(alone), seconds=ended.seconds, chance=chance)
    feed = folder / "feed.txt"
    say(f"a feed of {feed_of(alone, feed, chance):,} values")
    rule = next(iter(sorted((data / "sigma" / "rules" / "windows").rglob("proc_creation_win_whoami*.yml"))))
    compare(finished(alone, feed, rule), finished(disturbed, feed, rule))


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = Path(os.environ.get("MINGJIAN_TEST_DATA") or ROOT.parent / "shared" / "data")
    parser.add_argument("--data", type=Path, default=default)
    parser.add_argument("--only", nargs="+", default=list(LOGS), help="folders of logs in it")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--folder", type=Path, help="where the workspaces are made, and stay")
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args(arguments)
    if chosen.folder is not None:
        chosen.folder.mkdir(parents=True)
        walk(chosen.data, chosen.folder, chosen.only, kills=chosen.kills, seed=chosen.seed)
        return
    with tempfile.TemporaryDirectory(prefix="mingjian-walk-") as temporary:
        walk(chosen.data, Path(temporary), chosen.only, kills=chosen.kills, seed=chosen.seed)


if __name__ == "__main__":
    main(sys.argv[1:])
