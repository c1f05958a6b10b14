"""Payloads through every field into every output: nothing of them is ever more than text."""

from __future__ import annotations

import csv
import datetime
import io
import json
import re
import unicodedata
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote
from xml.etree import ElementTree

import openpyxl
import pypdfium2
import pytest
import sqlalchemy as sa
from starlette.testclient import TestClient

from htmlpage import parsed
from ingesting import ingest, lines, sysmon
from lakes import OPERATOR
from mingjian.cli.main import run
from mingjian.console.app import create_app
from mingjian.console.briefing import Wish, make_brief
from mingjian.console.briefpage import written
from mingjian.console.card import write_card
from mingjian.console.pages import admin, intelligence, packs, queue, rules, situations, sources, suppressions
from mingjian.console.report import write_report
from mingjian.console.story import Told, write_story
from mingjian.hunt.detection import Summary
from mingjian.hunt.errands import Errands
from mingjian.hunt.packs import Sent, packed_files
from mingjian.model.blocks import Quarantined
from mingjian.model.detections import Detection
from mingjian.model.indicators import Indicator
from mingjian.model.rules import ANY, LEVELS, LogSource, Rule, Text
from mingjian.sample.campaigns import Step
from mingjian.sample.generate import Made, Order
from mingjian.sample.judge import Finding, Judgement
from mingjian.sample.walk import Trace
from mingjian.settings import Language
from mingjian.situations.asking import Question, ask
from mingjian.situations.card import Graph, Term, VerdictCard
from mingjian.situations.keeping import Keeper
from mingjian.situations.suppressing import suppress
from mingjian.sources.definitions import load_sources
from mingjian.store import audit
from mingjian.store import situationtables as s
from mingjian.store import tables as t
from mingjian.store.catalogue import Batch, commit_batch, organisation_named
from mingjian.store.decisions import add_comment, add_task, declare
from mingjian.store.detections import detections
from mingjian.store.indicators import add_set
from mingjian.store.jobs import queue as queue_job
from mingjian.store.packs import keep_pack
from mingjian.store.periods import Period
from mingjian.store.rules import add_rules
from mingjian.store.situations import situations as list_situations
from mingjian.store.warninglists import WarningLists
from mingjian.store.workspace import Workspace, create, new_id
from mingjian.telemetry import visible
from payloads import PAYLOADS, mark_of
from serving import served, site_of

OWNER = "Alderbrook Power"
DAY = 20_513
PAGE_ROWS = 500
FORMULA = tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")
HIDDEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}
NUMBERS = range(len(PAYLOADS))


def test_there_are_more_than_500_payloads_and_all_are_different() -> None:
    assert len(set(PAYLOADS)) == len(PAYLOADS) >= 500
    assert all(mark_of(number) in payload for number, payload in enumerate(PAYLOADS))


# --- a workspace that is full of them --------------------------------------------------------------------------------


def rule_of(number: int) -> Rule:
    payload = PAYLOADS[number]
    return Rule(
        id=f"rule-{number}",
        title=payload,
        file=payload,
        description=payload,
        status=payload,
        level=LEVELS[number % len(LEVELS)],
        attack=("T1059", payload),
        logsource=LogSource("windows", "process_creation"),
        condition=Text("CommandLine", (ANY, mark_of(number), ANY)),
        content_hash=str(number),
    )


def record_of(number: int) -> dict[str, object]:
    payload = PAYLOADS[number]
    named = dict.fromkeys(("CommandLine", "User", "ParentImage", "CurrentDirectory", "OriginalFileName"), payload)
    return sysmon(number, payload, host=payload) | named | {f"Field {payload}": payload, "Hashes": f"MD5={payload}"}


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    folder = tmp_path_factory.mktemp("payloads")
    with create(folder / "workspace") as made:
        file = folder / "events.jsonl"
        file.write_bytes(lines(map(record_of, NUMBERS)))
        ingest(made, file, organisation=OWNER, rules=[rule_of(number) for number in NUMBERS], correlations=())
        send_pack(made)
        tell_of_others(made)
        Keeper(made, load_sources(), None, WarningLists(Path(), [])).step()
        tell_of_people(made)
        name_packs(made)
        yield made


