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
    "visit": "{do: visit, client: '{site.ip}', paths: [/x, /y]}",
    "end": "{do: end, program: tool}",
    "account": "{do: account, name: new.one, group: Domain Admins}",
    "clear": "{do: clear}",
    "browse": "{do: browse, server: files, share: archive, user: returned, folders: [a, b], times: 2, every: 5}",
    "knock": "{do: knock, user: deploy, source: '{site.ip}', times: 2, every: 5}",
    "sudo": "{do: sudo, user: deploy, command: /usr/bin/id, times: 2, every: 5}",
    "touch": "{do: touch, path: /etc/x, exe: /usr/bin/dash, user: deploy, key: x}",
    "job": "{do: job, user: backup, command: /usr/bin/id}",
    "log": "{do: log, program: useradd, text: 'new user: {login}'}",
    "guess-other": "{do: guess, where: directory, accounts: 3, seconds: 9, finds: other}",
    "probe": "{do: probe, calls: ['iam:ListUsers'], every: 2, user: victim, address: '{site.ip}', agent: a, key: k}",
    "signin": "{do: signin, user: victim, address: '{site.ip}', agent: a}",
    "elsewhere": "{do: service, on: files, name: s, path: 'C:\\x\\{victim.ip}.exe'}",
    "tunnel": "{do: tunnel, user: victim, address: '{site.ip}'}",
    "guess": "{do: guess, where: directory, accounts: 3, seconds: 9}",
    "guess-vpn": "{do: guess, where: vpn, accounts: 3, seconds: 9, address: '{public}', hits: true}",
    "cloud": "{do: cloud, service: s3, call: ListBuckets, user: victim, address: '{site.ip}', denied: true}",
}
ON = {
    **{"login": "application", "run": "web", "visit": "web", "mail": "mail", "cloud": "cloud", "open": "admin"},
    **dict.fromkeys(("knock", "sudo", "touch", "job", "log"), "web"),
    **dict.fromkeys(("probe", "signin"), "cloud"),
}
NOT_WITHOUT_SYSMON = {"file", "value", "open", "end"}
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
    expected -= {f"{name}-three" for name in NOT_WITHOUT_SYSMON}
    expected -= {f"{name}-{part}" for name in ("cloud", "probe", "signin") for part in ("one", "two")}
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
        ("{do: service, on: attic, name: s, path: x}", "no host 'attic'"),
        ("{do: run, words: [id], exe: /usr/bin/id, parent: nobody}", "nothing was started as 'nobody'"),
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
