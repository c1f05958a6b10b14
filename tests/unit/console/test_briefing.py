"""The situation brief: every figure is what plain SQL counts, and every form of it says the same."""

from __future__ import annotations

import io
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pypdfium2
import pytest
import sqlalchemy as sa

from htmlpage import parsed
from lakes import OPERATOR
from mingjian.console.briefing import Brief, Wish, make_brief, period_of
from mingjian.console.briefpage import FORMS, written
from mingjian.errors import ConfigError, NotFound
from mingjian.settings import Language
from mingjian.situations.keeping import Keeper
from mingjian.sources.definitions import load_sources
from mingjian.store.catalogue import organisation_named
from mingjian.store.decisions import declare, set_state
from mingjian.store.periods import Period
from mingjian.store.scope import Scope
from mingjian.store.situations import situations
from mingjian.store.warninglists import WarningLists
from mingjian.store.workspace import Workspace
from serving import CANARY, OURS, THEIRS, filled

DAY = 20_513
"""2026-03-01, on which everything in the workspace happened."""
FIRST_US, UNTIL_US = DAY * 86_400_000_000, (DAY + 1) * 86_400_000_000
OF_DETECTIONS = f"FROM detections WHERE suppressed_by IS NULL AND time_us >= {FIRST_US} AND time_us < {UNTIL_US}"
ACTIVE = f"FROM situations WHERE is_live > 0 AND first_us < {UNTIL_US} AND last_us >= {FIRST_US}"
COUNTED = {
    "events": "SELECT sum(segment_days.rows) FROM segment_days JOIN segments ON segments.id = segment_id "
    f"WHERE state = 'live' AND day = {DAY}",
    "situations": f"SELECT count(*) {ACTIVE}",
    "situations-new": f"SELECT count(*) {ACTIVE} AND first_us >= {FIRST_US}",
    "situations-grave": f"SELECT count(*) {ACTIVE} AND level IN ('high', 'critical')",
    "situations-open": f"SELECT count(*) {ACTIVE} AND state <> 'closed'",
    "detections": f"SELECT count(*) {OF_DETECTIONS}",
    **{
        f"level-{level}": f"SELECT count(*) {OF_DETECTIONS} AND level = '{level}'"
        for level in ("critical", "high", "medium", "low", "informational")
    },
    "grave-hosts": f"SELECT count(DISTINCT host) {OF_DETECTIONS} AND level IN ('high', 'critical') AND host <> ''",
    "kind-indicator": f"SELECT count(*) {OF_DETECTIONS} AND kind = 'indicator'",
    "kind-behaviour": f"SELECT count(*) {OF_DETECTIONS} AND kind = 'behaviour'",
}


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    with filled(tmp_path_factory.mktemp("brief")) as made:
        Keeper(made, load_sources(), None, WarningLists(Path(), [])).step()
        first, *others = situations(made, OPERATOR).situations
        declare(made, OPERATOR, first.public_id, "Somebody is in the house")
        for each in others[:1]:
            set_state(made, OPERATOR, each.public_id, "closed", "benign")
        yield made


def brief_of(workspace: Workspace, language: Language = "en", scope: Scope = OPERATOR, **period: int) -> Brief:
    whole = Period(**{"first_day": DAY, "last_day": DAY} | period)  # type: ignore[arg-type]  # days and a number of ours
    return make_brief(workspace, scope, Wish(period=whole, language=language, by="Tester"))


def counted(workspace: Workspace, query: str) -> int:
    with workspace.read() as connection:
        return connection.execute(sa.text(query)).scalar_one() or 0


def figures(brief: Brief) -> dict[str, int]:
    return {each.key: each.value for each in brief.figures}


def test_every_figure_of_events_and_detections_is_what_plain_sql_counts(workspace: Workspace) -> None:
    found = figures(brief_of(workspace))
    assert {key: found[key] for key in COUNTED} == {key: counted(workspace, query) for key, query in COUNTED.items()}
    assert found["events"] > 200
    assert found["detections"] > 20


def test_what_is_kept_by_when_it_was_done_counts_for_that_day(workspace: Workspace) -> None:
    today = workspace.clock_us() // 86_400_000_000
    found = figures(brief_of(workspace, first_day=today, last_day=today))
    assert found["incidents"] == counted(workspace, "SELECT count(*) FROM incidents") == 1
    assert found["situations-closed"] == counted(workspace, "SELECT count(*) FROM situations WHERE closed_us > 0") == 1
    assert found["unreadable"] == counted(workspace, "SELECT count(*) FROM quarantine") == 2
    assert figures(brief_of(workspace))["incidents"] == 1
    assert figures(brief_of(workspace, first_day=DAY - 2, last_day=DAY - 1))["incidents"] == 0


def test_the_period_before_is_counted_alike(workspace: Workspace) -> None:
    brief = brief_of(workspace, first_day=DAY + 1, last_day=DAY + 1)
    found = {each.key: each.before for each in brief.figures}
    assert found["detections"] == counted(workspace, COUNTED["detections"])
    assert found["situations-open"] is None


def paper(data: bytes) -> str:
    """The text of a PDF, as somebody would copy it; groups of digits without what divides them."""
    document = pypdfium2.PdfDocument(data)
    text = "\n".join(page.get_textpage().get_text_range() for page in document)
    document.close()
    return text


def document_rows(data: bytes) -> list[list[str]]:
    """The rows of all tables of a DOCX, read as the XML that it is."""
    space = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        tree = ElementTree.fromstring(archive.read("word/document.xml"))  # noqa: S314 - we wrote it
    return [
        ["".join(each.text or "" for each in cell.iter(f"{space}t")) for cell in row.iter(f"{space}tc")]
        for row in tree.iter(f"{space}tr")
    ]


