"""A record's stream depends on the record and its format only, whatever stands beside it and however it is cut."""

from hypothesis import given
from hypothesis import strategies as st

from mingjian.formats.records import RecordBlock
from mingjian.model.values import EMPTY, Record, Value
from mingjian.sources.definitions import load_sources
from mingjian.sources.router import Router

BOOK = load_sources()
KEYS = (
    "Channel", "EventID", "EventData", "EventType", "SourceModuleType", "winlog", "winlog.event_id", "log_name",
    "event_id", "Event", "System", "data", "eventName", "event_type", "id.orig_h", "_path", "kind", "category",
    "timestamp", "ts",
)  # fmt: skip
TELLING = (
    "Security", "security", "Microsoft-Windows-Sysmon/Operational", "System", 1, 12, "12", 4688, True, 1.0, "CreateKey",
    None, EMPTY, "", [1], ["Security"], {"event_id": 1, "channel": "Security"}, {"System": {"EventID": {"#text": 104}}},
    {"EventID": 7}, {"win": {"system": {"eventID": "1"}}},
)  # fmt: skip
values: st.SearchStrategy[Value] = st.sampled_from(TELLING) | st.integers() | st.text(max_size=5)
records: st.SearchStrategy[Record] = st.dictionaries(st.sampled_from(KEYS), values, max_size=8)


def streams(router: Router, rows: list[Record]) -> list[tuple[str, str, str]]:
    found: list[tuple[str, str, str]] = [("", "", "")] * len(rows)
    for portion in router.route(RecordBlock("jsonl", range(len(rows)), rows)):
        members = range(len(rows)) if portion.rows is None else portion.rows
        assert list(members) == sorted(members)
        for row in members:
            assert not found[row][0]
            stream = portion.view.stream
            found[row] = (stream.name, stream.source, portion.view.layout.name)
    assert all(name for name, _, _ in found)
    return found


@given(st.lists(records, min_size=1, max_size=30), st.integers(0, 30))
def test_neighbours_and_cuts_do_not_change_a_stream(rows: list[Record], cut: int) -> None:
    alone = [streams(Router(BOOK), [row])[0] for row in rows]
    router = Router(BOOK)
    assert streams(router, rows) == alone
    assert streams(router, rows[cut:]) + streams(router, rows[:cut]) == alone[cut:] + alone[:cut]
    assert streams(router, rows[::-1]) == alone[::-1]
