"""Knowledge as data: files that ship with the package and are read through ``DATA_FOLDER``.

In: nothing. Out: the folder. Never: code that one of these files names.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

DATA_FOLDER: Final = Path(__file__).parent
"""Where the packaged data lies. A plain path, because ``importlib.resources`` costs 10 ms of start-up time."""
STARTER_RULES: Final = DATA_FOLDER / "rules"
"""The few rules that come with Mingjian."""
