"""The server as it is run: processes of its own that share a socket, on SQLite and on PostgreSQL."""

from __future__ import annotations

import http.client
import json
import os
import re
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from databases import database_of
from lakes import OPERATOR
from mingjian.client import Client
from mingjian.console.gate import PLAIN_COOKIE
from mingjian.errors import NotAuthenticated, NotFound
from mingjian.situations.keeping import Keeper
from mingjian.sources.definitions import load_sources
from mingjian.store import accounts, sessions
from mingjian.store.apitokens import make_token
from mingjian.store.catalogue import organisation_named
from mingjian.store.scope import EVERYONE, Membership
from mingjian.store.warninglists import WarningLists
from mingjian.store.workspace import Workspace, open_workspace
from serving import OURS, RULE, filled

WORKERS = 2
READY_S = 120.0
AT_ONCE = 16
ROUNDS_MAX = 50
LIVE_S = 30.0
DOCS = Path(__file__).parents[2] / "docs"

pytestmark = pytest.mark.slow


class Served(NamedTuple):
    """A server, and how to get in."""

    address: str
    token: str
    session: str
    workspace: Workspace

    @property
    def place(self) -> str:
        return self.address.removeprefix("http://")

    def client(self) -> Client:
        """A client with a connection of its own: any of the processes answers it."""
        return Client(self.address, self.token)


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest) -> Iterator[str]:
    with database_of(request.param) as made:
        yield made.replace("postgresql://", "postgresql+psycopg://")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, database: str) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("served")
    with filled(folder, database) as workspace:
        Keeper(workspace, load_sources(), None, WarningLists(Path(), [])).step()
        user = accounts.make_user(workspace, OPERATOR, "ann", memberships=[Membership(EVERYONE, "administrator")])
        link = accounts.make_link(workspace, OPERATOR, user.public_id).reveal()
        opened = sessions.use_link(workspace, link, address="127.0.0.1", agent="test")
        assert isinstance(opened, sessions.Opened)
        scope = sessions.session_of(workspace, opened.token.reveal()).scope
        _, token = make_token(workspace, scope, "tests", rights=["read", "write", "administer"], lifetime_s=3600)
        workspace.close()
        command = [sys.executable, "-m", "mingjian", "serve", "--port", "0", "--workers", str(WORKERS)]
        environment = os.environ | {"MINGJIAN_DATABASE": database}
        with (
            (folder / "said").open("w+") as said,
            subprocess.Popen(command, cwd=folder / "workspace", env=environment, stderr=said, stdout=said) as process,
        ):
            try:
                address = told(folder / "said", process)
                with open_workspace(folder / "workspace", database) as another:
                    yield Served(address, token.reveal(), opened.token.reveal(), another)
            finally:
                process.send_signal(signal.SIGTERM)
                assert process.wait(60) == 0, (folder / "said").read_text()[-4000:]


def told(file: Path, process: subprocess.Popen[bytes]) -> str:
    """The address that the server says it has, once it answers there."""
    end_s = time.monotonic() + READY_S
    while time.monotonic() < end_s:
        text = file.read_text()
        found = re.search(r"the console is at (http://[a-z0-9.:]+)", text)
        if found is not None:
            with closing(http.client.HTTPConnection(found[1].removeprefix("http://"), timeout=60)) as connection:
                connection.request("GET", "/-/ready")
                if connection.getresponse().status == 200:
                    return found[1]
        assert process.poll() is None, text
        time.sleep(0.2)
    raise AssertionError(file.read_text())


def worker_of(connection: http.client.HTTPConnection) -> str:
    """Which process answers a connection: when it began."""
    connection.request("GET", "/-/metrics")
    text = connection.getresponse().read().decode()
    found = re.search(r"start_time_seconds ([0-9.]+)", text)
    assert found is not None
    return found[1]


@contextmanager
def connections(served: Served) -> Generator[list[http.client.HTTPConnection]]:
    """A connection to each of the processes."""
    known: dict[str, http.client.HTTPConnection] = {}
    with ExitStack() as stack, ThreadPoolExecutor(AT_ONCE) as pool:
        for _ in range(ROUNDS_MAX):
            # Many at the same time: of those that come one by one, an idle machine may give all to the same process.
            several = [
                stack.enter_context(closing(http.client.HTTPConnection(served.place, timeout=60)))
                for _ in range(AT_ONCE)
            ]
            for number, connection in zip(pool.map(worker_of, several), several, strict=True):
                if known.setdefault(number, connection) is not connection:
                    connection.close()
            if len(known) == WORKERS:
                break
        assert len(known) == WORKERS, "not all processes answer"
        yield list(known.values())


