"""The catalogue: all of a batch or nothing, and nobody sees what is not theirs."""

import pytest
import sqlalchemy as sa

from lakes import DAY_US, OPERATOR, an_input, built, kept, progress, written
from mingjian.errors import NotFound, NotPermitted, SchemaError, StateError
from mingjian.model.blocks import Quarantined
from mingjian.store import catalogue, tables
from mingjian.store.catalogue import Batch, HostDay, Organisation, commit_batch, live_segments
from mingjian.store.scope import OrganisationId, Scope
from mingjian.store.workspace import Workspace

BROKEN = Quarantined(file="a\udcff.log", record=3, offset=70, code="parse-error", reason="no", data=b"\0\xff")


def test_an_organisation_is_known_by_its_name_in_any_case(workspace: Workspace, organisation: Organisation) -> None:
    assert catalogue.organisation_named(workspace, OPERATOR, " our OWN ", make=True) == organisation
    assert catalogue.organisations(workspace, OPERATOR) == [organisation]


@pytest.mark.parametrize("name", ["", "  ", "x" * 201])
def test_an_organisation_needs_a_name(workspace: Workspace, name: str) -> None:
    with pytest.raises(SchemaError):
        catalogue.organisation_named(workspace, OPERATOR, name, make=True)


def test_only_who_may_do_everything_makes_organisations(workspace: Workspace) -> None:
    with pytest.raises(NotPermitted):
        catalogue.organisation_named(workspace, Scope.of_member("ann", []), "new", make=True)
    with pytest.raises(NotFound):
        catalogue.organisation_named(workspace, OPERATOR, "new")


def test_a_batch_is_committed_as_a_whole(workspace: Workspace, organisation: Organisation) -> None:
    number = an_input(workspace, organisation)
    segment = written(workspace, organisation, built(organisation, [{"a": 1}, {"a": 2}], input_id=number))
    batch = Batch(
        organisation=organisation.id,
        inputs=[progress(number, 0, 100)],
        segments=[segment],
        quarantined=[(number, BROKEN), (None, BROKEN)],
    )
    commit_batch(workspace, OPERATOR, batch)
    (row,) = live_segments(workspace, OPERATOR)
    assert (row.id, row.key, row.path, row.rows, row.bytes) == (
        segment.id,
        segment.key,
        segment.path,
        2,
        (workspace.lake / segment.path).stat().st_size,
    )
    assert (row.first_us, row.last_us) == (20_000 * DAY_US + 1_000_000, 20_000 * DAY_US + 2_000_000)
    (known,) = catalogue.known_inputs(workspace, OPERATOR, organisation.id, [b"head"])
    assert (known.offset, known.records, known.digest, known.state) == (100, 10, b"100", "open")
    assert [q.input_id for q in catalogue.quarantined(workspace, OPERATOR)] == [None, number]
    assert catalogue.quarantined(workspace, OPERATOR, limit=1)[0].item.data == b"\0\xff"


def test_if_anything_fails_nothing_is_committed(workspace: Workspace, organisation: Organisation) -> None:
    number = an_input(workspace, organisation)
    segment = written(workspace, organisation, built(organisation, [{"a": 1}], input_id=number))
    batch = Batch(
        organisation=organisation.id,
        inputs=[progress(number, 0, 100)],
        segments=[segment],
        quarantined=[(number, BROKEN)],
        hosts=[HostDay(stream="s", day=1, host="h", rows=1, first_us=1, last_us=1)],
    )

    def fail(connection: sa.Connection) -> None:
        connection.execute(sa.insert(tables.counters).values(name="mine", value=1))
        raise StateError("the last part of the batch fails")

    with pytest.raises(StateError, match="last part"):
        commit_batch(workspace, OPERATOR, batch, [fail])
    assert live_segments(workspace, OPERATOR) == []
    assert catalogue.input_by_id(workspace, OPERATOR, number).offset == 0
    assert catalogue.committed_offsets(workspace, OPERATOR, number) == []
    assert catalogue.quarantined(workspace, OPERATOR) == []
    commit_batch(workspace, OPERATOR, batch)
    assert len(live_segments(workspace, OPERATOR)) == 1


