"""The writing end of journals: what is acknowledged is on disk, and what the disk refuses is not acknowledged."""

import asyncio
import errno
import os
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from mingjian.errors import LimitExceeded, SchemaError, StorageError
from mingjian.sources import journal as journal_module
from mingjian.sources.journal import Journals, Run, Target, digest_of, lines_of
from mingjian.sources.journalfiles import JournalFile, chunks, damage, frames, journals, received

TARGET = Target("http/app", "ours", "text")
OTHER = Target("syslog", "ours", "syslog")


def run(text: bytes, key: bytes = bytes(16), address: str = "192.0.2.1", port: int = 514) -> Run:
    return Run(lines=text, records=text.count(b"\n"), received_us=1, address=address, port=port, key=key)


def working(folder: Path, work: Callable[[Journals], Coroutine[Any, Any, None]], **clock: Callable[[], int]) -> None:
    """Do something with journals, within ten seconds."""

    async def main() -> None:
        async with asyncio.timeout(10):
            async with Journals(folder, **clock) as opened:
                await work(opened)

    asyncio.run(main())


def kept(folder: Path, target: Target = TARGET) -> bytes:
    """The lines of all journals of a target, in order."""
    found = [each for each in journals(folder) if (each.listener, each.format) == (target.listener, target.format)]
    assert [damage(each) for each in found] == [[] for _ in found]
    return b"".join(part for each in found for part in chunks(each))


def test_what_was_appended_is_on_disk_when_append_comes_back(tmp_path: Path) -> None:
    async def work(opened: Journals) -> None:
        assert await opened.append(TARGET, run(b"one\ntwo\n")) == "kept"
        assert kept(tmp_path) == b"one\ntwo\n"
        assert [each.sealed for each in journals(tmp_path)] == [False]

    working(tmp_path, work)
    assert [each.sealed for each in journals(tmp_path)] == [True]


def test_lines_are_synced_before_their_frames_and_both_before_the_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    fdatasync, pwrite = os.fdatasync, os.pwrite

    def name(handle: int) -> str:
        return Path(f"/proc/self/fd/{handle}").readlink().suffix

    def syncing(handle: int) -> None:
        calls.append(f"sync {name(handle)}")
        fdatasync(handle)

    def writing(handle: int, data: bytes, offset: int) -> int:
        calls.append(f"write {name(handle)}")
        return pwrite(handle, data, offset)

    async def work(opened: Journals) -> None:
        await opened.append(TARGET, run(b"one\n"))
        monkeypatch.setattr(os, "fdatasync", syncing)
        monkeypatch.setattr(os, "pwrite", writing)
        await opened.append(TARGET, run(b"two\n"))
        assert calls == ["write .log", "sync .log", "write .frames", "sync .frames"]

    working(tmp_path, work)


def test_many_that_wait_are_synced_together(tmp_path: Path) -> None:
    async def work(opened: Journals) -> None:
        await asyncio.gather(*(opened.append(TARGET, run(b"%d\n" % number)) for number in range(500)))

    working(tmp_path, work)
    assert sorted(kept(tmp_path).split()) == sorted(b"%d" % number for number in range(500))
    # One sender, so each write is one frame; the last frame is the seal.
    assert len(list(frames(journals(tmp_path)[0]))) <= 5


def test_neighbours_from_one_sender_share_a_frame_and_others_do_not(tmp_path: Path) -> None:
    async def work(opened: Journals) -> None:
        for text, address in ((b"a\n", "192.0.2.1"), (b"b\n", "192.0.2.1"), (b"c\n", "192.0.2.2")):
            assert opened.offer(OTHER, run(text, address=address))
        await opened.settled(OTHER)

    working(tmp_path, work)
    (journal,) = journals(tmp_path)
    assert [(frame.records, frame.address) for frame in frames(journal) if frame] == [
        (2, "192.0.2.1"),
        (1, "192.0.2.2"),
        (0, "::"),
    ]
    found = received(journal, journal.first_offset + 4)
    assert found is not None
    assert found.address == "192.0.2.2"


def test_a_repeated_run_is_kept_once_also_after_a_restart(tmp_path: Path) -> None:
    key = digest_of("client", "1")

    async def first(opened: Journals) -> None:
        together = await asyncio.gather(*(opened.append(TARGET, run(b"one\n", key)) for _ in range(3)))
        assert sorted(together) == ["kept", "repeated", "repeated"]
        assert await opened.append(TARGET, run(b"one\n", key)) == "repeated"
        assert await opened.append(OTHER, run(b"one\n", key)) == "kept"

    async def second(opened: Journals) -> None:
        assert await opened.append(TARGET, run(b"one\n", key)) == "repeated"
        with pytest.raises(SchemaError):
            await opened.append(TARGET, run(b"other\n", key))
        assert await opened.append(TARGET, run(b"one\n", digest_of("client", "2"))) == "kept"

    working(tmp_path, first, clock_us=lambda: 1)
    working(tmp_path, second, clock_us=lambda: 2)
    assert kept(tmp_path) == b"one\none\n"


