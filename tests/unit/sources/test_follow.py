"""Files that grow, and what is done to them in between."""

import os
from pathlib import Path

import pytest

from mingjian.errors import StateError
from mingjian.sources import follow
from mingjian.sources.follow import Follower, Grown, Known, Opened, Seen, Start, decide


def from_the_start(opened: Opened) -> Start:
    return Start()


def take(follower: Follower, now_s: float = 0.0) -> bytes:
    """Look once, take everything, and give it."""
    taken = b""
    for grown in follower.poll(now_s):
        taken += b"".join(follower.chunks(grown))
        follower.took(grown)
    return taken


@pytest.mark.parametrize(
    ("seen", "action"),
    [
        (Seen(4, b"one\n", b"one\n"), "nothing"),
        (Seen(5, b"one\n", b"one\n"), "read"),
        (Seen(3, b"one", b"one"), "replaced"),
        (Seen(4, b"two\n", b"two\n"), "replaced"),
        (Seen(9, b"one\n", b"oth\n"), "replaced"),
    ],
)
def test_what_to_do_follows_from_what_was_taken_and_what_is_seen(seen: Seen, action: str) -> None:
    assert decide(Known(4, b"one\n", b"one\n"), seen) == action


def test_only_whole_lines_are_given_and_each_once(tmp_path: Path) -> None:
    log = tmp_path / "app.log"
    log.write_bytes(b"one\ntw")
    follower = Follower([str(log)], from_the_start)
    assert take(follower) == b"one\n"
    assert take(follower) == b""
    with log.open("ab") as file:
        file.write(b"o\nthree\n")
    assert take(follower) == b"two\nthree\n"
    assert take(follower) == b""


def test_a_last_line_without_end_is_given_after_a_while_of_quiet(tmp_path: Path) -> None:
    log = tmp_path / "app.log"
    log.write_bytes(b"one\ntwo")
    follower = Follower([str(log)], from_the_start)
    assert take(follower, 0) == b"one\n"
    assert take(follower, follow.LAST_LINE_S - 1) == b""
    assert take(follower, follow.LAST_LINE_S) == b"two"
    assert take(follower, 2 * follow.LAST_LINE_S) == b""


def test_what_was_not_taken_is_given_again(tmp_path: Path) -> None:
    log = tmp_path / "app.log"
    log.write_bytes(b"one\n")
    follower = Follower([str(log)], from_the_start)
    (first,) = follower.poll(0)
    (again,) = follower.poll(1)
    assert (first.start, first.end) == (again.start, again.end) == (0, 4)


def test_a_renamed_file_goes_on_where_it_was(tmp_path: Path) -> None:
    log = tmp_path / "app.log"
    log.write_bytes(b"one\n")
    follower = Follower([str(log)], from_the_start)
    assert take(follower) == b"one\n"
    with log.open("ab") as late:
        log.rename(tmp_path / "app.log.1")
        log.write_bytes(b"three\n")
        late.write(b"two\n")
        late.flush()
        assert sorted(take(follower).splitlines()) == [b"three", b"two"]
        late.write(b"last")
    assert take(follower, 1) == b""
    assert take(follower, 1 + follow.LAST_LINE_S) == b"last"


def test_two_rotations_between_two_looks_lose_nothing(tmp_path: Path) -> None:
    log = tmp_path / "app.log"
    log.write_bytes(b"1\n")
    follower = Follower([str(log)], from_the_start)
    assert take(follower) == b"1\n"
    log.rename(tmp_path / "app.log.2")
    log.write_bytes(b"2\n")
    log.rename(tmp_path / "app.log.1")
    log.write_bytes(b"3\n")
    assert sorted(take(follower)) == sorted(b"2\n3\n")


def test_a_file_that_was_renamed_out_of_sight_is_read_to_its_end(tmp_path: Path) -> None:
    folder = tmp_path / "logs"
    folder.mkdir()
    log = folder / "app.log"
    log.write_bytes(b"one\n")
    follower = Follower([str(folder)], from_the_start)
    assert take(follower) == b"one\n"
    with log.open("ab") as late:
        log.rename(tmp_path / "elsewhere")
        late.write(b"two\nthree")
    assert take(follower, 1) == b"two\n"
    (last,) = follower.poll(1 + follow.LEAVE_S)
    assert (last.ended, b"".join(follower.chunks(last))) == (True, b"three")
    follower.took(last)
    assert follower.poll(2 + follow.LEAVE_S) == []


def test_a_truncated_file_begins_anew(tmp_path: Path) -> None:
    log = tmp_path / "app.log"
    log.write_bytes(b"one\ntwo\n")
    follower = Follower([str(log)], from_the_start)
    assert take(follower) == b"one\ntwo\n"
    os.truncate(log, 0)
    assert take(follower) == b""
    log.write_bytes(b"three\n")
    assert take(follower) + take(follower) == b"three\n"


def test_a_file_that_grew_beyond_its_old_size_after_being_truncated_begins_anew(tmp_path: Path) -> None:
    log = tmp_path / "app.log"
    log.write_bytes(b"one\n")
    follower = Follower([str(log)], from_the_start)
    assert take(follower) == b"one\n"
    log.write_bytes(b"quite another\nlonger\n")  # the same inode
    assert take(follower) + take(follower) == b"quite another\nlonger\n"


