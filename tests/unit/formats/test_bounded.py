"""YAML, JSON and XML from outside: what they mean, and what is refused."""

import time
from datetime import date, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from mingjian.errors import InputError, LimitExceeded, ParseError
from mingjian.formats import bounded
from mingjian.formats.bounded import decode_json, local_name, parse_json, parse_xml, parse_yaml


class _WithoutDates(yaml.CSafeLoader):
    """PyYAML's own safe loader, without the resolution that we leave out on purpose."""


_WithoutDates.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in pairs if not tag.endswith(":timestamp")]
    for first, pairs in yaml.CSafeLoader.yaml_implicit_resolvers.items()
}


def test_every_sigma_rule_means_what_pyyaml_says_it_means(shared_data: Path) -> None:
    files = sorted((shared_data / "sigma").rglob("*.yml"))
    assert len(files) >= 3777
    started = time.process_time()
    ours = [parse_yaml(path.read_bytes(), file=path.name) for path in files]
    assert time.process_time() - started < 6  # 0.4 s on an idle core
    for path, documents in zip(files, ours, strict=True):
        theirs = list(yaml.load_all(path.read_bytes(), _WithoutDates))  # derived from the safe loader
        assert repr(documents) == repr([_with_text_keys(document) for document in theirs]), path


def _with_text_keys(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _with_text_keys(inner) for key, inner in value.items()}
    return [_with_text_keys(inner) for inner in value] if isinstance(value, list) else value


_SCALARS = st.one_of(
    st.sampled_from(
        [
            *[
                "yes",
                "No",
                "ON",
                "off",
                "true",
                "null",
                "~",
                "1",
                "-1",
                "+1",
                "0",
                "017",
                "0x1f",
                "0b11",
                "1_000",
                "1.5",
            ],
            *["-.5", "1.e+3", "1e3", ".inf", "-.INF", ".nan", "0o17", "08", "0x", "0b", "0x_", "+", "-", ".", "1.2.3"],
        ]
    ),
    st.text("0123456789abcdefx_+-.eEnulltr~", min_size=1, max_size=6),
)


@given(_SCALARS)
def test_plain_scalars_mean_what_pyyaml_says_they_mean(scalar: str) -> None:
    text = f"- {scalar}\n".encode()
    try:
        expected = yaml.load(text, _WithoutDates)  # noqa: S506  # derived from the safe loader
    except (yaml.YAMLError, ValueError, IndexError):
        expected = None  # PyYAML itself falls over “0b_” and the like
    try:
        ours = parse_yaml(text, file="f")[0]
    except ParseError:
        return
    if expected is not None:
        assert repr(ours) == repr(expected)


def test_dates_and_times_of_day_stay_text() -> None:
    (found,) = parse_yaml(b"a: 2024-01-31\nb: 2024-01-31 10:00:00\nc: 10:30:00x\nd: '1'\n4688: 1", file="f")
    assert found == {"a": "2024-01-31", "b": "2024-01-31 10:00:00", "c": "10:30:00x", "d": "1", "4688": 1}
    assert isinstance(yaml.safe_load("2024-01-31"), (date, datetime))  # which is why


