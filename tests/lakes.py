"""Segments for tests, of a few records each."""

from collections.abc import Sequence

from mingjian.formats.records import RecordBlock
from mingjian.model.values import Record
from mingjian.store.catalogue import Batch, InputProgress, Organisation, commit_batch, register_input, reserve_segments
from mingjian.store.scope import Scope
from mingjian.store.segments import Rows, SegmentBuilder, SegmentKey, WrittenSegment, month_of
from mingjian.store.workspace import Workspace
from mingjian.store.writing import write_segment

OPERATOR = Scope.of_operator()
DAY_US = 86_400_000_000


def built(
    organisation: Organisation,
    records: Sequence[Record],
    *,
    stream: str = "test/one",
    day: int | None = 20_000,
    input_id: int = 1,
    first: int = 1,
    layout: str = "plain",
) -> SegmentBuilder:
    """A builder with some records, a second apart, numbered from ``first``."""
    month = None if day is None else month_of(day)
    key = SegmentKey(organisation=organisation.id, stream=stream, layout=layout, format="jsonl", month=month)
    builder = SegmentBuilder(key)
    numbers = range(first, first + len(records))
    times = [None if day is None else day * DAY_US + number * 1_000_000 for number in numbers]
    builder.add(Rows(RecordBlock("jsonl", numbers, list(records)), range(len(records)), times, input_id))
    return builder


def written(workspace: Workspace, organisation: Organisation, builder: SegmentBuilder) -> WrittenSegment:
    (segment_id,) = reserve_segments(workspace, OPERATOR, organisation.id, 1)
    return write_segment(workspace.lake, organisation.public_id, builder, segment_id)


def an_input(workspace: Workspace, organisation: Organisation, name: str = "/logs/a.json") -> int:
    return register_input(
        workspace, OPERATOR, organisation.id, head_digest=b"head", head_bytes=4, kind="file", name=name
    ).id


def kept(
    workspace: Workspace,
    organisation: Organisation,
    records: Sequence[Record],
    *,
    stream: str = "test/one",
    day: int | None = 20_000,
    first: int = 1,
    layout: str = "plain",
    input_id: int | None = None,
) -> WrittenSegment:
    """A committed segment with some records."""
    number = an_input(workspace, organisation) if input_id is None else input_id
    builder = built(organisation, records, stream=stream, day=day, first=first, layout=layout, input_id=number)
    segment = written(workspace, organisation, builder)
    commit_batch(workspace, OPERATOR, Batch(organisation=organisation.id, segments=[segment]))
    return segment


def progress(input_id: int, start: int, end: int) -> InputProgress:
    return InputProgress(input_id=input_id, from_offset=start, offset=end, records=end // 10, digest=b"%d" % end)
