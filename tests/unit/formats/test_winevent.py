"""The names under which Sigma rules know the fields of Windows events."""

import pytest

from mingjian.errors import LimitExceeded, SchemaError
from mingjian.formats.winevent import FIELDS_MAX, flatten
from mingjian.model.values import EMPTY, Value


def data(event_data: Value) -> dict[str, Value]:
    return flatten({"System": {"EventID": 1}, "EventData": event_data})


def test_system_keeps_its_names_and_joins_attributes_with_an_underscore() -> None:
    assert flatten(
        {"System": {"EventID": {"#attributes": {"Qualifiers": 0}, "#text": 4624}, "Channel": None, "A": ""}}
    ) == {
        "EventID_Qualifiers": 0,
        "EventID": 4624,
        "Channel": EMPTY,
        "A": EMPTY,
    }


def test_an_empty_text_is_an_empty_element_as_null_is() -> None:
    assert data({"a": "", "b": None, "c": " "}) == {"EventID": 1, "a": EMPTY, "b": EMPTY, "c": " "}


def test_types_are_kept() -> None:
    values: dict[str, Value] = {"i": 1, "b": False, "h": "0x1f", "l": [1, None, "x"], "f": 1.5}
    assert data(values) == {"EventID": 1, **values, "l": [1, EMPTY, "x"]}


def test_nothing_is_lost_where_names_collide() -> None:
    assert data({"EventID": 5, "a b": 1, "ab": 2, "n": {"x": 1, "y": {"x": [2, 3]}}}) == {
        "EventID": 1,
        "EventData_EventID": 5,
        "ab": [1, 2],
        "x": [1, 2, 3],
    }
    assert flatten({"System": {"P": {"#attributes": {"Name": "s"}}}, "EventData": {"P_Name": "d"}}) == {
        "P_Name": "s",
        "EventData_P_Name": "d",
    }


def test_sections_beside_event_data_are_flattened_too() -> None:
    event: Value = {
        "#attributes": {"xmlns": "u"},
        "System": {"EventID": 1},
        "EventData": None,
        "ProcessingErrorData": {"ErrorCode": 15003, "DataItemName": ""},
        "Binary": "FF",
    }
    assert flatten(event) == {"EventID": 1, "ErrorCode": 15003, "DataItemName": EMPTY, "Binary": "FF"}


@pytest.mark.parametrize("event", [None, [], "x", {}, {"System": None}, {"EventData": {"a": 1}}])
def test_what_has_no_system_part_is_no_event(event: Value) -> None:
    with pytest.raises(SchemaError):
        flatten(event)


def test_the_number_of_fields_is_bounded() -> None:
    with pytest.raises(LimitExceeded, match="FIELDS_MAX"):
        data({f"f{index}": 1 for index in range(FIELDS_MAX)})


def test_depth_is_no_danger() -> None:
    deep: Value = "x"
    for _ in range(900):
        deep = {"a": [deep]}
    assert data({"top": deep}) == {"EventID": 1, "a": "x"}