@pytest.mark.parametrize(
    ("text", "what"),
    [
        (b"[" * 200_000, "f:1:33: more than YAML_DEPTH_MAX"),
        (b"- " * 33 + b"x", "f:1:65: more than YAML_DEPTH_MAX"),
        (b"a: &x 1\nb: *x", "f:2:4: more than YAML_ALIASES_MAX"),
        (b"a: 1\nb: 2\na: 3", "f:3:1: the key 'a' stands here twice"),
        (b"{x: {a: 1, 'a': 2}}", "f:1:12: the key 'a' stands here twice"),
        (b"x: !!python/object/apply:os.system [ls]", "is not allowed"),
        (b"x: !custom 1", "f:1:4: the tag '!custom' is not allowed"),
        (b"!!map {a: 1}", "is not allowed"),
        (b"? [1, 2]\n: 3", "a key must be a single value"),
        (b"a: [1", "not YAML"),
        (b"a: b: c", "f:1:5: not YAML"),
        (b"a: \x01", "not YAML"),
        (b"\xff\xff", "not YAML"),
        (b"x" * (512 * 1024 + 1), "YAML_BYTES_MAX"),
        (b"- 1\n" * 20_001, "YAML_EVENTS_MAX"),
        (b"---\n" * 300, "YAML_DOCUMENTS_MAX"),
        (b"- " + b"9" * 5000, "f:1:3: more than YAML_DIGITS_MAX"),
    ],
)
def test_yaml_that_is_dangerous_or_wrong_is_refused_with_the_place(text: bytes, what: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_yaml(text, file="f")
    assert what in str(caught.value)


def test_several_documents_are_read_in_order() -> None:
    assert parse_yaml(b"---\na: 1\n---\n- x\n---\n", file="f") == [{"a": 1}, ["x"], None]
    assert parse_yaml(b"", file="f") == []
    assert parse_yaml(b"a: !!str 1\nb: ! 2", file="f") == [{"a": "1", "b": "2"}]


def test_json_is_read_and_its_errors_tell_the_place() -> None:
    assert parse_json(b'{"a": [1, 1.5, "x", true, null]}', where="f") == {"a": [1, 1.5, "x", True, None]}
    with pytest.raises(ParseError, match=r"f:2:\d+: not JSON"):
        parse_json(b'{"a":\n b}', where="f")


@pytest.mark.parametrize(
    ("text", "limit"),
    [
        (b"[" * 129 + b"]" * 129, "JSON_DEPTH_MAX"),
        (b'{"a":' * 129 + b"1" + b"}" * 129, "JSON_DEPTH_MAX"),
        (b"[" * 100_000, "JSON_DEPTH_MAX"),
        (b"[" + b"1," * 500_001 + b"1]", "JSON_VALUES_MAX"),
        (b"[" + b"[]," * 400_000 + b"1]", "JSON_VALUES_MAX"),
        (b" " * (16 * 1024 * 1024 + 1), "JSON_BYTES_MAX"),
    ],
)
def test_json_beyond_a_bound_is_refused_by_its_name(text: bytes, limit: str) -> None:
    with pytest.raises(LimitExceeded) as caught:
        parse_json(text, where="f")
    assert caught.value.limit == limit


def test_brackets_and_commas_in_texts_count_for_nothing() -> None:
    words = "[{," * 400_000 + '\\"['
    assert parse_json(b"[" * 100 + msgspec.json.encode(words) + b"]" * 100, where="f") is not None
    assert parse_json(b"[" + b"[]," * 400 + b"1]", where="f") is not None


@given(
    st.recursive(
        st.none() | st.booleans() | st.text(max_size=5),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=2), inner),
        max_leaves=30,
    ),
    st.integers(0, 6),
)
def test_the_depth_of_json_is_counted_right(value: object, bound: int) -> None:
    def depth(value: object) -> int:
        if isinstance(value, dict):
            return 1 + max(map(depth, value.values()), default=0)
        return 1 + max(map(depth, value), default=0) if isinstance(value, list) else 0

    data = msgspec.json.encode(value)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bounded, "JSON_DEPTH_MAX", bound)
        if depth(value) <= bound:
            assert parse_json(data, where="f") == value
        else:
            with pytest.raises(LimitExceeded):
                parse_json(data, where="f")


def test_json_can_be_read_into_a_type() -> None:
    decode = msgspec.json.Decoder(dict[str, int]).decode
    assert decode_json(b'{"a": 1}', decode, where="f") == {"a": 1}
    with pytest.raises(ParseError, match="not the JSON expected"):
        decode_json(b'{"a": "x"}', decode, where="f")


def test_xml_is_read_alike_by_the_fast_and_by_the_guarded_way() -> None:
    text = "<r xmlns='urn:x' a='1'>t<b c='2'>u</b>v<d/></r>"
    for root in (
        parse_xml(text, where="f"),
        parse_xml(f"<!-- -->{text}", where="f"),
        parse_xml(text.encode(), where="f"),
    ):
        assert local_name(root.tag) == "r"
        assert root.get("a") == "1"
        assert [(local_name(child.tag), child.text, child.tail, child.attrib) for child in root] == [
            ("b", "u", "v", {"c": "2"}),
            ("d", None, None, {}),
        ]


@pytest.mark.parametrize("as_text", [True, False])
@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("<!DOCTYPE a><a/>", "document type or an entity"),
        ("<!DOCTYPE a [<!ENTITY x 'y'>]><a>&x;</a>", "document type or an entity"),
        ("<!DOCTYPE a SYSTEM 'file:///etc/passwd'><a/>", "document type or an entity"),
        ("<a>&x;</a>", "undefined entity"),
        ("<a>" * 65 + "</a>" * 65, "XML_DEPTH_MAX"),
        ("<a>" + "<b/>" * 100_001 + "</a>", "XML_ELEMENTS_MAX"),
        ("<a " + " ".join(f"a{number}=''" for number in range(257)) + "/>", "XML_ATTRIBUTES_MAX"),
        ("<a>" + " " * (16 * 1024 * 1024) + "</a>", "XML_BYTES_MAX"),
        ("<a></b>", "mismatched tag"),
        ("", "no element found"),
        ("<a/><b/>", "junk after document element"),
        ("<a>\udc80</a>", "not well-formed"),
    ],
)
def test_xml_that_is_dangerous_or_wrong_is_refused(text: str, what: str, as_text: bool) -> None:
    with pytest.raises(InputError) as caught:
        parse_xml(text if as_text else text.encode("utf-8", "surrogatepass"), where="f")
    assert what in str(caught.value)


@pytest.mark.parametrize("encoding", ["zlib", "no-such", "utf-7", "gb18030"])
def test_xml_in_an_odd_encoding_is_an_input_error_at_most(encoding: str) -> None:
    with pytest.raises(ParseError, match="not XML"):
        parse_xml(f"<?xml version='1.0' encoding='{encoding}'?><a>\xe9+</a>".encode("latin-1"), where="f")