def plain(text: str) -> str:
    return re.sub(r"(?<=\d)[\u202f\u00a0](?=\d)", "", text)


@pytest.mark.parametrize("language", ["en", "zh"])
def test_page_document_and_paper_say_the_same_figures(workspace: Workspace, language: Language) -> None:
    brief = brief_of(workspace, language)
    tree = parsed(written(brief, "html").decode())
    on_page = {
        each.attributes["data-figure"]: [cell.text for cell in each.all("td")]
        for each in tree.all("tr")
        if "data-figure" in each.attributes
    }
    rows = {row[0]: row for row in document_rows(written(brief, "docx"))}
    text = plain(paper(written(brief, "pdf")))
    for each in brief.figures:
        value, before, query, mark = on_page[each.key]
        assert plain(value) == str(each.value), each.key
        assert [plain(cell) for cell in rows[each.label][1:]] == [plain(value), plain(before), query, mark]
        shown = re.escape(each.label) + r"\s+" + str(each.value) + r"\s"
        assert re.search(shown, re.sub(r"\s*\n\s*", " ", text)), each.label
        assert query.startswith("mingjian ")
        assert {*mark.split("/")} <= {coverage.mark for coverage in brief.coverages}
    assert all(coverage.says for coverage in brief.coverages)


def test_a_document_names_nothing_of_the_outside(workspace: Workspace) -> None:
    brief = brief_of(workspace)
    with zipfile.ZipFile(io.BytesIO(written(brief, "docx"))) as archive:
        relations = [archive.read(name) for name in archive.namelist() if name.endswith(".rels")]
        assert not any(b"External" in each for each in relations)
        assert b"fldChar" not in archive.read("word/document.xml")
    data = written(brief, "pdf")
    assert not any(mark in data for mark in (b"/URI", b"/JavaScript", b"/Launch", b"/AA", b"/OpenAction <<"))
    page = written(brief, "html").decode()
    assert "http" not in re.sub(r"http-equiv", "", page)


def test_what_the_font_has_no_glyph_for_is_written_as_its_number(tmp_path: Path) -> None:
    with filled(tmp_path) as workspace:
        with workspace.begin() as connection:
            connection.execute(sa.text("UPDATE organisations SET name = 'Haneul \uc11c\uc6b8' WHERE id = 1"))
        text = paper(written(brief_of(workspace), "pdf"))
    assert "\\uc11c\\uc6b8" in text


def test_a_brief_of_one_organisation_holds_nothing_of_another(workspace: Workspace) -> None:
    ours = organisation_named(workspace, OPERATOR, OURS).id
    theirs = organisation_named(workspace, OPERATOR, THEIRS).id
    member = Scope.of_member("member", [ours])
    for brief in (brief_of(workspace, scope=member), brief_of(workspace, organisation=ours)):
        everything = written(brief, "html").decode() + paper(written(brief, "pdf"))
        assert CANARY not in everything
        assert THEIRS not in everything
    assert figures(brief_of(workspace, scope=member)) == figures(brief_of(workspace, organisation=ours))
    with pytest.raises(NotFound):
        brief_of(workspace, scope=member, organisation=theirs)


def test_a_period_in_which_nothing_could_be_seen_says_so(workspace: Workspace) -> None:
    brief = brief_of(workspace, first_day=DAY - 400, last_day=DAY - 390)
    assert brief.lead == ("Nothing is kept of this period: neither events nor detections. Whether something happened "
                          "cannot be said.",)  # fmt: skip
    assert "nothing could be seen" in brief.coverages[0].says


def test_without_days_it_is_about_the_last_week_of_what_is_there(workspace: Workspace) -> None:
    assert period_of(workspace, OPERATOR, "", "") == Period(first_day=DAY - 6, last_day=DAY)
    for since, until in (("2026-03-02", "2026-03-01"), ("1990-01-01", "2026-01-01"), ("soon", "")):
        with pytest.raises(ConfigError):
            period_of(workspace, OPERATOR, since, until)


@pytest.mark.parametrize("form", FORMS)
def test_the_command_writes_each_form(workspace: Workspace, tmp_path: Path, form: str) -> None:
    file = tmp_path / f"brief.{form}"
    command = [sys.executable, "-m", "mingjian", "brief", "--since", "2026-03-01", "--until", "2026-03-01"]
    command += ["--format", form, "--output", str(file), "--lang", "zh"]
    subprocess.run(command, cwd=workspace.folder, check=True, capture_output=True)
    assert file.read_bytes()[:4] in (b"<!do", b"PK\x03\x04", b"%PDF") or file.read_text().lstrip()[:4] == "<!do"


def rows_of(workspace: Workspace, query: str) -> list[str]:
    """What a command of the brief writes, line by line."""
    words = [sys.executable, "-m", *query.split(), "--format", "jsonl"]
    done = subprocess.run(words, cwd=workspace.folder, check=True, capture_output=True, text=True)
    return done.stdout.splitlines()


def test_the_command_beside_a_figure_counts_it_again(workspace: Workspace) -> None:
    brief = brief_of(workspace)
    queries = {each.key: each for each in brief.figures}
    for key in ("situations", "situations-new", "situations-open", "situations-grave", "incidents", "unreadable"):
        assert len(rows_of(workspace, queries[key].query)) == queries[key].value, key
    hosts = queries["grave-hosts"]
    assert len(rows_of(workspace, hosts.query)) == hosts.value
    for key, column in (("detections", "detections"), ("events", "rows")):
        lines = rows_of(workspace, queries[key].query)
        total = sum(int(re.search(rf'"{column}": ?(\d+)', line).group(1)) for line in lines)  # type: ignore[union-attr]  # every line has it
        assert total == queries[key].value
