"""Rule folders, their cache, and what may not depend on it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from mingjian.errors import ConfigError
from mingjian.hunt import reading, rulecache
from mingjian.hunt.rulebook import Rulebook, find_rule_files, load_rulebook
from mingjian.model.rules import Number, Text

LATER_S = 10


def later() -> int:
    """So long after the files were written that their times can be trusted."""
    return time.time_ns() + LATER_S * 1_000_000_000


def rule(name: str, value: object = 1, level: str = "high", rule_id: str | None = None) -> str:
    detection = {"s": {"F": value}, "condition": "s"}
    written = {"title": name, "id": rule_id or name, "name": name, "level": level}
    return json.dumps({**written, "logsource": {"product": "x"}, "detection": detection})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rules = tmp_path / "rules"
    for name in ("b.yml", "a.yaml", "sub/c.YML", "sub/deep/d.yml"):
        path = rules / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(rule(path.stem, path.stem))
    (rules / "readme.md").write_text("no rule")
    (rules / ".hidden").mkdir()
    (rules / ".hidden" / "h.yml").write_text(rule("h"))
    return rules


def ids(book: Rulebook) -> list[str]:
    return [r.id for r in book.rules]


# --- files ---


def test_rule_files_are_found_in_a_fixed_order(folder: Path) -> None:
    book = load_rulebook([folder])
    assert [Path(file).relative_to(folder).as_posix() for file in book.files] == [
        "a.yaml",
        "b.yml",
        "sub/c.YML",
        "sub/deep/d.yml",
    ]
    assert ids(book) == ["a", "b", "c", "d"]
    assert book.cache == "off"


def test_a_file_is_loaded_once_however_often_it_is_reached(folder: Path) -> None:
    (folder / "sub" / "loop").symlink_to(folder)
    (folder / "again.yml").symlink_to(folder / "b.yml")
    (folder / "nowhere.yml").symlink_to(folder / "missing.yml")
    book = load_rulebook([folder / "sub", folder, folder / "b.yml"])
    assert sorted(ids(book)) == ["a", "b", "c", "d"]
    assert not book.skipped


def test_a_file_that_is_named_is_read_whatever_its_name(folder: Path) -> None:
    (folder / "rule.txt").write_text(rule("t"))
    assert ids(load_rulebook([folder / "rule.txt"])) == ["t"]


def test_a_path_that_is_not_there_is_wrong_use(folder: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load_rulebook([folder / "nothing"])


def test_a_name_that_is_no_utf8_does_no_harm(folder: Path, tmp_path: Path) -> None:
    odd = os.fsencode(folder) + b"/\xff.yml"
    with open(odd, "wb") as file:  # noqa: PTH123 # Path has no bytes
        file.write(rule("odd").encode())
    for _ in range(2):
        book = load_rulebook([folder], cache_folder=tmp_path / "cache", now_ns=later)
        assert "odd" in ids(book)
        assert any(file.endswith("\\xff.yml") for file in book.files)
    assert book.cache == "whole"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_is_skipped_and_not_waited_for(folder: Path) -> None:
    os.mkfifo(folder / "pipe.yml")
    (skipped,) = load_rulebook([folder]).skipped
    assert skipped.file.endswith("pipe.yml")
    assert "regular file" in skipped.reason


def test_a_file_that_is_too_large_is_skipped_by_name(folder: Path) -> None:
    (folder / "big.yml").write_bytes(b"#" * 600_000)
    (skipped,) = load_rulebook([folder]).skipped
    assert "YAML_BYTES_MAX" in skipped.reason


def test_every_file_is_accounted_for(folder: Path) -> None:
    (folder / "bad.yml").write_text("a: [")
    (folder / "other.yml").write_text("a: b")
    book = load_rulebook([folder])
    assert {r.file for r in book.rules} | {s.file for s in book.skipped} == set(book.files)


# --- cache ---


def read_count(monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """Count the contents that are parsed."""
    counted = 0
    real = reading.read_rules

    def counting(contents: list[bytes], options: reading.Options, jobs: int) -> list[object]:
        nonlocal counted
        counted += len(contents)
        return list(real(contents, options, jobs))

    monkeypatch.setattr("mingjian.hunt.rulebook.read_rules", counting)
    return lambda: counted


def test_the_second_load_parses_nothing_and_gives_the_same(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = read_count(monkeypatch)
    books = [load_rulebook([folder], cache_folder=tmp_path / "cache", now_ns=later) for _ in range(3)]
    assert [book.cache for book in books] == ["none", "whole", "whole"]
    assert count() == 4
    assert msgspec.structs.replace(books[1], cache="none") == books[0]


def test_a_start_from_the_cache_opens_no_rule_file(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load_rulebook([folder], cache_folder=tmp_path / "cache", now_ns=later)

    def opened(path: str) -> bytes:
        raise AssertionError(f"{path} was opened")

    monkeypatch.setattr("mingjian.hunt.rulebook._read", opened)
    assert load_rulebook([folder], cache_folder=tmp_path / "cache", now_ns=later).cache == "whole"


def test_a_start_from_the_cache_imports_neither_pysigma_nor_yaml(folder: Path, tmp_path: Path) -> None:
    load_rulebook([folder], cache_folder=tmp_path / "cache", now_ns=later)
    program = (
        "import sys, pathlib\n"
        "from mingjian.hunt.rulebook import load_rulebook\n"
        "book = load_rulebook([sys.argv[1]], cache_folder=pathlib.Path(sys.argv[2]))\n"
        "print(book.cache, len(book.rules), [m for m in ('sigma', 'yaml', 're2', 'subprocess') if m in sys.modules])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(folder), str(tmp_path / "cache")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "whole 4 []"


def test_a_change_costs_only_what_has_changed(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    count = read_count(monkeypatch)
    load_rulebook([folder], cache_folder=tmp_path / "cache", now_ns=later)
    (folder / "b.yml").write_text(rule("b", "changed"))
    (folder / "a.yaml").unlink()
    (folder / "new.yml").write_text(rule("new"))
    book = load_rulebook([folder], cache_folder=tmp_path / "cache", now_ns=later)
    assert count() == 6
    assert ids(book) == ["b", "new", "c", "d"]
    assert book.rules[0].condition == Text("F", ("changed",))
    assert book.cache == "part"
    assert msgspec.structs.replace(book, cache="off") == load_rulebook([folder])


def test_a_file_that_moves_is_not_parsed_again(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    count = read_count(monkeypatch)
    load_rulebook([folder], cache_folder=tmp_path / "cache", now_ns=later)
    (folder / "b.yml").rename(folder / "sub" / "moved.yml")
    book = load_rulebook([folder], cache_folder=tmp_path / "cache", now_ns=later)
    assert count() == 4
    assert {r.id: Path(r.file).name for r in book.rules}["b"] == "moved.yml"


def test_a_file_changed_at_the_very_moment_is_looked_at_again(folder: Path, tmp_path: Path) -> None:
    path = folder / "b.yml"
    first = load_rulebook([folder], cache_folder=tmp_path / "cache")  # the files are younger than RECENT_S
    status = path.stat()
    text = path.read_text()
    with path.open("r+") as file:  # same size, same inode, same times
        file.write(text.replace('"F": "b"', '"F": "z"'))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    book = load_rulebook([folder], cache_folder=tmp_path / "cache")
    assert first.rules[1].condition == Text("F", ("b",))
    assert book.rules[1].condition == Text("F", ("z",))


def test_young_files_that_stayed_as_they_were_are_not_parsed_again(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = read_count(monkeypatch)
    for _ in range(3):
        book = load_rulebook([folder], cache_folder=tmp_path / "cache")
    assert count() == 4
    assert book.cache == "whole"


def test_another_option_is_another_cache(folder: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    pipeline = tmp_path / "p.yml"
    pipeline.write_text("transformations: [{type: field_name_prefix, prefix: x.}]")
    plain = load_rulebook([folder], cache_folder=cache, now_ns=later)
    piped = load_rulebook([folder], cache_folder=cache, pipelines=[pipeline], now_ns=later)
    assert plain.rules[0].condition == Text("F", ("a",))
    assert piped.rules[0].condition == Text("x.F", ("a",))
    assert load_rulebook([folder], cache_folder=cache, now_ns=later).rules == plain.rules
    pipeline.write_text("transformations: [{type: field_name_prefix, prefix: y.}]")
    changed = load_rulebook([folder], cache_folder=cache, pipelines=[pipeline], now_ns=later)
    assert changed.rules[0].condition == Text("y.F", ("a",))


def test_other_code_is_another_cache(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load_rulebook([folder], cache_folder=tmp_path / "cache", now_ns=later)
    monkeypatch.setattr(rulecache, "CACHE_FORMAT", -1)
    assert load_rulebook([folder], cache_folder=tmp_path / "cache", now_ns=later).cache == "none"


@pytest.mark.parametrize("suffix", ["book", "parsed"])
def test_a_broken_cache_is_ignored_and_written_anew(folder: Path, tmp_path: Path, suffix: str) -> None:
    cache = tmp_path / "cache"
    first = load_rulebook([folder], cache_folder=cache, now_ns=later)
    (path,) = cache.glob(f"*.{suffix}")
    whole = path.read_bytes()
    for broken in (b"", whole[:-1], whole[: len(whole) // 2], b"\0" * len(whole), whole + b"x"):
        path.write_bytes(broken)
        for other in cache.glob("*.book") if suffix == "parsed" else ():
            other.unlink()
        assert load_rulebook([folder], cache_folder=cache, now_ns=later).rules == first.rules
        assert path.read_bytes()[:20] == whole[:20]
    for place in range(0, len(whole), 37):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        assert load_rulebook([folder], cache_folder=cache, now_ns=later).rules == first.rules


def test_a_cache_that_holds_something_else_is_ignored(folder: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    first = load_rulebook([folder], cache_folder=cache, now_ns=later)
    for path in cache.iterdir():
        for payload in (b"\x93\x01\x02\x03", b"\x80", msgspec.msgpack.encode({"a": 1}), b"\xc1"):
            path.write_bytes(b"mjrules\x01" + rulecache.digest(payload) + payload)
            assert load_rulebook([folder], cache_folder=cache, now_ns=later).rules == first.rules


def test_cache_files_are_for_us_alone(folder: Path, tmp_path: Path) -> None:
    cache = tmp_path / "x" / "cache"
    load_rulebook([folder], cache_folder=cache, now_ns=later)
    assert cache.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in cache.iterdir()} == {0o600}
    assert not list(cache.glob(".rules-*"))


def test_a_folder_that_others_can_write_to_is_not_used(folder: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    cache.mkdir(mode=0o700)
    cache.chmod(0o777)
    assert load_rulebook([folder], cache_folder=cache, now_ns=later).cache == "off"
    assert not list(cache.iterdir())


def test_a_cache_that_is_a_link_is_not_followed(folder: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    load_rulebook([folder], cache_folder=cache, now_ns=later)
    (path,) = cache.glob("*.book")
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    assert load_rulebook([folder], cache_folder=cache, now_ns=later).cache != "off"
    assert not path.is_symlink()


def test_a_cache_that_cannot_be_made_costs_nothing_but_time(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    book = load_rulebook([folder], cache_folder=tmp_path / "file" / "cache")
    assert (book.cache, len(book.rules)) == ("off", 4)


def test_a_full_disk_costs_nothing_but_time(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    assert len(load_rulebook([folder], cache_folder=tmp_path / "cache").rules) == 4
    assert not list((tmp_path / "cache").iterdir())


def test_old_cache_files_go(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rulecache, "CACHE_FILES_MAX", 2)
    for paths in ([folder], [folder / "b.yml"], [folder / "a.yaml"]):
        load_rulebook(paths, cache_folder=tmp_path / "cache", now_ns=later)
    assert len(list((tmp_path / "cache").glob("*.book"))) == 2


def test_rules_that_no_cache_can_hold_are_loaded_all_the_same(folder: Path, tmp_path: Path) -> None:
    (folder / "odd.yml").write_text(rule("odd", 10**30))
    detection = {"s": {"F|wide": "é"}, "condition": "s"}
    (folder / "wide.yml").write_text(
        json.dumps({"title": "w", "id": "w", "logsource": {"product": "x"}, "detection": detection}, ensure_ascii=False)
    )
    for _ in range(2):
        book = load_rulebook([folder], cache_folder=tmp_path / "cache", now_ns=later)
        found = {r.id: r.condition for r in book.rules}
        assert found["odd"] == Number("F", 10**30)
        assert found["w"] == Text("F", ("\udce9\0",))
    assert book.cache == "part"


# --- options ---


def test_a_level_leaves_out_what_is_lower_but_not_what_feeds_a_correlation(tmp_path: Path) -> None:
    correlation = {"type": "event_count", "rules": ["low"], "timespan": "1m", "condition": {"gte": 1}}
    (tmp_path / "a.yml").write_text(
        "\n---\n".join(
            [
                rule("low", 1, "low"),
                rule("high", 2, "high"),
                rule("info", 3, "informational"),
                rule("hid", 4, "high"),
                json.dumps({"title": "c", "id": "c", "level": "high", "correlation": correlation}),
                json.dumps({"title": "d", "id": "d", "level": "low", "correlation": {**correlation, "rules": ["hid"]}}),
            ]
        )
    )
    whole = load_rulebook([tmp_path])
    assert [(r.id, r.hidden) for r in whole.rules] == [("low", True), ("high", False), ("info", False), ("hid", True)]
    book = load_rulebook([tmp_path], level="high")
    assert [(r.id, r.hidden) for r in book.rules] == [("low", True), ("high", False), ("hid", False)]
    assert [c.id for c in book.correlations] == ["c"]
    assert book.left_out == 2


def test_placeholders_fill_rules(tmp_path: Path) -> None:
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules" / "a.yml").write_text(rule("a").replace('"F": 1', '"F|expand": "%x%"'))
    (tmp_path / "p.json").write_text('{"x": "v"}')
    assert "'%x%'" in load_rulebook([tmp_path / "rules"]).skipped[0].reason
    book = load_rulebook([tmp_path / "rules"], placeholders=tmp_path / "p.json")
    assert book.rules[0].condition == Text("F", ("v",))


@pytest.mark.parametrize("content", ["a: [", "[]", "transformations: [{type: file_placeholders}]"])
def test_a_wrong_pipeline_or_placeholder_file_is_wrong_use(folder: Path, tmp_path: Path, content: str) -> None:
    path = tmp_path / "p"
    path.write_text(content)
    with pytest.raises(ConfigError):
        load_rulebook([folder], pipelines=[path])
    with pytest.raises(ConfigError):
        load_rulebook([folder], placeholders=path)
    with pytest.raises(ConfigError):
        load_rulebook([folder], pipelines=[tmp_path / "nothing"])


# --- processes ---


def test_several_processes_give_the_same_as_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "PARALLEL_FILES_MIN", 10)
    contents = [rule(f"r{i}", i if i % 3 else [f"v{i}", i * 10**25]).encode() for i in range(30)] + [b"a: [", b""]
    options = reading.Options(placeholders=b"a: b")
    assert reading.read_rules(contents, options, 3) == reading.read_rules(contents, options, 1)


def test_a_process_that_fails_costs_only_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "PARALLEL_FILES_MIN", 10)
    contents = [rule(f"r{i}", i).encode() for i in range(30)]
    alone = reading.read_rules(contents, reading.Options(), 1)
    for program in (
        "raise SystemExit(1)",
        "print('nonsense')",
        "import sys; sys.stdin.close()",
        "import os; os._exit(9)",
    ):
        monkeypatch.setattr(reading, "_WORKER", program)
        assert reading.read_rules(contents, reading.Options(), 2) == alone


def test_modules_in_the_current_folder_are_not_imported_by_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "msgspec.py").write_text("open('imported', 'w')\nraise SystemExit(1)\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(reading, "PARALLEL_FILES_MIN", 10)
    reading.read_rules([rule(f"r{i}", i).encode() for i in range(30)], reading.Options(), 2)
    assert not (tmp_path / "imported").exists()


# --- the whole of SigmaHQ ---


@pytest.mark.slow
def test_every_rule_of_sigmahq_is_accounted_for(shared_data: Path, tmp_path: Path) -> None:
    folders = sorted((shared_data / "sigma").glob("rules*"))
    book = load_rulebook(folders, cache_folder=tmp_path, jobs=2)
    assert len(book.files) == 3_777
    assert len(book.rules) == 3_752
    assert len(book.skipped) == 25
    assert {skipped.code for skipped in book.skipped} == {"unsupported-rule"}
    assert all("has no value" in skipped.reason for skipped in book.skipped)
    assert not book.notes
    assert len({r.id for r in book.rules}) == 3_752
    assert load_rulebook(folders, cache_folder=tmp_path).cache == "whole"


def test_found_files_are_few_numbers_each(folder: Path) -> None:
    (first, *_) = find_rule_files([str(folder)])
    assert first.size_bytes == (folder / "a.yaml").stat().st_size
