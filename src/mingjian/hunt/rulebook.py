"""Rule folders to one rulebook: finding the files, reading what is new, and the cache that makes the next start fast.

With a cache the whole rulebook is kept together with a digest of all files' paths, sizes, times and inodes: if these
are as they were, no rule file is opened, and neither pySigma nor YAML is imported. Where something has changed, only
what has changed is parsed.
"""

from __future__ import annotations

import gc
import os
import stat
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from operator import attrgetter
from pathlib import Path
from typing import Final, Literal, TypeAlias

import msgspec
from msgspec.structs import replace

from mingjian.detect.sigma.references import Parsed, Resolved, resolve
from mingjian.errors import ConfigError, ParseError
from mingjian.hunt.reading import Options, packed, read_rules
from mingjian.hunt.rulecache import RuleCache, StoredBook, digest
from mingjian.model.rules import LEVELS, Correlation, Filter, Level, Rule, RuleNote, SkippedRule

RULE_FILES_MAX: Final = 100_000
"""So many rule files are loaded together."""

FOLDER_DEPTH_MAX: Final = 64
"""Folders nested deeper are refused."""

RECENT_S: Final = 2.0
"""A file changed so shortly before it was read could change again without its times telling: it is read again."""

RULE_SUFFIXES = (".yml", ".yaml")
"""What the names of rule files end in."""

CacheUse: TypeAlias = Literal["off", "none", "part", "whole"]


