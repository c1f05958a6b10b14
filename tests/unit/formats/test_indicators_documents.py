"""One file of indicators: what it may be, and that it is bounded."""

import pytest

from feeds import read, unread
from mingjian.formats.indicators import documents


@pytest.mark.parametrize(
    "data", [b'{"objects": [' + b"[" * 200 + b"]" * 200 + b"]}", b'{"objects": ' + b"[" * 1_000_000]
)
def test_depth_is_bounded(data: bytes) -> None:
    ((number, code, reason),) = unread(read(data))
    assert (number, code) == (0, "limit-exceeded")
    assert "JSON_DEPTH_MAX" in reason


def test_size_and_number_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents, "DOCUMENT_BYTES_MAX", 100)
    assert "DOCUMENT_BYTES_MAX" in unread(read(b'{"objects": [' + b" " * 100 + b"]}"))[0][2]
    monkeypatch.setattr(documents, "DOCUMENT_VALUES_MAX", 10)
    assert "JSON_VALUES_MAX" in unread(read(b'{"objects": [' + b"1," * 20 + b"1]}"))[0][2]


@pytest.mark.parametrize(
    "data", [b'{"a": 1}', b'{"type": "report"}', b"{}", b'{"a" 1}', b'{"objects": 7}', b'[{"Event": {}}, 7]']
)
def test_json_of_another_kind_is_quarantined_as_a_whole(data: bytes) -> None:
    ((number, code, _),) = unread(read(data))
    assert (number, code) == (0, "parse-error")
