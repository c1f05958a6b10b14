"""The index of a workspace: what ingest adds to it, what a question opens, and the merging that keeps it quick.

**Adding.** A commit of events has a table of its observations (``delta`` says what is in it). ``record`` makes a file
of them that is on the disk when it returns, in whatever process; it counts from the moment at which the transaction
of the events commits its name::

    file = record(workspace, scope, organisation, observations)
    extras = [with_index_file(file)] if file else []
    commit_batch(workspace, scope, Batch(organisation=organisation, segments=segments), extras)

What is written and never committed is removed by ``tidy``, which belongs to the start of whatever writes.

**Asking.** ``open_index`` opens what counts now for the organisations of a scope. It stays as it is, whatever is
committed, merged or removed meanwhile; opening it again with the ``previous`` one costs next to nothing.

**Merging.** Files are merged by size (``merging``), so that there are few of them however long the history.
``Upkeep.step`` does a little of it at a time, ``in_background`` calls it from a thread that gives way to the others. A
merge that small files outrun is put off for them, so that their number stays small too. One transaction puts the new
file in the place of the old ones; a merge that was interrupted is gone on with. Memory: some portions of each file
that is merged, which are at most ``merging.MERGE_FILES_MAX``.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from typing import Final

import pyarrow as pa

from mingjian.errors import LimitExceeded, MingjianError, StateError, StorageError
from mingjian.store.indexfiles import live_index_files, replace_index_files, segments_replaced
from mingjian.store.scope import OrganisationId, Scope
from mingjian.store.sightings.blocks import damaged
from mingjian.store.sightings.checking import Difference, differences, rebuilt, with_gone
from mingjian.store.sightings.delta import write_delta
from mingjian.store.sightings.disk import DiskFolder
from mingjian.store.sightings.index import SightingsIndex
from mingjian.store.sightings.layout import IndexFile
from mingjian.store.sightings.merging import (
    FindReplaced,
    Merge,
    Replaced,
    followed,
    plan,
    remove_strays,
    size_class,
    unfinished,
)
from mingjian.store.workspace import Workspace

OPENING_ATTEMPTS_MAX: Final = 10
"""So often the list of files is read anew if one was merged away before it could be opened."""
REMEMBERED_MAX: Final = 10_000
"""What became of more segments than that is not remembered one by one."""
KEPT_BYTES_MAX: Final = 64 * 1024 * 1024
"""When about so much of an index that is kept open is in memory, it is read anew."""
KEPT_S: Final = 60.0
"""An index that nobody asks is kept open for so long."""
REPLACED_KEPT_MAX: Final = 1 << 18
"""So many segments an open index remembers to have looked up."""
RETRY_S: Final = 600
"""Files that could not be merged are left alone for so long."""
IDLE_S: Final = 1.0
"""The thread in the background looks so often whether there is something to merge."""
NICENESS: Final = 10
"""Of the thread in the background: what else the machine has to do goes first."""


def record(
    workspace: Workspace, scope: Scope, organisation: OrganisationId, observations: pa.Table
) -> IndexFile | None:
    """Make a file of the observations of one commit, durably; None if there is nothing in them.

    It does not count before ``indexfiles.with_index_file`` has committed it together with the events.

    Raises:
        NotFound, NotPermitted: the scope does not reach the organisation.
        SchemaError: the table is not as ``delta`` says.
        LimitExceeded: too much for one commit: make several.
        StorageError: it could not be kept.
    """
    scope.check_write(organisation)
    return write_delta(DiskFolder(workspace.sightings), observations, organisation)


def open_index(workspace: Workspace, scope: Scope, *, previous: SightingsIndex | None = None) -> SightingsIndex:
    """Open what counts now, for the organisations that the scope may read.

    Files that ``previous`` has open are not opened again. Segments in answers are those that had the events when the
    index was first asked about them.

    Raises:
        StorageError: a file is missing or damaged.
        StateError: a file was written by another version.
    """
    folder = DiskFolder(workspace.sightings)
    for _ in range(OPENING_ATTEMPTS_MAX):
        files = live_index_files(workspace)
        names = [file.name for file in files]
        try:
            index = SightingsIndex.open(
                folder, names, replaced=_replaced(workspace), organisations=scope.readable(), previous=previous
            )
        except StorageError:
            # A file that was merged away since the list was read is in another one now.
            if set(names) <= set(_live(workspace)):
                raise
            continue
        for file, reader in zip(files, index.readers, strict=True):
            if reader.content_hash != file.content_hash:
                raise damaged("it is not the file that was committed", file.name)
        return index
    raise StorageError("the sightings index changes faster than it can be opened", where=str(workspace.sightings))


class KeptIndex:
    """The index of a workspace, open from one question to the next. For the threads of a process.

    What was read of its files and unpacked stays in memory, for other questions need much of it again.
    """

    def __init__(self, workspace: Workspace, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._workspace = workspace
        self._clock_s = clock_s
        self._mutex = threading.Lock()
        self._last: SightingsIndex | None = None
        self._asked_at_s = 0.0

    def open(self, scope: Scope) -> SightingsIndex:
        """What counts now, as ``open_index`` gives it. It is not to be closed: others may be using its files.

        Raises:
            StorageError, StateError: as ``open_index``.
        """
        with self._mutex:
            self._asked_at_s = self._clock_s()
            if self._last is not None and self._last.kept_bytes() > KEPT_BYTES_MAX:
                self._last.forget()
            self._last = open_index(self._workspace, scope, previous=self._last)
            return self._last

    def tidy(self) -> None:
        """Let go of files that nobody has asked for a while: those that were merged away take up room until then."""
        with self._mutex:
            if self._clock_s() - self._asked_at_s > KEPT_S:
                self._last = None


def tidy(workspace: Workspace) -> list[str]:
    """Remove the files that do not count, but for merges that can be gone on with. Returns their names.

    Only at the start of whatever writes: a file that is just being made does not count yet.

    Raises:
        StateError: another process writes in the workspace.
        StorageError: a file cannot be removed.
    """
    with workspace.writing():
        return remove_strays(DiskFolder(workspace.sightings), _live(workspace))


def rebuild(
    workspace: Workspace,
    commits: Iterable[tuple[OrganisationId, pa.Table]],
    *,
    forget_gone: bool = False,
    on_difference: Callable[[Difference], None] | None = None,
) -> list[IndexFile]:
    """Make the index anew from the observations of all that is kept, and let it count in place of what there is.

    What was seen in events that retention has removed is taken over from the old index, unless that is to be forgotten
    because the old index cannot be read. Until the last moment the old one counts. ``on_difference`` is told every row
    in which the old one, if it can be read, was not what the new one is.

    Raises:
        StateError: another process writes in the workspace.
        SchemaError, LimitExceeded, StorageError: as ``record``, or the old index is damaged; nothing was changed.
    """
    folder = DiskFolder(workspace.sightings)
    with workspace.writing():
        old = _live(workspace)
        files = rebuilt(folder, commits)
        if not forget_gone:
            before = SightingsIndex.open(folder, old, replaced=_replaced(workspace))
            both = with_gone(folder, before, SightingsIndex.open(folder, [file.name for file in files]))
            if both is not None:
                for file in files:
                    folder.remove(file.name)
                files = [both]
            if on_difference is not None:
                for difference in differences(before, SightingsIndex.open(folder, [file.name for file in files])):
                    on_difference(difference)
        replace_index_files(workspace, old, files)
        for name in old:
            folder.remove(name)
    return files


def _live(workspace: Workspace) -> list[str]:
    return [file.name for file in live_index_files(workspace)]


def _replaced(workspace: Workspace) -> FindReplaced:
    """What became of segments, asked of the catalogue once."""
    known: dict[int, int | None] = {}

    def find(segments: Sequence[int]) -> Replaced:
        new = [segment for segment in segments if segment not in known]
        if new:
            found = segments_replaced(workspace, new)
            if len(new) > REMEMBERED_MAX or len(known) + len(new) > REPLACED_KEPT_MAX:
                known.clear()
                return found
            known.update((segment, followed(found, segment)) for segment in new)
        return {segment: now for segment in segments if (now := known.get(segment, segment)) != segment}

    return find


class Upkeep:
    """The merging of a workspace's index, a little at a time. For one thread of the process that writes.

    Close it, or use it as a context manager: what is under way is gone on with the next time.
    """

    def __init__(self, workspace: Workspace, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._workspace = workspace
        self._folder = DiskFolder(workspace.sightings)
        self._clock_s = clock_s
        self._under_way: list[tuple[int, Merge]] = []
        """Size and merge; the smallest last."""
        self._left_alone: dict[str, float] = {}
        """Files that could not be merged, and until when that is not tried again."""
        self._has_looked = False

    def __enter__(self) -> Upkeep:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop here."""
        while self._under_way:
            self._under_way.pop()[1].close()

    def step(self) -> bool:
        """Merge some ten thousand rows. Returns whether there may be more to do now.

        Raises:
            StateError: another process writes in the workspace.
            StorageError, LimitExceeded: some files could not be merged; nothing was changed, the old ones count. They
                are left alone for a while; the next step goes on with others.
        """
        with self._workspace.writing():
            self._begin()
            if not self._under_way:
                return False
            merge = self._under_way[-1][1]
            try:
                if merge.step():
                    return True
                file = merge.finish()
            except (StorageError, LimitExceeded):
                self._leave(merge)
                raise
            self._commit(merge, file)
            return True

    def _begin(self) -> None:
        """Begin what should be merged before that which is under way, if there is something."""
        live = live_index_files(self._workspace)
        now = self._clock_s()
        self._left_alone = {name: until for name, until in self._left_alone.items() if until > now}
        busy = {name for _, merge in self._under_way for name in merge.inputs} | self._left_alone.keys()
        free = [file for file in live if file.name not in busy]
        replaced = _replaced(self._workspace)
        if not self._has_looked:
            # If going on fails, the same files are merged from the beginning.
            self._has_looked = True
            merge = unfinished(self._folder, [file.name for file in free], replaced=replaced)
            if merge is not None:
                self._has_looked = False
                sizes = {file.name: file.size_bytes for file in free}
                self._push(size_class(max(sizes[name] for name in merge.inputs)), merge)
                return
        inputs = plan(free)
        size = size_class(max((file.size_bytes for file in inputs), default=0))
        if not inputs or (self._under_way and size >= self._under_way[-1][0]):
            return
        names = [file.name for file in inputs]
        try:
            merge = Merge(self._folder, names, replaced=replaced)
        except (StorageError, LimitExceeded):
            self._leave_files(names)
            raise
        self._push(size, merge)

    def _push(self, size: int, merge: Merge) -> None:
        self._under_way.append((size, merge))
        self._under_way.sort(key=lambda each: -each[0])

    def _leave(self, merge: Merge) -> None:
        self._under_way = [each for each in self._under_way if each[1] is not merge]
        merge.close()
        self._leave_files(merge.inputs)

    def _leave_files(self, names: Iterable[str]) -> None:
        self._left_alone |= dict.fromkeys(names, self._clock_s() + RETRY_S)

    def _commit(self, merge: Merge, file: IndexFile) -> None:
        self._under_way = [each for each in self._under_way if each[1] is not merge]
        try:
            replace_index_files(self._workspace, merge.inputs, [file])
        except StateError:
            self._folder.remove(file.name)
            raise
        for name in merge.inputs:
            self._folder.remove(name)


@contextmanager
def in_background(
    workspace: Workspace, *, on_error: Callable[[MingjianError], None] | None = None
) -> Generator[Callable[[], None]]:
    """While this is open, a thread merges what should be merged, and gives way to everything else.

    Gives a function to call after a commit: there may be something to do. ``on_error`` is told, in that thread, what
    could not be merged; nothing is lost by it, and it is tried again.
    """
    stopping, waking = threading.Event(), threading.Event()

    def work() -> None:
        _give_way()
        with Upkeep(workspace) as upkeep:
            while not stopping.is_set():
                try:
                    is_busy = upkeep.step()
                except (StorageError, LimitExceeded, StateError) as error:
                    is_busy = False
                    if on_error is not None:
                        on_error(error)
                if not is_busy:
                    waking.wait(IDLE_S)
                    waking.clear()

    thread = threading.Thread(target=work, name="sightings upkeep", daemon=True)
    thread.start()
    try:
        yield waking.set
    finally:
        stopping.set()
        waking.set()
        thread.join()


def _give_way() -> None:
    """Of this thread alone, where the system can do that."""
    if hasattr(os, "setpriority"):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
