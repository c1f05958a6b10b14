"""What is looked for: one value, or a feed of millions, as the hashes under which a file has them."""

from __future__ import annotations

from typing import Final, cast

import numpy as np

from mingjian.errors import LimitExceeded, SchemaError
from mingjian.model.sources import ObservableKind
from mingjian.store.sightings.columns import Array, Column, appended, as_numbers, as_texts, binaries, computed, taken
from mingjian.store.sightings.hashing import Numbers, xxh64, xxh64_of
from mingjian.store.sightings.keys import key_of, keys_of
from mingjian.store.sightings.rows import Keys

FEED_VALUES_MAX: Final = 1 << 24
"""So many values are asked for at once."""


class Feed:
    """Values to be looked for, in the order in which files are searched. Made once, used as often as one likes."""

    def __init__(self, kinds: Array, values: Array) -> None:
        """Take parallel columns of kinds and canonical values.

        Raises: LimitExceeded (FEED_VALUES_MAX, VALUE_BYTES_MAX), SchemaError (there is no such kind, or a gap).
        """
        if len(values) > FEED_VALUES_MAX:
            raise LimitExceeded("FEED_VALUES_MAX", FEED_VALUES_MAX, where="feed")
        if len(kinds) != len(values) or kinds.null_count or values.null_count:
            raise SchemaError("every value needs a kind and every kind a value", where="feed")
        self.kinds = as_texts(kinds)
        self.values = as_texts(values)
        names = cast("list[ObservableKind]", computed("unique", self.kinds).to_pylist())
        number = as_numbers(computed("index_in", self.kinds, value_set=computed("unique", self.kinds)))
        keys: list[Keys] = [binaries([])]
        rows: list[Column] = [np.zeros(0, np.int64)]
        for place, kind in enumerate(names):
            rows.append(np.flatnonzero(number == place))
            keys.append(keys_of(kind, self.values if len(names) == 1 else taken(self.values, rows[-1])))
        self._keys = appended(keys)
        self._rows = np.concatenate(rows)
        hashes = xxh64(self._keys)
        self._order = np.argsort(hashes, kind="stable")
        self.hashes: Numbers = hashes[self._order]
        """Rising. A *needle* is a place in this column."""

    def __len__(self) -> int:
        return len(self.hashes)

    def key(self, needle: int) -> bytes:
        """The key of a needle."""
        return self._keys[int(self._order[needle])].as_py()

    def keys(self, needles: Column) -> Keys:
        """The keys of needles."""
        return taken(self._keys, self._order[needles])

    def row(self, needles: Column) -> Column:
        """The rows of the columns of the feed in which needles stand."""
        return self._rows[self._order[needles]]


class One:
    """A feed of one value."""

    def __init__(self, kind: ObservableKind, value: str) -> None:
        self.bytes = key_of(kind, value)
        """Its key."""
        self.hash = xxh64_of(self.bytes)