def test_a_session_counts_for_every_process(served: Served) -> None:
    with connections(served) as several:
        for connection in several:
            for path in ("/", "/queue", "/detections", "/api/v1/situations"):
                connection.request("GET", path, headers={"cookie": f"{PLAIN_COOKIE}={served.session}"})
                answer = connection.getresponse()
                assert (answer.status, bool(answer.read())) == (200, True), path
            connection.request("GET", "/api/v1/situations", headers={"cookie": f"{PLAIN_COOKIE}=other"})
            refused = connection.getresponse()
            assert (refused.status, refused.headers["content-type"]) == (401, "application/problem+json")
            refused.read()


def test_what_one_process_did_once_another_does_not_do_again(served: Served) -> None:
    with served.client() as client:
        id = next(client.situations(state="all")).id
    body = json.dumps({"text": "said once"})
    headers = {
        "authorization": f"Bearer {served.token}",
        "content-type": "application/json",
        "idempotency-key": "workers-1",
    }
    statuses: list[int] = []
    with connections(served) as several:
        for connection in several * 3:
            connection.request("POST", f"/api/v1/situations/{id}/comments", body=body, headers=headers)
            answer = connection.getresponse()
            answer.read()
            statuses.append(answer.status)
    assert statuses == [201] * 3 * WORKERS

    def send(number: int) -> int:
        with closing(http.client.HTTPConnection(served.place, timeout=60)) as connection:
            more = headers | {"idempotency-key": f"workers-2-{number % 4}"}
            said = json.dumps({"text": f"at the same time {number % 4}"})
            connection.request("POST", f"/api/v1/situations/{id}/comments", body=said, headers=more)
            return connection.getresponse().status

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(send, range(32))) <= {201, 409}
    with served.client() as client:
        texts = [comment.text for comment in client.situation(id).comments]
    assert texts.count("said once") == 1
    assert sorted(text for text in texts if text.startswith("at the same")) == [
        f"at the same time {number}" for number in range(4)
    ]


def test_what_one_process_changed_the_others_tell(served: Served) -> None:
    with connections(served) as several:
        streams: list[http.client.HTTPResponse] = []
        for connection in several:
            connection.request("GET", "/live", headers={"authorization": f"Bearer {served.token}"})
            stream = connection.getresponse()
            assert stream.headers["content-type"].startswith("text/event-stream")
            assert stream.readline().startswith(b"retry:")
            streams.append(stream)
        with served.client() as client:
            client.hunt(RULE.replace("whoami", secrets.token_hex(8)))
        end_s = time.monotonic() + LIVE_S
        for stream in streams:
            topics: list[str] = []
            while not {"jobs", "detections"} & set(topics):
                assert time.monotonic() < end_s, "nothing was told"
                line = stream.readline()
                if line.startswith(b'data: {"topic"'):
                    topics.append(json.loads(line.removeprefix(b"data: "))["topic"])
            stream.close()


def test_what_is_imported_is_taken_in_and_found(served: Served, tmp_path: Path) -> None:
    org = organisation_named(served.workspace, OPERATOR, OURS).public_id
    marker = secrets.token_hex(8)
    file = tmp_path / "events.jsonl"
    file.write_text("".join(json.dumps({"EventID": number, "Marker": marker}) + "\n" for number in range(50)))
    end_s = time.monotonic() + 60
    with served.client() as client, file.open("rb") as body:
        assert client.import_events(org, body).accepted == 50
        while True:
            client.import_events(org, body)
            found = [event for event in client.export_events(org=org) if event["record"].get("Marker") == marker]
            if len(found) >= 50:
                break
            assert time.monotonic() < end_s, f"{len(found)} of 50 came in"
            time.sleep(0.5)
        assert sorted(event["record"]["EventID"] for event in found) == list(range(50))


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_examples_of_the_manual_run(
    served: Served, language: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    page = (DOCS / language / "reference" / "api.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    assert len(blocks) == 4
    names: dict[str, object] = {"token": served.token}
    for block in blocks:
        code = block.replace("http://127.0.0.1:8300", served.address)
        exec(compile(code, "api.md", "exec"), names)  # noqa: S102 - our own manual
    client = names["client"]
    assert isinstance(client, Client)
    client.close()
    assert (tmp_path / "detections.arrows").stat().st_size


def test_errors_of_the_server_are_errors_of_ours(served: Served) -> None:
    with served.client() as client, pytest.raises(NotFound):
        client.situation("none")
    with Client(served.address, "mj_wrong") as client, pytest.raises(NotAuthenticated):
        client.organisations()
