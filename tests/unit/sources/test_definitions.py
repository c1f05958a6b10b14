"""Loading source definitions: what is good loads, what is bad is named with its place."""

from pathlib import Path

import pytest

from mingjian.errors import ConfigError
from mingjian.model.rules import LogSource
from mingjian.sources.definitions import (
    DEFINITION_BYTES_MAX,
    DefinitionFile,
    SourceBook,
    build_book,
    built_in_files,
    load_sources,
    stream_of,
)

FAMILY = b"""
family: demo
order: 1
fallback: demo/{Kind}
identity: [Kind]
time: [at]
host: [host]
fields: {Image: [exe], CommandLine: [cmd]}
layouts:
  - {name: plain, recognise: {present: [kind]}, names: {Kind: [kind]}}
"""
SOURCE = b"""
id: demo-start
family: demo
title: {en: Starts}
match: {Kind: [start]}
logsources: [{product: demo}]
account: [user]
fields: {Image: [path, exe]}
streams:
  - name: demo/start
    logsources: [{category: process_creation}]
    host: [machine]
"""


def book_of(*texts: bytes, own: bytes | None = None) -> SourceBook:
    files = [DefinitionFile(f"{number}.yml", text) for number, text in enumerate(texts)]
    if own is not None:
        files.append(DefinitionFile("own.yml", own, own=True))
    return build_book(files)


def the_only_skip(book: SourceBook) -> tuple[str, str, str]:
    assert len(book.skipped) == 1, book.skipped
    skip = book.skipped[0]
    return skip.file, skip.key, skip.reason


def test_every_built_in_definition_is_valid() -> None:
    book = load_sources()
    assert book.skipped == ()
    assert len(book.families) > 10
    assert len(book.streams()) > 150


def test_built_in_sources_test_only_what_their_family_declares_as_identity() -> None:
    declared = {family.name: family for family in build_book(built_in_files()).families}
    windows = declared["windows"]
    assert set(windows.identity) == {"Channel", "EventID", "EventType"}


def test_a_stream_says_what_its_source_and_its_family_say_unless_it_says_otherwise() -> None:
    book = book_of(FAMILY, SOURCE)
    family = book.families[0]
    source = family.sources[0]
    stream = stream_of(family, source, source.streams[0], "demo/start")
    assert stream.time == ("at",)
    assert stream.host == ("machine",)
    assert stream.account == ("user",)
    assert stream.fields == {"Image": ("path", "exe"), "CommandLine": ("cmd",)}
    assert stream.logsources == (LogSource("demo"), LogSource(None, "process_creation"))


def test_the_identity_of_a_family_is_what_its_tests_and_names_look_at() -> None:
    source = SOURCE.replace(b"demo/start", b"demo/start/{User}")
    assert book_of(FAMILY, source).families[0].identity == ("Kind", "User")


@pytest.mark.parametrize(
    ("text", "key", "words"),
    [
        (
            SOURCE.replace(b"logsources: [{product: demo}]", b"logsources: [{produkt: demo}]"),
            "logsources[0]",
            "produkt",
        ),
        (SOURCE.replace(b"time", b"tme") + b"tme: []\n", "", "tme"),
        (SOURCE.replace(b"[start]", b"{}"), "match.Kind", "asks for nothing"),
        (SOURCE.replace(b"[start]", b"7"), "match[...]", "Expected"),
        (SOURCE.replace(b"id: demo-start", b"id: Demo Start"), "id", "lower-case"),
        (SOURCE.replace(b"name: demo/start", b"name: Demo/Start"), "streams[0].name", "lower-case"),
        (
            SOURCE.replace(b"  - name: demo/start", b"  - name: demo/a\n  - name: demo/start"),
            "streams[0].when",
            "never",
        ),
        (SOURCE.replace(b"family: demo\n", b""), "family", "names its family"),
        (SOURCE.replace(b"title: {en: Starts}", b"title: {zh: x}"), "title", "English"),
        (SOURCE.replace(b"family: demo", b"family: other"), "family", "no family"),
        (
            SOURCE.replace(b"    host: [machine]", b"    observables: [{field: a, kind: toe, role: x}]"),
            "streams[0]",
            "toe",
        ),
        (b"[]", "", "map of keys"),
        (b"id: [", "", "not YAML"),
        (
            FAMILY.replace(b"family: demo", b"family: two").replace(b"{present: [kind]}", b"{}"),
            "layouts[0].recognise",
            "every",
        ),
        (b"#" * (DEFINITION_BYTES_MAX + 1), "", "DEFINITION_BYTES_MAX"),
    ],
)
def test_a_bad_definition_is_named_with_its_place_and_the_rest_loads(text: bytes, key: str, words: str) -> None:
    good = SOURCE.replace(b"demo-start", b"good").replace(b"demo/start", b"demo/good")
    book = book_of(FAMILY, text, good)
    file, where, reason = the_only_skip(book)
    assert file == "1.yml"
    assert where.startswith(key)
    assert words in reason
    assert [source.id for source in book.families[0].sources] == ["good"]


