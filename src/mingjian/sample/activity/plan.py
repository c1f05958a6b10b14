"""Things to do, with their times: planned first, done in order of time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeAlias

from mingjian.sample.chance import Chance
from mingjian.sample.scene import Scene

Deed: TypeAlias = Callable[[Scene, int], None]
"""Something that can happen in a scene at a moment."""


class Plan:
    """What will happen in a scene. Times outside its day are left out."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self._planned: list[tuple[int, int, Deed]] = []

    def add(self, time_us: int, deed: Deed) -> None:
        """Let something happen once."""
        if self.scene.start_us <= time_us < self.scene.end_us:
            self._planned.append((time_us, len(self._planned), deed))

    def repeat(self, chance: Chance, start_us: int, end_us: int, mean_us: float, deed: Deed) -> None:
        """Let something happen again and again, on its own (a Poisson process)."""
        mean_us /= self.scene.pace
        time_us = start_us + chance.wait(mean_us)
        while time_us < end_us:
            self.add(int(time_us), deed)
            time_us += chance.wait(mean_us)

    def every(self, chance: Chance, period_us: int, deed: Deed, *, jitter_us: int = 0) -> None:
        """Let something happen all day by the clock, begun anywhere within the period."""
        period_us = int(period_us / self.scene.pace)
        time_us = self.scene.start_us + chance.below(period_us)
        while time_us < self.scene.end_us:
            self.add(time_us + (chance.below(jitter_us) if jitter_us else 0), deed)
            time_us += period_us

    def in_order(self) -> Iterator[tuple[int, Deed]]:
        """All of it, in order of time; what is at the same time, in the order of planning."""
        self._planned.sort(key=lambda planned: planned[:2])
        for time_us, _, deed in self._planned:
            yield time_us, deed
