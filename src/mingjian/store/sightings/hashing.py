"""XXH64 of many byte strings at once, and byte strings as columns of fixed width.

Both read a column of strings eight bytes at a time, all rows together, so that the cost per string is some dozens of
nanoseconds. Pure.

Source: the xxHash specification, section "XXH64 algorithm description".
"""

from __future__ import annotations

from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Numbers: TypeAlias = "npt.NDArray[np.uint64]"
Places: TypeAlias = "npt.NDArray[np.int64]"

ROWS_AT_ONCE: Final = 16_384
"""So many rows are worked on together: what is between two steps then stays in the processor's cache."""

_P1: Final = np.uint64(0x9E3779B185EBCA87)
_P2: Final = np.uint64(0xC2B2AE3D27D4EB4F)
_P3: Final = np.uint64(0x165667B19E3779F9)
_P4: Final = np.uint64(0x85EBCA77C2B2AE63)
_P5: Final = np.uint64(0x27D4EB2F165667C5)
_SEEDS: Final = tuple(np.uint64(seed & 0xFFFF_FFFF_FFFF_FFFF) for seed in (int(_P1) + int(_P2), int(_P2), 0, -int(_P1)))
_PRIMES: Final = tuple(int(prime) for prime in (_P1, _P2, _P3, _P4, _P5))
_ALL: Final = 0xFFFF_FFFF_FFFF_FFFF
_PADDING: Final = np.zeros(64, np.uint8)
_WORD_MASKS: Final = np.array([(1 << (8 * count)) - 1 for count in range(9)], np.uint64)
"""What is left of a little-endian word of which only the first ``count`` bytes belong to the string."""


def bytes_of(keys: pa.LargeBinaryArray) -> tuple[npt.NDArray[np.uint8], Places]:
    """The bytes of a column without nulls in one piece, zeros behind them, and where each string begins and ends.

    String ``i`` is ``data[offsets[i]:offsets[i + 1]]``; 64 zeros follow the last one.
    """
    _, offset_buffer, data_buffer = keys.buffers()
    if not len(keys) or offset_buffer is None:
        return _PADDING, np.zeros(1, np.int64)
    offsets = np.frombuffer(memoryview(offset_buffer), np.int64, len(keys) + 1, keys.offset * 8)
    data = np.frombuffer(memoryview(data_buffer), np.uint8) if data_buffer is not None else _PADDING[:0]
    return np.concatenate((data[offsets[0] : offsets[-1]], _PADDING)), offsets - offsets[0]


def _words(data: npt.NDArray[np.uint8]) -> Numbers:
    """The eight bytes that begin at each byte of the data, as a view."""
    return np.ndarray(shape=(len(data) - 8,), dtype="<u8", buffer=data.data, strides=(1,))


def _rotated(numbers: Numbers, count: int) -> Numbers:
    return (numbers << np.uint64(count)) | (numbers >> np.uint64(64 - count))


def _round(lane: Numbers, word: Numbers) -> Numbers:
    return _rotated(lane + word * _P2, 31) * _P1


def xxh64(keys: pa.LargeBinaryArray) -> Numbers:
    """The XXH64 with seed 0 of every string of a column without nulls.

    >>> [hex(number) for number in xxh64(pa.array([b"", b"abc"], pa.large_binary())).tolist()]
    ['0xef46db3751d8e999', '0x44bc2cf5ad770999']
    """
    data, offsets = bytes_of(keys)
    words = _words(data)
    hashes = np.empty(len(keys), np.uint64)
    for start in range(0, len(keys), ROWS_AT_ONCE):
        stop = min(start + ROWS_AT_ONCE, len(keys))
        hashes[start:stop] = _hashed(words, offsets[start:stop], np.diff(offsets[start : stop + 1]))
    return hashes