def test_content_is_remembered_for_minutes_and_a_stated_key_for_a_day(tmp_path: Path) -> None:
    now = [0]

    async def work(opened: Journals) -> None:
        for of_client, seconds in (
            (False, journal_module.CONTENT_KEYS_S),
            (True, journal_module.CLIENT_KEYS_S),
        ):
            key = digest_of(str(of_client))

            def again(key: bytes = key, of_client: bool = of_client) -> Run:
                return Run(
                    lines=b"x\n", records=1, received_us=now[0], address="::1", port=1, key=key, key_of_client=of_client
                )

            assert await opened.append(TARGET, again()) == "kept"
            now[0] += seconds * 1_000_000
            assert await opened.append(TARGET, again()) == "repeated"
            now[0] += 1
            assert await opened.append(TARGET, again()) == "kept"

    working(tmp_path, work, clock_us=lambda: now[0])


def test_whoever_goes_away_while_waiting_is_kept_and_found_again(tmp_path: Path) -> None:
    async def work(opened: Journals) -> None:
        waiting = asyncio.ensure_future(opened.append(TARGET, run(b"one\n", digest_of("1"))))
        await asyncio.sleep(0)
        waiting.cancel()
        assert await opened.append(TARGET, run(b"one\n", digest_of("1"))) == "repeated"

    working(tmp_path, work)
    assert kept(tmp_path) == b"one\n"


def test_a_journal_is_rolled_by_size_and_by_age(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_module, "ROLL_BYTES", 300)
    now = [0]

    async def work(opened: Journals) -> None:
        await opened.append(TARGET, run(b"x" * 299 + b"\n"))
        await opened.append(TARGET, run(b"y\n"))
        now[0] += journal_module.ROLL_S * 1_000_000
        await opened.append(TARGET, run(b"z\n"))
        await opened.append(TARGET, run(b"a\n"))

    working(tmp_path, work, clock_us=lambda: now[0])
    assert len(journals(tmp_path)) == 3
    assert kept(tmp_path) == b"x" * 299 + b"\ny\nz\na\n"


def refusing(monkeypatch: pytest.MonkeyPatch, reason: int = errno.ENOSPC) -> list[bool]:
    """Make the disk refuse writes as long as the list says so."""
    full = [True]
    pwrite = os.pwrite

    def write(handle: int, data: bytes, offset: int) -> int:
        if full[0]:
            pwrite(handle, data[: len(data) // 2], offset)
            raise OSError(reason, os.strerror(reason))
        return pwrite(handle, data, offset)

    monkeypatch.setattr(os, "pwrite", write)
    return full


def test_a_full_disk_is_told_to_who_waits_and_work_goes_on_when_there_is_space(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_module, "RETRY_S_MIN", 0.01)
    monkeypatch.setattr(journal_module, "RETRY_S_MAX", 0.01)

    async def work(opened: Journals) -> None:
        await opened.append(TARGET, run(b"before\n"))
        full = refusing(monkeypatch)
        assert opened.offer(OTHER, run(b"udp one\n"))
        with pytest.raises(StorageError, match="No space left"):
            await opened.append(TARGET, run(b"refused\n", digest_of("1")))
        assert opened.trouble is not None
        with pytest.raises(StorageError):
            await opened.append(TARGET, run(b"refused\n", digest_of("1")))
        assert opened.offer(OTHER, run(b"udp two\n"))
        full[0] = False
        await opened.settled(OTHER)
        await opened.append(TARGET, run(b"after\n"))
        assert opened.trouble is None
        assert await opened.append(TARGET, run(b"refused\n", digest_of("1"))) == "kept"

    working(tmp_path, work)
    assert kept(tmp_path) == b"before\nafter\nrefused\n"
    # The file in which a write failed is not trusted with anything any more.
    held = [b"".join(chunks(each)) for each in journals(tmp_path) if each.listener == TARGET.listener]
    assert held == [b"before\n", b"after\nrefused\n"]
    assert kept(tmp_path, OTHER) == b"udp one\nudp two\n"


def test_what_could_not_be_kept_at_the_end_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []

    async def work(made: Journals) -> None:
        opened.append(made)
        refusing(monkeypatch)
        made.offer(OTHER, run(b"one\ntwo\n"))

    working(tmp_path, work)
    assert opened[0].counters.values()["lost_at_end"] == 2


def test_more_than_may_wait_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_module, "PENDING_BYTES_MAX", 10)

    async def work(opened: Journals) -> None:
        assert opened.offer(OTHER, run(b"123456789\n" * 5))
        assert not opened.offer(OTHER, run(b"1\n"))
        with pytest.raises(LimitExceeded, match="PENDING_BYTES_MAX"):
            await opened.append(TARGET, run(b"1\n"))
        await opened.put(OTHER, run(b"2\n"))

    working(tmp_path, work)
    assert kept(tmp_path, OTHER) == b"123456789\n" * 5 + b"2\n"


def test_more_journals_than_may_be_open_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_module, "JOURNALS_OPEN_MAX", 1)

    async def work(opened: Journals) -> None:
        await opened.append(TARGET, run(b"1\n"))
        with pytest.raises(LimitExceeded, match="JOURNALS_OPEN_MAX"):
            await opened.append(OTHER, run(b"1\n"))

    working(tmp_path, work)


