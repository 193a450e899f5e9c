"""Point 4: every file cut at each sixteenth, emptied, lost, or with one bit flipped; ``validate`` and ``--resume``."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from pathlib import Path

from asr_data.errors import CorruptFileError, OutputExistsError
from asr_data.storage import Plan, load_manifest, validate
from asr_data.storage.output import OutputDirectory
from tests.faults.killing import undisturbed
from tests.faults.lab import Lab, Outcome, sample, timed

SIXTEENTHS = 16


def finished_output(lab: Lab, flips: int, by_command: int = 2, seed: int = 0) -> Outcome:
    """Damages each file of a finished run, one at a time.

    Args:
        lab: where.
        flips: bits flipped in each file, at random places, one at a time.
        by_command: how many cases to check by the commands, too; the rest is checked in this process.
        seed: of the places.
    """
    outcome = Outcome("corrupt files of a finished output")
    with timed(outcome):
        undisturbed(lab, ("run",))
        root = lab.folder / "whole-run"
        cases = [case for name in sorted(lab.files("whole-run")) for case in _cases(root / name, flips, seed)]
        through_commands = {id(case) for case in sample(cases, by_command, seed)}
        plan = load_manifest(root).plan
        for case in cases:
            file, kind, damaged = case
            name = file.relative_to(root).as_posix()
            before = file.read_bytes()
            _write(file, damaged)
            place = f"{name} {kind}"
            found = [problem.file for problem in validate(root)]
            outcome.expect(name in found, f"{place}: validate names {found or 'nothing'}")
            said = _resume_says(root, plan)
            outcome.expect(name in said, f"{place}: --resume says {said or 'nothing'}")
            if id(case) in through_commands:
                for command in (("validate", "whole-run"), (*lab.run, "-o", "whole-run", "--resume")):
                    ended = lab.forked(*command)
                    fine = ended.code == 1 and name in ended.output and "not foreseen" not in ended.output
                    outcome.expect(fine, f"{place}: {command[0]} ended with {ended.code}: {ended.output[-300:]}")
                    outcome.count("checked by command, too")
            outcome.count(kind.partition(" at ")[0])
            file.write_bytes(before)
        outcome.expect(validate(root) == [], "the repaired output is not valid")
    return outcome


def unfinished_output(lab: Lab, flips: int, most: int | None = None, seed: int = 0) -> Outcome:
    """Damages the files of a run that was killed; ``--resume`` names them and makes what is missing again."""
    outcome = Outcome("corrupt files of an unfinished output")
    with timed(outcome):
        expected = undisturbed(lab, ("run",))["run"]
        points = [tuple(point) for point in lab.count(*lab.run)["points"]]
        at = points.index(("created", "README.md"))  # all shards are done
        lab.remove("killed")
        ended = lab.forked(*lab.run, "-o", "killed", fault={"kind": "kill", "at": at})
        assert ended.code == -9, ended.output
        root = lab.folder / "killed"
        files = [file for file in sorted(root.rglob("*")) if file.is_file() and _is_written(file)]
        cases = [case for file in files for case in _cases(file, flips, seed)]
        for file, kind, damaged in sample(cases, most, seed):
            name = file.relative_to(root).as_posix()
            lab.remove("out")
            shutil.copytree(root, lab.folder / "out")
            _write(lab.folder / "out" / name, damaged)
            ended = lab.forked(*lab.run, "-o", "out", "--resume")
            place = f"{name} {kind}"
            if file.name == "plan.json":
                outcome.expect(ended.code == 1 and "error: " in ended.output, f"{place}: taken: {ended.output[-300:]}")
            else:
                outcome.expect(ended.code == 0, f"{place}: --resume ended with {ended.code}: {ended.output[-300:]}")
                outcome.expect(lab.files("out") == expected, f"{place}: other files after --resume")
            # A shard record that is gone is a shard that was never done.
            told = file.name in ended.output or (file.parent.name == "shards" and damaged is None)
            outcome.expect(told, f"{place}: --resume does not name it: {ended.output[-300:]}")
            outcome.count(kind.partition(" at ")[0])
    return outcome


def _is_written(file: Path) -> bool:
    """Whether it is read again: claims are names without content, ``.partial`` files and locks are written over."""
    return file.stat().st_size > 0 and not file.name.endswith((".partial", "lock", "owner"))


def _cases(file: Path, flips: int, seed: int) -> Iterator[tuple[Path, str, bytes | None]]:
    """``(file, what was done, its content then)``; None: it is gone."""
    content = file.read_bytes()
    for sixteenth in range(1, SIXTEENTHS):
        cut = len(content) * sixteenth // SIXTEENTHS
        yield file, f"cut at {sixteenth}/{SIXTEENTHS}", content[:cut]
    yield file, "cut at its last byte", content[:-1]
    yield file, "emptied", b""
    yield file, "lost", None
    draw = random.Random(f"{seed} {file.name}")
    for _ in range(flips):
        at, bit = draw.randrange(len(content)), draw.randrange(8)
        flipped = content[:at] + bytes([content[at] ^ 1 << bit]) + content[at + 1 :]
        yield file, f"one bit flipped at byte {at}, bit {bit}", flipped


def _write(file: Path, content: bytes | None) -> None:
    if content is None:
        file.unlink()
    else:
        file.write_bytes(content)


def _resume_says(root: Path, plan: Plan) -> str:
    try:
        OutputDirectory.create(root, plan, resume=True)
    except (CorruptFileError, OutputExistsError) as error:
        return str(error)
    return ""