@pytest.mark.parametrize("place", [0, 3, 2 * follow.GUARD_BYTES])
def test_a_change_in_the_beginning_or_right_before_our_place_is_noticed(tmp_path: Path, place: int) -> None:
    log = tmp_path / "app.log"
    content = bytearray(b"a\nb\n" + b"x" * 2 * follow.GUARD_BYTES + b"\n")
    log.write_bytes(content[:2])
    follower = Follower([str(log)], from_the_start)
    assert take(follower) == b"a\n"
    log.write_bytes(content)
    assert take(follower) == content[2:]
    content[place] ^= 1
    log.write_bytes(content)
    assert take(follower) + take(follower) == content


def test_a_file_replaced_while_it_is_read_is_not_taken_for_the_old_one(tmp_path: Path) -> None:
    log = tmp_path / "app.log"
    log.write_bytes(b"one\n")
    follower = Follower([str(log)], from_the_start)
    (grown,) = follower.poll(0)
    assert b"".join(follower.chunks(grown)) == b"one\n"
    log.write_bytes(b"two\nthree\n")
    follower.took(grown)
    assert take(follower, 1) + take(follower, 2) == b"two\nthree\n"


def test_a_file_that_shrinks_while_it_is_read_is_an_error(tmp_path: Path) -> None:
    log = tmp_path / "app.log"
    log.write_bytes(b"one\n")
    follower = Follower([str(log)], from_the_start)
    (grown,) = follower.poll(0)
    os.truncate(log, 0)
    with pytest.raises(StateError):
        b"".join(follower.chunks(grown))


def test_where_to_begin_is_asked_and_siblings_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "app.log").write_bytes(b"three\nfour\n")
    (tmp_path / "app.log.1").write_bytes(b"one\ntwo\n")
    (tmp_path / "app.log.bak").write_bytes(b"not a rotation\n")
    asked: list[tuple[str, bool, bool, bytes]] = []

    def begin(opened: Opened) -> Start | None:
        asked.append((Path(opened.path).name, opened.sibling, opened.at_start, opened.read(0, 3)))
        return None if opened.sibling else Start(6)

    follower = Follower([str(tmp_path / "app.log")], begin)
    assert take(follower) == b"four\n"
    assert sorted(asked) == [("app.log", False, True, b"thr"), ("app.log.1", True, True, b"one")]
    (tmp_path / "app.log-20261121.gz").write_bytes(b"\x1f\x8b")
    assert take(follower) == b""
    assert asked[2] == ("app.log-20261121.gz", True, False, b"\x1f\x8b")


def test_a_file_that_is_no_lines_comes_whole_when_it_has_settled(tmp_path: Path) -> None:
    file = tmp_path / "Security.evtx"
    file.write_bytes(b"half")
    follower = Follower([str(tmp_path)], lambda opened: Start(by_lines=False))
    assert follower.poll(0) == []
    file.write_bytes(b"whole!")
    assert follower.poll(1.5) == []
    assert follower.poll(2) == []
    assert take(follower, 1.5 + follow.SETTLED_S) == b"whole!"
    assert follower.poll(100) == []
    file.write_bytes(b"whole! and more")
    assert follower.poll(101) == []
    assert take(follower, 101 + follow.SETTLED_S) == b"whole! and more"


def test_a_path_that_is_not_there_yet_is_waited_for(tmp_path: Path) -> None:
    log = tmp_path / "app.log"
    follower = Follower([str(log)], from_the_start)
    assert take(follower) == b""
    log.write_bytes(b"")
    assert take(follower) == b""
    log.write_bytes(b"one\n")
    assert take(follower) == b"one\n"


def test_pipes_and_folders_are_left_alone(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a.log").write_bytes(b"one\n")
    assert take(Follower([str(tmp_path)], from_the_start)) == b"one\n"


def test_more_files_than_may_be_open_are_all_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follow, "OPEN_MAX", 3)
    for number in range(10):
        (tmp_path / f"{number}.log").write_bytes(b"%d\n" % number)
    follower = Follower([str(tmp_path)], from_the_start)
    assert len(take(follower, 0)) == 20
    for number in range(10):
        with (tmp_path / f"{number}.log").open("ab") as file:
            file.write(b"%d\n" % (9 - number))
    assert sorted(take(follower, 1).split()) == sorted(b"%d" % number for number in range(10))
    assert sum(handle.startswith(str(tmp_path)) for handle in open_files()) <= 3
    follower.close()


def open_files() -> list[str]:
    found: list[str] = []
    for entry in Path("/proc/self/fd").iterdir():
        try:
            found.append(str(entry.readlink()))
        except FileNotFoundError:
            continue
    return found


def test_a_line_longer_than_a_range_is_cut_and_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follow, "RANGE_BYTES_MAX", 8)
    log = tmp_path / "app.log"
    log.write_bytes(b"0123456789\nab\n")
    follower = Follower([str(log)], from_the_start)
    ranges: list[Grown] = []
    for now in range(4):
        for grown in follower.poll(now):
            ranges.append(grown)
            assert list(follower.chunks(grown))
            follower.took(grown)
    assert [(grown.start, grown.end) for grown in ranges] == [(0, 8), (8, 14)]


def test_files_come_in_the_order_in_which_they_changed_last(tmp_path: Path) -> None:
    for name, at in (("a.log", 300), ("b.log", 100), ("c.log", 200)):
        (tmp_path / name).write_bytes(b"x\n")
        os.utime(tmp_path / name, (at, at))
    follower = Follower([str(tmp_path)], from_the_start)
    assert [Path(grown.path).name for grown in follower.poll(0)] == ["b.log", "c.log", "a.log"]
