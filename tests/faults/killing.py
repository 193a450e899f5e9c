"""Points 1 and 6: SIGKILL, SIGTERM and Ctrl-C, at every commit point and at random moments, then ``--resume``."""

from __future__ import annotations

import random
import signal
from collections.abc import Sequence

from tests.faults.lab import Ended, Lab, Outcome, half_written, sample, timed

COMMANDS = ("run", "score", "mask")
TOLD = {signal.SIGTERM: 143, signal.SIGINT: 130}
"""Signals that a run can answer, and the exit code of shells for them."""


def undisturbed(lab: Lab, commands: Sequence[str] = COMMANDS) -> dict[str, dict[str, str]]:
    """The files of each command as they must be, made once by fresh interpreters."""
    made = {"score": "scored", "run": "whole-run", "mask": "whole-mask"}
    needed = {*commands, *(["score"] if "mask" in commands else [])}
    for name in sorted(needed, key=("score", "run", "mask").index):
        if not (lab.folder / made[name]).exists():
            ended = lab.fresh(*getattr(lab, name), "-o", made[name])
            assert ended.code == 0, ended.output
    return {name: lab.files(made[name]) for name in commands}


def at_commit_points(lab: Lab, most: int | None = None, commands: Sequence[str] = COMMANDS) -> Outcome:
    """SIGKILL at every commit point of each command, or at ``most`` of them with each name among them."""
    outcome = Outcome("SIGKILL at commit points")
    with timed(outcome):
        expected = undisturbed(lab, commands)
        for name in commands:
            command = getattr(lab, name)
            points = [point for point, _ in lab.count(*command)["points"]]
            chosen = sorted({points.index(point) for point in points} | set(sample(range(len(points)), most)))
            for at in chosen:
                lab.remove("out")
                ended = lab.forked(*command, "-o", "out", fault={"kind": "kill", "at": at})
                place = f"{name}, killed at commit point {at} ({points[at]})"
                outcome.expect(ended.code == -signal.SIGKILL, f"{place}: ended with {ended.code}")
                outcome.count(f"{name}: points")
                _resume(lab, command, expected[name], place, outcome)
            outcome.count(f"{name}: names of points", len(set(points)))
    return outcome


def at_random_moments(lab: Lab, times: int, commands: Sequence[str] = ("run",), seed: int = 0) -> Outcome:
    """SIGKILL after a random time; a run is killed again and again until it gets through."""
    outcome = Outcome("SIGKILL at random moments")
    draw = random.Random(seed)
    with timed(outcome):
        expected = undisturbed(lab, commands)
        for name in commands:
            command = getattr(lab, name)
            lab.remove("out")
            whole = lab.forked(*command, "-o", "out").seconds
            while outcome.tried.get(name, 0) < times:
                lab.remove("out")
                again: tuple[str, ...] = ()
                for _ in range(draw.randint(1, 3)):  # the resumed run is killed as well
                    ended = lab.forked(*command, "-o", "out", *again, kill_after=draw.uniform(0.02, whole))
                    outcome.count(name if ended.code == -signal.SIGKILL else f"{name}: was faster")
                    place = f"{name}, killed at a random moment (ended with {ended.code})"
                    outcome.expect(not half_written(lab, "out", expected[name]), f"{place}: half-written files")
                    again = ("--resume",)
                _resume(lab, command, expected[name], place, outcome)
    return outcome


def told_to_stop(lab: Lab, times: int, seed: int = 0) -> Outcome:
    """SIGTERM and SIGINT at commit points and at random moments: exit code, message, and nothing lost."""
    outcome = Outcome("SIGTERM and Ctrl-C")
    draw = random.Random(seed)
    with timed(outcome):
        expected = undisturbed(lab, ("run",))["run"]
        points = lab.count(*lab.run)["points"]
        lab.remove("out")
        whole = lab.forked(*lab.run, "-o", "out").seconds
        for number, code in TOLD.items():
            for turn in range(times):
                lab.remove("out")
                if turn % 2:
                    # From the last point on there is nothing left to stop.
                    fault = {"kind": "signal", "at": draw.randrange(len(points) - 2), "number": int(number)}
                    ended = lab.forked(*lab.run, "-o", "out", fault=fault)
                else:
                    ended = lab.forked(*lab.run, "-o", "out", kill_after=draw.uniform(0.05, whole), by=number)
                place = f"{number.name}, exit code {ended.code}"
                _check_told(ended, code, place, outcome)
                outcome.expect(not half_written(lab, "out", expected), f"{place}: half-written files")
                _resume(lab, lab.run, expected, place, outcome)
                outcome.count(number.name if ended.code else f"{number.name}: was faster")
    return outcome


def _check_told(ended: Ended, code: int, place: str, outcome: Outcome) -> None:
    if ended.code == 0 or "layout" not in ended.output:
        return  # it was faster, or the signal was, and came before the command began
    outcome.expect(ended.code == code, f"{place}: not {code}: {ended.output[-300:]}")
    outcome.expect(
        "the same command continues" in ended.output, f"{place}: does not say how to go on: {ended.output[-300:]}"
    )
    outcome.expect("Traceback" not in ended.output, f"{place}: a traceback: {ended.output[-300:]}")


def _resume(lab: Lab, command: Sequence[str], expected: dict[str, str], place: str, outcome: Outcome) -> None:
    ended = lab.forked(*command, "-o", "out", "--resume")
    if outcome.expect(ended.code == 0, f"{place}: --resume ended with {ended.code}: {ended.output[-300:]}"):
        found = lab.files("out")
        wrong = sorted(path for path in found.keys() | expected.keys() if found.get(path) != expected.get(path))
        outcome.expect(not wrong, f"{place}: other files after --resume: {wrong}")
