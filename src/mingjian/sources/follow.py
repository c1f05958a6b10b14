"""Files that grow: what is new in them since the last look, whatever is done to them in between.

``Follower.poll`` looks at everything that is followed (with ``stat``; no notification of the kernel is needed, so
network file systems work too) and gives ranges of bytes to read, each ending with a whole line. What was taken is
told to it with ``took``; a range that was not taken comes again. It keeps no state on disk: where to begin in a file
that is new to it, it asks ``begin``, which knows by content what is in the store already.

A file is known by device and inode, so that a renamed one goes on where it was. What happens to files, and what
becomes of their lines:

- **Appended to**: every line once, when its line feed is there. A last line without one is given after
  ``LAST_LINE_S`` of quiet, or when the file has left; if the line goes on later, the rest is a line of its own.
- **Renamed, and begun anew** (logrotate's ``create``): every line once, also those written to the old file after that,
  as long as we look at least once before the renamed file is deleted. A rotation of a followed *file* is found by the
  usual names (``app.log.1``, ``app.log-20261121``), in a followed *folder* by any.
- **Copied and truncated** (``copytruncate``): noticed because the file became shorter, or what we know of its
  beginning and of the bytes before our place is not there any more. What was written after our last look and before
  the truncation is only in the copy; the copy is a new file, of which ``begin`` knows how much is stored, so nothing
  is lost if it is followed too. What is written between copying and truncating is lost by that kind of rotation
  itself. A file that is replaced by one with the same bytes in both places and at least the same length is taken for
  the old one.
- **Deleted**: read to its end if we had it open, else as far as we were.

Files that are no lines (``Start.by_lines`` false: compressed, EVTX, arrays) are given whole, when they have not
changed for ``SETTLED_S``, and again whenever they change.
"""

from __future__ import annotations

import os
import re
import stat
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final, Literal, TypeAlias

import msgspec

from mingjian.errors import InputError, LimitExceeded, StateError
from mingjian.model.blocks import Piece
from mingjian.telemetry import logger, with_fields

POLL_S_MIN: Final = 0.2
"""After something had grown, the next look may come this soon …"""
POLL_S_MAX: Final = 2.0
"""… and if nothing does, it comes no later than this."""
GUARD_BYTES: Final = 1024
"""So much of a file's beginning, and so much before our place in it, is compared to notice that it was replaced."""
RANGE_BYTES_MAX: Final = 32 * 1024 * 1024
"""So much of one file is given at a time; a line that is longer is cut there."""
SETTLED_S: Final = 2.0
"""A file that is no lines is read when it has not changed for this long."""
LAST_LINE_S: Final = 30.0
"""A last line without its end is taken for whole when the file has not changed for this long."""
LEAVE_S: Final = 60.0
"""A file that was renamed out of sight or deleted is read on until it has not changed for this long."""
FILES_MAX: Final = 100_000
"""So many files may be followed; more are left out, with a warning."""
OPEN_MAX: Final = 500
"""So many files are kept open, those that were read last. A file that is not open is opened again when it changes."""

Identity: TypeAlias = tuple[int, int]
"""Device and inode."""
Action: TypeAlias = Literal["read", "nothing", "replaced"]

_READ_BYTES: Final = 1024 * 1024
_BACK_BYTES: Final = 64 * 1024
_ROTATED = re.compile(r"[.-](?:[0-9]{1,4}|[0-9]{4}-?[0-9]{2}-?[0-9]{2}(?:[T_.-]?[0-9]{1,10})?)(?:\.(?:gz|zst|bz2|xz))?")

_log = logger("sources.follow")


class Known(msgspec.Struct, frozen=True):
    """What we know of the part of a file that was taken."""

    offset: int
    """Everything before it was taken."""
    head: bytes = b""
    """The first bytes, at most ``GUARD_BYTES``, none behind ``offset``."""
    tail: bytes = b""
    """The last bytes before ``offset``, at most ``GUARD_BYTES``."""


class Seen(msgspec.Struct, frozen=True):
    """What a look at the file shows."""

    size: int
    head: bytes
    """What stands now where ``Known.head`` stood."""
    tail: bytes
    """What stands now where ``Known.tail`` stood."""


def decide(known: Known, seen: Seen) -> Action:
    r"""Say what to do about a file that was looked at again. Pure.

    >>> decide(Known(4, b"one\n", b"one\n"), Seen(8, b"one\n", b"one\n"))
    'read'
    >>> decide(Known(4, b"one\n", b"one\n"), Seen(8, b"two\n", b"two\n"))
    'replaced'
    """
    if seen.size < known.offset or seen.head != known.head or seen.tail != known.tail:
        return "replaced"
    return "read" if seen.size > known.offset else "nothing"


