"""The warning lists as a file: the same answers as the lists, and what cannot be used is made anew."""

from pathlib import Path

import pyarrow as pa
import pytest

from mingjian.store import warningfile
from mingjian.store.warninglists import WarningLists

ASKED = [("ip", "8.8.8.8"), ("domain", "google.com"), ("domain", "nobody-warns-of-this.example"), ("ip", "203.0.113.9")]


def answers(lists: WarningLists) -> list[object]:
    kinds, values = (pa.array([each[place] for each in ASKED], pa.string()) for place in (0, 1))
    return lists.of_observables(kinds, values).to_pylist()


@pytest.fixture(scope="module")
def plain() -> list[object]:
    return answers(WarningLists())


def files(folder: Path) -> list[Path]:
    return sorted(folder.glob(f"*{warningfile.SUFFIX}"))


def test_the_file_answers_as_the_lists_do(tmp_path: Path, plain: list[object]) -> None:
    assert plain[0]
    assert plain[2] == ""
    assert answers(WarningLists(cache_folder=tmp_path)) == plain
    assert len(files(tmp_path)) == 1
    assert answers(WarningLists(cache_folder=tmp_path)) == plain


@pytest.mark.parametrize("harm", [b"", b"no file of ours", None])
def test_what_cannot_be_used_is_made_anew(tmp_path: Path, harm: bytes | None, plain: list[object]) -> None:
    answers(WarningLists(cache_folder=tmp_path))
    (path,) = files(tmp_path)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2] if harm is None else harm)
    assert answers(WarningLists(cache_folder=tmp_path)) == plain
    assert path.stat().st_size == len(data)


def test_another_version_is_not_read_and_goes_when_a_new_one_is_written(tmp_path: Path) -> None:
    answers(WarningLists(cache_folder=tmp_path))
    (path,) = files(tmp_path)
    assert warningfile.read(tmp_path, "other") is None
    old = path.with_name(f"old-{warningfile.FORMAT}{warningfile.SUFFIX}")
    path.rename(old)
    assert warningfile.read(tmp_path, "old") is None, "the version stands in the file, too"
    answers(WarningLists(cache_folder=tmp_path))
    assert files(tmp_path) == [path]


def test_a_folder_that_cannot_be_written_to_is_done_without(tmp_path: Path, plain: list[object]) -> None:
    blocked = tmp_path / "file"
    blocked.write_bytes(b"")
    assert answers(WarningLists(cache_folder=blocked)) == plain
