"""Measurements that a shared machine does not decide: methods in turn, over rounds, in alternating order.

What else runs on the machine changes from minute to minute. So every round runs every method once, the next round in
the opposite order, and two methods are compared within a round only: a ratio is the median of the rounds' own ratios.
CPU seconds stand beside wall seconds: they do not count the time in which the process waited for a core.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any, TypeAlias

ROUNDS = 5


@dataclass(frozen=True, slots=True)
class Sample:
    """One run of one method.

    Attributes:
        wall: seconds.
        cpu: seconds of all threads of the process.
        answer: what the method gave.
    """

    wall: float
    cpu: float
    answer: Any = None


@dataclass(frozen=True, slots=True)
class Spread:
    """Median and range of one figure over the rounds."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, figures: Sequence[float]) -> Spread:
        """Of at least one figure."""
        return cls(statistics.median(figures), min(figures), max(figures))

    def times(self, factor: float) -> Spread:
        """The same figure in another unit."""
        return Spread(factor * self.median, factor * self.low, factor * self.high)

    def __format__(self, spec: str) -> str:
        """``median (low to high)``, each in the format that is given."""
        return f"{self.median:{spec}} ({self.low:{spec}} to {self.high:{spec}})"


Method: TypeAlias = Callable[[], Any]


@dataclass(frozen=True, slots=True)
class Rounds:
    """Samples of each method, one a round."""

    samples: Mapping[str, Sequence[Sample]]

    def wall(self, name: str) -> Spread:
        """Wall seconds."""
        return Spread.of([one.wall for one in self.samples[name]])

    def cpu(self, name: str) -> Spread:
        """CPU seconds."""
        return Spread.of([one.cpu for one in self.samples[name]])

    def ratio(self, name: str, base: str) -> Spread:
        """Wall seconds of ``name`` over those of ``base``, round by round."""
        return self.of(lambda samples: samples[name].wall / samples[base].wall)

    def cpu_ratio(self, name: str, base: str) -> Spread:
        """CPU seconds of ``name`` over those of ``base``, round by round."""
        return self.of(lambda samples: samples[name].cpu / samples[base].cpu)

    def of(self, figure: Callable[[Mapping[str, Sample]], float]) -> Spread:
        """A figure of one round's samples, over the rounds."""
        rounds = zip(*self.samples.values(), strict=True)
        return Spread.of([figure(dict(zip(self.samples, one, strict=True))) for one in rounds])

    def answer(self, name: str) -> Any:
        """What the method gave in the last round."""
        return self.samples[name][-1].answer


def timed(method: Method) -> Sample:
    """Run once, until the GPU is done where the method uses one."""
    wall, cpu = time.perf_counter(), time.process_time()
    answer = method()
    return Sample(time.perf_counter() - wall, time.process_time() - cpu, answer)


def interleave(
    methods: Mapping[str, Method],
    rounds: int = ROUNDS,
    clock: Callable[[Method], Sample] = timed,
    kept: Path | None = None,
) -> Rounds:
    """Run each method once a round, every other round in the opposite order.

    Args:
        methods: by name; each runs on the same input every time.
        rounds: at least 1.
        clock: runs a method and measures it; :func:`reported` where it measures itself.
        kept: JSON lines, one a round that is done: a run that was cut off goes on behind them. Answers must be JSON.

    Raises:
        ValueError: ``kept`` holds rounds of other methods.
    """
    done = _read(kept, methods) if kept is not None else []
    for number in range(len(done), rounds):
        order = list(methods) if number % 2 == 0 else list(methods)[::-1]
        found = {name: clock(methods[name]) for name in order}
        done.append({name: found[name] for name in methods})
        if kept is not None:
            with kept.open("a", encoding="utf-8") as file:
                file.write(json.dumps({name: astuple(sample) for name, sample in done[-1].items()}) + "\n")
        walls = ", ".join(f"{name} {sample.wall:.2f} s" for name, sample in done[-1].items())
        print(f"round {number + 1} of {rounds}: {walls}", file=sys.stderr, flush=True)
    return Rounds({name: [one[name] for one in done[:rounds]] for name in methods})


def _read(kept: Path, methods: Mapping[str, Method]) -> list[dict[str, Sample]]:
    """The rounds that a file holds; none where it is not there yet."""
    lines = kept.read_text(encoding="utf-8").splitlines() if kept.exists() else []
    done = [{name: Sample(*values) for name, values in json.loads(line).items()} for line in lines]
    for number, one in enumerate(done, 1):
        if list(one) != list(methods):
            raise ValueError(f"{kept}, line {number}: rounds of {', '.join(one)}, not of {', '.join(methods)}")
    return done


def reported(method: Method) -> Sample:
    """For a method that measures itself, such as a process of its own, and returns a :class:`Sample`."""
    sample = method()
    if not isinstance(sample, Sample):
        raise TypeError(f"a method that measures itself must return a Sample, not a {type(sample).__name__}")
    return sample
