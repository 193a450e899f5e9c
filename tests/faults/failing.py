"""Points 2 and 3: a write, an fsync or a rename that fails; a disk that is full."""

from __future__ import annotations

import errno
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.faults.injection import OPERATIONS
from tests.faults.killing import undisturbed
from tests.faults.lab import Ended, Lab, Outcome, half_written, sample, timed

CODES = (errno.EIO, errno.ENOSPC)
PAGE = 4096


def kth_call_fails(lab: Lab, most: int | None = None, command: str = "run") -> Outcome:
    """Each call of each operation fails once, or ``most`` of each; then ``--resume``."""
    outcome = Outcome(f"k-th call fails ({command})")
    with timed(outcome):
        expected = undisturbed(lab, (command,))[command]
        calls = lab.count(*getattr(lab, command))["calls"]
        for operation in OPERATIONS:
            # One more than there are: that run must get through.
            for at in [*sample(range(1, calls[operation] + 1), most), calls[operation] + 1]:
                lab.remove("out")
                code = CODES[at % len(CODES)]
                fault = {"kind": "fail", "operation": operation, "at": at, "code": code}
                ended = lab.forked(*getattr(lab, command), "-o", "out", fault=fault)
                place = f"{command}, {operation} {at} of {calls[operation]} fails"
                if at > calls[operation]:
                    outcome.expect(ended.code == 0, f"{place}: ended with {ended.code}: {ended.output[-300:]}")
                else:
                    outcome.count(operation)
                    _check_failed(lab, ended, expected, place, outcome)
                _resumed(lab, getattr(lab, command), expected, place, outcome)
    return outcome


def disk_full(lab: Lab, steps: int, mount: Path) -> Outcome:
    """Runs onto disks of ``steps`` sizes from too small to large enough, by bytes and by number of files."""
    outcome = Outcome("disk full")
    with timed(outcome):
        expected = undisturbed(lab, ("run",))["run"]
        command = (*lab.run, "-o", "mount/out")
        for option, enough, room in (("size", 48 * PAGE, "16m"), ("nr_inodes", 60, "10k")):
            for step in range(steps):
                amount = enough * (step + 1) // steps
                amount = max(amount // PAGE, 1) * PAGE if option == "size" else max(amount, 3)
                with small_disk(mount, f"{option}={amount}"):
                    ended = lab.forked(*command)
                    place = f"disk with {option}={amount}"
                    if ended.code == 0:
                        outcome.count(f"{option}: large enough")
                        continue
                    outcome.count(f"{option}: full")
                    _check_failed(lab, ended, expected, place, outcome, "mount/out")
                    outcome.expect("No space left" in ended.output, f"{place}: does not say so: {ended.output[-300:]}")
                    subprocess.run(["mount", "-o", f"remount,{option}={room}", mount], check=True)
                    _resumed(lab, lab.run, expected, place, outcome, "mount/out")
        outcome.expect(outcome.tried.get("size: full"), "no disk was too small")
        outcome.expect(outcome.tried.get("size: large enough"), "no disk was large enough")
    return outcome


@contextmanager
def small_disk(mount: Path, option: str) -> Iterator[None]:
    """A tmpfs for the time of the block.

    Raises:
        PermissionError: mounting is not allowed here.
    """
    mount.mkdir(exist_ok=True)
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", option, "tmpfs", mount], capture_output=True, text=True, check=False
    )
    if made.returncode:
        raise PermissionError(f"mounting a tmpfs is not allowed: {made.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", mount], check=True)


def _check_failed(
    lab: Lab, ended: Ended, expected: dict[str, str], place: str, outcome: Outcome, out: str = "out"
) -> None:
    said = f"ended with {ended.code}: {ended.output[-300:]}"
    outcome.expect(ended.code == 1, f"{place}: not with exit code 1: {said}")
    clear = "error: " in ended.output and "not foreseen" not in ended.output and "Traceback" not in ended.output
    outcome.expect(clear, f"{place}: no clear error: {said}")
    wrong = half_written(lab, out, expected)
    outcome.expect(not wrong, f"{place}: a reader sees half-written files: {wrong}")


def _resumed(
    lab: Lab, command: tuple[str, ...], expected: dict[str, str], place: str, outcome: Outcome, out: str = "out"
) -> None:
    ended = lab.forked(*command, "-o", out, "--resume")
    found = lab.files(out)
    outcome.expect(ended.code == 0, f"{place}: --resume ended with {ended.code}: {ended.output[-300:]}")
    wrong = sorted(path for path in found.keys() | expected.keys() if found.get(path) != expected.get(path))
    outcome.expect(not wrong, f"{place}: other files after --resume: {wrong}")
