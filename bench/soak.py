"""Whether memory, open files and the way from acceptance to the lake stay as they are while logs come in for long.

    python -m bench.soak [--minutes N] [--gigabytes-per-hour X] [--every SECONDS] [--folder DIR] [--rules DIR …]

``mingjian ingest --listen`` takes in made-up events of Windows hosts over HTTP on the loopback interface, one request
a second, each acknowledged before the next. Every so often it is told how much memory all its processes take (shared
pages counted once), how many files they have open, and how many of the acknowledged events are in the lake already.
In the end it is stopped as a person would stop it, and every acknowledged event has to be in the lake, once.

The growth is that from the end of the first quarter to the end.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import platform
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from mingjian.cli.exits import Exit
from mingjian.store.catalogue import live_segments
from mingjian.store.scope import Scope
from mingjian.store.workspace import open_workspace

OPERATOR = Scope.of_operator()
READY_S_MAX = 300.0
HOSTS = 200
COMMANDS = 5_000
NEW_SHARE = 0.05
"""So many events have a command line that was never there before."""


class Sample(NamedTuple):
    """What was measured at one moment."""

    seconds: float
    memory_mb: float
    processes: int
    open_files: int
    accepted: int
    stored: int


def events(seed: int) -> Iterator[bytes]:
    """Process creations without end, as NXLog writes them; about 1.1 kB each."""
    chance = random.Random(seed)
    number = 0
    while True:
        number += 1
        known = chance.randrange(COMMANDS)
        what = f"run-{number}" if chance.random() < NEW_SHARE else f"job-{known}"
        moment = f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S}"
        record = {
            "EventTime": moment,
            "UtcTime": f"{moment}.{number % 1000:03}",
            "Hostname": f"pc-{chance.randrange(HOSTS)}.example.org",
            "Channel": "Microsoft-Windows-Sysmon/Operational",
            "SourceName": "Microsoft-Windows-Sysmon",
            "EventID": 1,
            "RecordNumber": number,
            "Image": f"C:\\Program Files\\Tool {known % 300}\\tool{known % 300}.exe",
            "CommandLine": f"tool{known % 300}.exe --what {what} --quiet",
            "User": f"EXAMPLE\\user{chance.randrange(500)}",
            "ProcessGuid": f"{{{chance.getrandbits(128):032x}}}",
            "ParentImage": f"C:\\Windows\\parent{known % 40}.exe",
            "ParentCommandLine": f"parent{known % 40}.exe -k {known % 900}",
            "Hashes": f"SHA256={known:064X},IMPHASH={known:032X}",
            "Message": f"Process Create: {what} by user {chance.randrange(500)} " + "of the many that there are " * 12,
        }
        yield json.dumps(record).encode() + b"\n"


def tree(pid: int) -> list[int]:
    """A process and all that came from it."""
    found, pending = [], [pid]
    while pending:
        found.append(pending.pop())
        with suppress(OSError):
            for task in Path(f"/proc/{found[-1]}/task").iterdir():
                pending += map(int, (task / "children").read_text().split())
    return found


def memory_mb(pids: Sequence[int]) -> float:
    """What some processes take, shared pages counted once."""
    total = 0
    for pid in pids:
        with suppress(OSError):
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
            total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total / 1024


def open_files(pids: Sequence[int]) -> int:
    count = 0
    for pid in pids:
        with suppress(OSError):
            count += sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())
    return count


def stored(workspace: Path) -> int:
    with open_workspace(workspace) as opened:
        return sum(row.rows for row in live_segments(opened, OPERATOR))


def run(workspace: Path, *arguments: str) -> str:
    """Run a command of ours to its end; give what it wrote. Made-up logs have damaged records, which is no failure."""
    command = [sys.executable, "-m", "mingjian", *arguments]
    done = subprocess.run(command, cwd=workspace, capture_output=True, text=True, check=False)
    if done.returncode not in (Exit.DONE, Exit.QUARANTINED):
        raise SystemExit(f"mingjian {' '.join(arguments)} ended with {done.returncode}:\n{done.stderr}")
    return done.stdout


@contextmanager
def listening(workspace: Path) -> Iterator[tuple[int, subprocess.Popen[str], Path]]:
    """Ingest that listens; as its port, its process, and the file in which it says what happens."""
    log = workspace / "said.txt"
    with log.open("w", encoding="utf-8") as stream:
        command = [sys.executable, "-m", "mingjian", "ingest", "--org", "Ours", "--listen", "http://127.0.0.1:0"]
        process = subprocess.Popen(command, cwd=workspace, stderr=stream, stdout=stream, text=True)
        try:
            give_up_at = time.monotonic() + READY_S_MAX
            while "listening on " not in (said := log.read_text(encoding="utf-8")):
                if process.poll() is not None or time.monotonic() > give_up_at:
                    raise SystemExit(f"ingest does not listen:\n{said}")
                time.sleep(0.1)
            yield int(said.partition("listening on ")[2].split()[0].rpartition(":")[2]), process, log
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()


def send(port: int, token: str, data: bytes, key: str) -> int:
    """Send a request until it is acknowledged; give how often it had to be sent again."""
    again = 0
    while True:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        try:
            headers = {"Authorization": f"Bearer {token}", "Idempotency-Key": key}
            connection.request("POST", "/intake/app", data, headers)
            answer = connection.getresponse()
            said = answer.read()
            if answer.status == http.client.OK:
                return again
            if answer.status not in (429, 503):
                raise SystemExit(f"refused with {answer.status}: {said.decode()}")
        finally:
            connection.close()
        again += 1
        time.sleep(1.0)


def soak(workspace: Path, *, seconds: float, bytes_per_s: float, every_s: float) -> tuple[list[Sample], int]:
    """Send for so long; give what was measured, and how many events were acknowledged."""
    token = run(workspace, "intake", "add", "soak", "--intake", "app", "--org", "Ours").split()[-1]
    samples: list[Sample] = []
    made = events(1)
    accepted = requests = again = 0
    with listening(workspace) as (port, process, log):
        begun = time.monotonic()
        told = begun
        while (now := time.monotonic()) - begun < seconds:
            lines: list[bytes] = []
            size = 0
            while size < bytes_per_s:
                lines.append(next(made))
                size += len(lines[-1])
            again += send(port, token, b"".join(lines), f"request-{requests}")
            accepted += len(lines)
            requests += 1
            if now - told >= every_s:
                told = now
                pids = tree(process.pid)
                sample = Sample(now - begun, memory_mb(pids), len(pids), open_files(pids), accepted, stored(workspace))
                samples.append(sample)
                print(
                    f"{sample.seconds:7.0f} s   {sample.memory_mb:7.0f} MB in {sample.processes} processes   "
                    f"{sample.open_files:5} open files   {sample.accepted:10,} acknowledged   "
                    f"{sample.accepted - sample.stored:8,} of them on their way",
                    flush=True,
                )
            time.sleep(max(0.0, begun + requests - time.monotonic()))
        process.send_signal(signal.SIGTERM)
        status = process.wait()
        if status:
            raise SystemExit(f"ingest ended with {status}:\n{log.read_text(encoding='utf-8')[-2000:]}")
    print(f"{requests:,} requests, {again} of them sent again", flush=True)
    return samples, accepted


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--gigabytes-per-hour", type=float, default=1.0)
    parser.add_argument("--every", type=float, default=10.0, help="seconds between two measurements")
    parser.add_argument("--folder", type=Path, help="where the workspace is made, and stays")
    parser.add_argument("--rules", type=Path, nargs="*", default=[], help="Sigma rules; the starter rules if not given")
    chosen = parser.parse_args(arguments)
    print(f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, Python {platform.python_version()}, {os.cpu_count()} processors, "
          f"load {os.getloadavg()[0]:.1f}")  # fmt: skip
    with tempfile.TemporaryDirectory() as temporary:
        workspace = (chosen.folder or Path(temporary)) / "workspace"
        workspace.mkdir(parents=True)
        run(workspace, "init")
        if chosen.rules:
            run(workspace, "rules", "add", *(str(path.resolve()) for path in chosen.rules))
        rate = chosen.gigabytes_per_hour * 1e9 / 3600
        samples, accepted = soak(workspace, seconds=60 * chosen.minutes, bytes_per_s=rate, every_s=chosen.every)
        kept = stored(workspace)
    if samples:
        first, last = samples[len(samples) // 4], samples[-1]
        print(
            f"most memory {max(each.memory_mb for each in samples):.0f} MB; from {first.seconds:.0f} s to "
            f"{last.seconds:.0f} s it went from {first.memory_mb:.0f} to {last.memory_mb:.0f} MB, open files from "
            f"{first.open_files} to {last.open_files}"
        )
    print(f"{accepted:,} events acknowledged, {kept:,} in the lake")
    if kept != accepted:
        raise SystemExit("these should be equal")


if __name__ == "__main__":
    main()
