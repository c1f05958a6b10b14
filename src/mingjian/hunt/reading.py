"""Parsing many rule files, in this process and in others.

The other processes are plain programs of ours: they get MessagePack on stdin and answer with MessagePack on stdout.
Nothing is pickled, and whoever uses us as a library needs no ``__main__`` guard. A process that fails costs time only:
its share is then parsed here.
"""

from __future__ import annotations

import gc
import hashlib
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import msgspec

from mingjian.detect.sigma.references import Parsed
from mingjian.errors import ConfigError, InputError

if TYPE_CHECKING:
    import subprocess

PARALLEL_FILES_MIN: Final = 400
"""Below so many files another process costs more than it saves: it takes 0.4 s to start."""

READING_TIMEOUT_S: Final = 600
"""After so long another process is given up."""

_WORKER = "from mingjian.hunt.reading import serve; serve()"


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What besides the rule files decides what comes out of them."""

    placeholders: bytes | None = None
    placeholders_file: str = ""
    """For messages."""
    pipelines: tuple[tuple[str, bytes], ...] = ()
    """File name, for messages, and content."""

    def digest(self) -> bytes:
        """Hash the contents; the names do not matter."""
        contents = (self.placeholders, [content for _, content in self.pipelines])
        return hashlib.blake2b(msgspec.msgpack.encode(contents), digest_size=16).digest()


class _Work(msgspec.Struct, frozen=True):
    options: Options
    contents: list[bytes]


def packed(value: msgspec.Struct) -> bytes | None:
    """Encode; None for what MessagePack cannot hold: bytes in a text that are none, numbers beyond 64 bits."""
    try:
        return msgspec.msgpack.encode(value)
    except (UnicodeEncodeError, OverflowError):
        return None


def read_rules(contents: Sequence[bytes], options: Options, jobs: int = 1) -> list[Parsed]:
    """Parse rule files, in order. Raises: ConfigError for placeholders or pipelines that cannot be used."""
    if jobs < 2 or len(contents) < PARALLEL_FILES_MIN or not sys.executable:
        return _read_here(contents, options)
    jobs = min(jobs, len(contents) * 2 // PARALLEL_FILES_MIN)
    # One large file takes as long as hundreds of small ones: deal them out by size.
    by_size = sorted(range(len(contents)), key=lambda index: -len(contents[index]))
    shares = [by_size[first::jobs] for first in range(jobs)]
    others = [_start([contents[index] for index in share], options) for share in shares[1:]]
    parsed: list[Parsed | None] = [None] * len(contents)
    try:
        for index, one in zip(shares[0], _read_here([contents[i] for i in shares[0]], options), strict=True):
            parsed[index] = one
        for share, other in zip(shares[1:], others, strict=True):
            for index, one in zip(share, _answer(other, len(share)), strict=True):
                parsed[index] = one
    finally:
        for other in others:
            if other is not None and other.poll() is None:
                other.kill()
                other.wait()
    missing = [index for index, one in enumerate(parsed) if one is None]
    for index, one in zip(missing, _read_here([contents[index] for index in missing], options), strict=True):
        parsed[index] = one
    return [one for one in parsed if one is not None]


def _read_here(contents: Sequence[bytes], options: Options) -> list[Parsed]:
    if not contents:
        return []
    from mingjian.detect.sigma.parse import parse_rules

    try:
        placeholders = {}
        if options.placeholders is not None:
            from mingjian.detect.sigma.placeholders import placeholders_of

            placeholders = placeholders_of(options.placeholders, file=options.placeholders_file)
        pipelines = []
        if options.pipelines:
            from mingjian.detect.sigma.pipelines import in_order, pipeline_of

            pipelines = in_order([pipeline_of(content, file=name) for name, content in options.pipelines])
    except InputError as error:
        raise ConfigError(error.what, where=error.where, hint=error.hint) from None
    return [parse_rules(content, placeholders=placeholders, pipelines=pipelines) for content in contents]


def _start(contents: list[bytes], options: Options) -> subprocess.Popen[bytes] | None:
    import subprocess  # not for a start from the cache

    # -P: without it the current folder, which may be anybody's, would be searched for modules first.
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    try:
        process = subprocess.Popen(  # noqa: S603 # our own interpreter, our own code, no shell
            [sys.executable, "-P", "-c", _WORKER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
        )
    except OSError:
        return None
    assert process.stdin is not None
    try:
        # It reads all of this before it writes anything, so that neither side waits for the other.
        with process.stdin:
            process.stdin.write(msgspec.msgpack.encode(_Work(options, contents)))
    except OSError:
        process.kill()
    process.stdin = None
    return process


def _answer(process: subprocess.Popen[bytes] | None, count: int) -> list[Parsed | None]:
    import subprocess

    nothing: list[Parsed | None] = [None] * count
    if process is None:
        return nothing
    try:
        output, _ = process.communicate(timeout=READING_TIMEOUT_S)
        answer = msgspec.msgpack.decode(output, type=list[bytes | None])
        decode = msgspec.msgpack.Decoder(Parsed).decode
        parsed = [None if one is None else decode(one) for one in answer]
    except (subprocess.TimeoutExpired, msgspec.DecodeError, OSError):
        return nothing
    return parsed if len(parsed) == count else nothing


def serve() -> None:
    """Be another process: parse what stands on stdin, write to stdout."""
    gc.disable()
    work = msgspec.msgpack.decode(sys.stdin.buffer.read(), type=_Work)
    answer = [packed(parsed) for parsed in _read_here(work.contents, work.options)]
    sys.stdout.buffer.write(msgspec.msgpack.encode(answer))
