"""Each starter rule: logs in which it must fire, and logs that look alike in which it must not.

A case is a file ``starter-rules/<folder of the rule>/<rule>.yml``: ``kind`` says how its events are written, ``found``
and ``not found`` list situations; each is one event or a list of events. An event is a map of fields or a line of
text; with ``times`` and ``every_s`` it happens so often, ``{n}`` in it is the number of the repetition.
"""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

import pytest
import yaml

from mingjian.data import DATA_FOLDER
from mingjian.hunt.automata import engine_for
from mingjian.hunt.detection import Run
from mingjian.hunt.rulebook import Rulebook, load_rulebook
from mingjian.model.rules import LEVELS
from mingjian.sources.definitions import load_sources
from mingjian.sources.router import Router

RULES = DATA_FOLDER / "rules"
CASES = Path(__file__).parent / "starter-rules"
FIRST = datetime(2026, 3, 2, 9, tzinfo=UTC)
CHANNELS = {
    "sysmon": "Microsoft-Windows-Sysmon/Operational",
    "powershell": "Microsoft-Windows-PowerShell/Operational",
    "security": "Security",
    "system": "System",
}
BENIGN_LINE = {
    "nginx": '192.0.2.9 - - [02/Mar/2026:08:59:00 +0000] "GET / HTTP/1.1" 200 10 "-" "Mozilla/5.0"',
    "squid": "1772441940.000    100 10.9.0.1 TCP_MISS/200 512 GET http://a.example/ - HIER_DIRECT/192.0.2.1 -",
    "syslog": "2026-03-02T08:59:00+00:00 web-01 systemd[1]: Started a service.",
    "auditd": 'type=CWD msg=audit(1772441940.000:1): cwd="/root"',
}
"""The first line of a text file, by which its format is known."""


def written(kind: str, event: dict[str, object] | str, at: datetime, number: int) -> str:
    """One event in the form of its producer."""
    if isinstance(event, str):
        text = event.replace("{n}", str(number))
        match kind:
            case "nginx":
                return text.replace("{time}", f"{at:%d/%b/%Y:%H:%M:%S +0000}")
            case "squid":
                return f"{at.timestamp():.3f}    100 {text}"
            case "syslog":
                return f"{at:%Y-%m-%dT%H:%M:%S}+00:00 web-01 {text}"
            case _:
                return text.replace("{time}", f"{at.timestamp():.3f}:{number + 10}")
    fields = {k: v.replace("{n}", str(number)) if isinstance(v, str) else v for k, v in event.items()}
    if kind.partition("-")[0] in CHANNELS:
        log, _, event_id = kind.partition("-")
        head = {"Channel": CHANNELS[log], "EventID": int(event_id), "Computer": "pc-1.example.org"}
        return json.dumps(head | {"TimeCreated": f"{at:%Y-%m-%dT%H:%M:%S}Z"} | fields)
    if kind == "cloudtrail":
        head = {
            "eventVersion": "1.10",
            "awsRegion": "eu-central-1",
            "sourceIPAddress": "192.0.2.7",
            "eventType": "AwsApiCall",
        }
        return json.dumps(head | {"eventTime": f"{at:%Y-%m-%dT%H:%M:%S}Z"} | fields)
    if kind == "suricata":
        head = {"event_type": "flow", "src_ip": "10.9.0.1", "src_port": 50000, "dest_port": 443, "proto": "TCP"}
        return json.dumps(head | {"timestamp": f"{at:%Y-%m-%dT%H:%M:%S}.000000+0000"} | fields)
    head = {"_path": kind.removeprefix("zeek-"), "uid": f"C{number}", "id.orig_h": "10.9.0.1", "id.orig_p": 50000}
    return json.dumps(head | {"ts": at.timestamp()} | fields)


def lines(kind: str, situation: object) -> Iterator[str]:
    """All lines of a situation, one second apart unless it says otherwise."""
    at = FIRST
    for event in situation if isinstance(situation, list) else [situation]:
        fields = dict(event) if isinstance(event, dict) else {"line": event}
        times, every_s = fields.pop("times", 1), fields.pop("every_s", 1)
        for number in range(times):
            yield written(kind, fields.get("line") or fields, at, number)
            at += timedelta(seconds=every_s)


@cache
def rulebook() -> Rulebook:
    return load_rulebook([RULES])


@pytest.fixture(scope="module")
def titles_fired(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, object], set[str]]:
    book = rulebook()
    engine, router = engine_for(book.rules, None), Router(load_sources())
    folder = tmp_path_factory.mktemp("starter")

    def fired(kind: str, situation: object) -> set[str]:
        file = folder / "events.log"
        start = [BENIGN_LINE[kind]] if kind in BENIGN_LINE else []
        file.write_text("\n".join([*start, *lines(kind, situation)]) + "\n", encoding="utf-8")
        run = Run(book.rules, book.correlations, engine, router)
        try:
            summary = run.execute([str(file)])
            assert summary.quarantined == 0
            return {detection.rule_title for detection in run.detections()}
        finally:
            run.close()

    return fired


def case_files() -> list[Path]:
    return sorted(CASES.rglob("*.yml"))


@pytest.mark.parametrize("path", case_files(), ids=lambda path: path.stem)
def test_a_starter_rule_fires_where_it_must_and_nowhere_else(
    path: Path, titles_fired: Callable[[str, object], set[str]]
) -> None:
    case = yaml.safe_load(path.read_text(encoding="utf-8"))
    title = yaml.safe_load((RULES / path.relative_to(CASES)).read_text(encoding="utf-8"))["title"]
    assert case["found"]
    assert case["not found"]
    for situation in case["found"]:
        assert title in titles_fired(case["kind"], situation), situation
    for situation in case["not found"]:
        assert title not in titles_fired(case["kind"], situation), situation


def test_every_starter_rule_has_a_case_or_only_feeds_correlations() -> None:
    book = rulebook()
    cased = {path.relative_to(CASES) for path in case_files()}
    hidden = {rule.title for rule in (*book.rules, *book.correlations) if rule.hidden}
    for path in RULES.rglob("*.yml"):
        title = yaml.safe_load(path.read_text(encoding="utf-8"))["title"]
        assert path.relative_to(RULES) in cased or title in hidden, path


def test_starter_rules_load_without_a_complaint() -> None:
    book = rulebook()
    assert len(book.files) == len(book.rules) + len(book.correlations)
    assert (book.skipped, book.notes) == ((), ())


def test_starter_rules_say_everything_that_sigma_asks_for() -> None:
    seen: set[str] = set()
    for path in RULES.rglob("*.yml"):
        rule = yaml.safe_load(path.read_text(encoding="utf-8"))
        assert rule["level"] in LEVELS, path
        assert rule["status"] == "test"
        assert rule["license"] == "Apache-2.0"
        assert rule["falsepositives"]
        assert rule["description"].endswith((".", "\n")), path
        assert len(rule["title"]) <= 110
        assert any(tag.startswith("attack.t") for tag in rule["tags"]), path
        assert rule["id"] not in seen
        seen.add(rule["id"])


def test_every_starter_rule_about_events_can_be_fed() -> None:
    fed = {logsource for stream in load_sources().streams() for logsource in stream.logsources}

    def feeds(product: str, category: str, service: str) -> bool:
        return any(
            (not product or product == each.product)
            and (not category or category == each.category)
            and (not service or service == each.service)
            for each in fed
        )

    for rule in rulebook().rules:
        source = rule.logsource
        assert feeds(source.product or "", source.category or "", source.service or ""), rule.title
