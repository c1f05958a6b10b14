"""Behind a reverse proxy: who asks is believed from the proxies in the settings, and from nobody else."""

from __future__ import annotations

import http.client
import os
import re
import signal
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lakes import OPERATOR
from mingjian.store import accounts, audit
from mingjian.store.scope import EVERYONE, Membership
from mingjian.store.workspace import Workspace, create, open_workspace

SAID = {
    "host": "mj.example",
    "x-forwarded-proto": "https",
    "x-forwarded-for": "198.51.100.7",
    "sec-fetch-site": "same-origin",
    "content-type": "application/x-www-form-urlencoded",
}


@contextmanager
def served(folder: Path, proxies: str) -> Generator[str]:
    """Where a server listens that was started as a person starts it."""
    command = [sys.executable, "-m", "mingjian", "serve", "--port", "0", "--console-only"]
    environment = os.environ | {"MINGJIAN_PROXIES": proxies}
    with subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        try:
            found = next(filter(None, (re.search(r"http://([\w.:]+)", line) for line in process.stderr)))
            yield found[1]
        finally:
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=60)


def entered(place: str, link: str) -> tuple[str, bool]:
    """Sign in as through a proxy; gives the cookie, and whether passkeys are offered."""
    connection = http.client.HTTPConnection(place, timeout=60)
    connection.request("POST", "/sign-in/link", f"t={link}", SAID)
    answer = connection.getresponse()
    answer.read()
    assert answer.status == 303
    connection.request("GET", "/sign-in", headers=SAID)
    page = connection.getresponse().read().decode()
    connection.close()
    return answer.headers["set-cookie"], "data-passkey" in page


@pytest.mark.slow
@pytest.mark.parametrize(
    ("proxies", "is_believed"), [("127.0.0.0/8", True), ("192.0.2.1,2001:db8::/32", False), ("none", False)]
)
def test_only_the_proxies_in_the_settings_are_believed(tmp_path: Path, proxies: str, *, is_believed: bool) -> None:
    folder = tmp_path / "workspace"
    with create(folder) as workspace:
        user = accounts.make_user(workspace, OPERATOR, "ann", memberships=[Membership(EVERYONE, "reader")])
        link = accounts.make_link(workspace, OPERATOR, user.public_id).reveal()
    with served(folder, proxies) as place:
        cookie, has_passkeys = entered(place, link)
    assert cookie.startswith("__Host-mingjian=") == ("secure" in cookie.lower()) == is_believed
    assert has_passkeys == is_believed
    with open_workspace(folder) as again:
        assert address_of_sign_in(again) == ("198.51.100.7" if is_believed else "127.0.0.1")


def address_of_sign_in(workspace: Workspace) -> object:
    return audit.acts(workspace, OPERATOR, what="sign-in.done")[0].after["address"]