class Start(msgspec.Struct, frozen=True):
    """Where to begin in a file, and how to read it."""

    offset: int = 0
    """A line start. Everything before it is in the store already."""
    by_lines: bool = True


class Opened:
    """A file that is new to the follower, open for reading: what ``begin`` judges by."""

    def __init__(self, path: str, handle: int, *, sibling: bool, at_start: bool) -> None:
        status = os.fstat(handle)
        self.path = path
        self.size_bytes = status.st_size
        self.modified_at_s = status.st_mtime
        self.sibling = sibling
        """Not asked for itself: it has the name of a rotated part of a file that was."""
        self.at_start = at_start
        """It was there at the first look. A sibling of then was not asked for, unless it is stored in part."""
        self._handle = handle

    def read(self, start: int, size: int) -> bytes:
        """Read some bytes; fewer only at the end. Raises: OSError."""
        return _pread(self._handle, start, size)


Begin: TypeAlias = Callable[[Opened], Start | None]
"""Says where to begin in a file that is new to the follower; None: leave it alone."""


class Grown(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes of a file that are to be read."""

    number: int
    """Of the file as long as it is followed; a replaced file gets another one."""
    path: str
    """As it is called now."""
    start: int
    end: int
    by_lines: bool
    modified_at_s: float
    ended: bool
    """The file is gone, and there will be no more of it."""


class _Tracked:
    """One file that is followed."""

    def __init__(self, number: int, path: str, identity: Identity, start: Start) -> None:
        self.number = number
        self.path = path
        self.identity = identity
        self.by_lines = start.by_lines
        self.known = Known(start.offset)
        self.handle = -1
        self.size = -1
        self.modified_ns = -1
        self.changed_at_s = 0.0
        self.is_new = True
        """Changed since the last look, or not taken yet."""
        self.taken: tuple[int, int] | None = None
        """Size and modification time of a whole file that was taken."""

    def close(self) -> None:
        """Give the file handle back; it is opened again when needed."""
        if self.handle >= 0:
            os.close(self.handle)
            self.handle = -1


class Follower:
    """Follows files and folders. Not shared between threads."""

    def __init__(self, paths: Sequence[str], begin: Begin) -> None:
        """Follow these paths; one that is not there yet is waited for. Nothing is looked at before ``poll``."""
        self._paths = [str(Path(path)) for path in paths]
        self._begin = begin
        self._tracked: dict[Identity, _Tracked] = {}
        self._ignored: set[Identity] = set()
        self._open: OrderedDict[int, _Tracked] = OrderedDict()
        self._numbers = 0
        self._looked = False
        self._warned = False
        self._read_tails: dict[int, tuple[int, bytes, bytes]] = {}

    def close(self) -> None:
        """Give all file handles back."""
        for tracked in self._tracked.values():
            tracked.close()

    def poll(self, now_s: float) -> list[Grown]:
        """Look at everything; give what is to be read, files that changed longest ago first.

        ``now_s`` is a clock that never goes back. What was given before and not taken is given again.
        """
        listed = self._listed()
        self._ignored &= listed.keys()
        grown: list[Grown] = []
        for identity, tracked in list(self._tracked.items()):
            there = listed.get(identity)
            if there is not None:
                tracked.path = there[0]
            found = self._look(tracked, now_s, gone=there is None)
            if found is not None:
                grown.append(found)
        for identity, (path, sibling) in listed.items():
            if identity not in self._tracked and identity not in self._ignored:
                found = self._first_look(identity, path, now_s, sibling=sibling)
                if found is not None:
                    grown.append(found)
        self._looked = True
        return sorted(grown, key=lambda each: each.modified_at_s)

    def chunks(self, grown: Grown) -> Iterator[bytes]:
        """Read a range that ``poll`` gave.

        Raises:
            StateError: the file became shorter meanwhile: take nothing of this range; the next look finds out why.
            InputError: it cannot be read.
        """
        tracked = self._by_number(grown.number)
        at = grown.start
        head, tail = b"", b""
        while at < grown.end:
            data = self._read(tracked, at, min(_READ_BYTES, grown.end - at))
            if not data:
                raise StateError("the file became shorter while it was read", where=grown.path)
            if at < GUARD_BYTES:
                head = (head + data)[:GUARD_BYTES]
            tail = (tail + data)[-GUARD_BYTES:]
            at += len(data)
            yield data
        self._read_tails[grown.number] = (grown.end, head, tail)

    def piece(self, grown: Grown, first_number: int) -> Piece:
        """What a reader of the file's format is asked to read."""
        return Piece(
            file=grown.path,
            chunks=self.chunks(grown),
            first_number=first_number,
            first_offset=grown.start,
            modified_at_s=grown.modified_at_s,
        )

    def took(self, grown: Grown) -> None:
        """A range is in the store: it will not be given again."""
        tracked = self._find(grown.number)
        if tracked is None:
            return
        if not grown.by_lines:
            tracked.taken = (tracked.size, tracked.modified_ns)
        else:
            tracked.known = self._known_after(tracked, grown)
        if grown.ended:
            self._forget(tracked)

    def _known_after(self, tracked: _Tracked, grown: Grown) -> Known:
        end, head, tail = self._read_tails.pop(grown.number, (-1, b"", b""))
        before = tracked.known
        if end != grown.end:
            # It was read in another way: what stands there now has to do.
            tail = self._read(tracked, max(0, grown.end - GUARD_BYTES), min(GUARD_BYTES, grown.end))
            head = self._read(tracked, grown.start, min(GUARD_BYTES, grown.end - grown.start))
        else:
            tail = (before.tail + tail)[-GUARD_BYTES:]
        # As long as there is room in it, the head that is known ends where the range begins.
        head = before.head if len(before.head) == GUARD_BYTES else before.head + head
        return Known(grown.end, head[:GUARD_BYTES], tail)

    # --- one look -------------------------------------------------------------------------------------------------

    def _listed(self) -> dict[Identity, tuple[str, bool]]:
        """Every file that is to be followed, with its name, and whether it is only a sibling."""
        listed: dict[Identity, tuple[str, bool]] = {}
        for path in self._paths:
            found = _below(path) if Path(path).is_dir() else _rotated(path)
            for name, sibling in found:
                try:
                    status = Path(name).stat()
                except OSError:
                    continue
                identity = (status.st_dev, status.st_ino)
                if not stat.S_ISREG(status.st_mode) or (identity in listed and sibling):
                    continue
                if len(listed) >= FILES_MAX and identity not in listed:
                    if not self._warned:
                        self._warned = True
                        error = LimitExceeded("FILES_MAX", FILES_MAX)
                        _log.warning("files are left out", extra=with_fields(error=str(error)))
                    return listed
                listed[identity] = (name, sibling)
        return listed

    def _first_look(self, identity: Identity, path: str, now_s: float, *, sibling: bool) -> Grown | None:
        try:
            handle = _open(path)
        except OSError as error:
            self._ignored.add(identity)
            _log.warning("a file cannot be followed", extra=with_fields(path=path, error=error.strerror))
            return None
        status = os.fstat(handle)
        if (status.st_dev, status.st_ino) != identity or not status.st_size:
            # Another file by now, or nothing to judge it by: the next look will tell.
            os.close(handle)
            return None
        try:
            start = self._begin(Opened(path, handle, sibling=sibling, at_start=not self._looked))
        except BaseException:
            os.close(handle)
            raise
        if start is None:
            os.close(handle)
            self._ignored.add(identity)
            return None
        self._numbers += 1
        tracked = self._tracked[identity] = _Tracked(self._numbers, path, identity, start)
        if start.offset:
            head = _pread(handle, 0, min(GUARD_BYTES, start.offset))
            at = max(0, start.offset - GUARD_BYTES)
            tracked.known = Known(start.offset, head, _pread(handle, at, start.offset - at))
        self._keep_open(tracked, handle)
        tracked.changed_at_s = now_s
        return self._look(tracked, now_s, gone=False)

    def _look(self, tracked: _Tracked, now_s: float, *, gone: bool) -> Grown | None:
        """Look at one file; give what is new in it."""
        try:
            status = os.fstat(tracked.handle) if tracked.handle >= 0 else Path(tracked.path).stat()
            if (status.st_dev, status.st_ino) != tracked.identity:
                raise FileNotFoundError
        except OSError:
            self._forget(tracked)
            return None
        if (status.st_size, status.st_mtime_ns) != (tracked.size, tracked.modified_ns):
            tracked.changed_at_s = now_s
            tracked.size, tracked.modified_ns = status.st_size, status.st_mtime_ns
            tracked.is_new = True
        quiet_s = now_s - tracked.changed_at_s
        leaves = gone and quiet_s >= LEAVE_S
        if tracked.is_new or leaves:
            try:
                found = self._grown(tracked, quiet_s, leaves=leaves)
            except (OSError, InputError) as error:
                _log.warning("a file cannot be read just now", extra=with_fields(path=tracked.path, error=str(error)))
                return None
            if found is not None:
                return found
        if leaves:
            self._forget(tracked)
        return None

    def _grown(self, tracked: _Tracked, quiet_s: float, *, leaves: bool) -> Grown | None:
        if not tracked.by_lines:
            return self._whole(tracked, quiet_s, leaves=leaves)
        known = tracked.known
        tail_at = known.offset - len(known.tail)
        seen = Seen(
            tracked.size, self._read(tracked, 0, len(known.head)), self._read(tracked, tail_at, len(known.tail))
        )
        action = decide(known, seen)
        if action == "replaced":
            # It is a new file under the old inode: the next look asks where to begin in it.
            self._forget(tracked)
            return None
        if action == "nothing":
            tracked.is_new = False
            return None
        end = self._end_of_lines(tracked, final=leaves or quiet_s >= LAST_LINE_S)
        return self._range(tracked, known.offset, end, ended=leaves) if end > known.offset else None

    def _whole(self, tracked: _Tracked, quiet_s: float, *, leaves: bool) -> Grown | None:
        if tracked.taken == (tracked.size, tracked.modified_ns):
            tracked.is_new = False
            return None
        return self._range(tracked, 0, tracked.size, ended=leaves) if quiet_s >= SETTLED_S or leaves else None

    def _range(self, tracked: _Tracked, start: int, end: int, *, ended: bool) -> Grown:
        return Grown(
            number=tracked.number,
            path=tracked.path,
            start=start,
            end=end,
            by_lines=tracked.by_lines,
            modified_at_s=tracked.modified_ns / 1_000_000_000,
            ended=ended and end == tracked.size,
        )

    def _end_of_lines(self, tracked: _Tracked, *, final: bool) -> int:
        """Behind the last line feed of what is new (at most ``RANGE_BYTES_MAX``), or the end of the file."""
        start = tracked.known.offset
        limit = min(tracked.size, start + RANGE_BYTES_MAX)
        if final and limit == tracked.size:
            return limit
        at = limit
        while at > start:
            step = max(start, at - _BACK_BYTES)
            found = self._read(tracked, step, at - step).rfind(b"\n")
            if found >= 0:
                return step + found + 1
            at = step
        # One line is longer than the range: cut it rather than never give it.
        return limit if limit - start == RANGE_BYTES_MAX else start

    # --- handles --------------------------------------------------------------------------------------------------

    def _read(self, tracked: _Tracked, start: int, size: int) -> bytes:
        """Read from a file, which is opened again if need be. Raises: InputError: it is not there or not readable."""
        if not size:
            return b""
        try:
            if tracked.handle < 0:
                handle = _open(tracked.path)
                status = os.fstat(handle)
                if (status.st_dev, status.st_ino) != tracked.identity:
                    os.close(handle)
                    raise InputError("the file was replaced", where=tracked.path)
                self._keep_open(tracked, handle)
            return _pread(tracked.handle, start, size)
        except OSError as error:
            raise InputError(f"cannot be read: {error.strerror}", where=tracked.path) from error

    def _keep_open(self, tracked: _Tracked, handle: int) -> None:
        """Note that a file is open and was used just now; close those that were not used for longest."""
        tracked.handle = handle
        self._open[tracked.number] = tracked
        self._open.move_to_end(tracked.number)
        while len(self._open) > OPEN_MAX:
            self._open.popitem(last=False)[1].close()

    def _forget(self, tracked: _Tracked) -> None:
        tracked.close()
        self._open.pop(tracked.number, None)
        self._tracked.pop(tracked.identity, None)
        self._read_tails.pop(tracked.number, None)

    def _find(self, number: int) -> _Tracked | None:
        return next((each for each in self._tracked.values() if each.number == number), None)

    def _by_number(self, number: int) -> _Tracked:
        found = self._find(number)
        if found is None:
            raise StateError("the file is not followed any more")
        return found


def _open(path: str) -> int:
    # A named pipe in the place of the file must not block us.
    return os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)


def _pread(handle: int, start: int, size: int) -> bytes:
    parts: list[bytes] = []
    while size and (data := os.pread(handle, size, start)):
        parts.append(data)
        start, size = start + len(data), size - len(data)
    return b"".join(parts)


def _below(folder: str) -> Iterator[tuple[str, bool]]:
    """Every file below a folder. Links to folders are not followed."""
    for place, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            yield os.path.join(place, name), False  # noqa: PTH118 - a Path for each of many files costs too much


def _rotated(path: str) -> Iterator[tuple[str, bool]]:
    """A file and, beside it, what a rotation has made of it: ``app.log.1``, ``app.log-20261121.gz``."""
    yield path, False
    wanted = Path(path)
    try:
        names = sorted(each.name for each in wanted.parent.iterdir())
    except OSError:
        return
    for name in names:
        if name.startswith(wanted.name) and _ROTATED.fullmatch(name, len(wanted.name)):
            yield str(wanted.parent / name), True
