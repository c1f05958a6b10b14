"""A block at once gives what each of its records gives by itself."""

from unittest import mock

from hypothesis import given
from hypothesis import strategies as st

from mingjian.formats.records import RecordBlock
from mingjian.model.sources import Layout, ObservableKind, Observation, Stream, View
from mingjian.model.values import EMPTY, Record, Value
from mingjian.sources import columnwise
from mingjian.sources.columnwise import Observer, envelopes
from mingjian.sources.envelope import OBSERVABLES_MAX, Observed, envelope, observables

NAMES = ("a", "b", "c", "d.e")
TEXTS = (
    *(
        "",
        "-",
        " ",
        "pc-7",
        "PC-7",
        "10.0.0.1",
        "10.0.0.1,10.0.0.2;- x",
        "::ffff:10.0.0.1",
        "example.org",
        "EXAMPLE.org.",
    ),
    *("1970-01-01T00:00:01Z", "1970-01-01 00:00:01", "corp\\alice", "1600000000", "MD5=" + "a" * 32, "\udc80x"),
)
scalars: st.SearchStrategy[Value] = st.one_of(
    st.sampled_from(TEXTS),
    st.sampled_from([None, EMPTY, True, False, 0, 1, 7, 1_600_000_000, 1.5]),
)
values = st.one_of(scalars, st.lists(scalars, max_size=3), st.just({"x": "10.0.0.1"}), st.just([["10.0.0.3"], "pc-7"]))
records = st.fixed_dictionaries(
    {}, optional={"a": values, "b": values, "c": values, "d": st.fixed_dictionaries({}, optional={"e": values})}
)
names = st.sampled_from([*NAMES, "{a}\\{b}", "{c}", "x{a}", "{a}-{d.e}{b}"])
kinds: st.SearchStrategy[ObservableKind] = st.sampled_from(["ip", "host", "account", "domain", "hash", "file"])
asked = st.builds(
    Observation,
    field=names,
    kind=kinds,
    role=st.sampled_from(["one", "two"]),
    split=st.sampled_from([None, "comma", "semicolon", "hashes"]),
)
times = st.sampled_from([*NAMES, "a@zoned", "b@+08:00", "c@-05:30"])
streams = st.builds(
    Stream,
    name=st.just("demo/a"),
    source=st.just("demo"),
    family=st.just("demo"),
    fields=st.sampled_from([{}, {"a": ("a", "b")}]),
    time=st.lists(times, max_size=3).map(tuple),
    host=st.lists(names, max_size=3).map(tuple),
    account=st.lists(names, max_size=2).map(tuple),
    observables=st.lists(asked, max_size=4).map(tuple),
)
layouts = st.sampled_from([Layout(name="flat", family="demo"), Layout(name="deep", family="demo", search=("d", ""))])


def by_record(observer: Observer, view: View, block: RecordBlock) -> list[set[Observed]]:
    found = observer.observed(view, block)
    sets: list[set[Observed]] = [set() for _ in block.numbers]
    for row, number, role in zip(*(column.tolist() for column in found), strict=True):
        one = Observed(observer.kinds[number], observer.values[number], observer.roles[role])
        assert one not in sets[row]
        sets[row].add(one)
    assert found.rows.tolist() == sorted(found.rows.tolist())
    return sets


@given(
    stream=streams,
    layout=layouts,
    blocks=st.lists(st.lists(records, max_size=6), min_size=1, max_size=3),
    times_min=st.sampled_from([1, columnwise.TIMES_MIN]),
)
def test_columns_give_what_records_give(
    stream: Stream, layout: Layout, blocks: list[list[Record]], times_min: int
) -> None:
    view, observer = View(stream, layout), Observer()
    for several in blocks:
        block = RecordBlock("jsonl", range(len(several)), several)
        each = [envelope(view, record) for record in several]
        with mock.patch.object(columnwise, "TIMES_MIN", times_min):
            found = envelopes(view, block)
        assert found.times_us == [one.time_us for one in each]
        assert found.hosts == [one.host for one in each]
        assert found.accounts == [one.account for one in each]
        assert by_record(observer, view, block) == [set(observables(view, record)) for record in several]


def test_of_a_crowded_record_the_same_observables_are_left_out() -> None:
    crowd: Record = {"a": [f"10.0.{n // 200}.{n % 200}" for n in range(2 * OBSERVABLES_MAX)], "b": "10.9.9.9"}
    both = (Observation(field="b", kind="ip", role="one"), Observation(field="a", kind="ip", role="two"))
    view = View(Stream(name="x", source="x", family="x", observables=both), Layout(name="flat", family="x"))
    several: list[Record] = [{"b": "10.0.0.1"}, crowd, {"a": "10.0.0.2"}]
    block = RecordBlock("jsonl", range(3), several)
    assert by_record(Observer(), view, block) == [set(observables(view, record)) for record in several]


@given(
    texts=st.lists(
        st.one_of(
            st.sampled_from(
                [
                    *(
                        "2026-01-31T12:00:00Z",
                        "2026-01-31T12:00:00.1234567Z",
                        "2016-12-31T23:59:60Z",
                        "2026-02-30T00:00:00Z",
                    ),
                    *(
                        "2026-01-31 12:00:00",
                        "2026-01-31T12:00:00.999999999",
                        "2026-01-31T24:00:00",
                        "1969-12-31T23:59:59",
                    ),
                    *(
                        "9999-12-31T23:59:59.9999999Z",
                        "1970-01-01T00:00:00Z",
                        "2026-01-31T12:00Z",
                        "2026-01-31",
                        "\udc80",
                    ),
                ]
            ),
            st.datetimes().map(str),
            st.datetimes().map(lambda moment: moment.isoformat() + "Z"),
        ),
        max_size=3,
    ),
    name=st.sampled_from(["a", "a@zoned", "a@+08:00", "a@-05:30"]),
)
def test_moments_are_read_alike(texts: list[str], name: str) -> None:
    view = View(Stream(name="x", source="x", family="x", time=(name,)), Layout(name="flat", family="x"))
    several: list[Record] = [{"a": text} for text in texts]
    times = envelopes(view, RecordBlock("jsonl", range(len(several)), several)).times_us
    assert times == [envelope(view, record).time_us for record in several]
