"""When the cycles of a schedule begin, in whole steps.

The clocks answer for the tensors of a compiled step; these answer for callbacks, which wait for
the end of a cycle. All have `index(step)`, the cycle that a step is in, counted from 0, and
`start(index)`, the first step of a cycle, or None if there is no such cycle. Steps and indices are
Python ints.
"""

import bisect
import dataclasses
from typing import Protocol


class CycleStarts(Protocol):
    """What all of them can do."""

    def index(self, step: int) -> int: ...

    def start(self, index: int) -> int | None: ...


@dataclasses.dataclass(frozen=True)
class EqualCycles:
    """Cycles that all have one length."""

    length: int

    def index(self, step: int) -> int:
        return step // self.length

    def start(self, index: int) -> int | None:
        return index * self.length


@dataclasses.dataclass(frozen=True)
class ListedCycles:
    """Cycles that begin at the listed steps, of which the first is 0. The last has no end."""

    starts: tuple[int, ...]

    def index(self, step: int) -> int:
        return bisect.bisect_right(self.starts, step) - 1

    def start(self, index: int) -> int | None:
        return self.starts[index] if index < len(self.starts) else None


@dataclasses.dataclass(frozen=True)
class DelayedCycles:
    """Cycles of which the first is longer by `delay` steps at its start."""

    cycles: CycleStarts
    delay: int

    def index(self, step: int) -> int:
        return self.cycles.index(max(step - self.delay, 0))

    def start(self, index: int) -> int | None:
        start = self.cycles.start(index)
        return start if not start else start + self.delay


@dataclasses.dataclass(frozen=True)
class SampledCycles:
    """Cycles of which each begins at the first multiple of `every` that is in it.

    A cycle with no multiple in it begins and ends at once, with the next.
    """

    cycles: CycleStarts
    every: int

    def index(self, step: int) -> int:
        return self.cycles.index(step - step % self.every)

    def start(self, index: int) -> int | None:
        start = self.cycles.start(index)
        return start if start is None else -(-start // self.every) * self.every


@dataclasses.dataclass(frozen=True)
class JoinedCycles:
    """Cycles of schedules one after another, each of which begins at its own boundary.

    A boundary ends the cycle that it cuts. `parts` are one more than `boundaries`.
    """

    parts: tuple[CycleStarts, ...]
    boundaries: tuple[int, ...]

    def index(self, step: int) -> int:
        reached = bisect.bisect_right(self.boundaries, step)
        begin = (0, *self.boundaries)[reached]
        before = sum(self._counts()[:reached])
        return before + self.parts[reached].index(step - begin)

    def start(self, index: int) -> int | None:
        for part, begin, count in zip(self.parts, (0, *self.boundaries), self._counts()):
            if index < count:
                start = part.start(index)
                return start if start is None else begin + start
            index -= count
        start = self.parts[-1].start(index)
        return start if start is None else self.boundaries[-1] + start

    def _counts(self):
        """How many cycles begin in each part but the last, which has no end."""
        begins = (0, *self.boundaries)
        return [
            part.index(end - begin - 1) + 1
            for part, begin, end in zip(self.parts, begins, self.boundaries)
        ]


NO_CYCLES = ListedCycles((0,))
