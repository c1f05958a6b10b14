"""Compiled rule sets on disk: the second start spares what the first one worked out.

One file per rule set, named by the hash of the rules and of everything else that the result depends on. It holds the
compiled conditions and the automata, each with a checksum; whatever does not fit is thrown away and made anew. The
folder is the user's own and private (mode 0700): an automaton is native data and must not come from anybody else.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import platform
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

import msgspec

from mingjian.detect import compiled as compiled_module
from mingjian.detect import matcher as matcher_module
from mingjian.detect.compiled import CompiledRules, compile_rules
from mingjian.detect.engine import Engine
from mingjian.model.rules import Rule

FILES_KEPT_MAX = 20
"""So many compiled rule sets are kept; the ones not used for the longest time go first."""
_FORMAT = 3
_SUFFIX = ".compiled"
_DIGEST_BYTES = 16
_LENGTH_BYTES = 8


class _Entry(msgspec.Struct, frozen=True, array_like=True):
    key: str
    offset: int
    """From the end of the index."""
    size: int
    digest: bytes


class _Index(msgspec.Struct, frozen=True, array_like=True):
    compiled: CompiledRules
    entries: tuple[_Entry, ...]


class _Blobs(Mapping[str, bytes]):
    """Automata in a mapped file, checked when they are first asked for."""

    def __init__(self, data: mmap.mmap, start: int, entries: Sequence[_Entry]) -> None:
        self._data = data
        self._start = start
        self._entries = {entry.key: entry for entry in entries}

    def __getitem__(self, key: str) -> bytes:
        entry = self._entries[key]
        start = self._start + entry.offset
        blob = self._data[start : start + entry.size]
        if _digest(blob) != entry.digest:
            del self._entries[key]
            raise KeyError(key)
        return blob

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)


def engine_for(rules: Sequence[Rule], cache_folder: Path | None) -> Engine:
    """Make an engine over rules, from the cache if it was made before. Without a folder nothing is kept."""
    if cache_folder is None:
        return Engine(rules)
    path = cache_folder / f"{_key(rules)}{_SUFFIX}"
    loaded = _load(path, len(rules))
    if loaded is not None:
        return Engine(rules, *loaded)
    compiled = compile_rules(rules)
    engine = Engine(rules, compiled)
    _store(path, compiled, engine.blobs())
    return engine


def _key(rules: Sequence[Rule]) -> str:
    digest = hashlib.blake2b(digest_size=_DIGEST_BYTES)
    about = (_FORMAT, version("mingjian"), version("hyperscan"), platform.machine(), len(rules))
    digest.update(repr(about).encode())
    for module in (compiled_module, matcher_module):
        # What was worked out in another way is of no use.
        digest.update(Path(str(module.__file__)).read_bytes())
    for rule in rules:
        digest.update(rule.content_hash.encode())
    return digest.hexdigest()


def _digest(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=_DIGEST_BYTES).digest()


def _load(path: Path, count: int) -> tuple[CompiledRules, Mapping[str, bytes]] | None:
    try:
        with path.open("rb") as stream:
            data = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError):
        return None
    size = int.from_bytes(data[:_LENGTH_BYTES], "big")
    start = _LENGTH_BYTES + _DIGEST_BYTES
    written = data[start : start + size]
    if _digest(written) != data[_LENGTH_BYTES:start]:
        return None
    try:
        index = msgspec.msgpack.decode(written, type=_Index)
    except msgspec.DecodeError:
        return None
    if len(index.compiled.nodes) != count:
        return None
    os.utime(path)
    return index.compiled, _Blobs(data, start + size, index.entries)


def _store(path: Path, compiled: CompiledRules, blobs: Mapping[str, bytes]) -> None:
    """Write a file as a whole or not at all. That it cannot be written is no reason to stop."""
    entries: list[_Entry] = []
    at = 0
    for key, blob in blobs.items():
        entries.append(_Entry(key, at, len(blob), _digest(blob)))
        at += len(blob)
    index = msgspec.msgpack.encode(_Index(compiled, tuple(entries)))
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as stream:
            stream.write(len(index).to_bytes(_LENGTH_BYTES, "big") + _digest(index) + index)
            for blob in blobs.values():
                stream.write(blob)
        Path(stream.name).replace(path)
        _forget_old(path.parent)
    except OSError:
        return


def _forget_old(folder: Path) -> None:
    kept = sorted(folder.glob(f"*{_SUFFIX}"), key=lambda path: path.stat().st_mtime, reverse=True)
    for path in kept[FILES_KEPT_MAX:]:
        path.unlink(missing_ok=True)
