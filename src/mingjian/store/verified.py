"""Files of which a part is read, and that part is verified: against a checksum for each stripe of 64 KiB.

The hash of a whole file proves it, but only to whoever reads all of it. Hunts read a few columns. The checksums
stand in the catalogue, not in the file: what damages the one does not mend the other.
"""

from __future__ import annotations

import io
import os
import zlib
from pathlib import Path
from typing import Final

from mingjian.errors import StorageError

STRIPE_BYTES: Final = 65_536
TOGETHER_BYTES: Final = 64 * STRIPE_BYTES
"""So much is read at a time by whoever reads all."""
CHECK_BYTES: Final = 4
"""Of each checksum: a CRC-32, which finds all damage of up to 32 bits in a row and all else but once in 4 billion."""


def stripe_checks(data: bytes | memoryview) -> bytes:
    """The checksums of a file, one for each stripe.

    >>> stripe_checks(b"abc").hex()
    '352441c2'
    """
    view = memoryview(data)
    return b"".join(
        zlib.crc32(view[start : start + STRIPE_BYTES]).to_bytes(CHECK_BYTES, "big")
        for start in range(0, len(view), STRIPE_BYTES)
    )


def verify_file(path: Path, checks: bytes) -> None:
    """Read a whole file, for somebody who will read it again without verifying.

    Raises:
        StorageError: it is not there, or not (any more) what it was.
    """
    try:
        with VerifiedFile(path, checks) as file:
            while file.read(TOGETHER_BYTES):
                pass
    except OSError as error:
        raise StorageError(f"a segment cannot be read: {error.strerror}", where=str(path)) from error


class VerifiedFile(io.RawIOBase):
    """A file open for reading that gives only bytes that are verified. For one thread at a time."""

    def __init__(self, path: Path, checks: bytes) -> None:
        """Open a file that must have these checksums. Raises: OSError, StorageError."""
        self._path = path
        self._checks = checks
        self._position = 0
        self._stripe = -1
        self._bytes = b""
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._size = os.fstat(self._descriptor).st_size
        if -(-self._size // STRIPE_BYTES) * CHECK_BYTES != len(checks):
            self.close()
            raise self._damaged()

    def close(self) -> None:
        """Give the file back."""
        if not self.closed:
            os.close(self._descriptor)
        super().close()

    def readable(self) -> bool:
        """Whether it can be read: always."""
        return True

    def seekable(self) -> bool:
        """Whether any part of it can be read: always."""
        return True

    def tell(self) -> int:
        """Where the next byte is read."""
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Say where the next byte is read."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        self._position = max(0, base + offset)
        return self._position

    def read(self, size: int | None = -1) -> bytes:
        """Read so many bytes, or all that are left. Raises: OSError, StorageError."""
        left = max(0, self._size - self._position)
        wanted = left if size is None or size < 0 else min(size, left)
        start, end = self._position, self._position + wanted
        if not wanted:
            return b""
        first, last = start // STRIPE_BYTES, (end - 1) // STRIPE_BYTES
        data = self._bytes if first == last == self._stripe else self._verified(first, last)
        self._position = end
        return data[start - first * STRIPE_BYTES : end - first * STRIPE_BYTES]

    def _verified(self, first: int, last: int) -> bytes:
        """Some stripes, as they were written."""
        start, end = first * STRIPE_BYTES, min((last + 1) * STRIPE_BYTES, self._size)
        data = os.pread(self._descriptor, end - start, start)
        while 0 < len(data) < end - start:
            more = os.pread(self._descriptor, end - start - len(data), start + len(data))
            data = data + more if more else b""
        if stripe_checks(data) != self._checks[first * CHECK_BYTES : (last + 1) * CHECK_BYTES]:
            raise self._damaged()
        if first == last:
            self._stripe, self._bytes = first, data
        return data

    def _damaged(self) -> StorageError:
        return StorageError("a segment is damaged", where=str(self._path), hint="mingjian doctor says what to do")