def tell_of_others(workspace: Workspace) -> None:
    """Indicators, quarantine, jobs, acts, organisations, users: a payload in every text of each."""
    owner = organisation_named(workspace, OPERATOR, OWNER).id
    now = workspace.clock_us()
    wanted = [Indicator(kind="domain", how="is", value="d.example", written=PAYLOADS[0])]
    first = add_set(workspace, OPERATOR, "first", wanted, organisation=owner, lists=WarningLists(Path(), [])).set
    odd = [
        Quarantined(file=each, record=1, offset=0, code="parse", reason=each, data=each.encode()) for each in PAYLOADS
    ]
    commit_batch(workspace, OPERATOR, Batch(organisation=owner, quarantined=[(None, each) for each in odd]))
    job = queue_job(workspace, OPERATOR, "backup", request="{}")
    with workspace.begin() as connection:
        copy(
            connection,
            t.jobs,
            job.id,
            [
                {"public_id": new_id(), "error": each, "request": json.dumps({"by": each, "titles": [each]})}
                for each in PAYLOADS
            ],
        )
        series = t.indicator_series.c.id
        copy(connection, t.indicator_series, 1, [{"name": each, "series_key": each} for each in PAYLOADS])
        more = connection.execute(sa.select(series).where(series > 1).order_by(series)).scalars().all()
        sources = [{"series_id": id, "source": each} for id, each in zip(more, PAYLOADS, strict=True)]
        copy(connection, t.indicator_sets, first.id, sources)
        connection.execute(
            sa.insert(t.organisations),
            [
                {"public_id": new_id(), "name": each, "name_key": f"{each}{number}", "created_us": now}
                for number, each in enumerate(PAYLOADS)
            ],
        )
        connection.execute(
            sa.insert(t.users),
            [
                {"public_id": new_id(), "name": each, "name_key": f"{each}{number}", "title": each, "language": "en",
                 "state": "active", "created_us": now, "totp_step": 0}
                for number, each in enumerate(PAYLOADS)
            ],
        )  # fmt: skip
        for each in PAYLOADS:
            audit.act(workspace, connection, OPERATOR, "test.done", about=each, before={"x": each}, after={"x": each})


def copy(connection: sa.Connection, table: sa.Table, number: object, others: Sequence[dict[str, object]]) -> None:
    """Add rows that are like one but for some of its values."""
    row = dict(connection.execute(sa.select(table).where(table.c.id == number)).mappings().one())
    for name in ("id", t.SEAL):
        row.pop(name, None)
    connection.execute(sa.insert(table), [row | other for other in others])


FILTER = """\
title: %s
logsource: {product: windows, category: process_creation}
filter:
    rules: [rule-0]
    selection: {User: nobody}
    condition: not selection
"""


def tell_of_people(workspace: Workspace) -> None:
    """What people write: comments, tasks, incidents, suppressions."""
    found = list_situations(workspace, OPERATOR).situations[0]
    for payload in PAYLOADS[:200]:
        add_comment(workspace, OPERATOR, "situation", found.public_id, payload)
        add_task(workspace, OPERATOR, "situation", found.public_id, payload[:150], owner=payload[:150])
    incident = declare(workspace, OPERATOR, found.public_id, PAYLOADS[0], owner=PAYLOADS[1])
    add_rules(workspace, OPERATOR, [rule_of(number) for number in NUMBERS], [])
    expires_us = workspace.clock_us() + 86_400_000_000
    suppress(workspace, OPERATOR, FILTER % '"t"', owner="o", reason="r", expires_us=expires_us, organisation=None)
    with workspace.begin() as connection:
        hiding = connection.execute(sa.select(s.suppressions.c.id)).scalars().first()
        for table, number, fields in (
            (s.suppressions, hiding, ("title", "owner", "reason")),
            (s.incidents, incident.id, ("title", "owner", "actor")),
        ):
            more = [{"public_id": new_id()} | dict.fromkeys(fields, each) for each in PAYLOADS]
            copy(connection, table, number, more)