class Rulebook(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that came out of some rule folders. Ids are unique over rules, correlations and filters."""

    rules: tuple[Rule, ...] = ()
    correlations: tuple[Correlation, ...] = ()
    """Each after those that it refers to."""
    filters: tuple[Filter, ...] = ()
    """Those that were put on at least one rule."""
    skipped: tuple[SkippedRule, ...] = ()
    notes: tuple[RuleNote, ...] = ()
    files: tuple[str, ...] = ()
    """Every rule file, as its folder was named, in the order of loading."""
    left_out: int = 0
    """Rules and correlations below the level asked for, which feed nothing above it."""
    cache: CacheUse = "off"
    """How much came from the cache."""


class FoundFile(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A rule file and what tells whether it has changed."""

    path: str
    """As the user named its folder."""
    size_bytes: int
    modified_ns: int
    changed_ns: int
    device: int
    inode: int


def load_rulebook(
    paths: Sequence[str | Path],
    *,
    cache_folder: Path | None = None,
    level: Level | None = None,
    placeholders: Path | None = None,
    pipelines: Sequence[Path] = (),
    jobs: int = 1,
    now_ns: Callable[[], int] = time.time_ns,
) -> Rulebook:
    """Load rule files and all ``.yml`` and ``.yaml`` files under folders.

    ``level`` leaves out what is lower and feeds nothing else; what only feeds a correlation then is ``hidden``. With a
    ``cache_folder`` the next call for the same files takes a fraction of the time. ``jobs`` processes parse. The same
    files give the same rulebook, whatever the cache holds.

    Raises: ConfigError if a path does not exist, or the placeholders or a pipeline cannot be used.
    """
    options = Options(
        placeholders=None if placeholders is None else _given(placeholders),
        placeholders_file=str(placeholders or ""),
        pipelines=tuple((str(path), _given(path)) for path in pipelines),
    )
    started_ns = now_ns()
    found = find_rule_files([os.fspath(path) for path in paths])
    with _without_garbage_collection():
        book = _load(found, options, RuleCache.at(cache_folder, paths, options), jobs, started_ns)
    return from_level(book, level)


@contextmanager
def _without_garbage_collection() -> Generator[None]:
    """Rules are trees: looking for cycles in them while they are made takes ten times as long as making them."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _given(path: Path) -> bytes:
    content = _read(str(path))
    if isinstance(content, ParseError):
        raise ConfigError(content.what, where=str(path))
    return content


# --- files -----------------------------------------------------------------------------------------------------------


def find_rule_files(paths: Sequence[str]) -> list[FoundFile]:
    """Find rule files: those named, and under folders those with the suffixes of YAML. Ordered by name, each once.

    Names that start with a dot are left out. Links are followed, but no folder is entered twice.

    Raises: ConfigError for a path that does not exist or a folder that cannot be listed; more than RULE_FILES_MAX
    files or folders nested deeper than FOLDER_DEPTH_MAX.
    """
    found: list[FoundFile] = []
    seen: set[tuple[int, int]] = set()
    for path in paths:
        try:
            status = os.stat(path)  # noqa: PTH116 # the walk below is twice as fast without Path objects
            if stat.S_ISDIR(status.st_mode):
                _walk(path, status, seen, found, 0)
            else:
                _take(path, status, seen, found)
        except OSError as error:
            where = str(error.filename or path)
            raise ConfigError("the rules cannot be read", where=where, hint=error.strerror or "") from None
    return found


def _walk(folder: str, status: os.stat_result, seen: set[tuple[int, int]], found: list[FoundFile], depth: int) -> None:
    if (status.st_dev, status.st_ino) in seen:
        return
    seen.add((status.st_dev, status.st_ino))
    if depth > FOLDER_DEPTH_MAX:
        raise ConfigError(f"folders nested deeper than FOLDER_DEPTH_MAX allows ({FOLDER_DEPTH_MAX})", where=folder)
    with os.scandir(folder) as listing:
        entries = sorted(listing, key=attrgetter("name"))
    for entry in entries:
        if entry.name.startswith("."):
            continue
        try:
            status = entry.stat()
        except FileNotFoundError:  # a link to nowhere, or gone since
            continue
        if stat.S_ISDIR(status.st_mode):
            _walk(entry.path, status, seen, found, depth + 1)
        elif entry.name.lower().endswith(RULE_SUFFIXES):
            _take(entry.path, status, seen, found)


def _take(path: str, status: os.stat_result, seen: set[tuple[int, int]], found: list[FoundFile]) -> None:
    if (status.st_dev, status.st_ino) in seen:
        return
    seen.add((status.st_dev, status.st_ino))
    if len(found) == RULE_FILES_MAX:
        raise ConfigError(f"more rule files than RULE_FILES_MAX allows ({RULE_FILES_MAX})", where=path)
    found.append(FoundFile(path, status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_dev, status.st_ino))


def _read(path: str) -> bytes | ParseError:
    from mingjian.formats.bounded import YAML_BYTES_MAX  # a start from the cache needs no YAML

    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))  # a pipe must not make us wait
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                return ParseError("not a regular file")
            return file.read(YAML_BYTES_MAX + 1)  # what is larger is refused where it is parsed
    except OSError as error:
        return ParseError(f"cannot be read: {error.strerror}")


def _display(path: str) -> str:
    """A path that can be written anywhere: bytes that are no UTF-8 are shown escaped."""
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


# --- loading ---------------------------------------------------------------------------------------------------------


def _seen(found: Sequence[FoundFile]) -> bytes:
    try:
        return digest(msgspec.msgpack.encode(found))
    except UnicodeEncodeError:  # a name that is no UTF-8
        return digest(msgspec.msgpack.encode([replace(file, path=_display(file.path)) for file in found]))


def _load(
    found: Sequence[FoundFile], options: Options, cache: RuleCache | None, jobs: int, started_ns: int
) -> Rulebook:
    seen = _seen(found)
    stored = cache.book() if cache else None
    if stored is not None and stored.seen == seen and stored.settled:
        whole = _decoded(stored.book)
        if whole is not None:
            return replace(whole, cache="whole")
    contents = [_read(file.path) for file in found]
    hashes = [digest(content) if isinstance(content, bytes) else b"" for content in contents]
    content = digest(b"".join(hashes) + "\0".join(_display(file.path) for file in found).encode())
    recent_ns = started_ns - int(RECENT_S * 1e9)
    settled = all(max(file.modified_ns, file.changed_ns) < recent_ns for file in found)
    if cache and stored is not None and stored.content == content and all(hashes):
        whole = _decoded(stored.book)
        if whole is not None:
            cache.keep_book(StoredBook(seen, content, settled, stored.book))
            return replace(whole, cache="whole")
    kept = cache.parsed() if cache else {}
    parsed, use = _parsed(contents, hashes, kept, options, jobs)
    book = _assembled(found, contents, hashes, parsed)
    if cache is None:
        return book
    if use != "whole":
        cache.keep_parsed(parsed, kept)
    encoded = packed(book)
    if encoded is not None:
        cache.keep_book(StoredBook(seen, content, settled, msgspec.Raw(encoded)))
    return replace(book, cache=use)


def _parsed(
    contents: Sequence[bytes | ParseError],
    hashes: Sequence[bytes],
    kept: Mapping[bytes, msgspec.Raw],
    options: Options,
    jobs: int,
) -> tuple[dict[bytes, Parsed], CacheUse]:
    """What each content gives, by its hash."""
    parsed: dict[bytes, Parsed] = {}
    missing: dict[bytes, bytes] = {}
    decode = msgspec.msgpack.Decoder(Parsed).decode
    for key, content in zip(hashes, contents, strict=True):
        if not isinstance(content, bytes) or key in parsed or key in missing:
            continue
        known = kept.get(key)
        if known is None:
            missing[key] = content
            continue
        try:
            parsed[key] = decode(known)
        except msgspec.DecodeError:
            missing[key] = content
    use: CacheUse = "whole" if not missing else "part" if parsed else "none"
    parsed.update(zip(missing, read_rules(list(missing.values()), options, jobs), strict=True))
    return parsed, use


def _assembled(
    found: Sequence[FoundFile],
    contents: Sequence[bytes | ParseError],
    hashes: Sequence[bytes],
    parsed: Mapping[bytes, Parsed],
) -> Rulebook:
    files = [_display(file.path) for file in found]
    given: list[tuple[str, Parsed]] = []
    for file, content, key in zip(files, contents, hashes, strict=True):
        if isinstance(content, bytes):
            given.append((file, parsed[key]))
        else:
            unread = SkippedRule(file="", code=content.code, reason=content.what)
            given.append((file, Parsed(skipped=(unread,))))
    resolved: Resolved = resolve(given)
    return Rulebook(
        rules=resolved.rules,
        correlations=resolved.correlations,
        filters=resolved.filters,
        skipped=resolved.skipped,
        notes=resolved.notes,
        files=tuple(files),
    )


def _decoded(encoded: msgspec.Raw) -> Rulebook | None:
    try:
        return msgspec.msgpack.decode(encoded, type=Rulebook)
    except msgspec.DecodeError:
        return None


def from_level(book: Rulebook, level: Level | None) -> Rulebook:
    """Leave out what is below a level, but keep, hidden, what feeds a correlation that is not. None: all of it."""
    if level is None or level == LEVELS[0]:
        return book
    lowest = LEVELS.index(level)
    fed: set[str] = set()
    correlations: list[Correlation] = []
    for item in reversed(book.correlations):  # from those that refer to those that are referred to
        high = LEVELS.index(item.level) >= lowest
        if high or item.id in fed:
            fed.update(item.rules)
            correlations.append(item if high else replace(item, hidden=True))
    rules: list[Rule] = []
    for rule in book.rules:
        if LEVELS.index(rule.level) >= lowest:
            # A correlation that is left out must not take the rules with it that it hid.
            rules.append(rule if rule.id in fed or not rule.hidden else replace(rule, hidden=False))
        elif rule.id in fed:
            rules.append(replace(rule, hidden=True))
    left_out = len(book.rules) - len(rules) + len(book.correlations) - len(correlations)
    return replace(book, rules=tuple(rules), correlations=tuple(correlations[::-1]), left_out=left_out)