CHANGING = ("open", "pwrite", "fdatasync", "fsync", "ftruncate")


class FailingCalls:
    """Fails one of the calls that change the disk: the one with this number."""

    def __init__(self, patch: pytest.MonkeyPatch, number: int) -> None:
        self.count = 0
        self.number = number
        for name in CHANGING:
            patch.setattr(os, name, self.wrapped(getattr(os, name)))

    def wrapped(self, call: Callable[..., int]) -> Callable[..., int]:
        def calling(*arguments: object) -> int:
            if self.number == self.count:
                self.count += 1
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            self.count += 1
            return call(*arguments)

        return calling


def test_whichever_call_fails_nothing_acknowledged_is_lost_or_doubled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_module, "RETRY_S_MIN", 0.001)
    monkeypatch.setattr(journal_module, "RETRY_S_MAX", 0.001)
    number, calls = 0, 1
    while number < calls:
        folder = tmp_path / str(number)
        folder.mkdir()
        with monkeypatch.context() as patch:
            failing = FailingCalls(patch, number)
            asyncio.run(scenario(folder))
            calls = failing.count
        texts = [kept(folder), kept(folder, OTHER)]
        assert texts == [b"a\nb\nc\n", b"d\ne\n"], number
        assert all(each.sealed or number >= calls - 6 for each in journals(folder)), number
        number += 1
    assert number > 20


async def scenario(folder: Path) -> None:
    """Two journals; whoever is refused sends again with the same key, as a client does."""
    async with asyncio.timeout(10):
        while True:
            try:
                async with Journals(folder) as opened:
                    for text in (b"a\n", b"b\n", b"c\n"):
                        await until_kept(opened, text)
                    opened.offer(OTHER, run(b"d\n"))
                    opened.offer(OTHER, run(b"e\n"))
                    await opened.settled(OTHER)
                return
            except StorageError:
                continue


async def until_kept(opened: Journals, text: bytes) -> None:
    while True:
        try:
            await opened.append(TARGET, run(text, digest_of(text)))
        except StorageError:
            await asyncio.sleep(0.001)
        else:
            return


@pytest.mark.parametrize(
    ("messages", "lines", "count"),
    [
        ([b"a", b"b\r\n", b"c\0"], b"a\nb\nc\n", 3),
        ([b"", b"\n", b"\0\0"], b"", 0),
        ([b"a\n\nb"], b"a#012#012b\n", 1),
        ([b" "], b" \n", 1),
    ],
)
def test_messages_become_one_line_each(messages: list[bytes], lines: bytes, count: int) -> None:
    assert lines_of(messages) == (lines, count)


def test_no_two_lists_of_parts_have_the_same_digest() -> None:
    assert len({digest_of("ab", "c"), digest_of("a", "bc"), digest_of("abc"), digest_of("abc", "")}) == 4


def an_open_journal(folder: Path) -> JournalFile:
    (found,) = journals(folder)
    return found


def test_a_journal_that_is_being_written_is_not_recovered_by_somebody_else(tmp_path: Path) -> None:
    async def work(opened: Journals) -> None:
        await opened.append(TARGET, run(b"one\n"))
        async with Journals(tmp_path):
            assert not an_open_journal(tmp_path).sealed
        await opened.append(TARGET, run(b"two\n"))

    working(tmp_path, work)
    assert kept(tmp_path) == b"one\ntwo\n"
