"""Mingjian: cyber-security situational awareness that looks at every distinct thing once.

In: logs, rules, inventories. Out: detections, and what follows from them. Never: an attack on anything, or a
connection that nobody asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mingjian.hunt.api import load_rules, match_arrow, scan

__all__ = ["__version__", "load_rules", "match_arrow", "scan"]

__version__: str


def __getattr__(name: str) -> object:
    # Whoever wants the version only, or a small part of us, need not wait for all the rest.
    if name == "__version__":
        from importlib.metadata import version

        return version("mingjian")
    if name in __all__:
        from mingjian.hunt import api

        return getattr(api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
