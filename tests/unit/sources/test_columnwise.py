"""What ``tests/property/test_columnwise`` does not ask: what is left behind."""

import gc

from mingjian.formats.records import RecordBlock
from mingjian.model.sources import Layout, Observation, Stream, View
from mingjian.sources.columnwise import Observer


def test_an_observer_leaves_nothing_that_only_a_search_for_cycles_finds() -> None:
    asked = (Observation(field="a", kind="ip", role="one"), Observation(field="b", kind="hash", role="two"))
    view = View(Stream(name="x", source="x", family="x", observables=asked), Layout(name="flat", family="x"))
    block = RecordBlock("jsonl", range(2), [{"a": "10.0.0.1"}, {"a": ["10.0.0.2", "10.0.0.3"], "b": "MD5=" + "a" * 32}])
    gc.collect()
    observer = Observer()
    assert len(observer.observed(view, block).rows) == 4
    del observer
    assert gc.collect() == 0