def is_broken(number: int) -> bool:
    """Whether the rule of a pack with this payload cannot be used."""
    return number % 3 == 0


def packed_rule(number: int) -> bytes:
    """A file of a pack with a payload in every text of it; JSON is YAML."""
    payload = PAYLOADS[number]
    field = f"Field|{payload}" if is_broken(number) else f"Field {payload}"
    product = payload[:100] if number % 3 == 1 else "windows"
    rule = {
        "title": payload,
        "id": payload,
        "description": payload,
        "status": payload,
        "author": payload,
        "references": [payload],
        "tags": [payload, "attack.t1059"],
        "level": LEVELS[number % len(LEVELS)],
        "logsource": {"product": product, "category": "process_creation"},
        "detection": {"selection": {field: payload}, "condition": "selection"},
    }
    return json.dumps(rule).encode()


def send_pack(workspace: Workspace) -> None:
    """A pack that is really sent and read, with a payload in every name and text."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        for number in NUMBERS:
            archive.writestr(f"{PAYLOADS[number]}.yml", packed_rule(number))
        for number in range(0, len(PAYLOADS), 12):
            archive.writestr(f"{PAYLOADS[number]}.txt", b"no rule")
    files = packed_files([Sent(f"{PAYLOADS[5]}.zip", data.getvalue())])
    request = json.dumps({"by": PAYLOADS[1], "titles": [PAYLOADS[2]], "pack": "{pack}"})
    keep_pack(workspace, OPERATOR, PAYLOADS[3], files, by=PAYLOADS[4], request=request)
    errands = Errands(workspace, load_sources(), None, Path())
    assert errands.step()
    assert not errands.step()


def name_packs(workspace: Workspace) -> None:
    """Packs that could not be read: a payload in the name, in that of who sent it, and in the reason."""
    with workspace.begin() as connection:
        query = sa.select(t.jobs.c.id).where(t.jobs.c.error != "").order_by(t.jobs.c.id)
        failed = connection.execute(query).scalars().all()
        more = [
            {"public_id": new_id(), "name": each, "made_by": each, "job_id": job}
            for each, job in zip(PAYLOADS, failed, strict=False)
        ]
        copy(connection, t.rule_packs, 1, more)


# --- in a browser ----------------------------------------------------------------------------------------------------

WATCH = """
window.told = [];
document.addEventListener("securitypolicyviolation", (event) => told.push("policy: " + event.blockedURI));
window.alert = window.confirm = window.prompt = () => told.push("dialog");
"""
CENSUS = """
() => ({
  born: typeof window.born,
  told: window.told,
  tags: [...new Set([...document.querySelectorAll("*")].map((each) => each.localName))],
  attributes: [...new Set([...document.querySelectorAll("*")].flatMap((each) => each.getAttributeNames()))],
  places: [...document.querySelectorAll("[href], [src], [action], [formaction]")].flatMap((each) =>
    ["href", "src", "action", "formaction"].map((name) => each.getAttribute(name)).filter((text) => text !== null)),
  ids: [...document.querySelectorAll("[id]")].map((each) => each.id),
  text: document.body.textContent + [...document.querySelectorAll("input, textarea")].map((each) => each.value).join(),
})
"""
TEMPLATES = Path(queue.__file__).parent.parent / "templates"
NAME_OF_OURS = re.compile(r"[a-zA-Z_]+(-[a-z]+)*|[xy][12]")
"""Also those of SVG and of the charts; a payload brings colons, digits and quotes with it."""
NEVER_NAMED = ("srcdoc", "background", "ping", "manifest", "formtarget")
NEVER = ("script", "iframe", "object", "embed", "base", "meta", "link", "style", "video", "audio", "img", "math")


@cache
def tags_of_ours() -> set[str]:
    """Every element that a template of ours writes; those of charts and of the frame of a page too."""
    found = {"html", "head", "body", "tbody", "title", "canvas"}
    for file in TEMPLATES.rglob("*.j2"):
        found |= set(re.findall(r"<([a-z][a-z0-9]*)", file.read_text(encoding="utf-8")))
    return found


def every_column(page: Any) -> str:
    return "".join(f"&col={column.name}" for column in page.columns)


LISTS = (
    ("/detections", queue.PAGE, "-time", "time"),
    ("/queue", situations.PAGE, "-danger", "-last"),
    ("/rules", rules.PAGE, "title", "-title"),
    ("/intelligence", intelligence.PAGE, "name", "-name"),
    ("/suppressions", suppressions.PAGE, "title", "-title"),
    ("/sources/quarantine", sources.QUARANTINE, "reason", "-reason"),
    ("/admin", admin.PAGE, "title", "-title"),
    ("/rule-packs", packs.PAGE, "title", "-title"),
    ("/pack", packs.RULES, "title", "-title"),
    ("/pack/skipped", packs.SKIPS, "title", "-title"),
)
"""Lists in which every payload has its row."""
NOT_IN: Mapping[str, Callable[[int], bool]] = {
    "/pack": is_broken,
    "/pack/skipped": lambda number: not is_broken(number),
}
"""Lists in which some payloads have no row, and which."""
PLACES = (
    "/", "/?wall=1", "/brief", "/brief?lang=zh&since=2026-03-01&until=2026-03-01", "/sources", "/sources/blind",
    "/hunt", "/admin/users", "/admin/audit", "/admin/backups", "/queue?state=all", "/situation", "/detection",
    "/record", "/rule", "/entry", "/ask", "/pack", "/pack/skipped",
)  # fmt: skip


@pytest.fixture(scope="module")
def address(workspace: Workspace) -> Iterator[str]:
    with served(site_of(workspace)) as place:
        yield place


@pytest.fixture(scope="module")
def tab(browser: Any, address: str) -> Iterator[Any]:
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    context.set_default_timeout(120_000)
    context.add_cookies([{"name": "asker", "value": "administrator@all", "url": address}])
    page = context.new_page()
    page.told = []
    page.on("pageerror", lambda error: page.told.append(f"error: {error}"))
    page.on("dialog", lambda dialog: (page.told.append("dialog"), dialog.dismiss()))
    page.on("request", lambda request: None if request.url.startswith(address) else page.told.append(request.url))
    page.add_init_script(WATCH)
    yield page
    context.close()


def check(tab: Any, address: str, path: str) -> str:
    """Open a page and look at what it was made into; give its text."""
    tab.goto(address + path)
    tab.wait_for_selector("main h1")
    census = tab.evaluate(CENSUS)
    assert census["born"] == "undefined", path
    assert census["told"] == tab.told == [], path
    assert set(census["tags"]) <= tags_of_ours(), path
    assert tab.locator(", ".join(f"body {each}" for each in NEVER)).count() == 0, path
    strange = [name for name in census["attributes"] if not NAME_OF_OURS.fullmatch(name) or name in NEVER_NAMED]
    strange += [name for name in census["attributes"] if name.startswith("on")]
    assert strange == [], path
    assert [each for each in census["places"] if not re.match(r"(/(?!/)|#|data:,)", each)] == [], path
    assert len(census["ids"]) == len(set(census["ids"])), path
    return str(census["text"])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("path", "page", "first", "last"), LISTS, ids=lambda value: value if str(value)[:1] == "/" else ""
)
def test_a_list_shows_every_payload_as_text(
    tab: Any, address: str, workspace: Workspace, path: str, page: Any, first: str, last: str
) -> None:
    text = ""
    where = path_of(workspace, path, 0)
    for sort in (first, last):
        text += check(tab, address, f"{where}?limit={PAGE_ROWS}&sort={sort}{every_column(page)}")
    shown = [number for number in NUMBERS if visible(PAYLOADS[number]) in text]
    if path == "/queue":
        assert len(shown) > 100
    else:
        left_out = NOT_IN.get(path, lambda number: False)
        missing = [number for number in NUMBERS if mark_of(number) not in text and not left_out(number)]
        assert missing == []


def path_of(workspace: Workspace, name: str, number: int) -> str:
    """The address of something with a payload in it."""
    with workspace.read() as connection:
        match name:
            case "/situation":
                return f"/situations/{list_situations(workspace, OPERATOR).situations[0].public_id}"
            case "/entry":
                ids = connection.execute(sa.select(t.quarantine.c.id).order_by(t.quarantine.c.id)).scalars().all()
                return f"/sources/quarantine/{ids[number]}"
            case "/rule":
                return f"/rules/rule-{number}"
            case "/pack" | "/pack/skipped":
                query = sa.select(t.rule_packs.c.public_id).order_by(t.rule_packs.c.id)
                return f"/rule-packs/{connection.execute(query).scalars().first()}" + name.removeprefix("/pack")
            case "/detection" | "/record":
                pass
            case "/ask":
                return f"/ask?kind=host&q={quote(PAYLOADS[number])}"
            case _:
                return name
    found = detections(workspace, OPERATOR)[number]
    if name == "/detection":
        return f"/detections/{found.public_id}"
    return f"/records?file={quote(found.detection.file)}&number={found.detection.record}"


@pytest.mark.slow
@pytest.mark.parametrize("place", PLACES)
def test_a_page_has_no_element_and_no_attribute_of_a_payload(
    tab: Any, address: str, workspace: Workspace, place: str
) -> None:
    several = place in ("/detection", "/record", "/rule", "/entry", "/ask")
    for number in (0, 7, 150, 303, 360) if several else (0,):
        check(tab, address, path_of(workspace, place, number))


# --- files and the terminal ------------------------------------------------------------------------------------------


def cells_of_csv(text: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(text, newline="")))


def is_harmless(cell: str) -> bool:
    """Whether no program for tables takes a cell for more than text, and all of it is seen."""
    if re.fullmatch(r"[+-]?\d+(\.\d+)?", cell):
        return True
    return not cell.startswith(FORMULA) and not any(unicodedata.category(each) in HIDDEN for each in cell)


@pytest.fixture(scope="module")
def client(workspace: Workspace) -> Iterator[Any]:
    with TestClient(create_app(site_of(workspace)), base_url="http://console.test", follow_redirects=False) as client:
        client.cookies.set("asker", "administrator@all")
        yield client


EXPORTED = tuple((path, page) for path, page, _, _ in LISTS)


@pytest.mark.slow
@pytest.mark.parametrize(("path", "page"), EXPORTED, ids=[path for path, _ in EXPORTED])
def test_an_export_is_text_in_every_cell(client: Any, workspace: Workspace, path: str, page: Any) -> None:
    columns, where = every_column(page), path_of(workspace, path, 0)
    table = cells_of_csv(client.get(f"{where}?as=csv{columns}").text.removeprefix("\ufeff"))
    assert [cell for row in table for cell in row if not is_harmless(cell)] == []
    assert {len(row) for row in table} == {len(page.columns)}
    book = openpyxl.load_workbook(io.BytesIO(client.get(f"{where}?as=xlsx{columns}").content))
    cells = [cell for row in book.active.iter_rows() for cell in row if cell.value is not None]
    assert {cell.data_type for cell in cells} <= {"s", "n"}
    assert [cell.value for cell in cells if cell.hyperlink is not None] == []
    assert [each for each in map(str, (cell.value for cell in cells)) if visible(each) != each] == []
    answer = client.get(f"{where}?as=json{columns}").text
    assert answer.replace("\n", "").isprintable()
    rows = [json.loads(line) for line in answer.splitlines()]
    assert len(rows) == len(table) - 1
    if path == "/detections":
        kept = {t.storable(payload) for payload in PAYLOADS}
        assert {row["title"] for row in rows} >= kept
        assert {row["account"] for row in rows} >= kept


class Screen(io.StringIO):
    """A terminal that keeps what it is told."""

    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


COMMANDS = (
    ["detections"],
    ["detections", "--count-by", "rule"],
    ["detections", "--count-by", "host"],
    ["situations", "list", "--state", "all"],
    ["situations", "incidents"],
    ["situations", "suppressions"],
    ["quarantine", "list"],
    ["intel", "list"],
    ["rules", "list"],
    ["users", "list"],
    ["audit", "list"],
    ["lake"],
)


OURS = re.compile("\x1b\\[[0-9;]*m")


def test_no_payload_is_of_the_form_of_our_own_styles() -> None:
    assert not any(OURS.search(payload) for payload in PAYLOADS)


@pytest.mark.slow
@pytest.mark.parametrize("how", ["table", "csv", "jsonl"])
def test_nothing_steers_the_terminal(workspace: Workspace, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    monkeypatch.chdir(workspace.folder)
    for command in COMMANDS:
        screen, notes = Screen(), Screen()
        monkeypatch.setattr("sys.stdout", screen)
        monkeypatch.setattr("sys.stderr", notes)
        run([*command, "--format", how])
        said = screen.getvalue()
        assert said, command
        # Headings of tables are bold: that is ours, and no payload is of that form.
        plain = OURS.sub("", said + notes.getvalue())
        told = {each for each in plain if unicodedata.category(each) in HIDDEN}
        assert told <= ({"\n", "\r"} if how == "csv" else {"\n"}), (command, told)
        if how == "csv":
            assert [cell for row in cells_of_csv(said) for cell in row if not is_harmless(cell)] == [], command


ALLOWED = re.compile(r"(#[\w-]*|/(?!/).*|card-\d+\.html)")


def check_file(text: str) -> str:
    """A file of HTML: no handler, no address of the outside, no element of a payload; give its text."""
    tree = parsed(text)
    for each in tree.all():
        assert each.tag in tags_of_ours(), each.tag
        assert not [name for name in each.attributes if name.startswith("on") or name in ("style", "src", "srcdoc")]
        assert ALLOWED.fullmatch(each.attributes.get("href", "#")), each.attributes["href"]
    scripts = [each.text for each in tree.all("script")]
    assert not any("window.born" in each for each in scripts)
    return tree.one("body").text


@pytest.mark.parametrize("language", ["en", "zh"])
def test_a_brief_is_text_in_every_form(workspace: Workspace, language: Language) -> None:
    brief = make_brief(
        workspace, OPERATOR, Wish(period=Period(first_day=DAY, last_day=DAY), language=language, by=PAYLOADS[305])
    )
    text = check_file(written(brief, "html").decode())
    assert mark_of(305) in text
    with zipfile.ZipFile(io.BytesIO(written(brief, "docx"))) as archive:
        body = archive.read("word/document.xml")
        assert not any(
            "External" in archive.read(name).decode() for name in archive.namelist() if name.endswith("rels")
        )
    tags = {each.tag.rpartition("}")[2] for each in ElementTree.fromstring(body).iter()}  # noqa: S314 - we wrote it
    assert tags.isdisjoint({"fldSimple", "instrText", "hyperlink", "object", "altChunk", "script", "img"})
    data = written(brief, "pdf")
    assert not any(mark in data for mark in (b"/URI", b"/JavaScript", b"/Launch", b"/SubmitForm", b"/EmbeddedFile"))
    document = pypdfium2.PdfDocument(data)
    pages = "".join(page.get_textpage().get_text_range() for page in document)
    document.close()
    assert mark_of(305) in pages
    assert not {each for each in pages if unicodedata.category(each) in HIDDEN} - {"\r", "\n", "\ufffe", "\x02"}


@pytest.mark.parametrize("language", ["en", "zh"])
def test_a_card_and_a_report_are_text(workspace: Workspace, language: Language) -> None:
    book = load_sources()
    for number in (1, 303, 361):
        card = ask(Question(workspace, OPERATOR, "host", PAYLOADS[number].casefold(), book, language))
        stream = io.StringIO()
        write_card(stream, card, language)
        check_file(stream.getvalue())
    stream = io.StringIO()
    found = [each.detection for each in detections(workspace, OPERATOR)]
    write_report(stream, lambda: iter(found), Summary(files=1, events=len(found)), language)
    text = check_file(stream.getvalue())
    assert [number for number in NUMBERS if mark_of(number) not in text] == []


def told_with_payloads() -> Told:
    """The story of the demonstration with a payload in every text that comes from logs, rules or indicators."""
    first_us = DAY * 86_400_000_000
    step = Step(campaign="c", name="n", technique="T1", title_en="en", title_zh="zh", organisation="a")
    ways: tuple[dict[str, Any], ...] = (
        {"rules": True}, {"indicators": (("high", "domain", 4),)}, {"is_shown": True}, {"lines": 0},
    )  # fmt: skip
    findings: list[Finding] = []
    for number in NUMBERS:
        way = dict(ways[number % len(ways)])
        if "rules" in way:
            way["rules"] = (("high", PAYLOADS[number], 3),)
        given = {"step": step, "time": "2026-03-01T08:58:00Z", "lines": 2, "not_there": Counter({"outage": 5})} | way
        findings.append(Finding(host=PAYLOADS[number], account=PAYLOADS[number], **given))
    cards = [
        VerdictCard(
            observable=each, kind="host", seen=True, count=3, first=None, last=None, hosts=(each,), accounts=(each,),
            lists_cut=False, roles=(), streams=(each,), organisations=(each,), verdict="foe", score=12,
            probability=0.94, terms=(Term(name="prior", points=12, says=each, why=each),), speaks_for=(each,),
            speaks_against=(each,), unknown=(each,), timeline=(), timeline_left_out=0, chain=(), graph=Graph(),
            coverage=each,
        )
        for each in PAYLOADS[::9]
    ]  # fmt: skip
    named = ({"rule_id": each, "rule_title": each, "stream": each, "file": each} for each in PAYLOADS)
    noticed = [(each["file"], Detection(time_us=first_us, level="high", record=1, **each)) for each in named]
    traces = [
        Trace(organisation=each, count=2, first_us=first_us, last_us=first_us, hosts=("", each), months={"2026-03": 2})
        for each in PAYLOADS
    ]
    alarms = tuple((LEVELS[number % len(LEVELS)], PAYLOADS[number], 5) for number in NUMBERS)
    return Told(
        made=Made(records=1234),
        order=Order(seed=3, days=30, start=datetime.date(2026, 2, 20)),
        organisations=tuple((each, each) for each in PAYLOADS),
        noticed=tuple(noticed),
        traces=tuple(traces),
        coverage=PAYLOADS[0],
        answers=tuple(("began" if place % 2 else "arrived", card) for place, card in enumerate(cards)),
        judgement=Judgement(
            findings=tuple(findings), detections=9, true_detections=4, false_alarms=alarms, false_by_organisation={}
        ),
    )


@pytest.mark.slow
@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_story_is_text_also_in_a_browser(browser: Any, tmp_path: Path, language: Language) -> None:
    stream = io.StringIO()
    write_story(stream, told_with_payloads(), language)
    text = check_file(stream.getvalue())
    # Of an organisation: its title, its name, its computer, its months; of a step: where; of a false alarm: the rule.
    assert [number for number in NUMBERS if text.count(mark_of(number)) < 8] == []
    file = tmp_path / "story.html"
    file.write_text(stream.getvalue(), encoding="utf-8")
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    told: list[str] = []
    page.on("request", lambda request: None if request.url == file.as_uri() else told.append(request.url))
    page.on("pageerror", lambda error: told.append(str(error)))
    page.on("console", lambda message: told.append(message.text))
    page.add_init_script(WATCH)
    page.goto(file.as_uri())
    census = page.evaluate(CENSUS)
    assert census["born"] == "undefined"
    assert census["told"] == told == []
    assert set(census["tags"]) <= tags_of_ours()
    strange = [name for name in census["attributes"] if name.startswith("on") or name in (*NEVER_NAMED, "src", "style")]
    assert strange == []
    assert [each for each in census["places"] if not ALLOWED.fullmatch(each)] == []
    assert [number for number in NUMBERS if mark_of(number) not in census["text"]] == []
    context.close()


def test_the_check_sees_what_it_looks_for() -> None:
    for text in ("<p onclick=x>", "<a href=https://evil.example>", "<marquee>", "<script>window.born=1</script>"):
        with pytest.raises(AssertionError):
            check_file(f"<html><body>{text}</body></html>")
    assert not is_harmless("=1+1")
    assert not is_harmless("a\x1bb")