def test_an_input_that_went_on_elsewhere_stops_the_batch(workspace: Workspace, organisation: Organisation) -> None:
    number = an_input(workspace, organisation)
    commit_batch(workspace, OPERATOR, Batch(organisation=organisation.id, inputs=[progress(number, 0, 50)]))
    for start in (0, 49, 51):
        segment = written(workspace, organisation, built(organisation, [{"a": start}], input_id=number))
        batch = Batch(organisation=organisation.id, inputs=[progress(number, start, 90)], segments=[segment])
        with pytest.raises(StateError, match="another process"):
            commit_batch(workspace, OPERATOR, batch)
    assert live_segments(workspace, OPERATOR) == []
    commit_batch(workspace, OPERATOR, Batch(organisation=organisation.id, inputs=[progress(number, 50, 90)]))
    offsets = catalogue.committed_offsets(workspace, OPERATOR, number)
    assert [(each.offset, each.digest) for each in offsets] == [(50, b"50"), (90, b"90")]


def test_an_input_keeps_its_names_and_grows_its_head(workspace: Workspace, organisation: Organisation) -> None:
    number = an_input(workspace, organisation, "/logs/a")
    for name in ("/logs/a", "/old/a.gz", "/old/a.gz"):
        catalogue.note_name(workspace, OPERATOR, number, name)
    with workspace.read() as connection:
        names = connection.execute(sa.select(tables.input_names.c.name).order_by(tables.input_names.c.name)).scalars()
        assert list(names) == ["/logs/a", "/old/a.gz"]
    catalogue.grow_head(workspace, OPERATOR, number, head_digest=b"longer", head_bytes=6)
    assert catalogue.known_inputs(workspace, OPERATOR, organisation.id, [b"head"]) == []
    assert [k.id for k in catalogue.known_inputs(workspace, OPERATOR, organisation.id, [b"longer"])] == [number]


def test_of_inputs_that_begin_alike_the_one_that_came_furthest_is_first(
    workspace: Workspace, organisation: Organisation
) -> None:
    first, second = an_input(workspace, organisation), an_input(workspace, organisation)
    commit_batch(workspace, OPERATOR, Batch(organisation=organisation.id, inputs=[progress(second, 0, 10)]))
    found = catalogue.known_inputs(workspace, OPERATOR, organisation.id, [b"head"])
    assert [known.id for known in found] == [second, first]


def test_segment_numbers_are_given_out_once(workspace: Workspace, organisation: Organisation) -> None:
    given = [number for _ in range(3) for number in catalogue.reserve_segments(workspace, OPERATOR, organisation.id, 4)]
    assert given == list(range(1, 13))


def test_events_of_hosts_add_up(workspace: Workspace, organisation: Organisation) -> None:
    for rows, first, last in ((2, 50, 60), (3, 40, 55), (1, 70, 70)):
        day = HostDay(stream="s/1", day=9, host="dc01", rows=rows, first_us=first, last_us=last)
        commit_batch(workspace, OPERATOR, Batch(organisation=organisation.id, hosts=[day, day]))
    table = tables.host_days
    with workspace.read() as connection:
        (row,) = connection.execute(sa.select(table.c.rows, table.c.first_us, table.c.last_us)).all()
    assert tuple(row) == (12, 40, 70)


def test_segments_are_found_by_stream_and_day(workspace: Workspace, organisation: Organisation) -> None:
    for stream, day in (("a", 3), ("b", 1), ("a", None), ("a", 2)):
        kept(workspace, organisation, [{"x": 1}], stream=stream, day=day)

    def days(**asked: object) -> list[int | None]:
        return [row.first_day for row in live_segments(workspace, OPERATOR, **asked)]  # type: ignore[arg-type]  # only known names are asked

    assert days() == [None, 1, 2, 3]
    assert days(newest_first=True) == [3, 2, 1, None]
    assert days(streams=["a"], first_day=3) == [None, 3]
    assert days(last_day=1) == [None, 1]
    assert days(streams=[]) == []


