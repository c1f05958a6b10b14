"""Log lines, secrets and counters."""

import copy
import io
import json
import logging
import pickle
import unicodedata
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mingjian import telemetry
from mingjian.telemetry import Counters, Secret, visible, visible_json, with_fields

HOSTILE = "a\nb\x1b[31m\x7f\x9b2J\u202e\u2066\u200b\u2028\ufeff\U000e0041\udc80"
HIDDEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    stream = io.StringIO()
    telemetry.start_logging(stream, "info")
    yield stream
    root.handlers[:] = before
    root.setLevel(level)


def test_a_line_is_json_with_time_level_logger_message_and_fields(stream: io.StringIO) -> None:
    telemetry.logger("hunt").warning(
        "rule skipped", extra=with_fields(rule="a.yml", line=3, password=Secret("hunter2"))
    )
    line = json.loads(stream.getvalue())
    assert line.pop("time").endswith("Z")
    expected = {"level": "warning", "logger": "mingjian.hunt", "message": "rule skipped"}
    assert line == expected | {"rule": "a.yml", "line": 3, "password": "***"}


def test_what_the_outside_wrote_cannot_begin_a_line_or_steer_a_terminal(stream: io.StringIO) -> None:
    telemetry.logger("x").error(HOSTILE, extra=with_fields(value=HOSTILE))
    text = stream.getvalue()
    assert text.count("\n") == 1
    assert not HIDDEN & {unicodedata.category(c) for c in text.rstrip("\n")}
    assert json.loads(text)["message"] == json.loads(text)["value"] == HOSTILE


def test_lines_of_libraries_take_the_same_way(stream: io.StringIO) -> None:
    logging.getLogger("a.library").info("said %s", "hello\n")
    assert json.loads(stream.getvalue())["message"] == "said hello\n"


def test_lines_below_the_level_are_left_out(stream: io.StringIO) -> None:
    telemetry.logger("x").debug("no")
    assert stream.getvalue() == ""


def test_a_long_text_is_cut(stream: io.StringIO) -> None:
    telemetry.logger("x").info("m", extra=with_fields(value="x" * 5000))
    value = json.loads(stream.getvalue())["value"]
    assert len(value) == telemetry.TEXT_CHARACTERS_MAX
    assert value.endswith("…")


def test_chinese_stays_readable(stream: io.StringIO) -> None:
    telemetry.logger("x").info("明见")
    assert "明见" in stream.getvalue()


def test_a_secret_is_shown_nowhere_and_does_not_travel() -> None:
    secret = Secret("hunter2")
    said = f"{secret} {secret!r} {secret:>20} {secret!s} {[secret]} { ({'k': secret}) }" + "%s" % secret  # noqa: UP031 - a way to print
    assert "hunter2" not in said
    assert secret.reveal() == "hunter2"
    assert secret == Secret("hunter2") != Secret("hunter3")
    for take in (pickle.dumps, copy.copy, copy.deepcopy, hash):
        with pytest.raises(TypeError):
            take(secret)
    with pytest.raises(TypeError):
        json.dumps({"k": secret})


@given(st.text(st.characters()))
def test_a_visible_text_holds_nothing_unseen_and_keeps_all_else(text: str) -> None:
    shown = visible(text)
    assert not HIDDEN & {unicodedata.category(c) for c in shown}
    assert visible(shown) == shown
    if not HIDDEN & {unicodedata.category(c) for c in text}:
        assert shown == text


@given(st.text(st.characters()))
def test_visible_json_holds_nothing_unseen_and_means_the_same(text: str) -> None:
    shown = visible_json(json.dumps(text, ensure_ascii=False))
    assert not HIDDEN & {unicodedata.category(c) for c in shown}
    assert json.loads(shown) == json.loads(json.dumps(text))


def test_counters_add_up_over_processes() -> None:
    counters = Counters()
    counters.add("events", 2)
    counters.merge({"events": 3, "quarantined": 0})
    assert counters.values() == {"events": 5, "quarantined": 0}
    with pytest.raises(AssertionError):
        counters.add("events", -1)
