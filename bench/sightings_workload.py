"""Made-up observations, the same for the same seed: a hard case, and days of long history in advance put together.

The hard case: 3.25 observables in an event (an internal address, an external address, a domain, and in every fourth a
URL), popularity log-uniform (rank ``n ** u`` of ``n``), and 18 % of the events carry a value that was never seen
before (random labels and paths, which no compression shortens).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

DAY_US: Final = 86_400_000_000
FIRST_DAY: Final = 20_000
"""Days since 1970: 4 October 2024."""
INTERNAL: Final = 50_000
EXTERNAL: Final = 2_000_000
DOMAINS: Final = 8_000_000
PAGES: Final = 1_000_000
PARENTS: Final = 20_000
"""Domains below which never seen names and pages come up."""
NEW_DOMAINS: Final = 0.12
NEW_PAGES: Final = 0.24
"""Of the URLs, which a quarter of the events have: 6 % of the events."""

_LETTERS: Final = np.frombuffer(b"abcdefghijklmnopqrstuvwxyz234567", np.uint8)
_TOPS: Final = pa.array(["com", "net", "org", "cn", "io", "de", "info", "example"], pa.large_string())
_WORDS: Final = pa.array(["www", "cdn", "api", "img", "mail", "static", "s3", "login"], pa.large_string())
_MIX: Final = np.uint64(0x9E3779B97F4A7C15)

Ranks = npt.NDArray[np.int64]


def scrambled(ranks: Ranks, salt: int) -> npt.NDArray[np.uint64]:
    """A number of 64 bits for each rank that shows nothing of it (splitmix64)."""
    number = ranks.astype(np.uint64) + np.uint64((salt * int(_MIX)) & (2**64 - 1))
    number = (number ^ (number >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    number = (number ^ (number >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return number ^ (number >> np.uint64(31))


def letters(numbers: npt.NDArray[np.uint64], size: int) -> pa.Array:
    """Texts of so many letters, five bits each."""
    planes = [_LETTERS[((numbers >> np.uint64(5 * place)) & np.uint64(31)).astype(np.int64)] for place in range(size)]
    data = np.ascontiguousarray(np.stack(planes, axis=1)).tobytes()
    return (
        pa.FixedSizeBinaryArray.from_buffers(pa.binary(size), len(numbers), [None, pa.py_buffer(data)])
        .cast(pa.large_binary())
        .cast(pa.large_string())
    )


def joined(*parts: pa.Array | str) -> pa.Array:
    columns = [pa.scalar(part, pa.large_string()) if isinstance(part, str) else part for part in parts]
    return pc.binary_join_element_wise(*columns, pa.scalar("", pa.large_string()))


def addresses(numbers: npt.NDArray[np.uint64]) -> pa.Array:
    octets = [pa.array(((numbers >> np.uint64(shift)) & np.uint64(255)).astype(np.uint8)) for shift in (24, 16, 8, 0)]
    texts = [octet.cast(pa.large_string()) for octet in octets]
    return pc.binary_join_element_wise(*texts, pa.scalar(".", pa.large_string()))


def internal(ranks: Ranks) -> pa.Array:
    return addresses(np.uint64(10 << 24) + ranks.astype(np.uint64))


def external(ranks: Ranks) -> pa.Array:
    # Odd factor: every rank has an address of its own.
    return addresses((ranks.astype(np.uint64) * np.uint64(2654435761)) & np.uint64(0xFFFF_FFFF) | np.uint64(1 << 24))


def parents(ranks: Ranks, salt: int = 1) -> pa.Array:
    numbers = scrambled(ranks, salt)
    names = pc.utf8_slice_codeunits(letters(numbers, 9), 0, 9)
    return joined(names, ".", _TOPS.take(pa.array((numbers >> np.uint64(60)).astype(np.int64) % 8)))


def domains(ranks: Ranks) -> pa.Array:
    """Three names below each registered domain."""
    return joined(_WORDS.take(pa.array(ranks % 3)), ".", parents(ranks // 3, 2))


def pages(ranks: Ranks) -> pa.Array:
    numbers = scrambled(ranks, 3)
    return joined("https://", _WORDS.take(pa.array(ranks % 8)), ".", parents(ranks % PARENTS), "/", letters(numbers, 8))


def new_domains(numbers: Ranks, below: Ranks) -> pa.Array:
    return joined(letters(scrambled(numbers, 4), 10), ".", domains(below))


def new_pages(numbers: Ranks, below: Ranks) -> pa.Array:
    token = letters(scrambled(numbers, 5), 12)
    return joined("https://www.", parents(below), "/", _WORDS.take(pa.array(below % 8)), "/", token)


def popular(random: np.random.Generator, size: int, of: int) -> Ranks:
    return np.power(float(of), random.random(size)).astype(np.int64) - 1


def events(seed: int, day: int, part: int, size: int, segment: int) -> pa.Table:
    """The observations of some events of one day, each event in one segment."""
    random = np.random.default_rng((seed, day, part))
    base = (day * 1_000 + part) * 10_000_000
    time = np.sort(random.integers(0, DAY_US, size)) + (FIRST_DAY + day) * DAY_US
    with_page = np.flatnonzero(random.random(size) < 0.25)
    everyone = np.arange(size)
    slots = (
        ("ip", "source", everyone, internal(popular(random, size, INTERNAL))),
        ("ip", "destination", everyone, external(popular(random, size, EXTERNAL))),
        ("domain", "query", everyone, _mixed(random, size, NEW_DOMAINS, DOMAINS, base, domains, new_domains)),
        ("url", "request", with_page, _mixed(random, len(with_page), NEW_PAGES, PAGES, base, pages, new_pages)),
    )
    event = np.concatenate([rows for _, _, rows, _ in slots])
    sizes = [len(rows) for _, _, rows, _ in slots]
    return pa.table(
        {
            "kind": _repeated([kind for kind, _, _, _ in slots], sizes),
            "value": pa.chunked_array([values for _, _, _, values in slots]),
            "role": _repeated([role for _, role, _, _ in slots], sizes),
            "source": _repeated(["network"], [len(event)]),
            "segment": pa.array(np.full(len(event), segment)),
            "time_us": pa.array(time[event]),
        }
    )


def _mixed(
    random: np.random.Generator,
    size: int,
    share: float,
    of: int,
    base: int,
    known: Callable[[Ranks], pa.Array],
    new: Callable[[Ranks, Ranks], pa.Array],
) -> pa.Array:
    is_new = np.flatnonzero(random.random(size) < share)
    is_old = np.setdiff1d(np.arange(size), is_new, assume_unique=True)
    fresh = new(base + is_new, popular(random, len(is_new), PARENTS))
    old = known(popular(random, len(is_old), of))
    place = np.empty(size, np.int64)
    place[np.concatenate((is_new, is_old))] = np.arange(size)
    return pa.concat_arrays([fresh, old]).take(pa.array(place))


def _repeated(texts: list[str], sizes: list[int]) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(pa.array(np.repeat(np.arange(len(texts)), sizes)), pa.array(texts))


def history_day(seed: int, day: int, rows: int, events: int, segment: int) -> pa.Table:
    """One day of long history: the observations of ``events`` events, in advance put together to about ``rows`` rows.

    A third of the rows are values never seen before; the others come again and again. Half of the rows stand for one
    event, the counts of the others are such that all together are 3.25 for each event.
    """
    random = np.random.default_rng((seed, day))
    parts = []
    for kind, role, share, of, known, new in (
        ("ip", "destination", 0.3, 3_000_000, external, None),
        ("domain", "query", 0.5, DOMAINS, domains, new_domains),
        ("url", "request", 0.2, PAGES, pages, new_pages),
    ):
        size = int(rows * share)
        fresh = 0 if new is None else int(size * 0.48)
        # Of one day, each value once: the popular ones nearly every day.
        ranks = np.unique(popular(random, int((size - fresh) * 1.9), of))[: size - fresh]
        values = [known(ranks)]
        if new is not None:
            values.append(new(day * 10_000_000 + np.arange(fresh), popular(random, fresh, PARENTS)))
        counts = np.ones(len(ranks) + fresh, np.int64)
        counts[: len(ranks)] = 1 + (events * 3.25 * share / (3 + np.arange(len(ranks))) / 12).astype(np.int64)
        parts.append((kind, role, pa.concat_arrays(values), counts))
    sizes = [len(counts) for _, _, _, counts in parts]
    count = np.concatenate([counts for _, _, _, counts in parts])
    span = np.sort(random.integers(0, DAY_US, (len(count), 2)), axis=1) + (FIRST_DAY + day) * DAY_US
    return pa.table(
        {
            "kind": _repeated([kind for kind, _, _, _ in parts], sizes),
            "value": pa.chunked_array([values for _, _, values, _ in parts]),
            "role": _repeated([role for _, role, _, _ in parts], sizes),
            "source": _repeated(["network"], [len(count)]),
            "segment": pa.array(np.full(len(count), segment)),
            "time_us": pa.array(span[:, 0]),
            "last_us": pa.array(np.where(count > 1, span[:, 1], span[:, 0])),
            "count": pa.array(count),
        }
    )
