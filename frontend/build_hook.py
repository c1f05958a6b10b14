"""The hook of the PEP 517 build: the wheel, also the editable one, gets the bundle of the console.

A bundle that cannot be made (no network, no Node for this machine) fails nothing: the pages work without it.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

sys.path.insert(0, str(Path(__file__).resolve().parent))

from bundle import BUILT, NotBundled, bundle


class BuildHook(BuildHookInterface):
    """Makes the bundle before the files of the wheel are collected."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Called by hatchling for each build."""
        if self.target_name != "wheel":
            return
        try:
            bundle()
        except NotBundled as problem:
            self.app.display_warning(f"The console's bundle could not be made: {problem}. Pages work without it.")
        if BUILT.is_dir():
            build_data["artifacts"].append("/src/mingjian/console/static/built/*")