def test_the_way_from_a_record_to_its_segment(workspace: Workspace, organisation: Organisation) -> None:
    number = an_input(workspace, organisation)
    first = kept(workspace, organisation, [{}] * 5, first=1, input_id=number)
    second = kept(workspace, organisation, [{}] * 5, first=6, input_id=number)
    found = [
        [row.id for row in catalogue.segments_of_record(workspace, OPERATOR, number, record)] for record in (5, 6, 11)
    ]
    assert found == [[first.id], [second.id], []]


def test_another_organisation_is_not_there_at_all(workspace: Workspace, organisation: Organisation) -> None:
    other = catalogue.organisation_named(workspace, OPERATOR, "Other", make=True)
    number = an_input(workspace, organisation)
    segment = kept(workspace, organisation, [{"a": 1}], input_id=number)
    commit_batch(workspace, OPERATOR, Batch(organisation=organisation.id, quarantined=[(number, BROKEN)]))
    stranger = Scope.of_member("eve", [other.id], [other.id])
    assert catalogue.organisations(workspace, stranger) == [other]
    assert live_segments(workspace, stranger) == []
    assert catalogue.quarantined(workspace, stranger) == []
    refused = [
        lambda: catalogue.organisation_named(workspace, stranger, organisation.name),
        lambda: live_segments(workspace, stranger, organisation=organisation.id),
        lambda: catalogue.quarantined(workspace, stranger, organisation=organisation.id),
        lambda: catalogue.known_inputs(workspace, stranger, organisation.id, [b"head"]),
        lambda: catalogue.input_by_id(workspace, stranger, number),
        lambda: catalogue.input_by_id(workspace, stranger, 999),
        lambda: catalogue.committed_offsets(workspace, stranger, number),
        lambda: catalogue.segments_of_record(workspace, stranger, number, 1),
        lambda: catalogue.note_name(workspace, stranger, number, "x"),
        lambda: catalogue.grow_head(workspace, stranger, number, head_digest=b"", head_bytes=0),
        lambda: catalogue.reserve_segments(workspace, stranger, organisation.id, 1),
        lambda: catalogue.register_input(
            workspace, stranger, organisation.id, head_digest=b"", head_bytes=0, kind="file", name=""
        ),
        lambda: commit_batch(workspace, stranger, Batch(organisation=organisation.id, segments=[segment])),
    ]
    for act in refused:
        with pytest.raises(NotFound):
            act()


def test_the_input_of_another_organisation_is_not_moved_on(workspace: Workspace, organisation: Organisation) -> None:
    other = catalogue.organisation_named(workspace, OPERATOR, "Other", make=True)
    number = an_input(workspace, organisation)
    member = Scope.of_member("eve", [], [other.id])
    with pytest.raises(StateError):
        commit_batch(workspace, member, Batch(organisation=other.id, inputs=[progress(number, 0, 9)]))
    assert catalogue.input_by_id(workspace, OPERATOR, number).offset == 0


def test_who_may_only_read_changes_nothing(workspace: Workspace, organisation: Organisation) -> None:
    number = an_input(workspace, organisation)
    reader = Scope.of_member("ann", [organisation.id])
    for act in (
        lambda: commit_batch(workspace, reader, Batch(organisation=organisation.id)),
        lambda: catalogue.note_name(workspace, reader, number, "x"),
        lambda: catalogue.reserve_segments(workspace, reader, organisation.id, 1),
    ):
        with pytest.raises(NotPermitted):
            act()
    assert catalogue.input_by_id(workspace, reader, number).organisation == OrganisationId(organisation.id)
