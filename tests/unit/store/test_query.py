"""SQL over the lake: what may be asked, and that nothing else can be reached."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from lakes import OPERATOR, kept
from mingjian.errors import LimitExceeded, ParseError, SchemaError, StorageError
from mingjian.model.values import Record
from mingjian.store.catalogue import Organisation, organisation_named
from mingjian.store.query import OcsfMapping, OcsfMappings, answering, literal, quoted
from mingjian.store.scope import Scope
from mingjian.store.workspace import Workspace, create


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    with create(tmp_path / "a 'quoted' place") as made:
        yield made


def ask(
    workspace: Workspace,
    statement: str,
    scope: Scope = OPERATOR,
    *,
    ocsf: OcsfMappings | None = None,
    memory_mb: int = 512,
    timeout_s: float = 60,
) -> list[dict[str, object]]:
    with answering(workspace, scope, statement, ocsf=ocsf, memory_mb=memory_mb, timeout_s=timeout_s) as answer:
        return list(answer)


def test_a_stream_is_a_view_under_its_name_and_a_friendly_one(workspace: Workspace, organisation: Organisation) -> None:
    kept(workspace, organisation, [{"Image": "a.exe", "n": 1}, {"Image": "b.exe"}], stream="windows/sysmon/1")
    kept(workspace, organisation, [{"Image": "c.exe", "New Field": True}], stream="windows/sysmon/1", day=20_001)
    rows = ask(workspace, 'SELECT "Image", n, "New Field" AS f FROM "windows/sysmon/1" ORDER BY _time')
    assert rows == [
        {"Image": "a.exe", "n": 1, "f": None},
        {"Image": "b.exe", "n": None, "f": None},
        {"Image": "c.exe", "n": None, "f": True},
    ]
    assert ask(workspace, "SELECT count(*) AS n, any_value(_organisation) AS o FROM Windows_Sysmon_1") == [
        {"n": 3, "o": "Our Own"}
    ]


def test_a_field_whose_type_changes_from_file_to_file_can_be_asked(
    workspace: Workspace, organisation: Organisation
) -> None:
    kept(workspace, organisation, [{"port": 443}], stream="s")
    kept(workspace, organisation, [{"port": "https"}], stream="s", first=2)
    kept(workspace, organisation, [{"port": 8.5}], stream="s", first=3)
    assert sorted(str(row["port"]) for row in ask(workspace, "SELECT port FROM s")) == ["443", "8.5", "https"]


def test_streams_with_the_strangest_names_do_no_harm(workspace: Workspace, organisation: Organisation) -> None:
    strange = ['a"b', "'; DROP TABLE x; --", "SELECT", "1st", 'x" AS SELECT 1; --']
    for number, stream in enumerate(strange):
        kept(workspace, organisation, [{'f"1': number}], stream=stream)
    field = quoted('f"1')
    for number, stream in enumerate(strange):
        assert ask(workspace, f"SELECT {field} AS f FROM {quoted(stream)}") == [{"f": number}]


def test_every_organisation_sees_its_own_events_only(workspace: Workspace, organisation: Organisation) -> None:
    other = organisation_named(workspace, OPERATOR, "it's another", make=True)
    kept(workspace, organisation, [{"secret": "ours"}], stream="s")
    theirs = kept(workspace, other, [{"secret": "theirs"}], stream="s")
    assert len(ask(workspace, "SELECT * FROM s")) == 2
    member = Scope.of_member("ann", [organisation.id])
    assert [row["secret"] for row in ask(workspace, "SELECT secret FROM s", member)] == ["ours"]
    path = str(workspace.lake / theirs.path)
    for statement in (f"SELECT * FROM read_parquet({literal(path)}), s", f"SELECT * FROM {quoted(path)}"):
        with pytest.raises(ParseError):
            ask(workspace, statement, member)
    with pytest.raises(ParseError):
        ask(workspace, "SELECT * FROM s", Scope.of_member("eve", []))


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT 1; SELECT 2",
        "INSERT INTO s VALUES (1)",
        "CREATE TABLE t (a INTEGER)",
        "DROP VIEW s",
        "COPY (SELECT 1) TO 'out.csv'",
        "ATTACH 'other.db'",
        "SET memory_limit = '99GB'",
        "PRAGMA database_list",
        "INSTALL httpfs",
        "LOAD '/tmp/x.so'",
        "CALL pragma_version()",
        "EXPLAIN SELECT 1",
        "",
        "-- nothing",
    ],
)
def test_only_one_select_is_run(workspace: Workspace, statement: str) -> None:
    with pytest.raises((SchemaError, ParseError)):
        ask(workspace, statement)


@pytest.mark.parametrize(
    "table",
    [
        "read_text('/etc/passwd')",
        "read_blob('/etc/passwd')",
        "read_csv('/etc/passwd')",
        "read_parquet('/etc/passwd')",
        "read_json('/etc/passwd')",
        "glob('/*')",
        "sniff_csv('/etc/passwd')",
        "parquet_metadata('/etc/passwd')",
        "'/etc/passwd'",
        "'https://example.org/x.parquet'",
        "read_text('state.db')",
        "query('COPY (SELECT 1) TO out.csv')",
        "workspace",
    ],
)
def test_nothing_but_the_lake_can_be_read(
    workspace: Workspace, organisation: Organisation, table: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept(workspace, organisation, [{"a": 1}], stream="s")
    monkeypatch.chdir(workspace.folder)
    with pytest.raises(ParseError):
        ask(workspace, f"SELECT * FROM {table}")
    assert not (workspace.folder / "out.csv").exists()


def test_a_statement_that_takes_too_long_is_stopped(workspace: Workspace) -> None:
    with pytest.raises(LimitExceeded, match="TIMEOUT_S"):
        ask(workspace, "SELECT count(*) FROM range(100000000000) a, range(1000) b", timeout_s=0.2)


def test_a_statement_that_takes_too_much_memory_is_stopped(workspace: Workspace) -> None:
    with pytest.raises(LimitExceeded, match="MEMORY_MB_MAX"):
        ask(workspace, "SELECT * FROM range(100000000) ORDER BY random()", memory_mb=64)


def test_a_very_long_statement_is_refused(workspace: Workspace) -> None:
    with pytest.raises(LimitExceeded, match="STATEMENT_CHARACTERS_MAX"):
        ask(workspace, "SELECT 1" + " " * 70_000)


def test_a_mistake_is_explained_and_says_where_streams_are_listed(workspace: Workspace) -> None:
    with pytest.raises(ParseError, match=r"nope.*mingjian lake"):
        ask(workspace, "SELECT * FROM nope")
    with pytest.raises(ParseError, match="syntax"):
        ask(workspace, "SELEC 1")


def test_files_stay_while_they_are_asked(workspace: Workspace, organisation: Organisation) -> None:
    kept(workspace, organisation, [{"a": 1}], stream="s")
    alone: list[bool] = []

    def look() -> None:
        with workspace.alone() as nobody_reads:
            alone.append(nobody_reads)

    with answering(workspace, OPERATOR, "SELECT * FROM s") as answer:
        thread = threading.Thread(target=look)
        thread.start()
        thread.join()
        assert next(iter(answer))["a"] == 1
    look()
    assert alone == [False, True]


def test_ocsf_classes_are_read_through_the_definitions(workspace: Workspace, organisation: Organisation) -> None:
    sysmon, security = "windows/sysmon/1", "windows/security/4688"
    nested: Record = {"winlog": {"event_data": {"Image": "b.exe"}}}
    kept(workspace, organisation, [{"Image": "a.exe", "User": "x"}], stream=sysmon, layout="flat")
    kept(workspace, organisation, [nested], stream=sysmon, layout="nested")
    kept(workspace, organisation, [{"NewProcessName": "c.exe"}], stream=security, layout="flat")
    kept(workspace, organisation, [{"x": "d.exe"}], stream="unmapped", layout="flat")
    image, user = "process.file.path", "process.user.name"
    places = {
        (sysmon, "flat"): {image: ("Image",), user: ("User",)},
        (sysmon, "nested"): {image: ("winlog.event_data.Image", "winlog.Image"), user: ("nowhere",)},
        (security, "flat"): {image: ("NewProcessName",)},
    }
    ocsf = {key: OcsfMapping(class_uid=1007, attributes=attributes) for key, attributes in places.items()}
    statement = f'SELECT _stream, class_uid, "{image}" AS image, "{user}" AS who FROM ocsf_1007 ORDER BY image'
    rows = ask(workspace, statement, ocsf=ocsf)
    assert [tuple(row.values()) for row in rows] == [
        (sysmon, 1007, "a.exe", "x"),
        (sysmon, 1007, "b.exe", None),
        (security, 1007, "c.exe", None),
    ]


def test_a_damaged_segment_is_an_error_unless_that_is_not_asked_for(
    workspace: Workspace, organisation: Organisation
) -> None:
    segment = kept(workspace, organisation, [{"a": "abc"}], stream="damaged")
    kept(workspace, organisation, [{"a": "x"}], stream="another")
    path = workspace.lake / segment.path
    data = path.read_bytes()
    assert data.count(b"abc") == 1
    path.write_bytes(data.replace(b"abc", b"abd"))
    with pytest.raises(StorageError, match="damaged"):
        ask(workspace, "SELECT a FROM damaged")
    assert ask(workspace, "SELECT a FROM another") == [{"a": "x"}]
    with answering(workspace, OPERATOR, "SELECT a FROM damaged", verify=False) as answer:
        assert list(answer) == [{"a": "abd"}]
    path.unlink()
    with pytest.raises(StorageError, match="cannot be read"):
        ask(workspace, "SELECT a FROM damaged")