def xxh64_of(data: bytes) -> int:
    """The XXH64 with seed 0 of one string: for a single one sooner than ``xxh64``, and its slow check.

    >>> hex(xxh64_of(b"abc"))
    '0x44bc2cf5ad770999'
    """
    p1, p2, p3, p4, p5 = _PRIMES
    size = len(data)
    found = p5
    if size >= 32:
        lanes = [int(seed) for seed in _SEEDS]
        for start in range(0, size - 31, 32):
            for number in range(4):
                word = int.from_bytes(data[start + 8 * number : start + 8 * number + 8], "little")
                lanes[number] = _rotated_one(lanes[number] + word * p2, 31) * p1 & _ALL
        found = sum(_rotated_one(lane, count) for lane, count in zip(lanes, (1, 7, 12, 18), strict=True))
        for lane in lanes:
            found = ((found ^ _rotated_one(lane * p2, 31) * p1) * p1 + p4) & _ALL
    found += size
    for start in range(size // 32 * 32, size - 7, 8):
        word = int.from_bytes(data[start : start + 8], "little")
        found = _rotated_one(found ^ _rotated_one(word * p2, 31) * p1 & _ALL, 27) * p1 + p4
    place = size // 8 * 8
    if size - place >= 4:
        word = int.from_bytes(data[place : place + 4], "little")
        found = _rotated_one(found ^ word * p1 & _ALL, 23) * p2 + p3
        place += 4
    for byte in data[place:]:
        found = _rotated_one(found ^ byte * p5, 11) * p1
    found &= _ALL
    found = (found ^ found >> 33) * p2 & _ALL
    found = (found ^ found >> 29) * p3 & _ALL
    return found ^ found >> 32


def _rotated_one(number: int, count: int) -> int:
    number &= _ALL
    return (number << count | number >> 64 - count) & _ALL


def _hashed(words: Numbers, places: Places, lengths: Places) -> Numbers:
    hashes = np.full(len(places), _P5, np.uint64)
    long = np.flatnonzero(lengths >= 32)
    if len(long):
        hashes[long] = _striped(words, places[long], lengths[long] // 32)
    hashes += lengths.astype(np.uint64)
    place = places + lengths // 32 * 32
    left = lengths % 32
    for _ in range(3):
        rows = np.flatnonzero(left >= 8)
        if not len(rows):
            break
        mixed = hashes[rows] ^ _round(np.zeros(len(rows), np.uint64), words[place[rows]])
        hashes[rows] = _rotated(mixed, 27) * _P1 + _P4
        place[rows] += 8
        left[rows] -= 8
    rest = words[place]
    four = left >= 4
    mixed = hashes ^ ((rest & np.uint64(0xFFFF_FFFF)) * _P1)
    hashes = np.where(four, _rotated(mixed, 23) * _P2 + _P3, hashes)
    rest = np.where(four, rest >> np.uint64(32), rest)
    left = np.where(four, left - 4, left)
    for count in range(3):
        mixed = hashes ^ (((rest >> np.uint64(8 * count)) & np.uint64(0xFF)) * _P5)
        hashes = np.where(left > count, _rotated(mixed, 11) * _P1, hashes)
    hashes ^= hashes >> np.uint64(33)
    hashes *= _P2
    hashes ^= hashes >> np.uint64(29)
    hashes *= _P3
    hashes ^= hashes >> np.uint64(32)
    return hashes


def _striped(words: Numbers, places: Places, stripes: Places) -> Numbers:
    """Four lanes over the whole stripes of 32 bytes, and what they come to."""
    lanes = [np.full(len(places), seed, np.uint64) for seed in _SEEDS]
    for stripe in range(int(stripes.max())):
        rows = np.flatnonzero(stripes > stripe)
        at = places[rows] + 32 * stripe
        for number, lane in enumerate(lanes):
            lane[rows] = _round(lane[rows], words[at + 8 * number])
    hashes = _rotated(lanes[0], 1) + _rotated(lanes[1], 7) + _rotated(lanes[2], 12) + _rotated(lanes[3], 18)
    for lane in lanes:
        hashes = (hashes ^ _round(np.zeros(len(places), np.uint64), lane)) * _P1 + _P4
    return hashes


def fixed_width(keys: pa.LargeBinaryArray, width: int) -> npt.NDArray[np.bytes_]:
    """The first ``width`` bytes (a multiple of 8) of every string, zeros where it is shorter; NumPy compares them.

    >>> fixed_width(pa.array([b"abc", b"abcdefghij"], pa.large_binary()), 8).tolist()
    [b'abc', b'abcdefgh']
    """
    data, offsets = bytes_of(keys)
    words, lengths = _words(data), np.diff(offsets)
    # Behind the last string there are 64 zeros only: a word of a short one is read where there are bytes for sure.
    places = offsets[:-1]
    columns = np.empty((len(keys), width // 8), np.uint64)
    for number in range(width // 8):
        left = np.clip(lengths - 8 * number, 0, 8)
        columns[:, number] = words[np.where(left > 0, places + 8 * number, 0)] & _WORD_MASKS[left]
    return np.frombuffer(columns.data, f"S{width}", len(keys)) if len(keys) else np.empty(0, f"S{width}")
