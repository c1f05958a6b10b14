"""Every act that a script can let happen leaves lines, whoever writes the logs."""

import textwrap
from pathlib import Path

import pytest

from mingjian.sample import campaigns
from mingjian.sample.campaigns.scripted import read
from mingjian.sample.generate import LOGS_FOLDER, Order, generate, read_truth

ACTS = {
    "start": "{do: start, program: tool, command: 'tool.exe {login} {site} {site.ip}', by: explorer}",
    "file": "{do: file, path: 'C:\\x\\{host}.txt', by: tool}",
    "value": "{do: value, key: 'HKLM\\x\\{netbios}', details: '{admin}', by: tool}",
    "script": "{do: script, text: 'Get-Item {domain}'}",
    "task": "{do: task, name: '\\t', command: 'tool.exe {name}'}",
    "service": "{do: service, name: s, path: 'C:\\x\\tool.exe'}",
    "open": "{do: open, target: lsass, by: tool, granted: '0x1410', trace: x}",
    "logon": "{do: logon, user: admin, source: files}",
    "share": "{do: share, server: files, share: archive, user: elevated, read: {a: 1}, written: {b: 2}}",
    "fetch": "{do: fetch, site: site, by: edge}",
    "send": "{do: send, site: site, sent: 1000000, minutes: 2, by: tool}",
    "connect": "{do: connect, target: database, port: 5432}",
    "ask-tunnel": "{do: ask, count: 5, seconds: 5, zone: t.example.net}",
    "ask-made": "{do: ask, count: 5, seconds: 5, letters: 12, endings: [.example.org]}",
    "mail": "{do: mail, sender: 'a@{site}', client: 'mx.{site}', address: '{site.ip}', size: 9000}",
    "login": "{do: login, user: operator, source: vpn}",
    "run": "{do: run, words: [id, '{login}'], exe: /usr/bin/id}",
    "visit": "{do: visit, client: '{site.ip}', path: /x}",
    "tunnel": "{do: tunnel, user: victim, address: '{site.ip}'}",
    "guess": "{do: guess, where: directory, accounts: 3, seconds: 9}",
    "guess-vpn": "{do: guess, where: vpn, accounts: 3, seconds: 9, address: '{public}', hits: true}",
    "cloud": "{do: cloud, service: s3, call: ListBuckets, user: victim, address: '{site.ip}', denied: true}",
}
ON = {"login": "application", "run": "web", "visit": "web", "mail": "mail", "cloud": "cloud", "open": "admin"}
NOT_WITHOUT_SYSMON = {"file", "value", "open"}
"""Where there is no Sysmon, nobody writes these down."""


@pytest.fixture
def told(tmp_path: Path) -> Path:
    steps = "".join(
        textwrap.dedent(f"""
        - name: {name}-{part}
          part: {part}
          technique: T1059
          title: {{en: {name}, zh: 做}}
          at: [0, 13]
          host: {ON.get(name, "victim")}
          account: victim
          acts: [{act}]
        """)
        for part in ("one", "two", "three")
        for name, act in ACTS.items()
    )
    head = textwrap.dedent("""
        name: everything
        title: {en: everything, zh: 全部}
        sites: {site: {name: site.example.net, address: 203.0.113.250}}
        programs: {tool: {image: 'C:\\x\\{login}\\tool.exe'}}
        parts: {one: {sensor: zeek-tsv}, two: {sensor: suricata}, three: {cloud: true}}
        steps:
        """)
    path = tmp_path / "everything.yml"
    path.write_text(head + textwrap.indent(steps, "  "), encoding="utf-8")
    return path


def test_every_act_leaves_lines_in_every_profile(told: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(campaigns, "scripted", lambda: (read(told),))
    generate(Order(days=1, events_per_day=2_000, hum=0.0, campaigns=("everything",)), tmp_path / "out")
    planted = [row for row in read_truth(tmp_path / "out") if row.kind == "planted"]
    left = {row.step for row in planted}
    expected = {f"{name}-{part}" for name in ACTS for part in ("one", "two", "three")}
    expected -= {f"{name}-three" for name in NOT_WITHOUT_SYSMON} | {"cloud-one", "cloud-two"}
    assert left == expected
    started = next(row for row in planted if row.step == "start-one" and "winlogbeat" in row.file)
    line = (tmp_path / "out" / LOGS_FOLDER / started.file).read_bytes().split(b"\n")[started.record - 1]
    assert f"tool.exe {started.account} site.example.net 203.0.113.250".encode() in line


@pytest.mark.parametrize(
    ("act", "complaint"),
    [
        ("{do: start, program: none, command: x}", "no program 'none'"),
        ("{do: start, program: tool, command: '{nobody}'}", "nothing is named {nobody}"),
        ("{do: share, server: attic, share: x}", "no host 'attic'"),
    ],
)
def test_a_script_that_names_what_is_not_there_is_refused(
    told: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, act: str, complaint: str
) -> None:
    from mingjian.errors import SchemaError

    told.write_text(told.read_text(encoding="utf-8").replace(ACTS["start"], act), encoding="utf-8")
    monkeypatch.setattr(campaigns, "scripted", lambda: (read(told),))
    with pytest.raises(SchemaError, match=complaint):
        generate(Order(days=1, events_per_day=2_000, hum=0.0, campaigns=("everything",)), tmp_path / "out")
