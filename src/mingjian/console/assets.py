"""The files that pages load from here: styles, small modules, and the bundle of htmx and ECharts if it was made."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path
from typing import Final

import msgspec

FOLDER: Final = Path(__file__).parent / "static"
BUILT: Final = "built/"
TYPES: Final = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}


class Assets(msgspec.Struct, frozen=True):
    """File → its address, which changes with the content of the files: browsers may keep it for ever."""

    addresses: dict[str, str]

    def address(self, name: str) -> str:
        """Where a file is."""
        return self.addresses[name]

    @property
    def is_bundled(self) -> bool:
        """Whether htmx and the charts are there."""
        return BUILT + "htmx.js" in self.addresses and BUILT + "charts.js" in self.addresses


@cache
def known() -> Assets:
    """Every file that may be loaded. All have the same mark: modules name each other without one."""
    paths = [path for path in sorted(FOLDER.rglob("*")) if path.suffix in TYPES]
    digest = hashlib.blake2b(digest_size=6)
    for path in paths:
        digest.update(path.read_bytes())
    names = [path.relative_to(FOLDER).as_posix() for path in paths]
    return Assets({name: f"/static/{digest.hexdigest()}/{name}" for name in names})


def content_of(name: str) -> tuple[bytes, str] | None:
    """The bytes and the media type of a file; None if there is no such file. Names are looked up, never opened."""
    if name not in known().addresses:
        return None
    path = FOLDER / name
    return path.read_bytes(), TYPES[path.suffix]
