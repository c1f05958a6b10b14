"""A listening process that is killed again and again while senders send: nothing acknowledged is lost or doubled.

``python tests/crash/intake_kills.py 10000`` kills ten thousand times and prints what it found.
"""

import http.client
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from random import Random

import msgspec

from mingjian.sources.journalfiles import chunks, damage, journals
from mingjian.sources.tokens import add_token

SENDERS = 4
ALIVE_S_MAX = 0.25
SERVER = """
import sys
from pathlib import Path
from mingjian.sources.listen import parse_listener, serve
serve(Path(sys.argv[1]), [parse_listener("http://:0")], organisation="ours",
      ready=lambda addresses: print(addresses[0][2], flush=True))
"""


class Outcome(msgspec.Struct, frozen=True):
    """What a run of kills came to."""

    acknowledged: int
    """Records of requests that were answered with 200."""
    sent_again: int
    """Requests that had to be sent more than once."""
    lost: int
    doubled: int
    slowest_start_s: float


class Senders:
    """Clients that send every request until it is answered with 200, each with a key of its own."""

    def __init__(self, token: str) -> None:
        self.token = token
        self.port = 0
        self.ended = threading.Event()
        self.acknowledged: list[str] = []
        self.sent_again = 0
        self.threads = [threading.Thread(target=self.work, args=(number,)) for number in range(SENDERS)]

    def work(self, sender: int) -> None:
        chance = Random(sender)
        number = 0
        while not self.ended.is_set():
            names = [f"<{sender}-{number}-{each}>" for each in range(chance.randrange(1, 40))]
            # Half of the senders know nothing of keys and rely on their content being recognised.
            headers = {"Authorization": f"Bearer {self.token}"} | ({"Idempotency-Key": names[0]} if sender % 2 else {})
            body = "".join(json.dumps({"name": name}) + "\n" for name in names)
            tries = 0
            while not self.try_once(body, headers):
                tries += 1
            self.sent_again += bool(tries)
            self.acknowledged += names
            number += 1

    def try_once(self, body: str, headers: dict[str, str]) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request("POST", "/intake/app", body, headers)
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            time.sleep(0.01)  # nobody listens just now
            return False
        finally:
            connection.close()


def started(folder: Path) -> tuple[subprocess.Popen[str], int]:
    process = subprocess.Popen([sys.executable, "-c", SERVER, str(folder)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, int(process.stdout.readline())


def run(folder: Path, kills: int, seed: int = 1) -> Outcome:
    """Kill a listening process so many times, at random moments; compare what is kept with what was acknowledged."""
    senders = Senders(add_token(folder, name="web", intake="app", organisation="ours").reveal())
    chance = Random(seed)
    slowest = 0.0
    for number in range(kills + 1):
        begun = time.monotonic()
        process, senders.port = started(folder)
        slowest = max(slowest, time.monotonic() - begun)
        with process:
            if number == 0:
                for thread in senders.threads:
                    thread.start()
            time.sleep(chance.uniform(0, ALIVE_S_MAX))  # the moment of death is what this is about
            if number == kills:
                senders.ended.set()
                for thread in senders.threads:
                    thread.join()
            process.send_signal(signal.SIGKILL if number < kills else signal.SIGTERM)
    kept: Counter[str] = Counter()
    for journal in journals(folder):
        assert damage(journal) == []
        kept.update(re.findall("<[0-9-]+>", b"".join(chunks(journal)).decode()))
    return Outcome(
        acknowledged=len(senders.acknowledged),
        sent_again=senders.sent_again,
        lost=sum(1 for name in senders.acknowledged if not kept[name]),
        doubled=sum(1 for times in kept.values() if times > 1),
        slowest_start_s=round(slowest, 2),
    )


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        found = run(Path(place), int(sys.argv[1]), seed=int(os.environ.get("SEED", "1")))
    print(json.dumps(msgspec.to_builtins(found)))
    sys.exit(bool(found.lost or found.doubled))
