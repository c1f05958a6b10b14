"""Mingjian: cyber-security situational awareness that looks at every distinct thing once.

In: logs, rules, inventories. Out: detections, and what follows from them. Never: an attack on anything, or a
connection that nobody asked for.
"""

from __future__ import annotations

__all__ = ["__version__"]

__version__: str


def __getattr__(name: str) -> str:
    # Reading the installed metadata costs 20 ms, which a program that never asks for the version need not pay.
    if name == "__version__":
        from importlib.metadata import version

        return version("mingjian")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