def test_a_source_defined_twice_is_named() -> None:
    assert the_only_skip(book_of(FAMILY, SOURCE, SOURCE)) == ("2.yml", "", "source demo-start is defined twice")


def test_a_stream_defined_twice_is_named() -> None:
    file, key, reason = the_only_skip(book_of(FAMILY, SOURCE, SOURCE.replace(b"demo-start", b"demo-too")))
    assert (file, key) == ("2.yml", "streams")
    assert "demo/start" in reason


def test_a_users_definition_wins_over_the_built_in_one_with_the_same_id() -> None:
    book = book_of(FAMILY, SOURCE, own=SOURCE.replace(b"{en: Starts}", b"{en: Mine}"))
    assert book.skipped == ()
    assert [source.title["en"] for source in book.families[0].sources] == ["Mine"]


def test_a_users_source_is_tried_before_the_built_in_ones() -> None:
    own = SOURCE.replace(b"demo-start", b"zz").replace(b"demo/start", b"demo/zz")
    book = book_of(FAMILY, SOURCE + b"order: 1\n", own=own)
    assert [source.id for source in book.families[0].sources] == ["zz", "demo-start"]


def test_an_extension_adds_layouts_before_those_of_the_family() -> None:
    own = b"extends: demo\nlayouts: [{name: mine, recognise: {present: [my.kind]}, names: {Kind: [my.kind]}}]"
    assert [layout.name for layout, _ in book_of(FAMILY, own=own).families[0].layouts] == ["mine", "plain"]


def test_a_source_with_layouts_is_a_family_of_its_own_tried_first() -> None:
    own = SOURCE.replace(b"family: demo\n", b"layouts: [{name: json, recognise: {present: [a]}}]\n")
    book = book_of(FAMILY.replace(b"order: 1", b"order: 9"), own=own)
    assert [family.name for family in book.families] == ["demo-start", "demo"]


def test_one_file_may_hold_several_definitions_and_empty_documents() -> None:
    book = book_of(b"---\n" + FAMILY + b"---\n" + SOURCE + b"---\n")
    assert book.skipped == ()
    assert book.families[0].sources[0].id == "demo-start"


def test_a_bad_document_is_named_by_its_number() -> None:
    assert the_only_skip(book_of(FAMILY + b"---\nid: x\n"))[1].startswith("document 2")


def test_the_cache_gives_the_same_book(tmp_path: Path) -> None:
    first = load_sources(cache_folder=tmp_path)
    second = load_sources(cache_folder=tmp_path)
    assert first == second == load_sources()
    assert len(list(tmp_path.iterdir())) == 1


def test_a_changed_file_is_not_answered_from_the_cache(tmp_path: Path) -> None:
    own = tmp_path / "own.yml"
    own.write_bytes(SOURCE.replace(b"family: demo\n", b"layouts: [{name: j, recognise: {present: [a]}}]\n"))
    cache = tmp_path / "cache"
    load_sources([own], cache_folder=cache)
    own.write_bytes(own.read_bytes().replace(b"Starts", b"Ends"))
    book = load_sources([own], cache_folder=cache)
    assert {s.title["en"] for f in book.families for s in f.sources if s.id == "demo-start"} == {"Ends"}


@pytest.mark.parametrize("damage", [b"", b"short", b"\0" * 4000])
def test_a_damaged_cache_is_not_believed(tmp_path: Path, damage: bytes) -> None:
    load_sources(cache_folder=tmp_path)
    (cached,) = tmp_path.iterdir()
    flipped = bytearray(cached.read_bytes())
    flipped[len(flipped) // 2] ^= 1
    cached.write_bytes(damage or bytes(flipped))
    assert load_sources(cache_folder=tmp_path) == load_sources()


def test_a_cache_folder_that_cannot_be_written_does_not_matter(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_bytes(b"")
    assert load_sources(cache_folder=blocked / "below").skipped == ()


def test_a_missing_file_of_the_user_is_a_configuration_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load_sources([tmp_path / "nowhere.yml"])


def test_a_folder_of_the_user_is_read_with_its_folders(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "a.yaml").write_bytes(FAMILY)
    (tmp_path / "b.yml").write_bytes(SOURCE)
    (tmp_path / "README.md").write_bytes(b"not a definition")
    book = load_sources([tmp_path])
    assert book.skipped == ()
    assert "demo" in [family.name for family in book.families]
