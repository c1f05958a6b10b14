"""Whatever is done to files between two looks: each line comes once."""

import re
import shutil
import tempfile
from collections import Counter
from pathlib import Path

from hypothesis import settings, strategies
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from msgspec.structs import replace

from mingjian.sources.follow import LEAVE_S, Follower, Opened, Start

NAMES = ("app.log", "app.log.1", "app.log.2", "app.log.3")


class Store:
    """What was taken, known by content alone, as the real store knows it."""

    def __init__(self) -> None:
        self.output: list[bytes] = []
        self.contents: list[bytes] = []

    def begin(self, opened: Opened) -> Start:
        content = opened.read(0, opened.size_bytes)
        known = max((len(each) for each in self.contents if content.startswith(each)), default=0)
        return Start(known)

    def take(self, follower: Follower, now_s: float) -> None:
        for grown in follower.poll(now_s):
            before = b"".join(follower.chunks(replace(grown, start=0, end=grown.start)))
            data = b"".join(follower.chunks(grown))
            self.output.append(data)
            self.contents.append(before + data)
            follower.took(grown)


class Files(RuleBasedStateMachine):
    """A writer and a rotating program on one side, a follower that looks now and then on the other."""

    @initialize(whole_folder=strategies.booleans())
    def begin(self, whole_folder: bool) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.count = 0
        self.now_s = 0.0
        self.written: list[bytes] = []
        self.may_be_lost: set[bytes] = set()
        self.marks: dict[str, list[bytes]] = {}
        self.open: set[str] = set()
        self.store = Store()
        self.whole_folder = whole_folder
        self.follower = self.new_follower()

    def new_follower(self) -> Follower:
        return Follower([str(self.folder if self.whole_folder else self.folder / NAMES[0])], self.store.begin)

    @rule(ended=strategies.booleans(), old=strategies.booleans(), size=strategies.integers(0, 40))
    def write(self, ended: bool, old: bool, size: int) -> None:
        """Write to the current file, or to the one that was renamed last."""
        name = NAMES[1] if old and (self.folder / NAMES[1]).exists() else NAMES[0]
        mark = b"<%d>" % self.count
        self.count += 1
        with (self.folder / name).open("ab") as file:
            file.write(mark + b"x" * size + (b"\n" if ended else b""))
        self.written.append(mark)
        self.marks.setdefault(name, []).append(mark)

    def forget(self, name: str) -> None:
        """A file is deleted: what was not taken of it is readable by a handle, or not at all."""
        marks = self.marks.pop(name, [])
        if name not in self.open:
            output = b"".join(self.store.output)
            self.may_be_lost.update(mark for mark in marks if mark not in output)
        self.open.discard(name)

    def move(self, old: str, new: str) -> None:
        self.marks[new] = self.marks.pop(old, [])
        if old in self.open:
            self.open.discard(old)
            self.open.add(new)

    @rule()
    def rename(self) -> None:
        """Rotate by renaming; the oldest file is deleted."""
        if (self.folder / NAMES[-1]).exists():
            self.forget(NAMES[-1])
        for older, newer in zip(reversed(NAMES), list(reversed(NAMES))[1:], strict=False):
            if (self.folder / newer).exists():
                (self.folder / newer).rename(self.folder / older)
                self.move(newer, older)

    @precondition(lambda self: (self.folder / NAMES[0]).exists())
    @rule()
    def copy_and_truncate(self) -> None:
        """Rotate by copying; nothing is written in between."""
        current, copy = self.folder / NAMES[0], self.folder / NAMES[1]
        content = current.read_bytes()
        if copy.exists():
            self.forget(NAMES[1])
            copy.unlink()
        shutil.copy(current, copy)
        self.marks[NAMES[1]] = self.marks.pop(NAMES[0], [])
        with current.open("r+b") as file:
            file.truncate(0)
        assert copy.read_bytes() == content

    @rule(after_s=strategies.sampled_from([0.1, 1.0, 40.0, 100.0]))
    def look(self, after_s: float) -> None:
        self.now_s += after_s
        self.store.take(self.follower, self.now_s)
        self.open = {name for name in NAMES if (self.folder / name).exists() and (self.folder / name).stat().st_size}

    @rule()
    def restart(self) -> None:
        """The process ends and begins again; the store is all that it remembers."""
        # What was deleted was readable only by the handles that the old process had.
        output = b"".join(self.store.output)
        there = {mark for marks in self.marks.values() for mark in marks}
        self.may_be_lost.update(mark for mark in self.written if mark not in there and mark not in output)
        self.open.clear()
        self.follower.close()
        self.follower = self.new_follower()

    def teardown(self) -> None:
        if not hasattr(self, "folder"):
            return
        for _ in range(4):
            self.now_s += LEAVE_S + 1
            self.store.take(self.follower, self.now_s)
        self.follower.close()
        found = Counter(re.findall(rb"<[0-9]+>", b"".join(self.store.output)))
        shutil.rmtree(self.folder)
        assert [mark for mark, times in found.items() if times > 1] == []
        assert [mark for mark in self.written if mark not in found and mark not in self.may_be_lost] == []


TestFiles = Files.TestCase
TestFiles.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
